"""Shapes: what a picture is made of, apart from any file format."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from cellwright.targets.svg.symbols import Symbol


@dataclass(frozen=True)
class Rect:
    """A rectangle with round corners; `style` is a key of `styles.STYLES`."""

    style: str
    x: float
    y: float
    width: float
    height: float
    radius: float


@dataclass(frozen=True)
class Path:
    """A line or an area: commands of SVG (M, L, Q, Z), each with its coordinates."""

    style: str
    commands: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Text:
    """One line of text. `anchor` is start, middle or end; `y` is the line that letters stand on.

    `leans`: set in italics, as the letters of formulas are.
    """

    style: str
    symbol: Symbol
    x: float
    y: float
    size: float
    anchor: str = "middle"
    leans: bool = False

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the room that the text takes at most."""
        wide = self.symbol.width(self.size)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        low = self.y + self.size * (0.35 if self.symbol.sub else 0.22)
        return left, self.y - self.size * 0.78, left + wide, low


@dataclass(frozen=True)
class Group:
    """Shapes that belong together, moved by (x, y): a block, a wire, a cell.

    `title` says in words what they are; `node` is the equation that they belong to.
    """

    shapes: tuple["Shape", ...]
    x: float = 0.0
    y: float = 0.0
    title: str = ""
    node: str = ""
    style: str = ""


Shape = Rect | Path | Text | Group
Spot = tuple[float, float]
Commands = tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class Picture:
    """A whole picture: its shapes, the corner and size of its view, and what it shows in words."""

    shapes: tuple[Shape, ...]
    x: float
    y: float
    width: float
    height: float
    title: str
    description: str


def rounded(corners: Sequence[Spot], radius: float) -> Commands:
    """Return a line through corners, each of them made round as far as there is room."""
    made: list[tuple[str, tuple[float, ...]]] = [("M", corners[0])]
    for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
        first = corners[0] == before
        last = corners[-1] == after
        into = min(radius, _length(before, at) / (1 if first else 2))
        out = min(radius, _length(at, after) / (1 if last else 2))
        r = min(into, out)
        made.append(("L", _towards(at, before, r)))
        made.append(("Q", (*at, *_towards(at, after, r))))
    made.append(("L", corners[-1]))
    return tuple(made)


def tail(corners: Sequence[Spot], fork: Spot, before: float) -> list[Spot]:
    """Return a line from `before` ahead of a fork on; the whole line where that is no more."""
    for number, (a, b) in enumerate(itertools.pairwise(corners)):
        low, high = sorted((a, b))
        if low[0] <= fork[0] <= high[0] and low[1] <= fork[1] <= high[1] and fork != a:
            start = _towards(fork, a, min(before, _length(a, fork)))
            return [start, *corners[number + 1 :]]
    return list(corners)


def crossings(line: Sequence[Spot], other: Sequence[Spot]) -> list[tuple[Spot, bool]]:
    """Return where two lines cross, and whether the first one runs across the page there."""
    found = []
    for a, b in itertools.pairwise(line):
        for c, d in itertools.pairwise(other):
            flat = a[1] == b[1]
            if flat == (c[1] == d[1]):
                continue
            (p, q), (r, s) = ((a, b), (c, d)) if flat else ((c, d), (a, b))
            x, y = r[0], p[1]
            if min(p[0], q[0]) < x < max(p[0], q[0]) and min(r[1], s[1]) < y < max(r[1], s[1]):
                found.append(((x, y), flat))
    return found


def _length(a: Spot, b: Spot) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(a: Spot, b: Spot, far: float) -> Spot:
    """Return the point `far` from a on the way to b, along one axis."""
    length = _length(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * far / length, a[1] + (b[1] - a[1]) * far / length
