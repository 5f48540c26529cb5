"""Axes: limits, ticks, titles, and the field that they leave to the curves."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from cellwright.web.charts.drawing import Place, line, text, width_of
from cellwright.web.charts.scales import Scale, labels

ROW = 17  # from one line of text to the next
LARGEST_POWER = sys.float_info.max_10_exp
SIDE = 42  # room for the labels of a second unit
ACROSS, UP = 46, 30  # room that a tick takes at least, along x and along y


@dataclass(frozen=True)
class Axis:
    """What is measured along one side, with its unit in the title, from low to high.

    share   values are shares of one, and written as per cent
    also    a second unit on the other side: its title, and how many of it make one of ours
    """

    title: str
    low: float
    high: float
    log: bool = False
    share: bool = False
    also: tuple[str, float] | None = None


@dataclass(frozen=True)
class Field:
    """Where curves are drawn, in units of the drawing, and its two scales."""

    x: Scale
    y: Scale

    @property
    def left(self) -> float:
        return self.x.start

    @property
    def right(self) -> float:
        return self.x.end

    @property
    def top(self) -> float:
        return self.y.end

    @property
    def bottom(self) -> float:
        return self.y.start


def limits(values: Iterable[float], log: bool = False) -> tuple[float, float]:
    """Return limits around values, with a little room; on a log axis powers of ten.

    A log axis leaves out what is not above 0, and begins at 10⁻³⁰⁰ at the least.
    Errors: ValueError if there is no value to draw, or one that is not finite.
    """
    kept = [v for v in values if v > 0 or not log]
    if not kept or not all(map(math.isfinite, kept)):
        raise ValueError("limits: expected finite values, at least one that can be drawn")
    low, high = min(kept), max(kept)
    if log:
        first, last = max(-300, math.floor(math.log10(low))), math.ceil(math.log10(high))
        last = max(last, first + 1)
        return 10.0**first, 10.0**last if last <= LARGEST_POWER else sys.float_info.max
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def field(
    x: Axis,
    y: Axis,
    size: Place,
    rows: float,
    foot: float,
    names: float,
    sides: tuple[float, float] | None = None,
) -> Field:
    """Return the field of a drawing.

    rows    lines of text above it beside the axis' title
    foot    room below it beside ticks and title
    names   room at its right for the names of curves
    sides   the least room at its left and right
    """
    top, bottom = ROW * (1.6 + rows), size[1] - ROW * 2.5 - foot
    most = max(2, int((bottom - top) / UP))
    written = ticks_of(y, Scale(y.low, y.high, bottom, top, y.log), most)
    left = max(width_of(label) for _, label in written) + 12
    right = max(names + (10 if y.also is None else SIDE), written_width(x) / 2)
    if sides is not None:
        left, right = max(left, sides[0]), max(right, sides[1])
    return Field(
        Scale(x.low, x.high, left, size[0] - right, x.log),
        Scale(y.low, y.high, bottom, top, y.log),
    )


def written_width(x: Axis) -> float:
    """Return how wide the last label of an axis is."""
    ticks = ticks_of(x, Scale(x.low, x.high, 0, 1, x.log), 6)
    return width_of(ticks[-1][1])


def ticks_of(axis: Axis, scale: Scale, most: int) -> list[tuple[float, str]]:
    """Return the ticks of an axis: the place of each, and its label."""
    ticks = scale.ticks(most)
    told = labels(tuple(round(100 * v, 9) for v in ticks) if axis.share else ticks, axis.log)
    end = " %" if axis.share else ""
    return [(scale(v), f"{label}{end}") for v, label in zip(ticks, told, strict=True)]


def draw_axes(x: Axis, y: Axis, within: Field, size: Place, foot: float) -> list[str]:
    """Return grid, ticks and titles; what is `foot` below the field stays free."""
    across = size[0] - SIDE if y.also else within.right
    most = max(2, int((within.bottom - within.top) / UP))
    made = []
    for at, label in ticks_of(y, within.y, most):
        made.append(line((within.left, at), (max(across, within.right), at), "grid"))
        made.append(text((within.left - 8, at + 4.5), label, "tick", "end"))
    made.append(text((0, 12), y.title, "axis"))
    if y.also:
        made += _other_side(y, within, size[0], most)
    most = max(2, int((within.right - within.left) / ACROSS))
    base = within.bottom + foot
    for at, label in ticks_of(x, within.x, most):
        made.append(line((at, within.bottom), (at, within.bottom + 5), "stub"))
        made.append(text((at, base + 19), label, "tick", "middle"))
    made.append(line((within.left, within.bottom), (within.right, within.bottom), "base"))
    centre = (within.left + within.right) / 2
    made.append(text((centre, base + 38), x.title, "axis", "middle"))
    return made


def _other_side(y: Axis, within: Field, width: float, most: int) -> list[str]:
    assert y.also is not None
    title, factor = y.also
    other = Scale(y.low * factor, y.high * factor, within.y.start, within.y.end, y.log)
    made = [text((width, 12), title, "axis", "end")]
    for at, label in ticks_of(Axis(title, other.low, other.high, y.log), other, most):
        made.append(line((width - SIDE, at), (width - SIDE + 5, at), "stub"))
        made.append(text((width - SIDE + 9, at + 4.5), label, "tick"))
    return made
