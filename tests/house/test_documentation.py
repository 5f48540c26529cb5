"""The documentation is true: its links, commands, options, files, cells and programs exist."""

import contextlib
import functools
import importlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.house.pages import (
    PAGES,
    ROOT,
    SHELL,
    Block,
    anchors,
    blocks,
    commands,
    links,
    name,
    script,
    spans,
)

BLOCKS = tuple(block for page in PAGES for block in blocks(page))
SHELL_BLOCKS = tuple(block for block in BLOCKS if block.language in SHELL)
TOOLS = {
    "cat",
    "cd",
    "echo",
    "git",
    "ls",
    "printf",
    "pip",
    "pytest",
    "python",
    "python3",
    "ruff",
    "pyright",
    "lint-imports",
    "tensorboard",
}
README = ROOT / "README.md"


def by_page(page: Path) -> str:
    return name(page)


def by_block(block: Block) -> str:
    return block.id


@functools.cache
def verbs() -> Mapping[str, frozenset[str]]:
    """The options of every verb of the command line, by its words."""
    typer = importlib.import_module("typer")
    app = importlib.import_module("cellwright.cli").app

    def below(command: Any, words: str) -> dict[str, frozenset[str]]:
        options = {"--help"}.union(*((*p.opts, *p.secondary_opts) for p in command.params))
        found = {words: frozenset(options)}
        for verb, inner in getattr(command, "commands", {}).items():
            found |= below(inner, f"{words} {verb}".strip())
        return found

    return below(typer.main.get_command(app), "")


@functools.cache
def make_targets() -> frozenset[str]:
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return frozenset(rules)


def wrong_with(words: list[str]) -> str | None:
    """Say what is wrong with a command, or None."""
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "make":
        missing = [w for w in rest if "=" not in w and w not in make_targets()]
        return f"no such target: {missing}" if missing else None
    if program == "cellwright":
        return wrong_with_verb(rest)
    if program in TOOLS:
        missing = [w for w in rest if w.endswith(".py") and not (ROOT / w).exists()]
        return f"no such file: {missing}" if missing else None
    if program.startswith((".", "/")) or "/" in program:
        return None if (ROOT / program).exists() else f"no such file: {program}"
    return f"not a command that a reader has: {program}"


def wrong_with_verb(words: list[str]) -> str | None:
    verb = words[0] if words and not words[0].startswith("-") else ""
    if any(name.startswith(f"{verb} ") for name in verbs()) and len(words) > 1:
        verb = " ".join(words[:2])
    if verb not in verbs():
        return f"no such verb: {verb}"
    options = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    missing = [option for option in options if option not in verbs()[verb]]
    if missing:
        return f"cellwright {verb} has no {missing}"
    cells = [value for option, value in itertools.pairwise(words) if cell_like(option)]
    return wrong_with_cells(cell for value in cells for cell in value.split(","))


def cell_like(option: str) -> bool:
    return option in ("--cell", "--cells", "show")


def wrong_with_cells(cells: Iterable[str]) -> str | None:
    catalogue = importlib.import_module("cellwright.cells").CATALOGUE
    missing = [cell for cell in cells if ".py:" not in cell and cell not in catalogue]
    return f"not in the catalogue: {missing}" if missing else None


def run_python(block: Block, space: dict[str, Any]) -> None:
    """Run a block in a namespace, so that a traceback shows the page and its line."""
    program = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    exec(program, space)


def run_shell(block: Block, folder: Path) -> str:
    """Run a block in `folder`; return what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script(block)], cwd=folder, check=False, timeout=300,
        env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{block.id}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_readme_starts_with_commands():
    first = [words for block in blocks(README) if block.language in SHELL
             for words in commands(block)]  # fmt: skip
    assert ["make", "demo"] in first, "README.md does not say `make demo` in a shell block"


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=by_block)
def test_commands_exist(block):
    faults = [f"{' '.join(w)}: {fault}" for w in commands(block) if (fault := wrong_with(w))]
    assert not faults, f"{block.id}: {faults}"


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in SHELL_BLOCKS if b.mark == "run"], ids=by_block)
def test_marked_commands_run(block, tmp_path):
    assert run_shell(block, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_python_blocks_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = f"page_{page.stem.replace('-', '_').lower()}"
    space: dict[str, Any] = {"__name__": module}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in blocks(page):
            if block.language in ("python", "py") and block.mark != "not run":
                run_python(block, space)


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_json_blocks_are_json(page):
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_links_resolve(page):
    faults = []
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            faults.append(link)
    assert not faults, f"{name(page)}: links to nothing: {faults}"


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_named_files_exist(page):
    """`src/...`, `tests/...`, `cells/lstm.py`: from the root or from the package."""
    places = (ROOT, ROOT / "src/cellwright", ROOT / "docs", ROOT / "tests")
    rooms = "|".join(sorted({p.name for place in places for p in place.iterdir() if p.is_dir()}))
    pattern = re.compile(rf"(?:{re.escape(rooms).replace(re.escape('|'), '|')})/[\w./-]*")
    named = [span for span in spans(page) if pattern.fullmatch(span)]
    missing = [span for span in named if not any((place / span).exists() for place in places)]
    assert not missing, f"{name(page)} names files that are not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_named_options_exist(page):
    known = frozenset().union(*verbs().values())
    named = {m for span in spans(page) for m in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert named <= known, f"{name(page)} names options that no verb has: {sorted(named - known)}"


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_named_parts_of_the_package_exist(page):
    """`cellwright.nn.Recurrent` in the text can be imported."""
    missing = []
    for span in spans(page):
        match = re.fullmatch(r"(cellwright(?:\.\w+)+)(?:\(.*\))?", span)
        if match and not resolves(match[1]):
            missing.append(span)
    assert not missing, f"{name(page)} names parts that do not exist: {missing}"


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[cut:]:
                found = getattr(found, part)
        except AttributeError:
            return False
        return True
    return False


def test_every_cell_has_its_place_in_the_catalogue_page():
    catalogue = importlib.import_module("cellwright.cells").CATALOGUE
    assert set(catalogue) <= set(spans(ROOT / "docs/catalogue.md"))


def test_generated_pages_match_what_generates_them():
    program = [sys.executable, str(ROOT / "docs/generate.py"), "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "make nothing", "cellwright trian text", "cellwright train text --no-such-flag",
        "cellwright train text --cell lstn", "cellwright compare text --cells lstm,gnu",
        "cellwright inspect nothing RUN", "cellwright inspect step RUN --out page.html",
        "python benchmarks/missing.py", "frobnicate now", "./missing",
    ],
)  # fmt: skip
def test_a_false_command_is_found(words):
    assert wrong_with(words.split())


def test_a_false_program_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nassert 1 == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        run_python(blocks(page)[0], {})
    page.write_text("```sh\nsh -c 'echo no; exit 3' | cat\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="no"):
        run_shell(blocks(page)[0], tmp_path)
