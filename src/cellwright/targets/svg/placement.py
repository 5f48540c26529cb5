"""Placement: a column and a row for every block of a picture.

Belts run along the top. What acts on a belt stands on it, and below it hangs all that it is made
of: operations, boxes in one row, and the wires from which these read. Columns fill from left to
right, in the order in which a reader meets the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cellwright.targets.svg.belts import Belt, belts
from cellwright.targets.svg.blocks import EXITS, SOURCES, Blocks, Kind

LAYERS = 1  # the row of boxes that read what enters the cell; rows below it are wires' lanes


@dataclass(frozen=True)
class Placement:
    """Where each block stands, as (column, row): rows grow upwards, lanes end at row 0.

    States enter at column -1 and leave at column `columns`; inputs enter below the lowest row,
    outputs leave above the highest.
    """

    spots: dict[int, tuple[int, int]]
    columns: int
    lowest: int
    highest: int
    belts: tuple[Belt, ...]


def placed(cell: Blocks) -> Placement:
    """Find a place for every block."""
    made = _Placer(cell, belts(cell))
    waiting = [s for k in cell.of(*EXITS) for s in cell.blocks[k].sources]
    for belt in made.belts:
        for op in belt.path:
            made.put(op)
        for block in waiting:  # what belts have carried away is used at once
            if made.ready(block):
                made.put(block)
    for block in waiting:
        made.put(block)
    for block in range(len(cell.blocks)):
        if cell.blocks[block].kind not in (*EXITS, Kind.BEFORE):
            made.put(block)
    return made.finished()


class _Placer:
    """Puts what a block reads before the block itself, each in the next free column or above."""

    def __init__(self, cell: Blocks, found: tuple[Belt, ...]) -> None:
        self.cell = cell
        self.belts = found
        self.columns = 0
        self.spots: dict[int, tuple[int, int]] = {}
        self.bottom: dict[int, int] = {}  # inputs' columns
        self.on_belt = {op: belt for belt in found for op in belt.path}
        self.ends = {belt.path[-1] for belt in found}
        self.carried = {belt.source for belt in found}
        self.lanes = {
            k: -lane
            for lane, k in enumerate(k for k in cell.of(Kind.BEFORE) if k not in self.carried)
        }
        self.late: set[int] = set()  # made of what a belt carries away
        for k, block in enumerate(cell.blocks):
            if any(s in self.ends or s in self.late for s in block.sources):
                self.late.add(k)

    def put(self, block: int) -> None:
        """Place a block, and before it all that it reads."""
        kind = self.cell.blocks[block].kind
        if block in self.spots or block in self.bottom or kind is Kind.BEFORE:
            return
        if kind is Kind.INPUT:
            self.bottom[block] = self._column()
            return
        if block in self.on_belt:
            self._put_on_belt(block)
        elif kind is Kind.MERGE:
            self._put_merge(block)
        else:
            self._put_free(block)

    def ready(self, block: int) -> bool:
        """Tell whether a block needs no operation of a belt that has no place yet."""
        front = [block]
        for at in front:
            if at in self.on_belt and at not in self.spots:
                return False
            more = () if at in self.spots else self.cell.blocks[at].sources
            front += [s for s in more if s not in front]
        return True

    def _column(self) -> int:
        self.columns += 1
        return self.columns - 1

    def _new(self, sources: Sequence[int]) -> list[int]:
        """Place what a block reads; return those that had no place before and stand in rows."""
        made = []
        for source in sources:
            fresh = source not in self.spots
            self.put(source)
            if fresh and source in self.spots:
                made.append(source)
        return made

    def _put_on_belt(self, block: int) -> None:
        path = self.on_belt[block].path
        before = path[: path.index(block)]
        if not before:
            self.put(self.on_belt[block].source)
        for op in before:
            self.put(op)
        others = [s for s in self.cell.blocks[block].sources if s not in before]
        made = [k for k in self._new(others) if k not in self.on_belt]
        made = [k for k in made if self.cell.blocks[k].kind is not Kind.MERGE]
        ops = {self.spots[op][0] for op in self.on_belt if op in self.spots}
        column = self.spots[made[-1]][0] if made else -1
        least = max((self.spots[op][0] for op in before), default=-1)
        free = column > least and column not in ops and self._top(column) == self.spots[made[-1]][1]
        self.spots[block] = (column if free else self._column(), 0)  # its row is known at the end

    def _put_merge(self, block: int) -> None:
        sources = self.cell.blocks[block].sources
        rows = [self.lanes[s] for s in sources if s in self.lanes]
        rows += [self.spots[s][1] - 1 for s in sources if self._is_merge(s) and s in self.spots]
        inputs = [s for s in sources if self._kind(s) is Kind.INPUT and s not in self.bottom]
        for source in sources:
            if source not in inputs:
                self.put(source)
        rows += [self.spots[s][1] for s in sources if self._is_merge(s)]
        column = self._column()
        self.spots[block] = (column, min(rows, default=0))
        if inputs:
            self.bottom[inputs[0]] = column
            for other in inputs[1:]:
                self.put(other)

    def _kind(self, block: int) -> Kind:
        return self.cell.blocks[block].kind

    def _is_merge(self, block: int) -> bool:
        return self._kind(block) is Kind.MERGE

    def _hangs(self, block: int) -> bool:
        """Tell whether a block reads what belts carry away and nothing else: it hangs from them."""
        sources = self.cell.blocks[block].sources
        return (
            bool(sources)
            and block not in self.on_belt
            and all(s in self.ends or (s in self.late and self._hangs(s)) for s in sources)
        )

    def _low(self, block: int) -> bool:
        """Tell whether a block belongs to the row of boxes."""
        found = self.cell.blocks[block]
        if found.kind is Kind.FIXED or not found.feeds:
            return True
        read = [f.source for f in found.feeds if not f.peephole]
        return found.kind is Kind.LAYER and all(
            self._kind(s) in (*SOURCES, Kind.MERGE) or s in self.on_belt for s in read
        )

    def _put_free(self, block: int) -> None:
        sources = self.cell.blocks[block].sources
        hanging = [s for s in sources if self._hangs(s) and s not in self.spots]
        made = self._new([s for s in sources if s not in hanging])
        made = [s for s in made if not self._is_merge(s) and s not in self.on_belt]
        if self._low(block):
            self.spots[block] = (self._column(), LAYERS)
        else:
            self.spots[block] = self._beside(block, made)
        for source in hanging:
            self._hang(source, *self.spots[block])

    def _beside(self, block: int, made: Sequence[int]) -> tuple[int, int]:
        """Return the spot above the last new thing that a block reads, or beside late ones."""
        sources = [
            s for s in self.cell.blocks[block].sources
            if s in self.spots and s not in self.on_belt and not self._is_merge(s)
        ]  # fmt: skip
        late = [s for s in sources if s in self.late and not (self._hangs(s) or self._low(s))]
        if late:
            row = max(LAYERS + 1, *(self.spots[s][1] for s in late))
            column, under = self.spots[made[-1]] if made else (-1, row)
            free = under < row and self._top(column) == under
            return (column if free else self._column()), row
        row = max((self.spots[s][1] for s in sources), default=LAYERS) + 1
        if made:
            column, under = self.spots[made[-1]]
            if self._top(column) == under:
                return column, row
        return self._column(), row

    def _top(self, column: int) -> int:
        return max((r for k, (c, r) in self.spots.items() if c == column), default=0)

    def _hang(self, block: int, column: int, row: int) -> None:
        """Place a block that reads belts alone over the one that reads it."""
        if block in self.spots:
            return
        above = row + 1
        if self._blocked(column, above):
            column = self._column()
        self.spots[block] = (column, above)
        for source in self.cell.blocks[block].sources:
            if source not in self.ends:
                self._hang(source, column, above)

    def _blocked(self, column: int, row: int) -> bool:
        return any(c == column and r >= row for c, r in self.spots.values())

    def finished(self) -> Placement:
        """Give the belts their rows, above all else, and the ends theirs at the edges."""
        inner = [r for k, (_, r) in self.spots.items() if k not in self.on_belt]
        highest = max([*inner, 0])
        spots = dict(self.spots)
        edge: dict[int, int] = dict(self.lanes)
        for belt in self.belts:
            highest += 1
            edge[belt.source] = highest
            for op in belt.path:
                spots[op] = (self.spots[op][0], highest)
        lowest = min([*inner, *edge.values(), 0])
        names = {self.cell.blocks[k].label: row for k, row in edge.items()}
        for k in self.cell.of(Kind.OUTPUT):
            spots[k] = (self._column(), highest + 1)
        for k in self.cell.of(Kind.BEFORE):
            spots[k] = (-1, edge[k])
        for k in self.cell.of(Kind.AFTER):
            spots[k] = (self.columns, names[self.cell.blocks[k].label])
        spots |= {k: (column, lowest - 1) for k, column in self.bottom.items()}
        return Placement(spots, self.columns, lowest, highest, self.belts)
