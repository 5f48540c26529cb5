"""Cells pickle as data: any cell, also one that only this process ever knew."""

import copy
import pickle
import subprocess
import sys

import pytest

from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, affine, cell_from_json, cell_to_json, tanh


class Here(Cell):
    """A cell of a module."""

    x, h = Input(), State()
    h.next = tanh(affine(x, h))


@pytest.mark.parametrize("cell", [Cell, Here, *CATALOGUE.values()], ids=lambda c: c.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_cell_of_a_module_comes_back_as_itself(cell, protocol):
    assert pickle.loads(pickle.dumps(cell, protocol)) is cell
    assert copy.deepcopy({"cell": cell})["cell"] is cell


def local() -> type[Cell]:
    class Local(Cell):
        """Known only inside a function."""

        x, h = Input(), State()
        h.next = tanh(affine(x, h)) * 0.5

    return Local


@pytest.mark.parametrize("make", [local, lambda: cell_from_json(cell_to_json(local()))])
def test_a_local_cell_comes_back_equal(make):
    cell = make()
    again = pickle.loads(pickle.dumps(cell))
    assert again is not cell
    assert cell_to_json(again) == cell_to_json(cell)
    assert again.__doc__ == cell.__doc__
    assert again.__name__ == "Local"


def test_another_cell_of_the_same_name_is_not_mistaken_for_it(monkeypatch):
    text = pickle.dumps(Here)

    class Here2(Cell):
        x, h = Input(), State()
        h.next = tanh(affine(x, h)) + 1

    monkeypatch.setitem(globals(), "Here", Here2)
    again = pickle.loads(text)
    assert again is not Here2
    assert len(again.graph.nodes) == len(Here2.graph.nodes) - 2


@pytest.mark.parametrize("name", ["Cell", "Graph", "Node", "CellError"])
def test_a_cell_named_like_something_of_the_language(name):
    cell = cell_from_json(cell_to_json(Here).replace('"cell": "Here"', f'"cell": "{name}"'))
    again = pickle.loads(pickle.dumps(cell))
    assert again.__name__ == name
    assert cell_to_json(again) == cell_to_json(cell)


def test_another_process_needs_only_cellwright():
    script = (
        "import pickle, sys\n"
        "cell = pickle.loads(sys.stdin.buffer.read())\n"
        "print(cell.__name__, cell.graph.state_names, len(cell.graph.nodes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(local()),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split()[0] == "Local"
