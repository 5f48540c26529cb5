"""Dot charts: a row for each thing, its value and its controls on one scale."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from cellwright.web.charts.axes import ROW, Axis, ticks_of
from cellwright.web.charts.drawing import Place, Tone, Words, line, mark, picture, px, text
from cellwright.web.charts.numbers import number
from cellwright.web.charts.scales import Scale

HIGH = 46  # of a row: its name, and below it the values


@dataclass(frozen=True)
class Dot:
    """One value of a row."""

    name: str
    tone: Tone
    value: float


@dataclass(frozen=True)
class DotRow:
    """A row: its name and a note above it, its values, a range behind them (name, low, high)."""

    name: str
    note: str
    dots: tuple[Dot, ...]
    span: tuple[str, float, float] | None = None

    def values(self) -> tuple[float, ...]:
        """All that is drawn in the row."""
        return (*(dot.value for dot in self.dots), *(self.span[1:] if self.span else ()))


def dot_chart(words: Words, x: Axis, rows: Sequence[DotRow], *, width: float = 600) -> str:
    """Return rows of values on one axis; put a `key` of the tones beside it.

    Errors: ValueError for values outside the axis.
    """
    height = HIGH * len(rows) + ROW * 3
    scale = Scale(x.low, x.high, 12, width - 16, x.log)
    foot = height - ROW * 2.6
    made = []
    for at, label in ticks_of(x, scale, max(2, int(width / 60))):
        made.append(line((at, 4), (at, foot + 5), "grid"))
        made.append(text((at, foot + 19), label, "tick", "middle"))
    made.append(text(((scale.start + scale.end) / 2, foot + 38), x.title, "axis", "middle"))
    for k, row in enumerate(rows):
        made += _row(row, scale, HIGH * k)
    return picture(words, (width, height), made)


def _row(row: DotRow, scale: Scale, top: float) -> list[str]:
    at = top + 33
    made = [
        _title(row, scale.start, top + 16),
        line((scale.start, at), (scale.end, at), "rail"),
    ]
    if row.span is not None:
        name, low, high = row.span
        left, right = scale(low), scale(high)
        told = html.escape(f"{name}: {number(low)} to {number(high)}")
        made.append(
            f'<g class="span"><title>{told}</title><rect x="{px(left - 2)}" y="{px(at - 6)}" '
            f'width="{px(right - left + 4)}" height="12" rx="3"/></g>'
        )
    places: list[Place] = [(scale(dot.value), at) for dot in row.dots]
    for dot, place in reversed(list(zip(row.dots, places, strict=True))):
        made.append(mark(place, dot.tone, f"{row.name}, {dot.name}: {number(dot.value)}"))
    return made


def _title(row: DotRow, x: float, y: float) -> str:
    name, note = html.escape(row.name), html.escape(row.note)
    return (
        f'<text class="halo" x="{px(x)}" y="{px(y)}"><tspan class="name">{name}</tspan>'
        f'<tspan class="tick" dx="8">{note}</tspan></text>'
    )
