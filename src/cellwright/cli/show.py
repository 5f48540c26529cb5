"""`cellwright show`: one cell, as equations, as torch source, or as data."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.cli.terminal import console
from cellwright.targets.equations import equations

if TYPE_CHECKING:
    from cellwright.language import Cell

EXAMPLES = """
cellwright show lstm
cellwright show gru-cho --as torch --input 64 --hidden 128 > gru_cho.py
cellwright show mycells.py:Leaky --as json > leaky.json
"""

CellSpec = Annotated[
    str,
    typer.Argument(metavar="CELL", help="a name that `cellwright cells` lists, or file.py:Class"),
]
As = Annotated[
    str,
    typer.Option(
        "--as",
        metavar="FORM",
        help="equations: to read; torch: source to paste and run; json: the cell as data",
    ),
]
Input = Annotated[int, typer.Option(metavar="N", min=1, help="inputs, for --as torch")]
Hidden = Annotated[int, typer.Option(metavar="N", min=1, help="units, for --as torch")]


def show(cell: CellSpec, form: As = "equations", input: Input = 128, hidden: Hidden = 128) -> None:
    """Print a cell: its equations, torch source that runs anywhere, or JSON."""
    forms: dict[str, Callable[[type[Cell]], str]] = {
        "equations": equations,
        "torch": lambda found: torch_source(found, input, hidden),
        "json": data,
    }
    if form not in forms:
        raise UsageFault(f"--as: expected one of {', '.join(forms)}, got {form!r}")
    from cellwright.cells import find

    console().file.write(forms[form](find(cell)).rstrip("\n") + "\n")


def torch_source(cell: "type[Cell]", inputs: int, hidden: int) -> str:
    """A layer of the cell as torch source, for these sizes."""
    from cellwright.nn import Recurrent

    projection = max(1, hidden // 2) if "proj" in cell.graph.symbols else 0
    return Recurrent(cell, inputs, hidden, proj_size=projection, device="meta").source()


def data(cell: "type[Cell]") -> str:
    """The cell as `cell.json` holds it."""
    from cellwright.language.serial import cell_to_json

    return cell_to_json(cell)
