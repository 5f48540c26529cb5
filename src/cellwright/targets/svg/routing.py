"""Routing: a way along the lattice for every wire, short, with few bends and few crossings.

Wires of one source are a tree; wires of two sources share no stretch and meet only where they
cross. Every tree is laid in turn, then each is taken up again and laid anew while that helps.
"""

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from cellwright.language.errors import CellError
from cellwright.targets.svg.blocks import Blocks, Kind
from cellwright.targets.svg.lattice import (
    EAST,
    MIDDLE,
    NORTH,
    SOUTH,
    WEST,
    Lattice,
    arriving,
    lattice,
    leaving,
)
from cellwright.targets.svg.placement import LAYERS, Placement

BEND, CROSSING, FORK = 6.0, 9.0, 1.0
TRACKS = (3, 5, 8, 13)  # in a gap: more where fewer are not enough
ASIDE = 3.0  # beside the middle of a box
FOREIGN = 20.0  # where the wire of a neighbour should be
ROUNDS = 3
Sink = tuple[int, int]  # a block and the place of the wire among its feeds
Port = tuple[int, int]  # a point of a block and the direction of the wire that comes or goes


@dataclass(frozen=True)
class Wire:
    """A way from a block to another's feed: the points it bends at or passes, ends included."""

    source: int
    sink: Sink
    points: tuple[int, ...]


@dataclass
class _Tree:
    """The wires of one source: their points with the directions in use there, as bits.

    `parents` leads from each point back to the source; `cost` is theirs without crossings.
    """

    wires: list[Wire] = field(default_factory=list)
    used: dict[int, int] = field(default_factory=dict)
    ports: set[Port] = field(default_factory=set)
    parents: dict[int, int] = field(default_factory=dict)
    cost: float = 0.0


def routed(cell: Blocks, place: Placement) -> tuple[Lattice, tuple[Wire, ...]]:
    """Find a way for every wire; CellError where a cell is too tangled to draw."""
    for tracks in TRACKS:
        lines = lattice(cell, place, tracks)
        wires = _Router(cell, place, lines).run()
        if wires is not None:
            return lines, wires
    raise CellError(f"{cell.graph.cell}: too many wires to draw; --as equations shows them")


class _Router:
    def __init__(self, cell: Blocks, place: Placement, lines: Lattice) -> None:
        self.cell = cell
        self.lines = lines
        self.trees: dict[int, _Tree] = {}
        self.at: dict[int, dict[int, int]] = {}  # point -> source -> directions in use
        self.taken: set[Port] = set()
        self.belted = {
            (before, op)
            for belt in place.belts
            for before, op in zip((belt.source, *belt.path), (*belt.path, *belt.ends), strict=False)
        }
        self.sinks: dict[int, list[Sink]] = {}
        for k, block in enumerate(cell.blocks):
            for number, feed in enumerate(block.feeds):
                self.sinks.setdefault(feed.source, []).append((k, number))
        for source, sinks in self.sinks.items():
            sinks.sort(key=lambda s: (*self._later(source, s), self._far(source, s[0]), s))
        on_belt = {pair[0] for pair in self.belted}
        self.order = sorted(self.sinks, key=lambda s: (s not in on_belt, self._span(s), s))
        self.kept = self._kept_free(place)
        self.low = {k for k, (_, row) in place.spots.items() if row == LAYERS}

    def _kept_free(self, place: Placement) -> dict[Port, int]:
        """Return the ports between neighbours, each with the source whose wires belong there."""
        found: dict[Port, int] = {}
        at = {spot: k for k, spot in place.spots.items()}
        for k, block in enumerate(self.cell.blocks):
            column, row = place.spots[k]
            for source in block.sources:
                other_column, other_row = place.spots[source]
                if other_column == column:
                    rows = range(min(row, other_row) + 1, max(row, other_row))
                    clear = not any((column, r) in at for r in rows)
                    way = NORTH if other_row < row else SOUTH
                else:
                    clear = other_row == row and other_column + 1 == column
                    way = EAST
                if clear:
                    found.setdefault((self.lines.middles[source], way), source)
                    found.setdefault((self.lines.middles[k], (way + 2) % 4), source)
        return found

    def _later(self, source: int, sink: Sink) -> tuple[bool, bool]:
        """Order wires: a belt's first, peepholes last, so that no other wire begins as one."""
        peephole = self.cell.blocks[sink[0]].feeds[sink[1]].peephole
        return (source, sink[0]) not in self.belted, peephole

    def _far(self, a: int, b: int) -> float:
        return self._apart(self.lines.middles[a], self.lines.middles[b])

    def _apart(self, a: int, b: int) -> float:
        (ax, ay), (bx, by) = divmod(a, self.lines.height), divmod(b, self.lines.height)
        xs, ys = self.lines.xs, self.lines.ys
        return abs(xs[ax] - xs[bx]) + abs(ys[ay] - ys[by])

    def _span(self, source: int) -> float:
        return max(self._far(source, sink) for sink, _ in self.sinks[source])

    def run(self) -> tuple[Wire, ...] | None:
        """Lay every tree; None where one finds no way."""
        for source in self.order:  # what runs straight along belts goes first
            tree = _Tree()
            first = [s for s in self.sinks[source] if self._belt(source, s)]
            if not self._lay(source, tree, first):
                return None
            self._keep(source, tree)
        for source in self.order:
            tree = self._taken_up(source)
            rest = [s for s in self.sinks[source] if not self._belt(source, s)]
            if not self._lay(source, tree, rest):
                return None
            self._keep(source, tree)
        for _ in range(ROUNDS):
            better = [self._again(source) for source in self.order]
            if not any(better):
                break
        return tuple(wire for source in self.order for wire in self.trees[source].wires)

    def _belt(self, source: int, sink: Sink) -> bool:
        return (source, sink[0]) in self.belted

    def _again(self, source: int) -> bool:
        """Lay a tree anew among the others as they are now; keep it if it is better."""
        before = self._taken_up(source)
        cost = before.cost + CROSSING * self._crossings(before)
        best = before
        near = self.sinks[source]
        far = sorted(near, key=lambda s: (*self._later(source, s), -self._far(source, s[0])))
        for sinks in (near, far):
            tree = _Tree()
            if self._lay(source, tree, sinks):
                made = tree.cost + CROSSING * self._crossings(tree)
                if made < cost - 1e-9:
                    best, cost = tree, made
        self._keep(source, best)
        return best is not before

    def _crossings(self, tree: _Tree) -> int:
        return sum(len(self.at.get(point, ())) for point in tree.used)

    def _keep(self, source: int, tree: _Tree) -> None:
        self.trees[source] = tree
        self.taken |= tree.ports
        for point, ways in tree.used.items():
            self.at.setdefault(point, {})[source] = ways

    def _taken_up(self, source: int) -> _Tree:
        tree = self.trees.pop(source)
        self.taken -= tree.ports
        for point in tree.used:
            del self.at[point][source]
        return tree

    def _lay(self, source: int, tree: _Tree, sinks: Iterable[Sink]) -> bool:
        """Add a wire for each sink to a tree; False where one finds no way."""
        for sink in sinks:
            found = self._search(source, tree, sink)
            if found is None:
                return False
            points, cost = found
            crossed = sum(bool(self.at.get(point)) for point in points)
            tree.cost += cost - CROSSING * crossed  # these may change: they are counted anew
            self._add(source, tree, sink, points)
        return True

    def _add(self, source: int, tree: _Tree, sink: Sink, points: list[int]) -> None:
        lead = [points[0]]
        while lead[-1] in tree.parents:
            lead.append(tree.parents[lead[-1]])
        for a, b in itertools.pairwise(points):
            way = self._way(a, b)
            tree.parents[b] = a
            for point, bit in ((a, way), (b, (way + 2) % 4)):
                if point in self.lines.blocks:
                    tree.ports.add((point, bit))
                else:
                    tree.used[point] = tree.used.get(point, 0) | 1 << bit
        del tree.parents[points[-1]]
        tree.wires.append(Wire(source, sink, (*reversed(lead[1:]), *points)))

    def _way(self, a: int, b: int) -> int:
        if abs(a - b) == 1:
            return SOUTH if b > a else NORTH
        return EAST if b > a else WEST

    def _starts(self, source: int, tree: _Tree) -> Iterable[tuple[float, int, int]]:
        """Yield where a wire may begin: (cost, point, direction)."""
        for point, ways in tree.used.items():
            if len(self.at.get(point, ())) == 0:
                straight = self._way(tree.parents[point], point)
                for way in range(4):
                    if not ways >> way & 1:
                        yield FORK + (BEND if way != straight else 0), point, way
        if not tree.wires:
            middle = self.lines.middles[source]
            for way, cost in leaving(self.cell.blocks[source].kind).items():
                point = middle
                while (found := self.lines.step(point, way)) is not None:
                    if self.lines.blocks.get(found[0]) != source:
                        break
                    point = found[0]
                if (point, way) not in self.taken:
                    foreign = self.kept.get((point, way), source) != source
                    yield cost + (FOREIGN if foreign else 0), point, way

    def _search(self, source: int, tree: _Tree, to: Sink) -> tuple[list[int], float] | None:
        """Return the cheapest way from a tree, or its source, to a block."""
        sink = to[0]
        goal = self.lines.middles[sink]
        entries = arriving(self.cell.blocks[sink], to[1], sink in self.low)
        best: dict[tuple[int, int], float] = {}
        came: dict[tuple[int, int], tuple[int, int] | int] = {}
        heap: list[tuple[float, float, int, int, int]] = []

        def push(cost: float, point: int, way: int, before: tuple[int, int] | int) -> None:
            found = self.lines.step(point, way)
            if found is None:
                return
            after, length = found
            more = self._price(source, tree, sink, after, way, entries)
            if more is None:
                return
            cost += length + more
            key = (after, way)
            if cost < best.get(key, float("inf")) - 1e-9:
                best[key], came[key] = cost, before
                rest = max(0.0, self._apart(after, goal) - 2)
                heapq.heappush(heap, (cost + rest, cost, after, way, 0))

        for cost, point, way in self._starts(source, tree):
            push(cost, point, way, point)
        while heap:
            _, cost, point, way, _ = heapq.heappop(heap)
            if cost > best[point, way]:
                continue
            if self.lines.blocks.get(point) == sink:
                return _traced(came, (point, way)), cost
            straight = bool(self.at.get(point))
            for turn in (way,) if straight else (way, (way + 1) % 4, (way + 3) % 4):
                push(cost + (BEND if turn != way else 0), point, turn, (point, way))
        return None

    def _price(
        self, source: int, tree: _Tree, sink: int, point: int, way: int, entries: dict[int, float]
    ) -> float | None:
        """Return what it costs to come to a point besides the way there; None if it is barred."""
        block = self.lines.blocks.get(point)
        if block is not None:
            port = (point, (way + 2) % 4)
            open_here = block == sink and way in entries and port not in self.taken
            if not open_here or port in tree.ports or not self._door(sink, point, way):
                return None
            foreign = self.kept.get(port, source) != source
            aside = ASIDE if self._aside(point) and way == NORTH else 0.0
            return entries[way] + aside + (FOREIGN if foreign else 0)
        x, y = divmod(point, self.lines.height)
        if x in (0, len(self.lines.across) - 1) or y in (0, self.lines.height - 1):
            return None  # only ends of wires stand there
        if point in tree.used:
            return None
        others = self.at.get(point)
        if not others:
            return 0.0
        (mask,) = others.values() if len(others) == 1 else (0,)
        across = 1 << EAST | 1 << WEST if way in (NORTH, SOUTH) else 1 << NORTH | 1 << SOUTH
        return CROSSING if mask == across else None

    def _aside(self, point: int) -> bool:
        return self.lines.across[point // self.lines.height].side != MIDDLE

    def _door(self, sink: int, point: int, way: int) -> bool:
        """Tell whether a block can be entered at a point: beside its middle from below alone."""
        if way in (EAST, WEST) or not self._aside(point):
            return True
        return way == NORTH and self.cell.blocks[sink].kind is Kind.LAYER


def _traced(came: dict[tuple[int, int], tuple[int, int] | int], last: tuple[int, int]) -> list[int]:
    points, at = [], last
    while True:
        points.append(at[0])
        before = came[at]
        if isinstance(before, int):
            return [before, *reversed(points)]
        at = before
