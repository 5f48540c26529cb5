"""Floor 1: the catalogue of cells, one short file for each family."""

import contextlib
import difflib
import importlib
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from cellwright.cells.clockwork import Clockwork
from cellwright.cells.deep import DepthGated, DepthGatedLowest, Grid, GridPriority
from cellwright.cells.exponential import SLSTM
from cellwright.cells.gru import GRU, GRUCho
from cellwright.cells.lstm import (
    EALSTM,
    LSTM,
    LSTM1997,
    Coupled,
    LSTM1997Paper,
    Peephole,
    ProjectedLSTM,
)
from cellwright.cells.minimal import JANET, MGU, IndRNN, LiGRU
from cellwright.cells.mutants import MUT1, MUT2, MUT3
from cellwright.cells.normed import LayerNormGRU, LayerNormLSTM
from cellwright.cells.odyssey import CIFG, FGR, NFG, NIAF, NIG, NOAF, NOG, NP
from cellwright.cells.simple import IRNN, RNN, ReluRNN
from cellwright.language import Cell, CellError, CellFileError, cell_from_json

CATALOGUE: Mapping[str, type[Cell]] = MappingProxyType(
    {
        "rnn": RNN,
        "rnn-relu": ReluRNN,
        "irnn": IRNN,
        "indrnn": IndRNN,
        "lstm-1997": LSTM1997,
        "lstm-1997-paper": LSTM1997Paper,
        "lstm": LSTM,
        "lstm-projected": ProjectedLSTM,
        "peephole": Peephole,
        "nig": NIG,
        "nfg": NFG,
        "nog": NOG,
        "niaf": NIAF,
        "noaf": NOAF,
        "np": NP,
        "cifg": CIFG,
        "fgr": FGR,
        "coupled": Coupled,
        "janet": JANET,
        "ea-lstm": EALSTM,
        "slstm": SLSTM,
        "gru": GRU,
        "gru-cho": GRUCho,
        "mgu": MGU,
        "ligru": LiGRU,
        "mut1": MUT1,
        "mut2": MUT2,
        "mut3": MUT3,
        "clockwork": Clockwork,
        "layernorm-lstm": LayerNormLSTM,
        "layernorm-gru": LayerNormGRU,
        "depth-gated": DepthGated,
        "depth-gated-lowest": DepthGatedLowest,
        "grid": Grid,
        "grid-priority": GridPriority,
    }
)


def find(spec: str) -> type[Cell]:
    """Return the cell of a catalogue name, of `file.py:Class` or of a `cell.json`.

    The first kind of file is run: it may import modules from its own folder, and what it prints
    goes to standard error. The second is data and runs nothing.
    Raises CellError that names the closest cells, or what is wrong with the file.
    """
    if spec in CATALOGUE:
        return CATALOGUE[spec]
    path, colon, name = spec.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), name)
    if spec.endswith(".py"):
        raise CellError(f"cell {spec!r}: name the class too, as in {spec}:MyCell")
    if spec.endswith(".json"):
        return _from_data(Path(spec))
    close = difflib.get_close_matches(spec.lower(), CATALOGUE, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else "`cellwright cells` lists them all."
    raise CellError(
        f"no cell named {spec!r:.60}; {hint} A cell of your own: file.py:Class or cell.json"
    )


def _from_data(path: Path) -> type[Cell]:
    try:
        return cell_from_json(path.read_text(encoding="utf-8"))
    except CellFileError as error:
        raise CellError(f"{path}: {error}") from error
    except UnicodeDecodeError:
        raise CellError(f"{path}: expected a cell.json, got bytes that are no UTF-8") from None
    except OSError as error:
        raise CellError(f"{path}: cannot be read: {error.strerror or error}") from error


def _from_file(path: Path, name: str) -> type[Cell]:
    if not path.is_file():
        raise CellError(f"cell {path}:{name}: there is no file {path}")
    try:
        with _neighbours(path.resolve().parent), contextlib.redirect_stdout(sys.stderr):
            namespace = runpy.run_path(str(path), run_name="cellwright_user_cell")
    except CellError:
        raise
    except SystemExit as error:
        raise CellError(
            f"{_place(path, error)}: the file ends the program ({error.code!r:.40}) where it "
            "should declare a cell; take that call out, or put it under "
            "if __name__ == '__main__'"
        ) from error
    except Exception as error:  # whatever the user's file raises is the user's to see, in a line
        # a SyntaxError's text ends in its place, which stands before it already
        said = error.msg if isinstance(error, SyntaxError) else error
        raise CellError(f"{_place(path, error)}: {type(error).__name__}: {said}") from error
    found = namespace.get(name)
    if isinstance(found, type) and issubclass(found, Cell) and found is not Cell:
        return found
    others = [
        key
        for key, value in namespace.items()
        if isinstance(value, type) and issubclass(value, Cell) and value is not Cell
    ]
    listed = f"its cells: {', '.join(others)}" if others else "it declares no cell"
    raise CellError(f"{path} has no cell named {name!r:.60}; {listed}")


def _place(path: Path, error: BaseException) -> str:
    """The file and line that a person should look at."""
    if isinstance(error, SyntaxError) and error.filename:  # perhaps of a module that it imports
        return f"{error.filename}:{error.lineno}"
    at = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{at[-1].lineno}" if at else str(path)


@contextlib.contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """Within the block the modules in `folder` can be imported; afterwards no trace is left.

    They are forgotten, because the next file's neighbours may have the same names.
    """
    searched, known = [*sys.path], {*sys.modules}
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # the files may be newer than what the import system knows
    try:
        yield
    finally:
        sys.path[:] = searched
        for name in {*sys.modules} - known:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).is_relative_to(folder):
                del sys.modules[name]


__all__ = ["CATALOGUE", "find"]
