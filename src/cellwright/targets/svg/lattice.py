"""The lattice: the lines along which wires may run, before anyone has said how far apart they are.

Each column of blocks has a line through its middle, or three where a box takes several wires;
each row has one. Between columns and between rows lie tracks for wires alone. Tracks that no wire
takes vanish later, so there may be plenty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cellwright.targets.svg.blocks import EXITS, SOURCES, Block, Blocks, Kind
from cellwright.targets.svg.placement import Placement

EAST, SOUTH, WEST, NORTH = range(4)
LEFT, MIDDLE, RIGHT = -1, 0, 1
STEP = 1.0  # from track to track; what follows is about twice the room on paper
INTO = 2.0  # from a track to a line through blocks


@dataclass(frozen=True)
class Line:
    """A line of the lattice: of a column or row where `side` is given, else a track before it."""

    number: int
    side: int | None = None


@dataclass(frozen=True)
class Lattice:
    """Lines across and down, their rough places, and the blocks that stand on their crossings.

    A point is `x * height + y`. Rows are counted downwards here.
    """

    across: tuple[Line, ...]
    down: tuple[Line, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    blocks: dict[int, int]
    middles: dict[int, int]

    @property
    def height(self) -> int:
        return len(self.down)

    def step(self, point: int, way: int) -> tuple[int, float] | None:
        """Return the next point in a direction and how far it is; None at the edge."""
        x, y = divmod(point, self.height)
        if way in (EAST, WEST):
            other = x + (1 if way == EAST else -1)
            if not 0 <= other < len(self.across):
                return None
            return other * self.height + y, abs(self.xs[other] - self.xs[x])
        other = y + (1 if way == SOUTH else -1)
        if not 0 <= other < self.height:
            return None
        return x * self.height + other, abs(self.ys[other] - self.ys[y])


def lattice(cell: Blocks, place: Placement, tracks: int) -> Lattice:
    """Lay lines for a placement, with so many tracks in every gap."""
    wide = {
        place.spots[k][0]
        for k, block in enumerate(cell.blocks)
        if block.kind is Kind.LAYER and len(block.feeds) > 1
    }
    across = [Line(-1, MIDDLE)]
    for column in range(place.columns):
        across += [Line(column)] * tracks
        sides = (LEFT, MIDDLE, RIGHT) if column in wide else (MIDDLE,)
        across += [Line(column, side) for side in sides]
    across += [Line(place.columns)] * tracks + [Line(place.columns, MIDDLE)]
    rows = range(place.highest + 1, place.lowest - 2, -1)
    down: list[Line] = []
    for row in rows:
        down += ([Line(row)] * tracks if down else []) + [Line(row, MIDDLE)]
    height = len(down)
    at_row = {line.number: y for y, line in enumerate(down) if line.side is not None}
    blocks, middles = {}, {}
    for k, (column, row) in place.spots.items():
        for x, line in enumerate(across):
            if line.number == column and line.side is not None:
                blocks[x * height + at_row[row]] = k
                if line.side == MIDDLE:
                    middles[k] = x * height + at_row[row]
    return Lattice(tuple(across), tuple(down), _places(across), _places(down), blocks, middles)


def _places(lines: Sequence[Line]) -> tuple[float, ...]:
    found, at = [], 0.0
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None:
            both = before.side is None and line.side is None
            at += (
                STEP if both or (before.number == line.number and before.side is not None) else INTO
            )
        found.append(at)
    return tuple(found)


def leaving(kind: Kind) -> dict[int, float]:
    """Return the directions in which a wire may leave a block, and how unwelcome each is."""
    if kind is Kind.BEFORE:
        return {EAST: 0}
    if kind is Kind.INPUT:
        return {NORTH: 0}
    if kind is Kind.MERGE:
        return {EAST: 0, NORTH: 2}
    if kind is Kind.POINTWISE:
        return {NORTH: 0, EAST: 0, SOUTH: 5, WEST: 8}
    return {NORTH: 0, EAST: 3, SOUTH: 8}


def arriving(block: Block, number: int, low: bool) -> dict[int, float]:
    """Return the directions in which a wire may come to a block, and how unwelcome each is.

    low: the block stands in the row of boxes, above which there is their wires' place.
    """
    kind = block.kind
    if kind in SOURCES:
        return {}
    if kind in EXITS:
        return {EAST: 0} if kind is Kind.AFTER else {NORTH: 0}
    if kind is Kind.MERGE:
        return {EAST: 0, NORTH: 0, SOUTH: 1}
    if kind is Kind.POINTWISE:
        return {NORTH: 0, EAST: 0, SOUTH: 0, WEST: 5}
    above = 16.0 if low else 1.0
    if block.feeds[number].peephole:
        return {NORTH: 2, EAST: 0, WEST: 2, SOUTH: above}
    return {NORTH: 0, EAST: 4 if low else 0, WEST: 6, SOUTH: above}
