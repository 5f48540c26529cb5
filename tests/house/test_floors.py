"""The floors of the house: the linter sees a climb, and the lower floors need nothing."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.pages import ROOT

SOURCE = ROOT / "src/cellwright"
STANDARD_ONLY = ("language", "cells", "compiler", "targets")
LINTER = Path(sys.executable).with_name("lint-imports")

VIOLATIONS = {
    "up one floor": ("nn", "import cellwright.lm"),
    "up many floors": ("language", "from cellwright.cli import nothing"),
    "sideways: lm, tasks": ("lm", "from cellwright import tasks"),
    "sideways: tasks, lm": ("tasks", "import cellwright.lm"),
    "sideways: bench, lm": ("bench", "import cellwright.lm"),
    "sideways: cells, compiler": ("compiler", "import cellwright.cells"),
    "a target that reads the catalogue": ("targets", "from cellwright.cells import CATALOGUE"),
    "torch in the language": ("language", "import torch"),
    "torch in a cell": ("cells", "from torch import nn"),
    "numpy in the compiler": ("compiler", "import numpy as np"),
    "torch in a target": ("targets", "def emit():\n    import torch\n    return torch"),
    "only for types": (
        "nn",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cellwright.lm",
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the source and its contracts that may be broken."""
    shutil.copytree(SOURCE, tmp_path / "src/cellwright", ignore=shutil.ignore_patterns("__py*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache", "--no-logo"], cwd=house, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(house / "src")}, check=False,
    )  # fmt: skip


def test_the_floors_hold(house):
    done = lint(house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", VIOLATIONS)
def test_the_linter_sees_a_climb(house, case):
    room, line = VIOLATIONS[case]
    (house / "src/cellwright" / room / "climb.py").write_text(line + "\n", encoding="utf-8")
    done = lint(house)
    assert done.returncode == 1, f"{case}: not seen\n{done.stdout}{done.stderr}"
    assert f"cellwright.{room}.climb" in done.stdout


def test_the_linter_sees_a_room_without_a_floor(house):
    room = house / "src/cellwright/attic"
    room.mkdir()
    (room / "__init__.py").write_text("", encoding="utf-8")
    done = lint(house)
    assert done.returncode == 1
    assert "attic" in done.stdout + done.stderr


@pytest.mark.parametrize("room", STANDARD_ONLY)
def test_the_lower_floors_import_only_the_standard_library(room):
    outside = []
    for path in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {found.split(".")[0] for found in names}
            outside += [(path.name, r) for r in roots - sys.stdlib_module_names - {"cellwright"}]
    assert not outside


@pytest.mark.parametrize("room", STANDARD_ONLY)
def test_the_lower_floors_load_without_torch(room):
    program = f"import sys, cellwright.{room}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
