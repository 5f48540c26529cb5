"""Pictures of cells as PNG, painted shape by shape from what the SVG is written from."""

import io
from typing import TYPE_CHECKING

from cellwright.targets.svg.shapes import Group, Path, Picture, Rect, Shape, Text
from cellwright.targets.svg.styles import FADED, STYLES
from cellwright.targets.svg.symbols import SMALL
from cellwright.targets.svg.text import DROP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Outline
    from matplotlib.transforms import Affine2D

SCALE = 2  # dots for each unit of the picture
UNITS = 72  # in an inch, so that a line's width in points is its width in units
QUARTER = 0.5523  # of a radius: where a curve's inner points make a quarter of a circle
Spot = tuple[float, float]


def png(picture: Picture, dark: bool) -> bytes:
    """Return a picture as the bytes of a PNG file, two dots for each of its units."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(picture.width / UNITS, picture.height / UNITS), dpi=UNITS * SCALE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(picture.x, picture.x + picture.width)
    axes.set_ylim(picture.y + picture.height, picture.y)
    page = Rect("page", picture.x, picture.y, picture.width, picture.height, 0)
    for shape in (page, *picture.shapes):
        _paint(axes, shape, (0.0, 0.0), 1.0, dark)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Title": picture.title, "Software": "Cellwright"})
    return file.getvalue()


def _paint(axes: "Axes", shape: Shape, moved: Spot, alpha: float, dark: bool) -> None:
    """Paint a shape on top of those before it."""
    from matplotlib.patches import PathPatch

    if isinstance(shape, Group):
        moved = (moved[0] + shape.x, moved[1] + shape.y)
        alpha = FADED if shape.style == "faded" else alpha
        for inner in shape.shapes:
            _paint(axes, inner, moved, alpha, dark)
        return
    style = STYLES[shape.style]
    dashes = (0, tuple(dash / style.width for dash in style.dashes)) if style.dashes else "solid"
    outline = _outline(shape)
    patch = PathPatch(
        outline.transformed(_by(moved)),
        facecolor=style.fill[dark],
        edgecolor=style.stroke[dark],
        linewidth=style.width,
        linestyle=dashes,
        alpha=alpha,
        zorder=len(axes.patches),
        capstyle="butt",
        joinstyle="round",
    )
    axes.add_patch(patch)


def _by(moved: Spot, turned: bool = False) -> "Affine2D":
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(1, -1 if turned else 1).translate(*moved)


def _outline(shape: Rect | Path | Text) -> "Outline":
    from matplotlib.path import Path as Outline

    if isinstance(shape, Text):
        return _letters(shape)
    if isinstance(shape, Rect):
        return _rounded(shape)
    codes = {"M": Outline.MOVETO, "L": Outline.LINETO, "Q": Outline.CURVE3}
    spots: list[Spot] = []
    kinds: list[int] = []
    for command, at in shape.commands:
        if command == "Z":
            spots.append(spots[0])
            kinds.append(int(Outline.CLOSEPOLY))
        for x, y in zip(at[::2], at[1::2], strict=True):
            spots.append((x, y))
            kinds.append(int(codes[command]))
    return Outline(spots, kinds)


def _rounded(box: Rect) -> "Outline":
    """Return a rectangle whose corners are quarters of circles."""
    from matplotlib.path import Path as Outline

    r = min(box.radius, box.width / 2, box.height / 2)
    pull = r * (1 - QUARTER)  # of a curve's inner points from the corner that it rounds
    corners = (
        ((box.x + box.width, box.y), (-1, 0), (0, 1)),
        ((box.x + box.width, box.y + box.height), (0, -1), (-1, 0)),
        ((box.x, box.y + box.height), (1, 0), (0, -1)),
        ((box.x, box.y), (0, 1), (1, 0)),
    )
    spots: list[Spot] = []
    kinds: list[int] = []
    for (x, y), before, after in corners:
        for (dx, dy), far in ((before, r), (before, pull), (after, pull), (after, r)):
            spots.append((x + dx * far, y + dy * far))
        kinds += [int(Outline.LINETO), *[int(Outline.CURVE4)] * 3]
    kinds[0] = int(Outline.MOVETO)
    return Outline([*spots, spots[0]], [*kinds, int(Outline.CLOSEPOLY)])


def _letters(text: Text) -> "Outline":
    """Return a text's letters as lines: the fonts are matplotlib's own, the same everywhere."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath, text_to_path

    family, slant = ("DejaVu Serif", "italic") if text.leans else ("DejaVu Sans", "normal")
    made: list[Outline] = []
    x = 0.0
    parts = ((text.symbol.stem, 1.0, 0.0), (text.symbol.sub, SMALL, DROP))
    for letters, factor, drop in parts:
        if not letters:
            continue
        size = text.size * factor
        font = FontProperties(family=family, style=slant, size=size)
        made.append(TextPath((x, -drop * text.size), letters, size=size, prop=font))
        x += text_to_path.get_text_width_height_descent(letters, font, ismath=False)[0]
    back = {"start": 0.0, "middle": x / 2, "end": x}[text.anchor]
    return Outline.make_compound_path(*made).transformed(_by((text.x - back, text.y), turned=True))
