"""Arrows: lines that say where they lead."""

from collections.abc import Sequence

from cellwright.targets.svg.shapes import Commands, Path, Spot, rounded

LONG, HALF = 8.0, 4.2  # an arrow's length, and half its width


def arrow(style: str, corners: Sequence[Spot], radius: float = 0.0) -> tuple[Path, Path]:
    """Return a line through corners and the arrow at its end."""
    return Path(style, _shortened(rounded(corners, radius))), Path("arrow", _head(corners))


def _shortened(line: Commands) -> Commands:
    """Return a line that ends inside its arrow."""
    (x, y), before = line[-1][1], line[-2][1][-2:]
    length = abs(x - before[0]) + abs(y - before[1]) or 1.0
    back = min(LONG - 1.0, length) / length
    end = (x + (before[0] - x) * back, y + (before[1] - y) * back)
    return (*line[:-1], ("L", end))


def _head(corners: Sequence[Spot]) -> Commands:
    (x, y), before = corners[-1], corners[-2]
    dx = (x > before[0]) - (x < before[0])
    dy = (y > before[1]) - (y < before[1])
    back = (x - dx * LONG, y - dy * LONG)
    return (
        ("M", (x, y)),
        ("L", (back[0] - dy * HALF, back[1] + dx * HALF)),
        ("L", (back[0] + dy * HALF, back[1] - dx * HALF)),
        ("Z", ()),
    )
