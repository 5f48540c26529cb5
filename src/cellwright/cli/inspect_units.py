"""`cellwright inspect units`: which units carry number and gender, proven by ablation."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cellwright.cli import agreement, flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.models import Run, load
from cellwright.cli.terminal import console, paragraph
from cellwright.tasks.agreement import generate

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.inspect.units import UnitsReport
    from cellwright.lm import LanguageModel
    from cellwright.tasks.agreement import AgreementCorpus

EXAMPLES = """
cellwright inspect units runs/agreement-lstm
cellwright inspect units runs/agreement-lstm "the king near the girls sings ."
cellwright inspect units runs/agreement-lstm --unit 1:42 --state c
cellwright inspect units runs/agreement-lstm --json
"""
STEPS = 5  # shades of each colour

Sentence = Annotated[
    str | None,
    typer.Argument(metavar="TEXT", help="words to show a unit on (default: a test sentence)"),
]
Sentences = Annotated[int, typer.Option(metavar="N", min=40, help="test sentences to measure on")]
Top = Annotated[int, typer.Option(metavar="N", min=1, max=50, help="units to show of each kind")]
Controls = Annotated[
    int, typer.Option(metavar="N", min=10, max=1000, help="random units to ablate beside them")
]
Shuffles = Annotated[
    int, typer.Option(metavar="N", min=10, max=1000, help="times that the labels are shuffled")
]
Seed = Annotated[int, typer.Option(metavar="N", help="of the shuffles and the random units")]
Shown = Annotated[
    str | None,
    typer.Option(
        "--unit",
        metavar="L:K",
        help="layer and unit to show on the text (default: the most selective)",
        show_default=False,
    ),
]
State = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="the state to show: h, c (default: the output)"),
]


def units(
    run: Run,
    text: Sentence = None,
    sentences: Sentences = 1000,
    top: Top = 3,
    controls: Controls = 40,
    shuffles: Shuffles = 50,
    unit: Shown = None,
    state: State = None,
    seed: Seed = 0,
    as_json: flags.Json = False,
) -> None:
    """Find the units that carry number and gender in the agreement language."""
    from cellwright.inspect.units import find_units

    if state is not None and unit is None:
        raise UsageFault("--state: is of the unit that --unit names; give both, or neither")
    model = load(run, "cpu")
    corpus = generate(agreement.settings_of(run))
    corpus = dataclasses.replace(corpus, test=corpus.test[:sentences])
    agreement.ask(model, dataclasses.replace(corpus, test=corpus.test[:1]))  # knows the words?
    words = (text or corpus.test[0].text).split()
    shown = _column(model, unit, state) if unit is not None else None
    if shown is not None:
        values = _values(model, corpus, words, *shown)  # before the work: the text may be unknown
    report = find_units(
        model, corpus, agreement.ask, top=top, drawn=controls, shuffles=shuffles, seed=seed
    )
    if shown is None:
        best = max(report.findings, key=lambda found: (found.causal, found.auc))
        shown = f"{best.unit}", best.state
        values = _values(model, corpus, words, *shown)
    if as_json:
        named = {"unit": shown[0], "state": shown[1], "words": words, "values": values}
        made = {**report.to_dict(), "text": named}
        console().file.write(json.dumps(made, indent=2) + "\n")
        return
    _print(console(), report)
    _coloured(console(), words, values, f"unit {shown[0]}, {shown[1]}")


def _column(model: "LanguageModel", unit: str, state: str | None) -> tuple[str, str]:
    """The unit and state to show; UsageFault for what the model does not have."""
    from cellwright.inspect.units_read import output_state, units

    known = [f"{place}" for place in units(model)]
    if unit not in known:
        raise UsageFault(f"--unit: expected {known[0]} to {known[-1]}, got {unit!r:.60}")
    if state is not None and state not in model.cell.graph.state_names:
        names = ", ".join(model.cell.graph.state_names)
        raise UsageFault(f"--state: expected one of {names}, got {state!r:.60}")
    return unit, state or output_state(model)


def _values(
    model: "LanguageModel", corpus: "AgreementCorpus", words: list[str], unit: str, state: str
) -> list[float]:
    """What a unit's state holds after each word of a text."""
    from cellwright.inspect.units_read import before, read

    if not words:
        raise UsageFault("TEXT: expected words, got none")
    columns, values = read(model, before(corpus), [words])
    for at, column in enumerate(columns):
        if (f"{column.place}", column.state) == (unit, state):
            return values[0, :, at].tolist()
    raise UsageFault(f"--state: {state} is not as wide as the output; choose another")


def _print(out: "Console", report: "UnitsReport") -> None:
    from cellwright.inspect.units import KINDS

    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for head in ("unit", "state", "AUC", "high means", "lost without it", "causal"):
        made.add_column(head, justify="right" if head in ("AUC", "lost without it") else "left")
    for kind in KINDS:
        made.add_row(f"{kind}: {report.accuracy[kind]:.1f} % right", style="bold")
        for found in report.of(kind):
            verdict = Text("yes", style="good") if found.causal else Text("no")
            auc, lost = f"{found.auc:.3f}", f"{found.drops[kind]:.1f}"
            made.add_row(f"  {found.unit}", found.state, auc, found.high, lost, verdict)
        shuffled, controls = report.shuffled[kind], report.controls[kind]
        luck, worst = f"{max(shuffled):.3f}", f"{max(controls, default=0):.1f}"
        made.add_row("  by luck", "any", luck, "", worst, "", style="label")
        made.add_section()
    out.print(made)
    for kind in KINDS:
        paragraph(out, verdict_of(kind, report), indent="  ", first="")
    first = next(iter(KINDS))
    paragraph(
        out,
        f"AUC: how well the unit's value just before the word that must agree tells {first} or "
        f"gender, on {report.sentences} sentences that took no part in choosing it (0.5: not at "
        f"all, 1: always). Lost: points of accuracy on them when nothing reads the unit. By luck: "
        f"the best of all units in {len(report.shuffled[first])} shuffles of the labels, and the "
        f"most lost without one of {len(report.drawn)} random units. Causal: beyond "
        "both, and beyond three standard errors.",
    )


def verdict_of(kind: str, report: "UnitsReport") -> str:
    """What may be said of a kind, in a sentence."""
    proven = [found for found in report.of(kind) if found.causal]
    if not proven:
        return (
            f"{kind}: no single unit is shown to carry it; what the model knows of it, if "
            "anything, is spread over several."
        )
    best = max(proven, key=lambda found: found.drops[kind])
    others = ", ".join(f"{found.unit}" for found in proven if found is not best)
    return (
        f"{kind}: unit {best.unit} carries it: without it {report.accuracy[kind]:.1f} % right "
        f"become {report.accuracy[kind] - best.drops[kind]:.1f} %"
        + (f"; {others} too" if others else "")
        + "."
    )


def _coloured(out: "Console", words: list[str], values: list[float], title: str) -> None:
    """Words with a unit's value under each: blue below zero, orange above, and the number."""
    largest = max(*(abs(value) for value in values), 1e-9)
    out.print(f"\n{title}, after each word; the largest is {largest:.2f}", style="bold")
    first, second, used = Text(), Text(), 0
    for word, value in zip(words, values, strict=True):
        shown = f"{value:+.2f}"
        width = max(len(word), len(shown)) + 1
        if used + width > out.width and used:
            out.print(first, second, sep="\n")
            first, second, used = Text(), Text(), 0
        first.append(word, style=_shade(value / largest))
        first.append(" " * (width - len(word)))
        second.append(shown.ljust(width), style="label")
        used += width
    out.print(first, second, sep="\n")


def _shade(share: float) -> str:
    """A background between blue (-1) and orange (1), on which black can be read."""
    depth = round(STEPS * min(1.0, abs(share))) / STEPS
    full = (230, 130, 40) if share > 0 else (80, 150, 230)
    mixed = (round(255 + depth * (c - 255)) for c in full)
    return "black on #" + "".join(f"{c:02x}" for c in mixed)
