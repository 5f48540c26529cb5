"""`make` on a bare machine: one clear line when it cannot, no false stamp when it was cut short."""

import subprocess
from pathlib import Path

import pytest

from tests.house.pages import ROOT

# Stands in for python3 and for the environment's python: it notes each call, and fails at the
# one that holds the word in the file `fail`. No network, nothing installed.
PRETENDER = """#!/bin/sh
here={folder}
echo "$*" >>$here/calls
if [ "$1" = --version ]; then echo 'Python {version}'; exit 0; fi
if [ "$1" = -c ]; then exit {too_old}; fi
if [ -f $here/fail ] && echo "$*" | grep -q -- "$(cat $here/fail)"; then echo 'it broke'; exit 1; fi
if [ "$1 $2" = '-m venv' ]; then mkdir -p $3/bin && cp $0 $3/bin/python; fi
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    pretend(tmp_path)
    return tmp_path


def pretend(folder: Path, version: str = "3.11.7", too_old: bool = False) -> None:
    python = folder / "python"
    python.write_text(
        PRETENDER.format(folder=folder, version=version, too_old=int(too_old)), encoding="utf-8"
    )
    python.chmod(0o755)


def make(house: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", f"PYTHON={house}/python", *words], cwd=house, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def installs(house: Path) -> list[str]:
    lines = (house / "calls").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "pip install" in line]


def stamps(house: Path) -> set[str]:
    return {p.name for p in (house / ".venv").glob(".*")}


def test_setup_installs_torch_first_and_the_second_run_nothing(house):
    done = make(house, "setup")
    assert done.returncode == 0, done.stdout + done.stderr
    order = [line.split("install ")[1] for line in installs(house)]
    assert order == [
        "--upgrade pip -c constraints.txt",
        "torch -c constraints.txt",
        "-e . -c constraints.txt",
        "--group test --group lint --group docs -c constraints.txt",
    ]
    (house / "calls").unlink()
    assert make(house, "setup").returncode == 0
    assert not (house / "calls").exists()


def test_the_demo_installs_no_checks(house):
    make(house, ".venv/.runtime")
    assert stamps(house) == {".pip", ".torch", ".runtime"}


def test_torch_can_come_from_a_further_index(house):
    make(house, "setup", "TORCH_INDEX_URL=file:///some/where")
    extra = [line for line in installs(house) if "--extra-index-url file:///some/where" in line]
    assert len(extra) == 1 and " torch " in extra[0]


@pytest.mark.parametrize(
    ("word", "left"),
    [
        ("-m venv", set()),
        ("upgrade pip", set()),
        ("install torch", {".pip"}),
        ("install -e", {".pip", ".torch"}),
        ("group test", {".pip", ".torch", ".runtime"}),
    ],
)
def test_a_failed_step_leaves_no_stamp_and_says_why(house, word, left):
    (house / "fail").write_text(word, encoding="utf-8")
    done = make(house, "setup")
    assert done.returncode != 0
    assert "it broke" in done.stdout
    assert stamps(house) == left
    (house / "fail").unlink()
    assert make(house, "setup").returncode == 0, "the next run goes on"


@pytest.mark.parametrize("file", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_again(house, file):
    make(house, "setup")
    (house / "calls").unlink()
    stamp = (house / ".venv/.checks").stat().st_mtime_ns
    subprocess.run(["touch", "-d", f"@{stamp // 10**9 + 5}", str(house / file)], check=True)
    make(house, "setup")
    assert any("install -e ." in line for line in installs(house))


def test_an_old_python_is_named(house):
    pretend(house, version="3.9.2", too_old=True)
    done = make(house, "setup")
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stdout and "Python 3.9.2" in done.stdout
    assert not (house / ".venv").exists()


def test_no_python_at_all_is_named(house):
    (house / "python").unlink()
    done = make(house, "setup")
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stdout


def test_clean_keeps_runs_and_the_environment(house):
    make(house, "setup")
    for folder in ("runs/first", "site", "dist", "src"):
        (house / folder).mkdir(parents=True)
    assert make(house, "clean").returncode == 0
    assert (house / "runs/first").exists() and (house / ".venv/.checks").exists()
    assert not (house / "site").exists() and not (house / "dist").exists()


def test_help_names_every_target(house):
    text = make(house).stdout
    for target in ("demo", "test", "lint", "docs", "bench", "clean"):
        assert f"make {target} " in text
