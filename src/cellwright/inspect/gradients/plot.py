"""The picture of gradient flow: a panel for each cell or layer, log scale, bounds and keeps."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from torch import Tensor

from cellwright.inspect.gradients.flow import GradientError, LayerFlow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's: told apart by people with any colour vision; a style of line besides.
STATES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
INK, FAINT, GRID = "#222222", "#6a6a6a", "#e6e6e6"
FLOOR = 1e-12  # nothing below it is drawn: float32, in which people train, has 1e-7
KINDS: Final = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Panel:
    """One field of the picture: what it is of, when, and the flow of one layer."""

    title: str
    when: str
    flow: LayerFlow


def draw(panels: Sequence[Panel], caption: str, path: Path) -> None:
    """Draw the panels in two columns into `path`; the caption says how it was computed.

    GradientError for a path that ends in none of KINDS; RunError if it cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from cellwright.lm.atomic import replacing

    check_path(path)
    rows = math.ceil(len(panels) / 2)
    lines = textwrap.wrap(caption, 108)
    below = 0.75 + 0.185 * len(lines)  # inches, for the axis' name and the caption
    height = 0.65 + 2.35 * rows + below
    figure = Figure(figsize=(7, height), dpi=160, facecolor="white")
    fields = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flatten()
    figure.subplots_adjust(
        left=0.105, right=0.97, bottom=below / height, top=1 - 0.65 / height, wspace=0.09,
        hspace=0.22,
    )  # fmt: skip
    limits = _limits(fields[0], panels)
    for number, (axes, panel) in enumerate(zip(fields, panels, strict=False)):
        _panel(axes, panel, limits, lowest=number + 2 >= len(panels))
    for axes in fields[len(panels) :]:
        axes.set_visible(False)
    figure.text(
        0.012, 1 - 0.2 / height, "How much of a state is left in itself, k steps later",
        fontsize=14, fontweight="bold", color=INK, va="center",
    )  # fmt: skip
    figure.text(
        0.545, (below - 0.42) / height, "k, steps back", fontsize=11, color=INK, ha="center"
    )
    figure.text(
        0.012, 0.08 / height, "\n".join(lines), fontsize=9, color=FAINT, va="bottom",
        linespacing=1.35,
    )  # fmt: skip
    kind = path.suffix[1:]
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with replacing(path) as file, rc_context({"svg.hashsalt": "cellwright"}):
        figure.savefig(file, format=kind, metadata=metadata or {"Software": "Cellwright"})


def check_path(path: Path) -> None:
    """GradientError for a picture of a kind that is not drawn, or in no directory."""
    if path.suffix not in KINDS:
        raise GradientError(
            f"-o: {path}: expected a file name that ends in {', '.join(KINDS)}, got "
            f"{path.suffix or 'no ending'!r}"
        )
    if not path.parent.is_dir():
        raise GradientError(f"-o: {path}: there is no directory {path.parent}; make it first")


def _panel(axes: "Axes", panel: Panel, limits: tuple[float, float], lowest: bool) -> None:
    flow = panel.flow
    lags = range(1, flow.lags + 1)
    bound = flow.bound.median(0).values
    ends = [("bound", bound, FAINT)]
    axes.plot(lags, _shown(bound), color=FAINT, linewidth=1.1, linestyle=(0, (1, 1.6)), zorder=2)
    for state, colour in zip(flow.states, STATES, strict=False):
        middle = state.gain.median(0).values
        low, high = state.gain.amin(0), state.gain.amax(0)
        axes.fill_between(lags, _shown(low), _shown(high), color=colour, alpha=0.15, linewidth=0)
        axes.plot(lags, _shown(middle), color=colour, linewidth=2.2, zorder=4)
        ends.append((state.state, middle, colour))
        if state.kept is not None:
            kept = state.kept.median(0).values
            axes.plot(lags, _shown(kept), color=colour, linewidth=1.3, linestyle=(0, (5, 2)))
            ends.append((f"Π {state.keep}", kept, colour))
    _name(axes, ends, limits)
    axes.set_title(panel.title, loc="left", fontsize=11.5, fontweight="bold", color=INK, pad=5)
    axes.set_title(panel.when, loc="right", fontsize=9.5, color=FAINT, pad=5)
    axes.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=10, labelcolor=INK, labelbottom=lowest)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _name(
    axes: "Axes", ends: Sequence[tuple[str, Tensor, str]], limits: tuple[float, float]
) -> None:
    """Write each curve's name beside it, where it is still inside and clear of the others."""
    taken: list[tuple[float, float]] = []
    lags = len(ends[0][1])
    decades = math.log10(limits[1] / limits[0])
    for name, curve, colour in ends:
        inside = [k for k in range(lags) if 5 * limits[0] < curve[k] < limits[1] / 20]
        for share in (0.97, 0.8, 0.62, 0.45, 0.3, 0.18):
            k = inside[min(len(inside) - 1, int(share * len(inside)))] if inside else 0
            place = k / lags, math.log10(max(float(curve[k]), limits[0]) / limits[0]) / decades
            if all(abs(place[0] - x) > 0.13 or abs(place[1] - y) > 0.09 for x, y in taken):
                break
        taken.append(place)
        side = "right" if place[0] > 0.8 else "left" if place[0] < 0.2 else "center"
        axes.annotate(
            name, (k + 1, max(float(curve[k]), limits[0])), xytext=(0, 5), color=colour,
            textcoords="offset points", ha=side, va="bottom", fontweight="bold", fontsize=10,
            zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )  # fmt: skip


def _shown(curve: Tensor) -> list[float]:
    """A curve without what lies below the floor."""
    return [float(v) if v >= FLOOR / 10 else math.nan for v in curve]


def _limits(axes: "Axes", panels: Sequence[Panel]) -> tuple[float, float]:
    """Set the scales, the same for all panels, and return the lowest and highest value shown."""
    values = [v for p in panels for s in p.flow.states for v in s.gain.flatten().tolist()]
    low = max(FLOOR, min((v for v in values if v > 0), default=FLOOR))
    axes.set_yscale("log")
    top = 100 * max(10.0, *values)
    least = 10.0 ** math.floor(math.log10(low))
    axes.set_ylim(least, top)
    axes.set_xlim(0, max(p.flow.lags for p in panels))
    return least, top
