"""Bar charts: shares from edge to edge, such as a histogram's."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from cellwright.web.charts.axes import Axis, draw_axes, field
from cellwright.web.charts.drawing import Place, Tone, Words, picture, px, tone_class
from cellwright.web.charts.numbers import number, percent


@dataclass(frozen=True)
class Bar:
    """A bar from one x to another, and how high it is."""

    start: float
    end: float
    height: float
    tone: Tone


def bar_chart(
    words: Words, x: Axis, y: Axis, bars: Sequence[Bar], *, size: Place = (300, 190)
) -> str:
    """Return bars on a line of zero; each tells its numbers under the pointer.

    Errors: ValueError for bars outside the axes, or an axis that does not begin at 0.
    """
    if y.low != 0 or y.log:
        raise ValueError(f"{words.title}: bars begin at 0, the axis at {y.low}")
    within = field(x, y, size, 0, 0, 0)
    axes = draw_axes(x, y, within, size, 0)
    made = []
    for bar in bars:
        left, right, top = within.x(bar.start), within.x(bar.end), within.y(bar.height)
        height = percent(bar.height) if y.share else number(bar.height)
        told = f"{bar.start:g} to {bar.end:g}: {height}"
        width = max(0.5, right - left - 1)
        made.append(
            f'<g class="bar {tone_class(bar.tone)}"><title>{html.escape(told)}</title>'
            f'<rect class="reach" x="{px(left)}" y="{px(within.top)}" width="{px(right - left)}" '
            f'height="{px(within.bottom - within.top)}"/>'
            f'<rect x="{px(left + 0.5)}" y="{px(top)}" width="{px(width)}" '
            f'height="{px(within.bottom - top)}"/></g>'
        )
    return picture(words, size, [*axes, *made])
