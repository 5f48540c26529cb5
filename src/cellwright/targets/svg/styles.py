"""Styles: the colours of a picture, for light and dark surroundings.

Yellow boxes have weights, pink shapes work unit by unit: the field's own colours, with an
outline that tells them apart where colours do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FONT = "Georgia, 'Times New Roman', 'DejaVu Serif', serif"
PLAIN_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
FADED = 0.16  # of what is out of focus


@dataclass(frozen=True)
class Style:
    """How a shape is painted: (light, dark) colours of its area and its line, and the line."""

    fill: tuple[str, str] = ("none", "none")
    stroke: tuple[str, str] = ("none", "none")
    width: float = 0.0
    dashes: tuple[float, ...] = ()


INK = ("#263238", "#dfe7ee")
NOTE = ("#55636d", "#a9b7c3")
FRAME = ("#eef5ef", "#1d262b")

STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "page": Style(fill=("#ffffff", "#12171b")),
        "frame": Style(fill=FRAME, stroke=("#7da58b", "#5c8a6d"), width=2.0),
        "layer": Style(fill=("#ffe78f", "#5d4c07"), stroke=("#8f6f00", "#e3bd3b"), width=1.6),
        "pointwise": Style(fill=("#ffc9d3", "#642c3c"), stroke=("#a8415b", "#ee93a7"), width=1.6),
        "piece": Style(fill=("#ffffff", "#2a353c"), stroke=("#5b6b76", "#94a6b3"), width=1.3),
        "fixed": Style(fill=("#ffffff", "#2a353c"), stroke=("#5b6b76", "#94a6b3"), width=1.3),
        "input": Style(fill=("#cfe5fa", "#163a5c"), stroke=("#2f6ea8", "#7db7ea"), width=1.6),
        "output": Style(fill=("#e2d8f5", "#3c2a63"), stroke=("#6a4bb0", "#b59cf0"), width=1.6),
        "wire": Style(stroke=INK, width=1.8),
        "peephole": Style(stroke=INK, width=1.8, dashes=(5.0, 3.5)),
        "halo": Style(stroke=FRAME, width=6.5),
        "arrow": Style(fill=INK),
        "ink": Style(fill=INK),
        "note": Style(fill=NOTE),
        "ring": Style(stroke=("#d1570a", "#ff9d4d"), width=2.2),
    }
)


def sheet(name: str, theme: str) -> str:
    """Return the rules of CSS for a theme: light, dark, or auto, which follows the reader's."""
    rules = [
        f".{name} text{{font-family:{PLAIN_FONT}}}",
        f".{name} .leans{{font-family:{FONT};font-style:italic}}",
        f".{name} .faded{{opacity:{FADED}}}",
        *(f".{name} .{key}{{{_line(style)}}}" for key, style in STYLES.items()),
    ]
    shown = _colours(name, theme == "dark")
    if theme != "auto":
        return "".join((*rules, shown))
    return f"{''.join(rules)}{shown}@media (prefers-color-scheme:dark){{{_colours(name, True)}}}"


def _line(style: Style) -> str:
    made = f"stroke-width:{style.width:g};stroke-linejoin:round" if style.width else ""
    if style.dashes:
        made += f";stroke-dasharray:{' '.join(f'{d:g}' for d in style.dashes)}"
    return made


def _colours(name: str, dark: bool) -> str:
    return "".join(
        f".{name} .{key}{{fill:{style.fill[dark]};stroke:{style.stroke[dark]}}}"
        for key, style in STYLES.items()
    )
