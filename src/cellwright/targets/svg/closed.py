"""Closed cells: the steps before and after the one whose inside is shown."""

from cellwright.language.graph import Graph
from cellwright.targets.svg.arrows import arrow
from cellwright.targets.svg.blocks import Kind
from cellwright.targets.svg.figure import FRAME_CORNER
from cellwright.targets.svg.geometry import END, NAME, OUTSIDE, STUB, TEXT, Drawing
from cellwright.targets.svg.shapes import Group, Rect, Shape, Text
from cellwright.targets.svg.symbols import Symbol, signs, symbol, width

LEAST = 92.0  # the least width of a closed cell
GAP = 10.0  # between its inputs


def closed_width(graph: Graph) -> float:
    """Return how wide a cell is that shows its name, its inputs and its outputs."""
    ends = [sum(_room(n) + GAP for n in names) for names in (graph.input_names, graph.output_names)]
    return max(LEAST, width(graph.cell, TEXT) + 2 * GAP, *(wide + 2 * GAP for wide in ends))


def closed(drawing: Drawing, step: str, x: float) -> Group:
    """Return a cell whose inside is not shown, with the states' wires on its outer side.

    step: t-1 or t+1; x: where its frame begins.
    """
    graph = drawing.cell.graph
    wide = closed_width(graph)
    shapes: list[Shape] = [
        Rect("frame", 0, 0, wide, drawing.height, FRAME_CORNER),
        Text("note", Symbol(graph.cell), wide / 2, drawing.height / 2, TEXT),
    ]
    found = signs(graph, step)
    for indices, style in ((graph.inputs, "input"), (graph.outputs, "output")):
        rooms = [_room(graph.nodes[k].name or "") for k in indices]
        at = (wide - sum(rooms) - GAP * (len(rooms) - 1)) / 2
        for index, room in zip(indices, rooms, strict=True):
            shapes += _end(style, found[index], at + room / 2, room, drawing.height)
            at += room + GAP
    before = step == "t-1"
    for k in drawing.cell.of(Kind.BEFORE if before else Kind.AFTER):
        y = drawing.boxes[k].y
        ends = ((-STUB, y), (0.0, y)) if before else ((wide, y), (wide + STUB, y))
        shapes += arrow("wire", ends)
    return Group(tuple(shapes), x, 0.0, title=f"{graph.cell} at step {step}")


def _room(name: str) -> float:
    return max(END, symbol(name, "t+1").width(NAME) + 18)


def _end(style: str, sign: Symbol, x: float, room: float, height: float) -> list[Shape]:
    """Return an input below a frame or an output above it, with its wire."""
    under = style == "input"
    y = height + OUTSIDE if under else -OUTSIDE - END
    ends = ((x, y), (x, height)) if under else ((x, 0.0), (x, -OUTSIDE))
    text = Text("ink", sign, x, y + END / 2 + NAME * 0.28, NAME, "middle", len(sign.stem) == 1)
    return [*arrow("wire", ends), Rect(style, x - room / 2, y, room, END, END / 2), text]
