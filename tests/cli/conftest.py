"""The command line as a test calls it, a text, and one tiny trained run."""

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cellwright.cli import main

COMMAND = [sys.executable, "-m", "cellwright.cli"]
TINY = ["--hidden", "8", "--steps", "16", "--batch", "4", "--threads", "1"]


@dataclass(frozen=True)
class Ran:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Callable[..., Ran]:
    """Call `cellwright` in this process, in an empty directory, at 80 columns, without colour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("CELLWRIGHT_DEBUG", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def call(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return call


def story(characters: int) -> str:
    """A text of so many characters, different from line to line."""
    rng = random.Random(7)
    words = [
        "the",
        "a",
        "old",
        "king",
        "queen",
        "river",
        "boat",
        "sings",
        "sees",
        "finds",
        "green",
        "and",
        "then",
    ]
    lines = []
    while sum(map(len, lines)) < characters:
        lines.append(" ".join(rng.choice(words) for _ in range(8)) + ".\n")
    return "".join(lines)[:characters]


@pytest.fixture
def text(tmp_path) -> Path:
    path = tmp_path / "story.txt"
    path.write_text(story(2000), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run of one epoch on the story, made once."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "story.txt").write_text(story(2000), encoding="utf-8")
    out = folder / "run"
    code = main(["train", str(folder / "story.txt"), *TINY, "--epochs", "1", "--out", str(out)])
    assert code == 0
    return out


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """An environment for subprocesses: narrow, without colour, one thread."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "CELLWRIGHT_DEBUG")}
    return {**kept, "COLUMNS": "80", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
