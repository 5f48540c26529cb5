"""A plot of many cells at once: a line of dots for each, a dot for each seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.lm.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOT, _MEAN, _MARK = "#0072B2", "#000000", "#D55E00"  # Okabe & Ito's, as in the other plots
_ROW = 0.21  # height of a line in inches
_FRAME = 1.5  # height of axis, caption and margins
_NEAR = 5.0  # a mean further from the best than so many times the median's distance is at the edge


@dataclass(frozen=True)
class Line:
    """A cell and its results, one for each seed."""

    label: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Mark:
    """A value to compare with, drawn as a dashed line from its label down."""

    label: str
    value: float


def plot_dots(
    stem: Path, lines: Sequence[Line], marks: Sequence[Mark], axis: str, caption: str
) -> tuple[Path, Path]:
    """Draw `lines`, the least mean on top, into stem.png and stem.svg.

    What lies far beyond the others is drawn at the right edge as an arrow with its mean in words.
    """
    import matplotlib as mpl  # a third of a second: only who plots waits for it
    from matplotlib.figure import Figure

    paths = stem.with_suffix(".png"), stem.with_suffix(".svg")
    height = _FRAME + _ROW * (len(lines) + len(marks) // 2)
    with mpl.rc_context({"svg.hashsalt": "cellwright", "font.size": 8}):
        figure = Figure(figsize=(7.2, height), dpi=150, layout="constrained")
        _draw(figure.subplots(), sorted(lines, key=lambda line: line.mean), marks, axis)
        figure.supxlabel(caption, fontsize=7, color="0.35", x=0.02, ha="left")
        for path in paths:
            with replacing(path) as file:
                metadata = {"Date": None} if path.suffix == ".svg" else None
                figure.savefig(file, format=path.suffix[1:], metadata=metadata)
    return paths


def _draw(axes: "Axes", lines: Sequence[Line], marks: Sequence[Mark], axis: str) -> None:
    edge = _edge(lines, marks)
    for row, line in enumerate(lines):
        if line.mean <= edge:
            near = [value for value in line.values if value <= edge]
            axes.plot(near, [row] * len(near), "o", color=_DOT, markersize=3.5, alpha=0.75)
            axes.plot([line.mean], [row], "|", color=_MEAN, markersize=9, markeredgewidth=1.6)
        else:
            axes.annotate(
                f"{line.mean:.2f} →",
                (1, row),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                color=_DOT,
            )
    # the greatest lowest, each line up to its own label: no label is crossed
    for order, mark in enumerate(sorted(marks, key=lambda mark: -mark.value)):
        top = -1.2 - order
        axes.plot([mark.value] * 2, [top, len(lines)], "--", color=_MARK, linewidth=0.8, zorder=0)
        axes.annotate(
            f" {mark.label} {mark.value:.2f}",
            (mark.value, top),
            color=_MARK,
            fontsize=6.5,
            va="center",
        )
    axes.set_yticks(range(len(lines)), [line.label for line in lines])
    axes.set_ylim(len(lines) - 0.4, -1.0 - len(marks))
    axes.set_xlabel(axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="0.92", linewidth=0.5)
    axes.set_axisbelow(True)


def _edge(lines: Sequence[Line], marks: Sequence[Mark]) -> float:
    """Where the axis ends: at the greatest value, or before what would press the rest together."""
    means = sorted(line.mean for line in lines)
    reach = means[0] + _NEAR * (means[len(means) // 2] - means[0])
    reach = max([reach, *(mark.value for mark in marks)])
    greatest = max(value for line in lines for value in line.values)
    return greatest if greatest <= reach or len(lines) < 4 else reach
