"""Static charts as SVG text: plain numbers in, the same picture each time, no script.

    line_chart(words, x, y, series)   curves with bands, marks and names; linear or log axes
    bar_chart(words, x, y, bars)      bars from edge to edge
    dot_chart(words, x, rows)         rows of values on one scale, each with its controls
    key(tones)                        what the lines and marks of a picture mean
    table(caption, heads, rows)       the same numbers as a table

Colours are variables of `page.css`, looks are in `charts.css`. No curve is told by its colour
alone: each tone has a dash and a shape of its own.
"""

from cellwright.web.charts.axes import Axis, limits
from cellwright.web.charts.bars import Bar, bar_chart
from cellwright.web.charts.dots import Dot, DotRow, dot_chart
from cellwright.web.charts.drawing import Tone, Words
from cellwright.web.charts.lines import Level, Mark, Series, line_chart
from cellwright.web.charts.numbers import number, percent
from cellwright.web.charts.scales import Scale, nice_ticks
from cellwright.web.charts.tables import details, key, table

__all__ = [
    "Axis",
    "Bar",
    "Dot",
    "DotRow",
    "Level",
    "Mark",
    "Scale",
    "Series",
    "Tone",
    "Words",
    "bar_chart",
    "details",
    "dot_chart",
    "key",
    "limits",
    "line_chart",
    "nice_ticks",
    "number",
    "percent",
    "table",
]
