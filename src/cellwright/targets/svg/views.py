"""Views: a cell by itself, one equation of it, three steps in a row, or two cells compared."""

import difflib
import inspect
from collections.abc import Sequence
from dataclasses import replace

from cellwright.language.errors import CellError
from cellwright.language.graph import Graph
from cellwright.targets.equations import rows
from cellwright.targets.svg.blocks import Blocks, Kind, blocks
from cellwright.targets.svg.closed import closed, closed_width
from cellwright.targets.svg.differences import differences
from cellwright.targets.svg.figure import figure
from cellwright.targets.svg.geometry import END, OUTSIDE, STUB, TEXT, Drawing, drawn
from cellwright.targets.svg.legend import ROW, legend
from cellwright.targets.svg.shapes import Group, Picture, Shape, Text
from cellwright.targets.svg.symbols import Symbol, width

PAD = 14.0  # around everything
ABOVE = OUTSIDE + END  # of a frame: its outputs; below it, its inputs
BETWEEN = 30.0  # two cells that are compared
WIDEST = 1250.0  # a pair that stands side by side
MOST = 200  # blocks of a cell that a person could still follow in a picture
DEEPEST = 100  # operations inside one another without a name between them
TITLE = 17.0


def single(graph: Graph) -> Picture:
    """Draw a cell. CellError where it has too many operations to draw."""
    drawing = _drawing(graph)
    return _picture(graph, drawing, [*figure(drawing), *_titled(drawing)], _key(drawing))


def focused(graph: Graph, names: Sequence[str]) -> Picture:
    """Draw a cell with these equations in full colour, and what they read; the rest is faded.

    CellError names the closest equations where there is none of a name.
    """
    drawing = _drawing(graph)
    lit: set[int] = set()
    for name in names:
        lit |= _about(drawing.cell, name)
    said = [
        f"{line.left} = {line.right}" for line in rows(graph) if {*names}.intersection(line.names)
    ]
    lines = [(Text("ink", Symbol(text), 0, 0, TEXT, "start"),) for text in said]
    shapes = [*figure(drawing, lit=lit), *_titled(drawing)]
    return _picture(graph, drawing, shapes, lines, f"; {', '.join(names)} in full colour")


def unrolled(graph: Graph) -> Picture:
    """Draw three steps of a cell in a row, the middle one open."""
    drawing = _drawing(graph)
    shapes = [*figure(drawing), *_titled(drawing)]
    wide = closed_width(graph)
    shapes.append(closed(drawing, "t-1", -drawing.stub - wide))
    shapes.append(closed(drawing, "t+1", drawing.width + drawing.stub))
    aside = wide + STUB
    return _picture(graph, drawing, shapes, _key(drawing), ", three steps in a row", aside)


def versus(one: Graph, other: Graph, widest: float = WIDEST) -> Picture:
    """Draw two cells with rings around what only one of them has.

    They stand beside one another as far as that is no wider than `widest`, else one below the
    other.
    """
    pair = [_drawing(one), _drawing(other)]
    rings = differences(pair[0].cell, pair[1].cell)
    made = [
        _picture(d.cell.graph, d, [*figure(d, marked=ring), *_titled(d)], [])
        for d, ring in zip(pair, rings, strict=True)
    ]
    said = "ringed: what the other cell does not have"
    if not any(rings):
        said = "both have the same parts"
    line = (Text("note", Symbol(said), 0, 0, TEXT - 2, "start"),)
    beside = made[0].width + made[1].width + BETWEEN <= widest
    shapes: list[Shape] = []
    at = 0.0
    for picture in made:
        across, down = (at, 0.0) if beside else (0.0, at)
        shapes.append(Group(picture.shapes, across - picture.x, down - picture.y))
        at += (picture.width if beside else picture.height) + (BETWEEN if beside else 0)
    wide, high = ((max, sum), (sum, max))[beside]
    gap = BETWEEN if beside else 0.0
    size = (wide(p.width for p in made) + gap, high(p.height for p in made))
    names = " and ".join(d.cell.graph.cell for d in pair)
    both = Blocks(one, (*pair[0].cell.blocks, *pair[1].cell.blocks))
    key = [line, *legend(both, size[0] - 2 * STUB)]
    picture = Picture(tuple(shapes), 0, 0, *size, f"{names} compared", "")
    picture = _with_lines(picture, key, PAD + STUB)
    words = f"{_described(one)} {_described(other)} {said.capitalize()}."
    return replace(picture, description=words)


def _drawing(graph: Graph) -> Drawing:
    deep: list[int] = []
    for node in graph.nodes:
        deep.append(0 if node.name else 1 + max((deep[arg] for arg in node.args), default=0))
    if max(deep) > DEEPEST:
        raise CellError(
            f"{graph.cell}: {max(deep)} operations inside one another are too deep to draw, at "
            f"most {DEEPEST}; name some parts, or see --as equations"
        )
    cell = blocks(graph)
    if len(cell.blocks) > MOST:
        raise CellError(
            f"{graph.cell}: {len(cell.blocks)} operations are too many to draw, at most {MOST}; "
            "--as equations shows them"
        )
    return drawn(cell)


def _key(drawing: Drawing) -> list[Sequence[Shape]]:
    return legend(drawing.cell, drawing.width + drawing.stub)


def _picture(
    graph: Graph,
    drawing: Drawing,
    shapes: Sequence[Shape],
    key: Sequence[Sequence[Shape]],
    more: str = "",
    aside: float = 0.0,
) -> Picture:
    """Put a view around a cell and lines of text below it; `aside` is what stands beside it."""
    edge = drawing.stub + aside + PAD
    size = (drawing.width + 2 * edge, drawing.height + 2 * (ABOVE + PAD))
    made = Picture(tuple(shapes), -edge, -ABOVE - PAD, *size, f"{graph.cell}: diagram{more}", "")
    over = _title_room(drawing)
    made = replace(made, y=made.y - over, height=made.height + over)
    made = replace(made, description=_described(graph))
    return _with_lines(made, key, edge) if key else made


def _with_lines(picture: Picture, key: Sequence[Sequence[Shape]], left: float) -> Picture:
    """Add lines of shapes below a picture, and widen it where they need more room."""
    shapes = list(picture.shapes)
    low = picture.y + picture.height
    x = picture.x + left
    right = picture.x + picture.width - PAD
    for number, line in enumerate(key):
        y = low + ROW * number + 8
        shapes.append(Group(tuple(line), x, y))
        ends = [s.sides[2] for s in line if isinstance(s, Text)]
        right = max(right, x + max(ends, default=0.0))
    height = picture.height + ROW * len(key) + 4
    return replace(picture, shapes=tuple(shapes), height=height, width=right + PAD - picture.x)


def _described(graph: Graph) -> str:
    """Say what a picture shows: the first sentence about the cell, and its equations."""
    about = inspect.cleandoc(graph.doc).split("\n\n")[0]
    lines = [f"{line.left} = {line.right}" for line in rows(graph)]
    return " ".join(f"{graph.cell}. {' '.join(about.split())} {'; '.join(lines)}.".split())


def _titled(drawing: Drawing) -> list[Shape]:
    y = -OUTSIDE / 2
    if _title_room(drawing):
        y = -ABOVE - TITLE / 2
    name = drawing.cell.graph.cell
    return [Text("note", Symbol(name), 2.0, y, TITLE, "start")]


def _title_room(drawing: Drawing) -> float:
    """Return the height that a title needs above the outputs, if it does not fit beside them."""
    lefts = [drawing.boxes[k].sides[0] for k in drawing.cell.of(Kind.OUTPUT)]
    fits = width(drawing.cell.graph.cell, TITLE) + 8 < min(lefts)
    return 0.0 if fits else TITLE + 4


def _about(cell: Blocks, name: str) -> set[int]:
    """Return the blocks of an equation, those that it reads, and those that read it."""
    graph = cell.graph
    names = {node.name.removesuffix(".next"): k for k, node in enumerate(graph.nodes) if node.name}
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or list(names)
        raise CellError(f"{graph.cell} has no equation {name!r:.40}; it has {', '.join(close)}")
    own = {k for k, b in enumerate(cell.blocks) if b.equation == names[name]}
    own |= {k for k in cell.of(Kind.BEFORE, Kind.AFTER) if cell.blocks[k].label == name}
    named = [k for k, b in enumerate(cell.blocks) if b.node == names[name]]
    read = {s for k in own for s in cell.blocks[k].sources}
    front = list(read)
    for at in front:  # behind a meeting stand those who meet
        if cell.blocks[at].kind is Kind.MERGE:
            more = [s for s in cell.blocks[at].sources if s not in read]
            read.update(more)
            front += more
    users = {r for k in named for r in cell.readers()[k]}
    return own | read | users
