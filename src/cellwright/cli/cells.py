"""`cellwright cells`: the catalogue."""

import inspect
import json
import re
from dataclasses import asdict, dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli import flags
from cellwright.cli.quantities import count
from cellwright.cli.terminal import console

EXAMPLES = """
cellwright cells
cellwright cells --json
cellwright show peephole
"""

WIDTH = 128  # input and hidden size of the parameter counts
OTHER = 16  # size of a width that a cell has of its own
_SOURCE = re.compile(r"\(([^()]*\b(?:19|20)\d\d[^()]*)\)")  # "(Gers & Schmidhuber 2000)"


@dataclass(frozen=True)
class Entry:
    """One cell of the catalogue; `parameters` of a layer with 128 inputs and 128 units."""

    name: str
    summary: str
    source: str
    states: tuple[str, ...]
    parameters: int


def cells(as_json: flags.Json = False) -> None:
    """List the cells of the catalogue: what each is, where it comes from, how large."""
    found = entries()
    out = console()
    if as_json:
        out.file.write(json.dumps([asdict(entry) for entry in found], indent=2) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_lines=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what it is, and whose", ratio=1)
    table.add_column("states", no_wrap=True)
    table.add_column("weights", justify="right", no_wrap=True)
    for entry in found:
        what = f"{entry.summary} ({entry.source})" if entry.source else entry.summary
        table.add_row(entry.name, what, " ".join(entry.states), count(entry.parameters))
    out.print(table)
    out.print(
        f"weights: of one layer with {WIDTH} inputs and {WIDTH} units; a projection is "
        f"{WIDTH // 2} wide, another width of a cell's own {OTHER}."
    )
    out.print("The equations of one: cellwright show lstm. Your own: --cell file.py:Class")


def entries() -> list[Entry]:
    """The catalogue in its own order."""
    from cellwright.cells import CATALOGUE
    from cellwright.nn import Recurrent

    found = []
    for name, cell in CATALOGUE.items():
        symbols = cell.graph.symbols
        projection = WIDTH // 2 if "proj" in symbols else 0
        own = {s: OTHER for s in symbols if s not in ("input", "hidden", "proj")}
        layer = Recurrent(cell, WIDTH, WIDTH, proj_size=projection, widths=own, device="meta")
        summary, source = described(inspect.cleandoc(cell.__doc__ or ""))
        size = sum(p.numel() for p in layer.parameters())
        found.append(Entry(name, summary, source, tuple(cell.graph.state_names), size))
    return found


def described(doc: str) -> tuple[str, str]:
    """First sentence of a cell's docstring, and the source it names in parentheses at its end."""
    first = " ".join(doc.split("\n\n")[0].split()).rstrip(".")
    source = _SOURCE.search(first)
    if source is None:
        return first, ""
    return (first[: source.start()].rstrip() + first[source.end() :]).strip(), source[1]
