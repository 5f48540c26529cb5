"""The scripts in benchmarks/: help without running, and one line for what cannot be measured."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(HOME.glob("*.py"))


def called(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_runs_nothing(script):
    shown = called(script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: {script.name}") and "|" not in shown.stdout


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("peers", ["--cells", "lstmm"], "no cell named 'lstmm'"),
        ("cells", ["--shapes", "9x9"], "cells.py: --shapes: expected steps x rows x units"),
        ("cells", ["--repeats", "0"], "--repeats: expected a whole number from 1, got '0'"),
        ("loop", ["--threads", "-1"], "--threads"),
        ("parity", ["--frobnicate"], "unrecognized arguments"),
        ("language_model", ["missing.txt"], "missing.txt: no such file"),
        ("language_model", ["--windows", "none"], "--windows"),
    ],
)
def test_a_wrong_argument_is_a_line(name, words, said):
    shown = called(HOME / f"{name}.py", *words)
    assert shown.returncode == 2 and shown.stdout == ""
    assert said in shown.stderr.splitlines()[-1] and "Traceback" not in shown.stderr


def test_every_script_is_tried():
    assert {path.stem for path in SCRIPTS} >= {"cells", "loop", "parity", "peers"}
