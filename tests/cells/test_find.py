"""Finding a cell by its name, or in a person's own file."""

import pytest

from cellwright import cells
from cellwright.language import Cell, CellError, cell_to_json

FILE = '''
from cellwright.language import Cell, Input, State, affine, tanh


class Mine(Cell):
    """My own."""

    x, h = Input(), State()
    h.next = tanh(affine(x, h))
'''


def test_catalogue_is_complete_and_documented():
    assert len(set(cells.CATALOGUE.values())) == len(cells.CATALOGUE)
    for name, cell in cells.CATALOGUE.items():
        assert cells.find(name) is cell
        assert issubclass(cell, Cell)
        assert "19" in (cell.__doc__ or "") or "20" in (cell.__doc__ or ""), f"{name} cites no year"
        assert cell.__name__ in repr(cell)


def test_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        cells.CATALOGUE["mine"] = cells.CATALOGUE["lstm"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lsmt", "did you mean lstm"),
        ("LSTM", "did you mean lstm"),
        ("grucho", "gru-cho"),
        ("zzz", "`cellwright cells` lists them all"),
        ("nope", "did you mean np?"),
        ("mine.py", "name the class too, as in mine.py:MyCell"),
        ("nowhere.py:Mine", "there is no file nowhere.py"),
        ("", "no cell named ''"),
    ],
)
def test_unknown(spec, words):
    with pytest.raises(CellError) as error:
        cells.find(spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_own_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE, encoding="utf-8")
    found = cells.find(f"{path}:Mine")
    assert found.__name__ == "Mine"
    assert found.graph.state_names == ("h",)


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (FILE, "Other", "has no cell named 'Other'; its cells: Mine"),
        ("y = 1\n", "Mine", "it declares no cell"),
        (FILE, "Cell", "its cells: Mine"),
        ("import nothing_of_that_name\n", "Mine", "mine.py:1: ModuleNotFoundError"),
        ("class Mine(:\n", "Mine", "mine.py:1: SyntaxError"),
        ("\n\nz = 1 / 0\n", "Mine", "mine.py:3: ZeroDivisionError"),
        (FILE.replace("    h.next", "    y"), "Mine", "a state without a next value"),
    ],
)
def test_own_file_with_a_slip(tmp_path, text, name, words):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CellError) as error:
        cells.find(f"{path}:{name}")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cell_that_was_saved_as_data(tmp_path):
    path = tmp_path / "cell.json"
    path.write_text(cell_to_json(cells.find("gru")), encoding="utf-8")
    assert cell_to_json(cells.find(str(path))) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "no UTF-8"),
        (b"{}", "not a cell"),
        (b"[", "cell file: "),
    ],
)
def test_a_damaged_cell_file(tmp_path, data, words):
    path = tmp_path / "cell.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CellError) as error:
        cells.find(str(path))
    assert str(error.value).startswith(str(path)) and words in str(error.value)
