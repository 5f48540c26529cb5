"""`cellwright inspect units` for any text: which units tell its features, and at what cost."""

import codecs
import math
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_units_colour import coloured
from cellwright.cli.quantities import count
from cellwright.cli.terminal import fits, paragraph
from cellwright.lm.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from cellwright.inspect.units.read import Column
    from cellwright.inspect.units.states import States, Tokens
    from cellwright.inspect.units.text import TextFinding, TextReport
    from cellwright.lm import LanguageModel

TOKENS = 20_000  # measured on unless told otherwise
EXCERPT = {"char": 300, "word": 80, "bpe": 120}  # tokens printed with a unit's values, by level
LONGEST_TOKEN = 40  # characters; of a file so many for each token are read
MATCHED = {
    "token": "Not shown to be told better than by the current token alone",
    "untrained": "Not shown to be told better than by a unit of the untrained model",
    "luck": "Told by no unit better than by luck",
}


@dataclass(frozen=True)
class Measured:
    """A text that is measured on, by its name: a file's, or the run's own.

    `whole`: there is no more of it than was read.
    """

    name: str
    read: "Tokens"
    whole: bool

    def __str__(self) -> str:
        first = "" if self.whole else "the first "
        return f"{self.name}: {first}{count(len(self.read))} tokens"


def measured(model: "LanguageModel", run: Path, file: Path | None, most: int) -> Measured:
    """The first `most` tokens of a file ("-": standard input), or of the run's validation text.

    UsageFault for a text of another kind than the model was trained on; CorpusError for a file
    that is no text, RunError for a run without one.
    """
    from cellwright.inspect.units.states import most_tokens, tokens
    from cellwright.lm.run import read_config, read_text_digests
    from cellwright.lm.texts import open_texts

    assert model.tokenizer is not None
    if file is None:
        held = open_texts(read_config(run), run, read_text_digests(run))
        kind, own = ("validation", held.valid) if held.valid else ("training", held.train)
        read = tokens(model, own.ids[:most].tolist())
        return Measured(f"{run}: its {kind} text", read, len(read) == own.tokens)
    name = "standard input" if str(file) == "-" else f"{file}"
    text, whole = _text(file, most * LONGEST_TOKEN)
    held = tokens(model, text)
    read = held.part(0, most)
    unknown = sum(number == model.tokenizer.unknown_id for number in read.ids)
    if 2 * unknown > len(read):
        raise UsageFault(
            f"--file: {name}: {count(unknown)} of {count(len(read))} tokens are not in the "
            "model's vocabulary; give a text of the kind that it was trained on"
        )
    return Measured(name, read, whole and len(read) == len(held) < most_tokens(model))


def _text(file: Path, most: int) -> tuple[str, bool]:
    """A file's first characters, at least `most` if it has them, and whether these are all."""
    from cellwright.lm.text import CHUNK_BYTES, Passage, read_text

    if str(file) != "-":
        pieces = read_text(Passage(file))
        text = "".join(islice(pieces, most // CHUNK_BYTES + 1))
        return text, next(pieces, None) is None
    data = sys.stdin.buffer.read(4 * most + 1)
    whole = len(data) <= 4 * most
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=whole), whole
    except UnicodeDecodeError as error:
        raise UsageFault(
            f"--file -: expected UTF-8 on standard input, got byte "
            f"0x{error.object[error.start]:02x} at {error.start}"
        ) from error


def untrained(model: "LanguageModel", run: Path) -> "LanguageModel | None":
    """The model as the run's training began; None for a model saved without its training."""
    from cellwright.lm.engine import as_begun
    from cellwright.lm.run import read_config

    try:
        config = read_config(run)
    except RunError:
        return None
    return as_begun(config, model)


def column_of(model: "LanguageModel", unit: str | None, state: str | None) -> "Column | None":
    """The column that flags name, None if none do; UsageFault for what the model lacks."""
    from cellwright.inspect.units.states import columns

    if unit is None:
        return None
    known = columns(model)
    held = [column for column in known if f"{column.place}" == unit]
    if not held:
        raise UsageFault(
            f"--unit: expected {known[0].place} to {known[-1].place}, got {unit!r:.60}"
        )
    wanted = state or output(model)
    for column in held:
        if column.state == wanted:
            return column
    names = ", ".join(column.state for column in held)
    raise UsageFault(f"--state: expected one of {names}, got {wanted!r:.60}")


def output(model: "LanguageModel") -> str:
    """The state that the layers put out, or the first there is where they put out none."""
    from cellwright.inspect.units.read import UnitsError, output_state

    try:
        return output_state(model)
    except UnitsError:
        return model.cell.graph.state_names[0]


def best_column(model: "LanguageModel", report: "TextReport") -> "Column":
    """The unit of the clearest finding: needed before remembered before told."""
    from cellwright.inspect.units.read import Column
    from cellwright.inspect.units.states import columns

    best = clearest(report)
    if best is None:
        return next(column for column in columns(model) if column.state == output(model))
    return Column(best.probed.state, best.place)


def clearest(report: "TextReport") -> "TextFinding | None":
    """The finding that is needed and remembered, by how far its unit tells more than a token."""

    def clear(found: "TextFinding") -> tuple[bool, bool, float]:
        needed = found.effect is not None and found.effect.needed
        probed = found.probed
        gain = probed.auc - max(probed.token, probed.untrained)
        return not found.matched and needed, not found.matched, gain

    return max(report.findings, key=clear, default=None)


@dataclass(frozen=True)
class Excerpt:
    """Tokens of a text and a column's value after each; `first` is their place in the text."""

    pieces: "Sequence[str]"
    values: "Sequence[float]"
    exact: bool
    first: int


def excerpt(report: "TextReport", read: "Tokens", states: "States", column: "Column") -> Excerpt:
    """A part of the text's second half, where what the column tells best comes and goes."""
    from cellwright.inspect.units.features_text import labels

    found = [
        f for f in report.findings if (f.place, f.probed.state) == (column.place, column.state)
    ]
    held = labels(read.pieces, read.level)[0][found[0].probed.feature] if found else None
    middle, size = len(read) // 2, min(EXCERPT[read.level], len(read))
    starts = [k for k in range(middle, len(read) - size + 1) if k and read.pieces[k - 1] == "\n"]
    starts = starts or [max(0, len(read) - size)]
    if held is None:
        first = starts[0]
    else:
        first = min(starts, key=lambda at: abs(float(held[at : at + size].mean()) - 0.5))
    values = states.column(column)[first : first + size].tolist()
    return Excerpt(read.pieces[first : first + size], values, read.exact, first)


def typed(model: "LanguageModel", text: str, column: "Column") -> Excerpt:
    """A text that somebody typed, and a column's values."""
    from cellwright.inspect.units.states import read_states, tokens

    read = tokens(model, text)
    values = read_states(model, read.ids).column(column).tolist()
    return Excerpt(read.pieces, values, read.exact, 0)


def facts(report: "TextReport", made: Measured, shown: Excerpt, column: "Column") -> dict[str, Any]:
    """The report and what is shown, as JSON values."""
    text = {
        "unit": f"{column.place}",
        "state": column.state,
        "first": shown.first,
        "tokens": list(shown.pieces),
        "values": list(shown.values),
    }
    return {"measured": made.name, **report.to_dict(), "text": text}


def print_report(out: "Console", report: "TextReport", made: Measured) -> None:
    """The table, what may be said of it, and how it was made."""
    out.print(f"{made}", style="bold", soft_wrap=True)
    table = _table(report)
    if not report.findings:
        out.print("No feature of this text could be measured.")
    elif fits(out, table):
        out.print(table)
    else:
        for found in report.findings:
            out.print(f"\n{found.probed.feature}", style="bold")
            paragraph(out, _row_said(found), indent="  ", first="  ")
        out.print()
    for found in report.findings:
        if not found.matched:
            paragraph(out, f"{found.probed.feature}: {found.verdict}", indent="  ")
    for matched, said in MATCHED.items():
        names = [found.probed.feature for found in report.findings if found.matched == matched]
        if names:
            paragraph(out, f"{said}: {', '.join(names)}.", indent="  ")
    for line in left_out(report):
        paragraph(out, line, indent="  ")
    if report.findings:
        out.print()
        paragraph(out, caption(report))


def left_out(report: "TextReport") -> list[str]:
    """What was not measured, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in report.left_out.items():
        reasons.setdefault(why, []).append(name)
    made = [f"Not measured: {', '.join(names)}: {why}." for why, names in reasons.items()]
    reasons = {}
    for found in report.findings:
        if found.unmeasured and found.matched:  # of the others the verdict says it
            reasons.setdefault(found.unmeasured, []).append(found.probed.feature)
    return made + [f"Loss not measured: {', '.join(f)}: {why}." for why, f in reasons.items()]


HEADS = ("AUC", "luck", "token", "before", "share", "loss")


def cells(found: "TextFinding") -> tuple[str, ...]:
    """A row's numbers, in the order of HEADS."""
    probed = found.probed
    aucs = (probed.auc, max(probed.shuffled, default=0.5), probed.token, probed.untrained)
    loss = f"{found.effect.where:+.3f}" if found.effect is not None else "."
    return (*(f"{auc:.3f}" for auc in aucs), f"{100 * probed.share:.1f}%", loss)


def _row_said(found: "TextFinding") -> str:
    pairs = zip(HEADS, cells(found), strict=True)
    numbers = ", ".join(f"{head} {cell}" for head, cell in pairs)
    return f"unit {found.place} {found.probed.state}: {numbers}"


def _table(report: "TextReport") -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    made.add_column("where")
    made.add_column("unit", no_wrap=True)
    for head in HEADS:
        made.add_column(head, justify="right", no_wrap=True)
    for found in report.findings:
        style = None if not found.matched else "label"
        name = f"{found.place} {found.probed.state}"
        made.add_row(found.probed.feature, name, *cells(found), style=style)
    return made


def caption(report: "TextReport") -> str:
    """How the table's numbers were computed."""
    random = count(len(report.drawn))
    loss = "" if math.isnan(report.loss) else f" where it is {report.loss:.3f}"
    return (
        f"AUC: how well the unit's value after a token tells whether it stands where the row says "
        f"(0.5: not at all, 1: always); the best of {count(report.columns)} values by the text's "
        f"first half, measured on its second. Luck: the best of all on the second half for labels "
        f"shifted round in a circle, the best of {report.shuffles} such draws: by chance alone a "
        f"row beats it about once in {report.shuffles + 1} times, and for the "
        f"{count(len(report.findings))} rows together that is not corrected. Token: what the "
        f"rate given the current token alone tells. Before: the best unit of the untrained model. "
        f"Share: of the tokens. Loss: what the loss there rises by when nothing reads the unit, "
        f"in nats, on {count(report.ablated)} tokens of the second half{loss}; {random} random "
        "units stand beside it."
    )


def print_excerpt(out: "Console", shown: Excerpt, column: "Column") -> None:
    """The text with the unit's values."""
    where = f" (from token {count(shown.first)})" if shown.first else ""
    title = f"unit {column.place}, {column.state}{where}"
    coloured(out, shown.pieces, shown.values, title, exact=shown.exact)
