"""Pictures as the text of an SVG file: no script, no font or file from elsewhere."""

import html
import re

from cellwright.targets.svg.shapes import Group, Path, Picture, Rect, Shape, Text
from cellwright.targets.svg.styles import sheet
from cellwright.targets.svg.symbols import SMALL

CLASS = "cellwright"
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
DROP = 0.28  # how far a subscript stands below its line, of the text's size


def svg(picture: Picture, theme: str = "auto") -> str:
    """Return a picture as SVG. theme: auto follows the reader's; light or dark does not."""
    name = f"{CLASS}-{theme}"
    x, y, wide, high = (_number(v) for v in (picture.x, picture.y, picture.width, picture.height))
    title, description = escape(picture.title), escape(picture.description)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{name}" role="img" '
        f'viewBox="{x} {y} {wide} {high}" width="{wide}" height="{high}" '
        f'aria-label="{title}">',
        f"<title>{title}</title>",
        f"<desc>{description}</desc>",
        f"<style>{sheet(name, theme)}</style>",
        f'<rect class="page" x="{x}" y="{y}" width="{wide}" height="{high}" rx="10"/>',
    ]
    for shape in picture.shapes:
        lines += _lines(shape)
    return "\n".join([*lines, "</svg>", ""])


def escape(text: str) -> str:
    """Return a text as XML holds it; what XML cannot hold, in a cell's description, is a mark."""
    return html.escape(NOT_XML.sub("\ufffd", text))


def _number(value: float) -> str:
    return f"{round(value, 1):g}"


def _lines(shape: Shape) -> list[str]:
    if isinstance(shape, Rect):
        values = (shape.x, shape.y, shape.width, shape.height, shape.radius)
        x, y, wide, high, radius = (_number(v) for v in values)
        size = f'width="{wide}" height="{high}" rx="{radius}"'
        return [f'<rect class="{shape.style}" x="{x}" y="{y}" {size}/>']
    if isinstance(shape, Path):
        drawn = "".join(f"{c}{' '.join(_number(v) for v in at)}" for c, at in shape.commands)
        return [f'<path class="{shape.style}" d="{drawn}"/>']
    if isinstance(shape, Text):
        return [_text(shape)]
    return _group(shape)


def _group(group: Group) -> list[str]:
    said = [f'class="{group.style}"'] if group.style else []
    said += [f'data-node="{escape(group.node)}"'] if group.node else []
    if group.x or group.y:
        said.append(f'transform="translate({_number(group.x)} {_number(group.y)})"')
    title = [f"<title>{escape(group.title)}</title>"] if group.title else []
    inner = [line for shape in group.shapes for line in _lines(shape)]
    return [" ".join(["<g", *said]) + ">", *title, *inner, "</g>"]


def _text(text: Text) -> str:
    stem = escape(text.symbol.stem)
    if text.symbol.sub:
        size, drop = _number(text.size * SMALL), _number(text.size * DROP)
        stem += f'<tspan dy="{drop}" font-size="{size}">{escape(text.symbol.sub)}</tspan>'
    leans = " leans" if text.leans else ""
    place = f'x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}"'
    return f'<text class="{text.style}{leans}" {place} text-anchor="{text.anchor}">{stem}</text>'
