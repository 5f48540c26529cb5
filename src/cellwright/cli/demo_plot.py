"""The demo's picture: how often each cell is right, against how far back the cue stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellwright.cli.intervals import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's: told apart by people with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
INK, FAINT, GRID = "#222222", "#7a7a7a", "#e6e6e6"
TOP = 112  # percent: above 100 is room for the labels
ASIDE = 0.12  # how far curves stand apart, so that equal ones do not hide each other
CLOSE = 22  # percent: curves nearer than this at their ends are labelled above and below


@dataclass(frozen=True)
class Point:
    """`right` of `total` words at distances `first` to `last`; guessing gets `chance` of them."""

    first: int
    last: int
    right: int
    total: int
    chance: float

    @property
    def label(self) -> str:
        """The distances, as on the axis."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"

    @property
    def percent(self) -> float:
        """Percent right."""
        return 100 * self.right / self.total


@dataclass(frozen=True)
class Panel:
    """One field of the picture: what it is about, and each cell's points from near to far."""

    title: str
    example: str
    curves: Mapping[str, Sequence[Point]]


def draw(
    panels: Sequence[Panel], title: str, finding: str, caption: str, out: Path, name: str
) -> tuple[Path, Path]:
    """Draw the panels side by side under a title and a finding; write PNG and SVG into `out`.

    Every point has at least one answer. RunError if a file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), dpi=160, facecolor="white")
    rows = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.73, bottom=0.265, wspace=0.07)
    for number, (axes, panel) in enumerate(zip(rows[0], panels, strict=True)):
        _panel(axes, panel, leftmost=number == 0)
    figure.text(0.018, 0.96, title, fontsize=15, fontweight="bold", color=INK, va="center")
    figure.text(0.018, 0.915, finding, fontsize=10, color=INK, va="top", linespacing=1.35)
    middle = 0.5 * (0.055 + 0.985)
    below = "words back to the one it must agree with"
    figure.text(middle, 0.142, below, fontsize=9.5, color=INK, ha="center", va="bottom")
    figure.text(0.018, 0.022, caption, fontsize=7.5, color=FAINT, va="bottom", linespacing=1.45)
    png, svg = out / f"{name}.png", out / f"{name}.svg"
    for path in (png, svg):
        _write(figure, path)
    return png, svg


def _write(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all; the SVG without a date, so that runs can be compared."""
    from matplotlib import rc_context

    from cellwright.lm.atomic import replacing

    kind = path.suffix[1:]
    metadata = {"Date": None} if kind == "svg" else {"Software": "Cellwright"}
    with replacing(path) as file, rc_context({"svg.hashsalt": "cellwright"}):
        figure.savefig(file, format=kind, metadata=metadata)


def _panel(axes: "Axes", panel: Panel, leftmost: bool) -> None:
    points = next(iter(panel.curves.values()))
    chance = [100 * point.chance for point in points]
    axes.plot(range(len(points)), chance, color=FAINT, lw=1, linestyle=(0, (4, 3)), zorder=1)
    middle = (len(panel.curves) - 1) / 2
    for number, (curve, colour) in enumerate(zip(panel.curves.values(), COLOURS, strict=False)):
        _curve(axes, curve, colour, shift=ASIDE * (number - middle), width=2.8 - 1.2 * (number > 0))
    _label(axes, panel)
    _frame(axes, points, leftmost)
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=20)
    axes.text(
        0, 1.025, panel.example, transform=axes.transAxes, fontsize=9, color=FAINT, va="bottom"
    )
    if leftmost:
        axes.annotate(
            "guessing", (0, chance[0]), xytext=(0, -4), textcoords="offset points",
            fontsize=8.5, color=FAINT, va="top",
        )  # fmt: skip


def _curve(axes: "Axes", curve: Sequence[Point], colour: str, shift: float, width: float) -> None:
    places = [place + shift for place in range(len(curve))]
    bounds = [wilson(point.right, point.total) for point in curve]
    low, high = ([100 * bound[side] for bound in bounds] for side in (0, 1))
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        places, [point.percent for point in curve], color=colour, linewidth=width, marker="o",
        markersize=4.5, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
    )  # fmt: skip


def _label(axes: "Axes", panel: Panel) -> None:
    """Name the curves at their far ends: above them, the lower below if another is close."""
    ends = [(curve[-1].percent, -k) for k, curve in enumerate(panel.curves.values())]
    for (name, curve), end, colour in zip(panel.curves.items(), ends, COLOURS, strict=False):
        crowded = any(other > end and other[0] - end[0] < CLOSE for other in ends)
        axes.annotate(
            name, (len(curve) - 1, end[0]), xytext=(3, -9 if crowded else 8),
            textcoords="offset points", color=colour, fontsize=10.5, fontweight="bold",
            ha="right", va="top" if crowded else "bottom", zorder=4,
        )  # fmt: skip


def _frame(axes: "Axes", points: Sequence[Point], leftmost: bool) -> None:
    axes.set_ylim(0, TOP)
    axes.set_xlim(-0.4, len(points) - 0.6)
    ticks = range(0, 101, 25)
    axes.set_yticks(ticks, [f"{y} %" for y in ticks], fontsize=9, color=INK)
    labels = [f"{point.label}\nn={point.total}" for point in points]
    axes.set_xticks(range(len(points)), labels, fontsize=7.8, color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelleft=leftmost)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
