"""What stands beside a chart: the meaning of its tones, and its numbers as a table."""

import html
from collections.abc import Iterable, Sequence
from typing import Literal

from cellwright.web.charts.drawing import SHAPES, Tone, path, tone_class

Look = Literal["curve", "point", "bar"]


def key(entries: Iterable[tuple[str, Tone]], look: Look = "curve", band: str = "") -> str:
    """Return what each tone stands for, as a list; `band` names the shaded area, if any."""
    items = [_entry(_sample(tone, look), name) for name, tone in entries]
    if band:
        items.append(
            _entry('<rect class="shade" x="1" y="2" width="30" height="12" rx="2"/>', band)
        )
    return f'<ul class="chart-key">{"".join(items)}</ul>'


def _sample(tone: Tone, look: Look) -> str:
    if look == "bar":
        return f'<g class="bar {tone_class(tone)}"><rect x="9" y="1" width="14" height="14"/></g>'
    curve = path([(1, 8), (31, 8)], "curve", tone) if look == "curve" else ""
    return (
        f'{curve}<g class="point {tone_class(tone)}" transform="translate(16 8)">'
        f'<path d="{SHAPES[tone]}"/></g>'
    )


def _entry(drawn: str, name: str) -> str:
    return (
        '<li><svg class="chart swatch" viewBox="0 0 32 16" aria-hidden="true">'
        f"{drawn}</svg>{html.escape(name)}</li>"
    )


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column names its rows; it scrolls where it is too wide."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    said = html.escape(caption)
    return (
        f'<div class="chart-table" role="region" tabindex="0" aria-label="{said}">'
        f"<table><caption>{said}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def details(summary: str, inside: str) -> str:
    """Return something folded away under its name."""
    return f"<details><summary>{html.escape(summary)}</summary>\n{inside}\n</details>"
