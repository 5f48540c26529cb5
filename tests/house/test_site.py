"""The built documentation: complete, and it asks no other machine for anything."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.pages import ROOT

# What a browser fetches by itself; a link that a reader may follow is not among them.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b[^>]*?\shref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(|@import\s+)["']?((?:https?:)?//[^"')\s]+)""",
    re.IGNORECASE,
)


def fetched(text: str) -> list[str]:
    return ["".join(match) for match in FETCHED.findall(text)]


def build(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does."""
    rule = re.search(r"/mkdocs (build [-a-z ]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert rule, "the Makefile builds no documentation"
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *rule[1].split(), "--site-dir", str(out)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.parametrize("fault", ["[gone](gone.md)", "[gone](design.md#gone)", '--8<-- "gone.md"'])
def test_a_broken_page_is_refused(tmp_path, fault):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for file in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / file, tmp_path)
    with (tmp_path / "docs/index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{fault}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "gone" in done.stdout + done.stderr


def test_every_page_is_built(site):
    pages = {p.stem for p in (ROOT / "docs").glob("*.md")}
    assert pages | {"404"} == {p.stem for p in site.glob("*.html")}
    assert not list(site.rglob("*.py"))


def test_pages_fetch_nothing_from_elsewhere(site):
    found = {}
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        if outside := fetched(path.read_text(encoding="utf-8")):
            found[path.relative_to(site).as_posix()] = outside
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/a.js"></script>',
        "<script async src=//example.org/a.js></script>",
        '<link rel="stylesheet" href="https://example.org/a.css">',
        "a { background: url('https://example.org/a.png') }",
        '@import "//example.org/a.css";',
        '<img alt="x" src="http://example.org/a.png">',
    ],
)
def test_a_request_is_found(text):
    assert fetched(text)


def test_a_link_is_no_request():
    assert not fetched('<a href="https://example.org">there</a><script src="js/a.js"></script>')
