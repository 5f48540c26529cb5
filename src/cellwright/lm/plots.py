"""The plot of a comparison: validation loss by tokens trained on, one curve for each training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.lm.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cellwright.lm.comparison import Comparison, CurvePoint, Row

# Okabe & Ito's colours, which people with any colour vision tell apart; the markers repeat it.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_LABEL_GAP = 0.045  # between two labels, in heights of the axes


def plot_comparison(comparison: "Comparison", out: Path) -> tuple[Path, Path]:
    """Draw `comparison` into compare.png and compare.svg in the directory `out`.

    Bits per character for characters, else perplexity on a logarithmic axis.
    """
    import matplotlib as mpl  # a third of a second: only who plots waits for it
    from matplotlib.figure import Figure

    paths = out / "compare.png", out / "compare.svg"
    with mpl.rc_context({"svg.hashsalt": "cellwright", "font.size": 9}):
        figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
        _draw(figure, comparison)
        for path in paths:
            with replacing(path) as file:
                svg = path.suffix == ".svg"
                metadata = {"Date": None} if svg else None  # the same data, the same file
                figure.savefig(file, format=path.suffix[1:], metadata=metadata)
    return paths


def _draw(figure: "Figure", comparison: "Comparison") -> None:
    axes = figure.subplots()
    names = list(dict.fromkeys(row.cell for row in comparison.rows))
    ends = []
    for k, name in enumerate(names):
        rows = [row for row in comparison.rows if row.cell == name]
        colour, marker = _COLOURS[k % len(_COLOURS)], _MARKERS[k % len(_MARKERS)]
        for row in rows:
            x = [point.tokens for point in row.curve]
            y = [_height(comparison, point) for point in row.curve]
            axes.plot(x, y, color=colour, marker=marker, markersize=3.5, linewidth=1.4)
        last = sum(_height(comparison, row.curve[-1]) for row in rows) / len(rows)
        ends.append((last, _label(rows), colour))
    axes.set_xlabel("tokens trained on")
    axes.xaxis.set_major_formatter(lambda x, _: _short(x))
    if comparison.level == "char":
        axes.set_ylabel("bits per character (validation)")
    else:
        axes.set_yscale("log")
        axes.set_ylabel("perplexity (validation)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    _label_ends(axes, ends)
    figure.supxlabel(_caption(comparison), fontsize=7, color="0.35", x=0.02, ha="left")


def _height(comparison: "Comparison", point: "CurvePoint") -> float:
    return point.bits_per_character if comparison.level == "char" else point.perplexity


def _label(rows: Sequence["Row"]) -> str:
    runs = f", {len(rows)} seeds" if len(rows) > 1 else ""
    cell = rows[0].cell.rpartition(":")[2]  # of file.py:Class, the class
    return f"{cell} ({rows[0].hidden} units, {_short(rows[0].parameters)} parameters{runs})"


def _label_ends(axes: "Axes", ends: list[tuple[float, str, str]]) -> None:
    """Write each curve's name at its right end, moved up where two would overlap."""
    to_axes = axes.transData + axes.transAxes.inverted()
    below = -math.inf
    for y, text, colour in sorted(ends):
        height = max(float(to_axes.transform((axes.get_xlim()[0], y))[1]), below + _LABEL_GAP)
        axes.annotate(
            text,
            (1.01, height),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=8,
        )
        below = height


def _caption(comparison: "Comparison") -> str:
    files = ", ".join(Path(name).name for name in comparison.files)
    if comparison.budget is None:
        size = f"All cells {comparison.rows[0].hidden} units wide."
    else:
        worst = max(abs(row.difference) for row in comparison.rows) / comparison.budget
        size = f"All models have {comparison.budget:,} parameters, to {100 * worst:.1f} %."
    return (
        f"{size} Trained on {files} for {comparison.epochs} epochs each; each point: the "
        "validation text after an epoch,\nscored with the weights of that moment. Lower is "
        "better. One curve for each seed."
    )


def _short(number: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:g}"
