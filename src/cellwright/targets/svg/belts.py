"""Belts: the states that a cell carries along by pointwise operations alone, such as an LSTM's c.

A belt is a straight line through the picture; what acts on it stands on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cellwright.targets.svg.blocks import Blocks, Kind

SHORTEST_OF_INPUT = 2  # operations between an input and an output that make a belt of it


@dataclass(frozen=True)
class Belt:
    """A source, the operations on its way in their order, and the ends that the last one feeds."""

    source: int
    path: tuple[int, ...]
    ends: tuple[int, ...]


def belts(cell: Blocks) -> tuple[Belt, ...]:
    """Return a cell's belts, the lowest first: none needs what a later one carries away."""
    readers = cell.readers()
    taken: set[int] = set()
    found: list[Belt] = []
    for source in cell.of(Kind.BEFORE):
        name = cell.blocks[source].label
        (end,) = [k for k in cell.of(Kind.AFTER) if cell.blocks[k].label == name]
        path = _path(cell, readers, source, {end}, taken)
        if path:
            taken.update(path)
            found.append(Belt(source, path, (end,)))
    carried = {k for belt in found for k in belt.ends}
    outputs = [k for k in cell.of(Kind.OUTPUT) if not _carried(cell, k, carried)]
    for source in cell.of(Kind.INPUT):
        path = _path(cell, readers, source, set(outputs), taken)
        if len(path) >= SHORTEST_OF_INPUT:
            taken.update(path)
            found.append(Belt(source, path, ()))
    return _lowest_first(cell, found)


def _carried(cell: Blocks, output: int, ends: set[int]) -> bool:
    """Tell whether an output is the value that a belt carries to the next step."""
    return any(cell.blocks[end].sources == cell.blocks[output].sources for end in ends)


def _path(
    cell: Blocks,
    readers: Mapping[int, Sequence[int]],
    source: int,
    ends: set[int],
    taken: set[int],
) -> tuple[int, ...]:
    """Return the shortest way from a source to one of the ends by operations not yet taken."""
    came: dict[int, int] = {source: source}
    front = [source]
    for at in front:
        for reader in readers[at]:
            if reader in ends and at != source:
                path = [at]
                while came[path[-1]] != source:
                    path.append(came[path[-1]])
                return tuple(reversed(path))
            free = cell.blocks[reader].kind is Kind.POINTWISE and reader not in taken
            if free and reader not in came:
                came[reader] = at
                front.append(reader)
    return ()


def _lowest_first(cell: Blocks, found: Sequence[Belt]) -> tuple[Belt, ...]:
    """Order belts by what they need of one another; of equals the first declared is on top."""
    needs: dict[int, set[int]] = {}  # of every block: the belts whose ends it is made of
    ends = {belt.path[-1]: k for k, belt in enumerate(found)}
    for k, block in enumerate(cell.blocks):
        needs[k] = {ends[s] for s in block.sources if s in ends}
        needs[k].update(*(needs[s] for s in block.sources))
    levels: dict[int, int] = {}

    def level(number: int) -> int:
        if number not in levels:
            levels[number] = 0  # a belt that needs itself by way of another: no order is right
            wanted = set().union(*(needs[op] for op in found[number].path)) - {number}
            levels[number] = max((1 + level(other) for other in wanted), default=0)
        return levels[number]

    order = sorted(range(len(found)), key=lambda k: (level(k), not found[k].ends, -k))
    return tuple(found[k] for k in order)
