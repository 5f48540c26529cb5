"""A cell of one's own: what its file may do, and what it may not spoil."""

import json
import sys

import pytest

from cellwright import cells
from cellwright.language import CellError
from tests.cli.conftest import TINY
from tests.cli.test_train import one_line

LEAKY = """from cellwright.language import *
class Leaky(Cell):
    x, h = Input(), State()
    z = sigmoid(affine(x, h))
    h.next = (1 - z) * h + z * tanh(linear(x))
"""


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return f"{folder / name}:Leaky"


@pytest.mark.parametrize(
    ("call", "said"),
    [("sys.exit()", "None"), ("sys.exit(0)", "0"), ("sys.exit('bye')", "bye"), ("exit(3)", "3")],
)
def test_a_file_that_ends_the_program_is_named(run, tmp_path, text, call, said):
    spec = write(tmp_path, "quits.py", f"import sys\n{call}\n{LEAKY}")
    for words in (["train", text, *TINY, "--cell", spec], ["show", spec]):
        line = one_line(run(*words), words[0])
        assert "quits.py:2: the file ends the program" in line and said in line


def test_what_a_file_prints_does_not_spoil_the_output(run, tmp_path, text):
    spec = write(tmp_path, "chatty.py", f"print('hello')\n{LEAKY}")
    made = run("train", text, *TINY, "--epochs", "1", "--cell", spec, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out.splitlines()[0])["event"] == "started"
    assert "hello" not in made.out and "hello" in made.err


def test_a_file_imports_its_neighbours(tmp_path):
    """Two folders with neighbours of the same name: each cell gets its own."""
    searched = [*sys.path]
    for number, folder in ((0.25, tmp_path / "a"), (0.5, tmp_path / "b")):
        write(folder, "shared_part.py", f"RATE = {number}\n")
        spec = write(
            folder,
            "mine.py",
            "from cellwright.language import *\nfrom shared_part import RATE\n"
            "class Leaky(Cell):\n    x, h = Input(), State()\n"
            "    h.next = RATE * h + tanh(linear(x))\n",
        )
        graph = cells.find(spec).graph
        assert [dict(node.attrs).get("value") for node in graph.nodes if node.attrs].count(number)
        assert sys.path == searched
        assert "shared_part" not in sys.modules


def test_a_fault_in_a_neighbour_is_named_there(tmp_path):
    write(tmp_path, "broken_part.py", "x = 1\ny = (\n")
    spec = write(tmp_path, "mine.py", f"import broken_part\n{LEAKY}")
    with pytest.raises(CellError, match=r"broken_part.py:2: SyntaxError"):
        cells.find(spec)
    assert str(tmp_path) not in sys.path


def test_a_fault_in_the_file_is_named_by_its_line(tmp_path):
    spec = write(tmp_path, "mine.py", f"import os\n\n1 / 0\n{LEAKY}")
    with pytest.raises(CellError, match=r"mine.py:3: ZeroDivisionError"):
        cells.find(spec)
