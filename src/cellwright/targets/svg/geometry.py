"""Geometry: where everything is on paper, once it is known which lines the wires take.

Lengths are the SVG's units. The cell's frame begins at (0, 0); ends of wires stand outside it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellwright.targets.svg.blocks import Block, Blocks, Kind
from cellwright.targets.svg.lattice import LEFT, MIDDLE, RIGHT, Lattice, Line
from cellwright.targets.svg.placement import Placement, placed
from cellwright.targets.svg.routing import Sink, Wire, routed
from cellwright.targets.svg.symbols import Symbol, signs, symbol, width

TEXT, NAME, MARK = 15.0, 15.0, 11.0  # sizes of type
BOX, ROUND, SMALL_BOX, END = 30.0, 28.0, 22.0, 34.0  # heights of blocks
SIDE = 12.0  # of a box's outer wires from its middle
TRACK, CLEAR, APART = 14.0, 17.0, 20.0  # between wires; from a block to a wire; between blocks
OUTSIDE = 26.0  # from the frame to the ends of wires above and below it
STUB = 36.0  # the least length of a state's wire outside the frame
STRIP = 23.0  # the height of a name above its block
RING = 3.2  # from a block to the ring that marks it: a name and a mark stand clear of it

Spot = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A block on paper: its middle and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom."""
        w, h = self.width / 2, self.height / 2
        return self.x - w, self.y - h, self.x + w, self.y + h


@dataclass(frozen=True)
class Label:
    """A name or a mark: where its text begins or ends."""

    symbol: Symbol
    x: float
    y: float
    anchor: str  # start, middle or end, as SVG says it
    size: float


@dataclass(frozen=True)
class Route:
    """A wire on paper, from its source to its sink, by its corners.

    `fork` is where it leaves the wires that come before it from the same source; `out` is the
    direction in which a meeting of wires, its sink, goes on.
    """

    wire: Wire
    corners: tuple[Spot, ...]
    fork: Spot | None = None
    out: Spot | None = None


@dataclass(frozen=True)
class Drawing:
    """A cell on paper; `width` and `height` are its frame's."""

    cell: Blocks
    boxes: Mapping[int, Box]
    names: Mapping[int, Label]  # of blocks, beside them; of states, above their wires
    marks: Mapping[Sink, Label]  # of wires, where they come to their block
    routes: tuple[Route, ...]
    width: float
    height: float
    stub: float


def drawn(cell: Blocks) -> Drawing:
    """Place and route a cell's blocks, and measure them out."""
    place = placed(cell)
    lines, wires = routed(cell, place)
    return _Measure(cell, place, lines, wires).drawing()


def size(block: Block) -> tuple[float, float]:
    """Return a block's width and height."""
    wide = width(block.label, TEXT)
    if block.kind is Kind.LAYER:
        return max(46.0, wide + 18), BOX
    if block.kind is Kind.POINTWISE:
        return (ROUND, ROUND) if len(block.label) < 2 else (max(38.0, wide + 20), ROUND)
    if block.kind in (Kind.PIECE, Kind.FIXED):
        return width(block.label, MARK) + 14, SMALL_BOX
    if block.kind in (Kind.INPUT, Kind.OUTPUT):
        return max(END, symbol(block.label, "t").width(NAME) + 18), END
    return 0.0, 0.0


class _Measure:
    def __init__(
        self, cell: Blocks, place: Placement, lines: Lattice, wires: tuple[Wire, ...]
    ) -> None:
        self.cell, self.place, self.lines, self.wires = cell, place, lines, wires
        self.signs = signs(cell.graph)
        self.named = {k: s for k in range(len(cell.blocks)) if (s := self._name(k)) is not None}
        self.marked = {wire.sink: self._side(wire) for wire in wires if self._mark(wire.sink)}
        self.wide: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])  # left, right
        self.tall: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])  # up, down
        for k, block in enumerate(cell.blocks):
            self._room(k, block)
        states = [*cell.of(Kind.BEFORE, Kind.AFTER)]
        self.stub = max([STUB, *(self.named[k].width(NAME) + 18 for k in states)])

    def _mark(self, sink: Sink) -> str:
        return self.cell.blocks[sink[0]].feeds[sink[1]].mark

    def _side(self, wire: Wire) -> str:
        """Return the side of its sink to which a wire comes."""
        before, last = wire.points[-2:]
        apart = last - before
        if abs(apart) == 1:
            return "top" if apart > 0 else "bottom"
        return "left" if apart > 0 else "right"

    def _name(self, k: int) -> Symbol | None:
        """Return the name that stands beside a block, if its ends do not say it already."""
        block = self.cell.blocks[k]
        if block.kind in (Kind.BEFORE, Kind.AFTER):
            return symbol(block.label, "t-1" if block.kind is Kind.BEFORE else "t")
        if block.node is None or block.node not in self.signs or block.kind is Kind.INPUT:
            return None
        name = self.cell.graph.nodes[block.node].name or ""
        readers = [self.cell.blocks[r] for r in self.cell.readers()[k]]
        ends = [r for r in readers if r.kind in (Kind.AFTER, Kind.OUTPUT)]
        carried = any(k == belt.path[-1] for belt in self.place.belts if belt.ends)
        said = any(r.kind is Kind.OUTPUT or name == f"{r.label}.next" for r in ends)
        if said and (carried or len(ends) == len(readers)):
            return None
        return self.signs[block.node]

    def _room(self, k: int, block: Block) -> None:
        """Note how much room a block needs in its column and its row."""
        column, row = self.place.spots[k]
        wide, high = size(block)
        left = right = wide / 2
        up = down = high / 2
        if block.kind in (Kind.BEFORE, Kind.AFTER):
            up = STRIP + 4
        elif k in self.named:
            right = max(right, 6 + self.named[k].width(NAME))
            up += STRIP
        for number, feed in enumerate(block.feeds):
            side = self.marked.get((k, number))
            room = width(feed.mark, MARK) + 7
            if side in ("left", "right"):
                left = max(left, wide / 2 + room if side == "left" else 0)
                right = max(right, wide / 2 + room if side == "right" else 0)
            elif side:
                left = max(left, room + 2)
                up = max(up, high / 2 + MARK + 6 if side == "top" else 0)
                down = max(down, high / 2 + MARK + 6 if side == "bottom" else 0)
        for room_of, at, sides in (
            (self.wide, column, (left, right)),
            (self.tall, row, (up, down)),
        ):
            room_of[at] = [max(a, b) for a, b in zip(room_of[at], sides, strict=True)]

    def _used(self) -> tuple[set[int], set[int]]:
        """Return the lines across and down along which a wire runs."""
        across, down = set(), set()
        height = self.lines.height
        for wire in self.wires:
            for a, b in zip(wire.points, wire.points[1:], strict=False):
                if abs(a - b) == 1:
                    across.add(a // height)
                else:
                    down.add(a % height)
        return across, down

    def drawing(self) -> Drawing:
        """Return the cell on paper."""
        across, down = self._used()
        xs, width = _spread(self.lines.across, across, self.wide, self.stub)
        ys, height = _spread(self.lines.down, down, self.tall, OUTSIDE + END / 2)
        boxes = {}
        for k, point in self.lines.middles.items():
            x, y = divmod(point, self.lines.height)
            boxes[k] = Box(xs[x], ys[y], *size(self.cell.blocks[k]))
        routes = self._routes(boxes, xs, ys)
        names = {k: self._label(k, s, boxes[k]) for k, s in self.named.items()}
        marks = {
            sink: self._marked(self._mark(sink), side, boxes[sink[0]])
            for sink, side in self.marked.items()
        }
        return Drawing(self.cell, boxes, names, marks, routes, width, height, self.stub)

    def _routes(
        self, boxes: Mapping[int, Box], xs: list[float], ys: list[float]
    ) -> tuple[Route, ...]:
        height = self.lines.height
        seen: dict[int, set[int]] = defaultdict(set)
        corners = {wire: self._corners(wire, boxes, xs, ys) for wire in self.wires}
        outs = {wire.source: _direction(*corners[wire][:2]) for wire in self.wires}
        made = []
        for wire in self.wires:
            shared = [p for p in wire.points if p in seen[wire.source]]
            seen[wire.source].update(wire.points)
            fork = (xs[shared[-1] // height], ys[shared[-1] % height]) if shared else None
            meets = self.cell.blocks[wire.sink[0]].kind is Kind.MERGE
            out = outs.get(wire.sink[0]) if meets else None
            made.append(Route(wire, corners[wire], fork, out))
        return tuple(made)

    def _corners(
        self, wire: Wire, boxes: Mapping[int, Box], xs: list[float], ys: list[float]
    ) -> tuple[Spot, ...]:
        """Return a wire's corners; its ends are moved to the edges of what they touch."""
        height = self.lines.height
        spots = [(xs[p // height], ys[p % height]) for p in wire.points]
        spots[0] = _edge(boxes[wire.source], spots[0], spots[1])
        spots[-1] = _edge(boxes[wire.sink[0]], spots[-1], spots[-2])
        spots = [a for a, b in zip(spots, [None, *spots], strict=False) if a != b]
        kept = [spots[0]]
        for before, at, after in zip(spots, spots[1:], spots[2:], strict=False):
            if not (before[0] == at[0] == after[0] or before[1] == at[1] == after[1]):
                kept.append(at)
        return (*kept, spots[-1])

    def _label(self, k: int, name: Symbol, box: Box) -> Label:
        kind = self.cell.blocks[k].kind
        if kind in (Kind.BEFORE, Kind.AFTER):
            middle = self.stub / 2 if kind is Kind.BEFORE else -self.stub / 2
            return Label(name, box.x + middle, box.y - 9, "middle", NAME)
        return Label(name, box.x + 6, box.sides[1] - 10.5, "start", NAME)

    def _marked(self, mark: str, side: str, box: Box) -> Label:
        left, top, right, bottom = box.sides
        x, y, anchor = {
            "left": (left - 5, box.y - 6, "end"),
            "right": (right + 5, box.y - 6, "start"),
            "top": (box.x - 6, top - 7, "end"),
            "bottom": (box.x - 6, bottom + MARK + 3, "end"),
        }[side]
        return Label(Symbol(mark), x, y, anchor, MARK)


def _direction(a: Spot, b: Spot) -> Spot:
    return float((b[0] > a[0]) - (b[0] < a[0])), float((b[1] > a[1]) - (b[1] < a[1]))


def _edge(box: Box, end: Spot, beside: Spot) -> Spot:
    """Return where a wire that comes from `beside` touches a box."""
    left, top, right, bottom = box.sides
    if end[1] == beside[1]:
        return (left if beside[0] < end[0] else right), end[1]
    return end[0], (top if beside[1] < end[1] else bottom)


def _spread(
    lines: Sequence[Line], used: set[int], rooms: Mapping[int, Sequence[float]], outside: float
) -> tuple[list[float], float]:
    """Return the lines' places on paper, and the length of the frame that holds all but the ends.

    Tracks that no wire takes have no room of their own.
    """
    places: list[float] = []
    at, wires = 0.0, 0  # the last thing's edge, and how many wires came since the last block
    for number, line in enumerate(lines):
        if number in (0, len(lines) - 1):
            continue
        if line.side is None:
            if number in used:
                at += TRACK if wires else CLEAR
                wires += 1
        elif line.side != RIGHT:  # a column begins; of three lines the first one measures it
            if line.side == LEFT or lines[number - 1].side is None:
                at += (CLEAR if wires else APART) + rooms[line.number][0]
            wires = 0
        if line.side == MIDDLE:
            places.append(at)
            at += rooms[line.number][1]
        else:
            places.append(_beside(line, at, rooms))
    total = at + (CLEAR if wires else APART)
    return [-outside, *places, total + outside], total


def _beside(line: Line, at: float, rooms: Mapping[int, Sequence[float]]) -> float:
    """Return the place of a track, or of a column's outer lines: `at` is what came before."""
    if line.side is None:
        return at
    return at - SIDE if line.side == LEFT else at - rooms[line.number][1] + SIDE
