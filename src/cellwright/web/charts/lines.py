"""Line charts: curves with bands over linear or log axes, named where they end."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cellwright.web.charts.axes import ROW, Axis, Field, draw_axes, field
from cellwright.web.charts.drawing import (
    SIZE,
    Place,
    Tone,
    Words,
    line,
    mark,
    path,
    picture,
    route,
    text,
    tone_class,
    width_of,
)
from cellwright.web.charts.numbers import number

APART = 26  # from one marked point of a curve to the next, at least
FINE = 0.4  # of a unit of the drawing: what lies closer together is one to the eye
STRIP = 11  # height of one row of single values


@dataclass(frozen=True)
class Series:
    """A curve: y over x, ascending in x, with a band between `low` and `high` if they are given.

    stepped   y holds from each x to the next, as a share of counted things does
    strip     single values on the x axis, drawn as strokes below the field
    """

    name: str
    tone: Tone
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    stepped: bool = False
    strip: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) > 0:
            raise ValueError(f"{self.name}: expected as many y as x, got {len(self.y)}")
        if len(self.low) != len(self.high) or len(self.low) not in (0, len(self.x)):
            raise ValueError(f"{self.name}: expected a band as long as the curve")
        for value in (*self.x, *self.y, *self.low, *self.high, *self.strip):
            if not math.isfinite(value):
                raise ValueError(f"{self.name}: expected finite numbers, got {value}")
        if any(b <= a for a, b in pairwise(self.x)) and not self.stepped:
            raise ValueError(f"{self.name}: expected x in ascending order")


@dataclass(frozen=True)
class Mark:
    """A place on an axis that has a meaning of its own."""

    at: float
    label: str


@dataclass(frozen=True)
class Level:
    """A value of y that has a meaning of its own.

    Its label stands where the names of curves do; where those are in a key, at the line's end,
    below it if `below`.
    """

    at: float
    label: str
    below: bool = False


def line_chart(
    words: Words,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    size: Place = (760, 400),
    marks: Sequence[Mark] = (),
    levels: Sequence[Level] = (),
    named: bool = False,
    sides: tuple[float, float] | None = None,
) -> str:
    """Return curves over x; `marks` are vertical lines and `levels` horizontal ones.

    `named`: each curve's name stands at its right end; otherwise put a `key` beside the picture.
    `sides`: the least room at the left and right of the field, so that the axes of several align.
    What lies below a log axis (a zero above all) breaks its curve and is shown as a pointer at
    the foot. Errors: ValueError for other values outside the axes, NaN and infinities.
    """
    strips = [one for one in series if one.strip]
    foot = STRIP * len(strips) + (6 if strips else 0)
    written = [width_of(label) for label in (*(s.name for s in series), *(o.label for o in levels))]
    names = max(written, default=0) + 22 if named else 0
    within = field(x, y, size, len(marks), foot, names, sides)
    made = draw_axes(x, y, within, size, foot)
    for row, one in enumerate(marks):
        made += _mark(one, within, ROW * (row + 2), size[0])
    for one in levels:
        made += _level(one, within, named)
    for one in series:
        made += _band(one, within)
    for one in series:
        made += _curve(one, within)
    for one in series:
        made += _points(one, within)
    for row, one in enumerate(strips):
        made.append(_strip(one, within, within.bottom + 8 + STRIP * row))
    if named:
        made += _names(series, levels, within)
    return picture(words, size, made)


def _mark(one: Mark, within: Field, row: float, width: float) -> list[str]:
    at = within.x(one.at)
    half = width_of(one.label) + 6
    side = "start" if at + half <= width else "end"
    shift = 5 if side == "start" else -5
    return [
        line((at, row - SIZE + 2), (at, within.bottom), "mark"),
        text((at + shift, row), one.label, "note", side),
    ]


def _level(one: Level, within: Field, named: bool) -> list[str]:
    at = within.y(one.at)
    drawn = line((within.left, at), (within.right, at), "level")
    if named:
        return [drawn]
    place = within.right - 6, at + (16 if one.below else -5)
    return [drawn, text(place, one.label, "note halo", "end")]


def _above(one: Series, within: Field, k: int) -> bool:
    """Whether a point can be drawn: on a log axis what is too small has no place."""
    return not within.y.log or one.y[k] >= within.y.low


def _places(one: Series, within: Field) -> list[list[Place]]:
    """Return the curve's places, in as many pieces as it can be drawn in."""
    pieces: list[list[Place]] = [[]]
    for k, (a, b) in enumerate(zip(one.x, one.y, strict=True)):
        if not _above(one, within, k):
            pieces.append([])
            continue
        at = within.x(a), within.y(b)
        if one.stepped and pieces[-1]:
            if at[0] - pieces[-1][-1][0] < FINE and len(pieces[-1]) > 1:
                pieces[-1][-1] = pieces[-1][-1][0], at[1]  # one way down for steps too close to see
                continue
            pieces[-1].append((at[0], pieces[-1][-1][1]))
        pieces[-1].append(at)
    return [piece for piece in pieces if piece]


def _curve(one: Series, within: Field) -> list[str]:
    return [path(piece, "curve", one.tone) for piece in _places(one, within)]


def _band(one: Series, within: Field) -> list[str]:
    """Return the band; on a log axis it ends at the foot of the field."""
    made: list[str] = []
    upper: list[Place] = []
    lower: list[Place] = []

    def close() -> None:
        if len(upper) > 1:
            way = route([*upper, *reversed(lower)])
            made.append(f'<path class="band {tone_class(one.tone)}" d="{way}Z"/>')
        upper.clear()
        lower.clear()

    for a, low, high in zip(one.x, one.low, one.high, strict=False):
        if within.y.log and high < within.y.low:
            close()
            continue
        upper.append((within.x(a), within.y(min(high, within.y.high))))
        lower.append((within.x(a), within.y(max(low, within.y.low))))
    close()
    return made


def _points(one: Series, within: Field) -> list[str]:
    """Return marks along the curve, far enough from each other; each tells its numbers."""
    made, last = [], -math.inf
    for k, (a, b) in enumerate(zip(one.x, one.y, strict=True)):
        at = within.x(a)
        if at - last < APART:
            continue
        last = at
        told = f"{one.name}: {number(b, 4)} at {number(a)}"
        if one.low:
            told += f", from {number(one.low[k], 4)} to {number(one.high[k], 4)}"
        if _above(one, within, k):
            made.append(mark((at, within.y(b)), one.tone, told))
        else:
            made.append(mark((at, within.bottom - 4), one.tone, f"{told}: below the axis", "below"))
    return made


def _strip(one: Series, within: Field, top: float) -> str:
    """Return the single values as strokes, those at one place as one; the rest lie outside."""
    inside = (v for v in one.strip if within.x.low <= v <= within.x.high)
    places = sorted({round(2 * within.x(v)) / 2 for v in inside})
    way = "".join(f"M{at:g} {top:g}v{STRIP - 3}" for at in places)
    return f'<path class="strip {tone_class(one.tone)}" d="{way}"/>' if way else ""


def _names(series: Sequence[Series], levels: Sequence[Level], within: Field) -> list[str]:
    """Return names at the right ends of their lines, moved as far as needed to lie apart."""
    ends: list[tuple[float, float, str, Tone | None]] = [
        (within.y(one.at), within.right, one.label, None) for one in levels
    ]
    for one in series:
        pieces = _places(one, within)
        x, y = pieces[-1][-1] if pieces else (within.right, within.bottom)
        ends.append((y, x, one.name, one.tone))
    ends.sort(key=lambda end: end[0])
    rows = spread([y for y, *_ in ends], ROW, within.top, within.bottom)
    made = []
    for (y, x, name, tone), row in zip(ends, rows, strict=True):
        if abs(row - y) > 4:
            made.append(line((x + 7, y), (within.right + 15, row), "lead"))
        look = "note halo" if tone is None else "name halo"
        made.append(text((within.right + 18, row + 4.5), name, look, tone=tone))
    return made


def spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Return ascending places moved as little as needed to lie `apart` from one another."""
    groups: list[tuple[float, int]] = []  # where a group's first lies, how many it has
    for at in places:
        groups.append((at, 1))
        while len(groups) > 1 and groups[-2][0] + groups[-2][1] * apart > groups[-1][0]:
            (a, m), (b, n) = groups[-2:]
            middle = (m * (a + (m - 1) * apart / 2) + n * (b + (n - 1) * apart / 2)) / (m + n)
            groups[-2:] = [(middle - (m + n - 1) * apart / 2, m + n)]
    made = [a + k * apart for a, n in groups for k in range(n)]
    return _inside(made, apart, low, high)


def _inside(places: Iterable[float], apart: float, low: float, high: float) -> list[float]:
    """Return places pushed into the field, if there is room for all of them."""
    made = list(places)
    if made and made[-1] > high:
        made = [min(at, high - apart * (len(made) - 1 - k)) for k, at in enumerate(made)]
    if made and made[0] < low:
        made = [max(at, low + apart * k) for k, at in enumerate(made)]
    return made
