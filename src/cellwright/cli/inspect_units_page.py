"""`cellwright inspect units -o`: the page, and its table of what was found."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.cli import inspect_units_pattern, inspect_units_text
from cellwright.cli.inspect_units_flags import Given
from cellwright.cli.terminal import console, paragraph

if TYPE_CHECKING:
    from cellwright.inspect.units.agreement import UnitsReport
    from cellwright.inspect.units.page import Table
    from cellwright.inspect.units.read import Column
    from cellwright.inspect.units.states import Tokens
    from cellwright.inspect.units.text import TextReport
    from cellwright.lm import LanguageModel


@dataclass(frozen=True)
class Page:
    """A page to be written: where, of which model and text, and the stretch it shows first."""

    out: Path
    model: "LanguageModel"
    run: Path
    read: "Tokens"
    stretch: tuple[int, int] | None

    @classmethod
    def of(cls, given: Given, model: "LanguageModel", measured: "Tokens") -> "Page":
        """The page that was asked for; faults in the flags show before the work begins."""
        from cellwright.inspect.units.states import tokens

        assert given.out is not None
        read = measured if given.text is None else tokens(model, given.text)
        stretch = None
        if given.find is not None or given.select is not None:
            stretch = inspect_units_pattern.stretch(read, given.find, given.select)
        return cls(given.out, model, given.run, read, stretch)

    def write(self, table: "Table", column: "Column") -> None:
        """Write it, and say how large it is and what it lacks."""
        from cellwright.inspect.units.page import MOST_TOKENS, Shown, write_units_page
        from cellwright.inspect.units.states import read_states

        size = min(len(self.read), MOST_TOKENS)
        made = write_units_page(
            self.out,
            f"{self.run.name or self.run}: what the units of its {self.model.cell.__name__} hold",
            self.read,
            read_states(self.model, self.read.ids[:size]),
            table,
            Shown(column, self.stretch),
            inspect_units_text.output(self.model),
        )
        out = console()
        out.print(f"{self.out}: {made.size / 1e6:.1f} MB, {made.tokens} tokens", soft_wrap=True)
        for line in made.left_out:
            paragraph(out, line)


def of_text(report: "TextReport", name: str) -> "Table":
    """The features of a text as the page's table."""
    from cellwright.inspect.units.page import Listed, Table
    from cellwright.inspect.units.read import Column

    rows = tuple(
        Listed(
            found.probed.feature,
            Column(found.probed.state, found.place),
            inspect_units_text.cells(found),
            found.verdict,
        )
        for found in report.findings
    )
    caption = f"Measured on {name}. {inspect_units_text.caption(report)}"
    return Table(inspect_units_text.HEADS, rows, caption, report.left_out)


def of_agreement(report: "UnitsReport") -> "Table":
    """Number and gender as the page's table."""
    from cellwright.cli.inspect_units import caption
    from cellwright.inspect.units.page import Listed, Table
    from cellwright.inspect.units.read import Column

    rows = []
    for found in report.findings:
        kind, whole = found.kind, report.accuracy[found.kind]
        lost = found.drops[kind]
        said = f"Unit {found.unit} {found.state} is not shown to be needed."
        if found.causal:
            now = f"without it {whole:.1f} % right become {whole - lost:.1f} %"
            said = f"Unit {found.unit} {found.state} carries it: {now}."
        luck, worst = max(report.shuffled[kind]), max(report.controls[kind], default=0.0)
        cells = (f"{found.auc:.3f}", f"{luck:.3f}", found.high, f"{lost:.1f}", f"{worst:.1f}")
        rows.append(Listed(kind, Column(found.state, found.unit), cells, said))
    heads = ("AUC", "luck", "high means", "lost", "at random")
    left_out = {f"state {state}": why for state, why in report.left_out.items()}
    return Table(heads, tuple(rows), caption(report), left_out)
