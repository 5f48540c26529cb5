"""The table and the plot of a finished comparison on a text."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cellwright.lm.dots import Line, plot_dots
from cellwright.lm.plots import plot_comparison
from cellwright.lm.storage import write_text

if TYPE_CHECKING:
    from cellwright.lm.compared import Comparison, Row

MOST_CURVES: Final = 7  # cells whose curves can be told apart by their colours


def write_summary(comparison: "Comparison") -> None:
    """Write compare.md, compare.png and compare.svg: each cell at its chosen rate.

    The plot has a curve for each training, or, of more than seven cells, a dot.
    """
    rows, out = comparison.chosen(), comparison.out
    write_text(out / "compare.md", markdown(comparison))
    if not rows:
        return
    if len({row.cell for row in rows}) <= MOST_CURVES:
        plot_comparison(dataclasses.replace(comparison, rows=rows), out)
        return
    axis = f"{_measure(comparison)}, validation; a dot for each seed, | their mean"
    lines = [
        Line(
            f"{own[0].cell.rpartition(':')[2]} ({own[0].hidden})",
            tuple(_measured(comparison, row) for row in own),
        )
        for own in _by_cell(rows)
    ]
    plot_dots(out / "compare", lines, (), axis, _caption(comparison))


def markdown(comparison: "Comparison") -> str:
    """The table, the least mean loss first, then what was left out and what broke down."""
    heads = ("cell", "units", "parameters", "rate", "nats", _measure(comparison), "± sd", "seeds")
    ruler = ("---", *["--:"] * (len(heads) - 1))
    groups = sorted(_by_cell(comparison.chosen()), key=_mean_nats)
    lines = (heads, ruler, *(_cells(comparison, own) for own in groups))
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    notes = [f"Left out: {name}: {why}." for name, why in comparison.left_out.items()]
    notes += [f"Broke down: {said}." for said in comparison.broke_down]
    return table + "".join(f"\n{note}\n" for note in notes)


def _by_cell(rows: Sequence["Row"]) -> list[list["Row"]]:
    names = dict.fromkeys(row.cell for row in rows)
    return [[row for row in rows if row.cell == name] for name in names]


def _mean_nats(rows: Sequence["Row"]) -> float:
    return statistics.fmean(row.valid_nats for row in rows)


def _cells(comparison: "Comparison", rows: Sequence["Row"]) -> tuple[str, ...]:
    first, values = rows[0], [_measured(comparison, row) for row in rows]
    return (
        first.cell,
        f"{first.hidden}",
        f"{first.parameters:,}",
        f"{first.lr:g}",
        f"{_mean_nats(rows):.4f}",
        f"{statistics.fmean(values):.3f}",
        f"{statistics.stdev(values):.3f}" if len(values) > 1 else "",
        f"{len(rows)}",
    )


def _measure(comparison: "Comparison") -> str:
    return "bits/char" if comparison.level == "char" else "perplexity"


def _measured(comparison: "Comparison", row: "Row") -> float:
    return row.bits_per_character if comparison.level == "char" else row.perplexity


def _caption(comparison: "Comparison") -> str:
    files = ", ".join(Path(name).name for name in comparison.files)
    rows = comparison.rows
    size = f"{rows[0].hidden} units wide"
    if comparison.budget is not None:
        worst = max(abs(row.difference) for row in rows) / comparison.budget
        size = f"{comparison.budget:,} parameters to {100 * worst:.1f} %"
    epochs = "one epoch" if comparison.epochs == 1 else f"{comparison.epochs} epochs"
    return (
        f"{files}: {size}, {epochs} each, "
        f"{max(row.tokens for row in rows):,} tokens in all; units in parentheses.\n"
        "The best validation of each training; an arrow: the mean lies beyond. Lower is better."
    )
