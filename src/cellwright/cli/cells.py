"""`cellwright cells`: the catalogue, and one cell of it with all that is known of it."""

import inspect
import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cellwright.cli import flags
from cellwright.cli.quantities import count
from cellwright.cli.terminal import console, paragraph

if TYPE_CHECKING:
    from cellwright.language import Cell
    from cellwright.language.graph import Graph

EXAMPLES = """
cellwright cells
cellwright cells peephole
cellwright cells mycells.py:Leaky
cellwright cells --json
"""

WIDTH = 128  # input and hidden size of the counts
OTHER = 16  # size of a width that a cell has of its own
ROOM = 120  # columns from which on the list has a column for the weights
PURPOSE = "Good for:"
_SOURCE = re.compile(r"\(([^()]*\b(?:19|20)\d\d[^()]*)\)")  # "(Gers & Schmidhuber 2000)"
_PAPER = re.compile(r".*?\b(?:19|20)\d\d")  # "Gers & Schmidhuber 2000", without ", eq. 3"

Which = Annotated[
    str | None,
    typer.Argument(metavar="CELL", help="one cell: a name of the list, or file.py:Class"),
]


@dataclass(frozen=True)
class Entry:
    """One cell of the catalogue, as its docstring and its graph tell it.

    `parameters` and `products` are numbers at 128 inputs and 128 units, `weights` and `flops` the
    same as functions of I and H: weights that are not zero by construction, and the FLOPs of the
    matrix products of one step. `widths` are of inputs and states.
    """

    name: str
    summary: str
    source: str
    papers: tuple[str, ...]
    purpose: str
    notes: tuple[str, ...]
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    outputs: tuple[str, ...]
    widths: dict[str, str]
    weights: str
    flops: str
    parameters: int
    products: int
    equations: tuple[tuple[str, str], ...]
    legend: tuple[str, ...]

    def shapes(self, names: tuple[str, ...]) -> str:
        """Inputs or states with their widths: `h[H], c[H]`."""
        return ", ".join(f"{name}[{self.widths[name]}]" for name in names)


def cells(cell: Which = None, as_json: flags.Json = False) -> None:
    """List the cells of the catalogue, a line each, or show all that is known of one."""
    out = console()
    if cell is not None:
        from cellwright.cells import find

        found = entry(cell, find(cell))
        if as_json:
            out.file.write(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
        else:
            _card(out, found)
        return
    listed = entries()
    if as_json:
        text = json.dumps([asdict(found) for found in listed], indent=2, ensure_ascii=False)
        out.file.write(text + "\n")
    else:
        _list(out, listed)


def entries() -> list[Entry]:
    """The catalogue in its own order."""
    from cellwright.cells import CATALOGUE

    return [entry(name, cell) for name, cell in CATALOGUE.items()]


def entry(name: str, cell: "type[Cell]") -> Entry:
    """All that is known of a cell; `name` is what it is called by."""
    from cellwright.targets import counts
    from cellwright.targets.equations import legend, rows

    graph = cell.graph
    paragraphs = inspect.cleandoc(cell.__doc__ or "").split("\n\n")
    summary, source = described(paragraphs[0])
    said = [" ".join(text.split()) for text in paragraphs[1:]]
    purposes = [t.removeprefix(PURPOSE).strip(" .") for t in said if t.startswith(PURPOSE)]
    weights, flops = counts.parameters(graph), counts.flops(graph)
    sizes = dict.fromkeys(graph.symbols, OTHER) | {"input": WIDTH, "hidden": WIDTH}
    sizes["proj"] = WIDTH // 2
    return Entry(
        name=name,
        summary=summary,
        source=source,
        papers=_papers(source),
        purpose=" ".join(purposes),
        notes=tuple(text for text in said if not text.startswith(PURPOSE)),
        inputs=graph.input_names,
        states=graph.state_names,
        outputs=tuple(name.removesuffix(".next") for name in graph.output_names),
        widths=_widths(graph),
        weights=str(weights),
        flops=str(flops),
        parameters=weights.at(sizes),
        products=flops.at(sizes),
        equations=tuple((row.left, row.right) for row in rows(graph)),
        legend=tuple(legend(graph)),
    )


def described(text: str) -> tuple[str, str]:
    """First sentence of a cell's docstring, and the source it names in parentheses at its end."""
    first = " ".join(text.split("\n\n")[0].split()).rstrip(".")
    source = _SOURCE.search(first)
    if source is None:
        return first, ""
    return (first[: source.start()].rstrip() + first[source.end() :]).strip(), source[1]


def _papers(source: str) -> tuple[str, ...]:
    """Each paper that a source names, as it names it and with the title."""
    from cellwright.cells.papers import PAPERS

    parts = [part.strip() for part in source.split(";")]
    named = [(part, found[0]) for part in parts if (found := _PAPER.match(part))]
    return tuple(f"{part}. {PAPERS[paper]}." for part, paper in named if paper in PAPERS)


def _widths(graph: "Graph") -> dict[str, str]:
    from cellwright.targets.counts import Polynomial

    leaves = [graph.nodes[k] for k in (*graph.inputs, *(s.leaf for s in graph.states))]
    return {n.name: str(Polynomial.of(n.width)) for n in leaves if n.name and n.width}


def _list(out: Console, listed: list[Entry]) -> None:
    names = max(len(found.name) for found in listed)
    wide = max(len(found.summary) for found in listed)
    for found in listed:
        line = f"{found.name:{names}} {found.summary:{wide}}"
        if out.width >= ROOM:
            line += f"  {found.weights}"
        out.print(_cut(line.rstrip(), out.width), soft_wrap=True)
    out.print()
    paragraph(out, "One of them: cellwright cells lstm. As formulas or source: cellwright show.")
    paragraph(out, "Your own: --cell file.py:Class wherever a cell is asked for.")


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}…"


def _card(out: Console, found: Entry) -> None:
    """Print one cell: what it is, its equations, its sizes, its source."""
    title = f"{found.name}: {found.summary}" if found.summary else found.name
    paragraph(out, title, indent="  ", first="")
    out.print()
    for line in equation_lines(found.equations, out.width):
        out.print(line, soft_wrap=True)
    out.print()
    at = f"at I=H={WIDTH}"
    facts = {
        "good for": found.purpose,
        "inputs": found.shapes(found.inputs),
        "states": found.shapes(found.states),
        "outputs": ", ".join(found.outputs),
        "weights": f"{found.weights} ({count(found.parameters)} {at})",
        "FLOPs": f"{found.flops} ({count(found.products)} {at}), matrix products of one step",
    }
    sources = [("source", text) for text in found.papers or (found.source,)]
    for label, text in [*facts.items(), *sources]:
        if text:
            paragraph(out, text, indent=" " * 10, first=f"{label:10}")
    for text in (*found.notes, " ".join(found.legend)):
        out.print()
        paragraph(out, text)


def equation_lines(equations: tuple[tuple[str, str], ...], width: int) -> list[str]:
    """Equations in lines of at most `width`, folded before a sign where they are longer."""
    most = max((len(left) for left, _ in equations if len(left) <= width // 3), default=0)
    room = max(most + 4, min(width // 3, 20))  # of what stands before a line that goes on
    lines = []
    for left, right in equations:
        line = f"  {left:>{most}} ="
        for piece in _pieces(right, width - room - 1):
            if len(line) + 1 + len(piece) > width and not line.endswith("="):
                lines.append(line)
                line = " " * room
            line += f" {piece}"
        lines.append(line)
    return lines


def _pieces(text: str, longest: int) -> list[str]:
    """Cut an equation before its signs, and where that leaves too much, at every space."""
    parts = re.split(r" (?=[-+] |if |else )", text)
    return [word for part in parts for word in (part.split() if len(part) > longest else [part])]
