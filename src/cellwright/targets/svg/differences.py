"""Differences: which parts of two cells are not in the other."""

from collections import Counter

from cellwright.targets.svg.blocks import EXITS, Blocks, Kind

Part = tuple[object, ...]


def differences(one: Blocks, other: Blocks) -> tuple[frozenset[int], frozenset[int]]:
    """Return the blocks of each cell that have no equal in the other.

    Blocks are equal that do the same to the same inputs, states and operations, whatever their
    names are. Equal ones are counted, those of equal names first: of three against two, one is
    too many.
    """
    parts = [_parts(cell) for cell in (one, other)]
    alone = [set(part) for part in parts]
    for named in (True, False):
        left = [
            Counter(_known(cell, k, parts[side][k], named) for k in sorted(alone[side]))
            for side, cell in enumerate((one, other))
        ]
        both = left[0] & left[1]
        for side, cell in enumerate((one, other)):
            rest = both.copy()
            for k in sorted(alone[side]):
                part = _known(cell, k, parts[side][k], named)
                if rest[part]:
                    rest[part] -= 1
                    alone[side].discard(k)
    return frozenset(alone[0]), frozenset(alone[1])


def _known(cell: Blocks, k: int, part: Part, named: bool) -> Part:
    return (_name(cell, k), *part) if named else part


def _parts(cell: Blocks) -> dict[int, Part]:
    """Return what each block does to what."""
    return {
        k: (
            block.kind,
            block.label,
            tuple(sorted((f.mark, f.peephole, *_read(cell, f.source)) for f in block.feeds)),
        )
        for k, block in enumerate(cell.blocks)
        if block.kind not in (*EXITS, Kind.MERGE, Kind.BEFORE)
    }


def _name(cell: Blocks, k: int) -> str:
    node = cell.blocks[k].node
    return "" if node is None else cell.graph.nodes[node].name or ""


def _read(cell: Blocks, k: int) -> tuple[str, ...]:
    """Say what a block reads: an input, a state, what meets, or an operation."""
    block = cell.blocks[k]
    if block.kind is Kind.MERGE:
        return tuple(sorted(word for s in block.sources for word in _read(cell, s)))
    return (f"{block.kind.value} {block.label}",)
