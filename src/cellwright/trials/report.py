"""The table and the plot of a comparison on music, beside published figures."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.lm.dots import Line, Mark, plot_dots
from cellwright.lm.storage import write_text
from cellwright.trials.records import FAR

if TYPE_CHECKING:
    from cellwright.trials.music import MusicComparison
    from cellwright.trials.records import MusicRow

HEADS = ("cell", "units", "parameters", "rate", "best epoch", "valid", "test", "± sd", "seeds")


@dataclass(frozen=True)
class Summary:
    """A cell over its seeds: means, and the standard deviation of the test (None for one seed)."""

    cell: str
    hidden: int
    parameters: int
    lr: float
    best_epoch: float
    valid_nats: float
    test_nats: float
    deviation: float | None
    seeds: int
    broke_down: int

    @classmethod
    def of(cls, rows: Sequence["MusicRow"]) -> "Summary":
        """The summary of a cell's rows at one rate."""
        tests = [row.test_nats for row in rows]
        return cls(
            cell=rows[0].cell,
            hidden=rows[0].hidden,
            parameters=rows[0].parameters,
            lr=rows[0].lr,
            best_epoch=statistics.fmean(row.best_epoch for row in rows),
            valid_nats=statistics.fmean(row.valid_nats for row in rows),
            test_nats=statistics.fmean(tests),
            deviation=statistics.stdev(tests) if len(tests) > 1 else None,
            seeds=len(rows),
            broke_down=sum(row.broke_down for row in rows),
        )

    def cells(self) -> tuple[str, ...]:
        """The texts of a table's row, in the order of HEADS."""
        return (
            self.cell,
            f"{self.hidden}",
            f"{self.parameters:,}",
            f"{self.lr:g}",
            f"{self.best_epoch:.0f}",
            f"{self.valid_nats:.3f}",
            f"{self.test_nats:.3f}",
            "" if self.deviation is None else f"{self.deviation:.3f}",
            f"{self.seeds}",
        )


def summaries(comparison: "MusicComparison") -> list[Summary]:
    """Each cell at its chosen rate, the least test loss first."""
    made = [Summary.of(rows) for rows in comparison.chosen().values()]
    return sorted(made, key=lambda summary: summary.test_nats)


def write_report(comparison: "MusicComparison") -> None:
    """Write compare.md, compare.png and compare.svg into the comparison's directory."""
    out = comparison.out
    write_text(out / "compare.md", markdown(comparison))
    lines = [
        Line(f"{name.rpartition(':')[2]} ({rows[0].hidden})", tuple(r.test_nats for r in rows))
        for name, rows in comparison.chosen().items()
    ]
    marks = [Mark(f"{f.cell}, {f.source}", f.test_nats) for f in comparison.published]
    axis = "test loss, nats for each step (88 pitches); a dot for each seed, | their mean"
    plot_dots(out / "compare", lines, marks, axis, caption(comparison))


def caption(comparison: "MusicComparison") -> str:
    """What was equal in the trainings, in two lines."""
    recipe = comparison.recipe
    worst = max(abs(row.difference) for row in comparison.rows) / comparison.budget
    return (
        f"{Path(comparison.music).name}: one layer (its units in parentheses), "
        f"{comparison.budget:,} parameters to {100 * worst:.1f} %, at most {recipe.epochs} epochs, "
        f"an end after {recipe.patience}\nwithout a better validation; the rate chosen for each "
        "cell on validation. An arrow: the mean lies beyond. Dashed: published,\nunder other "
        "conditions."
    )


def equalities(comparison: "MusicComparison") -> str:
    """What was the same for every cell, in a sentence."""
    recipe, seeds = comparison.recipe, len(comparison.seeds)
    furthest = max(comparison.rows, key=lambda row: abs(row.difference))
    share = 100 * abs(furthest.difference) / comparison.budget
    near = f"to {share:.1f} %" if share < 100 * FAR else f"but {furthest.cell} is {share:.0f} % off"
    return (
        f"Equal for all: {comparison.budget:,} parameters ({near}), the rates that were tried, "
        f"{seeds} seed{'s' * (seeds > 1)}, batches of {recipe.batch} pieces, gradients of norm at "
        f"most {recipe.clip:g}, at most {recipe.epochs} epochs, an end after {recipe.patience} "
        "without a better validation."
    )


def table_rows(comparison: "MusicComparison") -> list[tuple[str, ...]]:
    """The rows under HEADS, the least test loss first, published figures in their places."""
    rows = [(summary.test_nats, summary.cells()) for summary in summaries(comparison)]
    for figure in comparison.published:
        name = f"{figure.cell}, {figure.source}"
        rows.append((figure.test_nats, (name, *[""] * 5, f"{figure.test_nats:.2f}", "", "")))
    return [cells for _, cells in sorted(rows, key=lambda row: row[0])]


def markdown(comparison: "MusicComparison") -> str:
    """The table as Markdown, with published figures in italics, then the notes."""
    ruler = ("---", *["--:"] * (len(HEADS) - 1))
    rows = [row if row[-1] else _italic(row) for row in table_rows(comparison)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in (HEADS, ruler, *rows))
    return table + "".join(f"\n{note}\n" for note in notes(comparison))


def _italic(cells: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"*{text}*" if text else "" for text in cells)


def notes(comparison: "MusicComparison") -> list[str]:
    """What was equal, each cell that was left out, and those that broke down, in sentences."""
    made = [equalities(comparison)] if comparison.rows else []
    made += [f"Left out: {name}: {why}." for name, why in comparison.left_out.items()]
    broken = [s.cell for s in summaries(comparison) if s.broke_down]
    if broken:
        made.append(f"A training of {', '.join(broken)} broke down and ended early.")
    return made
