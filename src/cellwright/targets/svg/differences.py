"""Differences: which parts of two cells are not in the other."""

from collections import Counter

from cellwright.targets.svg.blocks import EXITS, Blocks, Kind

Part = tuple[object, ...]


def differences(one: Blocks, other: Blocks) -> tuple[frozenset[int], frozenset[int]]:
    """Return the blocks of each cell that have no equal in the other.

    Blocks are equal that do the same to the same: a named value is its name, any other what it
    does. Equal blocks are counted: of three against two, the last is one too many.
    """
    parts = [_parts(cell) for cell in (one, other)]
    found = []
    for mine, others in ((parts[0], parts[1]), (parts[1], parts[0])):
        left = Counter(others.values())
        alone = set()
        for k, part in mine.items():
            if left[part]:
                left[part] -= 1
            else:
                alone.add(k)
        found.append(frozenset(alone))
    return found[0], found[1]


def _parts(cell: Blocks) -> dict[int, Part]:
    """Return what each block does to what, by names where there are any."""
    return {
        k: (
            block.kind,
            block.label,
            _name(cell, k),
            tuple(sorted((feed.mark, feed.peephole, *_read(cell, feed.source)) for feed in block.feeds)),
        )
        for k, block in enumerate(cell.blocks)
        if block.kind not in (*EXITS, Kind.MERGE)
    }


def _name(cell: Blocks, k: int) -> str:
    node = cell.blocks[k].node
    return "" if node is None else cell.graph.nodes[node].name or ""


def _read(cell: Blocks, k: int) -> tuple[str, ...]:
    """Say what a block reads: a name, the names that meet, or an operation."""
    block = cell.blocks[k]
    if block.kind is Kind.MERGE and not _name(cell, k):
        return tuple(sorted(word for s in block.sources for word in _read(cell, s)))
    return (_name(cell, k) or block.label,)
