"""The key below a picture: what its shapes mean, and no others."""

from collections.abc import Sequence

from cellwright.targets.svg.blocks import Blocks, Kind
from cellwright.targets.svg.shapes import Path, Rect, Shape, Text
from cellwright.targets.svg.symbols import Symbol, width

ROW, SIZE = 22.0, 12.0
SWATCH = 20.0


def legend(cell: Blocks, room: float) -> list[Sequence[Shape]]:
    """Return the key in rows of at most `room`, each from (0, 0) on."""
    kinds = {block.kind for block in cell.blocks}
    entries: list[tuple[tuple[Shape, ...], str]] = []
    for kind, words, radius in (
        (Kind.LAYER, "layer with weights", 3.0),
        (Kind.POINTWISE, "unit by unit", 6.0),
        (Kind.PIECE, "part of a vector", 2.0),
    ):
        if kind in kinds:
            entries.append(((Rect(kind.value, 0, -10, SWATCH, 12, radius),), words))
    if Kind.MERGE in kinds:
        meet = (("M", (0.0, -9.0)), ("Q", (9.0, -9.0, 9.0, -4.0)), ("L", (SWATCH, -4.0)))
        line = (("M", (0.0, -4.0)), ("L", (SWATCH, -4.0)))
        entries.append(((Path("wire", line), Path("wire", meet)), "put end to end"))
    if any(feed.peephole for block in cell.blocks for feed in block.feeds):
        line = (("M", (0.0, -4.0)), ("L", (SWATCH, -4.0)))
        entries.append(((Path("peephole", line),), "one weight for each unit"))
    rows: list[list[Shape]] = [[]]
    x = 0.0
    for shapes, words in entries:
        wide = SWATCH + 6 + width(words, SIZE)
        if rows[-1] and x + wide > room:
            rows.append([])
            x = 0.0
        rows[-1] += [_moved(shape, x) for shape in shapes]
        rows[-1].append(Text("note", Symbol(words), x + SWATCH + 6, 0, SIZE, "start"))
        x += wide + 12
    return [row for row in rows if row]


def _moved(shape: Shape, x: float) -> Shape:
    if isinstance(shape, Rect):
        return Rect(shape.style, shape.x + x, shape.y, shape.width, shape.height, shape.radius)
    assert isinstance(shape, Path)
    commands = tuple(
        (c, tuple(v + x if k % 2 == 0 else v for k, v in enumerate(at))) for c, at in shape.commands
    )
    return Path(shape.style, commands)
