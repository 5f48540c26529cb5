"""`cellwright inspect units`: which units tell what, proven by ablation, and where they recur."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from cellwright.cli import agreement, flags
from cellwright.cli import inspect_units_flags as own
from cellwright.cli import inspect_units_text as texts
from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_units_colour import coloured
from cellwright.cli.inspect_units_flags import CONTROLS, SENTENCES, SHUFFLES, TOP, Given
from cellwright.cli.models import Run, load
from cellwright.cli.progress import finite
from cellwright.cli.terminal import console, paragraph
from cellwright.lm.errors import RunError
from cellwright.tasks.agreement import generate

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.inspect.units.agreement import UnitsReport
    from cellwright.inspect.units.read import Column
    from cellwright.lm import LanguageModel
    from cellwright.tasks.agreement import AgreementCorpus

EXAMPLES = """
cellwright inspect units runs/book
cellwright inspect units runs/book --file other.txt
cellwright inspect units runs/book --find "the king"
cellwright inspect units runs/book -o units.html
cellwright inspect units runs/agreement-lstm
cellwright inspect units runs/agreement-lstm "the king near the girls sings ."
cellwright inspect units runs/agreement-lstm --unit 1:42 --state c --json
"""


def units(
    run: Run,
    text: own.TextShown = None,
    file: own.File = None,
    tokens: own.Tokens = None,
    unit: own.Shown = None,
    state: own.State = None,
    top: own.Top = None,
    controls: own.Controls = None,
    shuffles: own.Shuffles = None,
    out: own.Out = None,
    find: own.Find = None,
    select: own.Select = None,
    above: own.Above = None,
    alone: own.Alone = False,
    sentences: own.Sentences = None,
    seed: own.Seed = 0,
    as_json: flags.Json = False,
) -> None:
    """Find the units that tell where a text's features hold, and what is lost without them.

    In a run of the agreement language: the units that carry number and gender.
    With --find or --select: where else the units of a stretch of text are on.
    """
    from cellwright.inspect.files import check_replaceable

    given = Given(
        run, text, file, tokens, find, select, above, alone, unit, state, top, sentences,
        controls, shuffles, seed, out, as_json,
    )  # fmt: skip
    selects = find is not None or select is not None
    searches = selects and out is None
    agrees = file is None and not searches and _of_agreement(run)
    if state is not None and unit is None and not searches:
        raise UsageFault("--state: is of the unit that --unit names; give both, or neither")
    if not selects:
        given.refuse("above alone", "is of a pattern search; give --find or --select too")
    if out is not None:
        given.refuse("as_json", "prints to the terminal; leave out -o, or --json")
        given.refuse("above alone", "is of a search in the terminal; the page has its own")
        check_replaceable(out)  # before the work
    if not agrees:
        given.refuse("sentences", "is of the agreement language; for a text give --tokens")
    if searches:
        given.refuse("controls shuffles unit", "is not of a search; leave it out")
        _search(given)
    elif agrees:
        given.refuse("tokens", "is of a text; for the agreement language give --sentences")
        _agree(given)
    else:
        given.refuse("top", "is of the agreement language and of a search; leave it out")
        _look(given)


def _of_agreement(run: Path) -> bool:
    """Whether a run was trained on the agreement language; what is no run says so when loaded."""
    from cellwright.lm.run import read_config

    try:
        return read_config(run).corpus == agreement.NAME
    except RunError:
        return False


def _search(given: Given) -> None:
    """Print where else the units of a stretch are on."""
    from cellwright.cli import inspect_units_pattern as pattern
    from cellwright.inspect.units.pattern import find_pattern
    from cellwright.inspect.units.states import read_states, tokens

    model = load(given.run, "cpu")
    if given.text is not None:
        given.refuse("file tokens", "is of a text to measure; to search TEXT leave it out")
        made = texts.Measured("TEXT", tokens(model, given.text), whole=True)
    else:
        made = texts.measured(model, given.run, given.file, given.tokens or texts.TOKENS)
    read = made.read
    first, end = pattern.stretch(read, given.find, given.select)
    state = given.state or texts.output(model)
    found = find_pattern(
        read_states(model, read.ids),
        first,
        end,
        state=state,
        above=given.above,
        alone=bool(given.alone),
        most=given.top or pattern.MATCHES,
    )
    if given.as_json:
        write_json(pattern.facts(read, found, made.name, state))
    else:
        pattern.print_pattern(console(), read, found, f"{made}", state)


def _look(given: Given) -> None:
    """Print which units tell a text's features, and a text with a unit's values; or the page."""
    from cellwright.cli import inspect_units_page
    from cellwright.inspect.units.states import read_states
    from cellwright.inspect.units.text import find_in_text

    model = load(given.run, "cpu")
    column = texts.column_of(model, given.unit, given.state)
    made = texts.measured(model, given.run, given.file, given.tokens or texts.TOKENS)
    page = inspect_units_page.Page.of(given, model, made.read) if given.out else None
    states = read_states(model, made.read.ids)
    fresh = texts.untrained(model, given.run)
    if fresh is None:
        console(sys.stderr).print(
            f"note: {given.run} says nothing of its training: the untrained model beside it has "
            "weights of its own draw",
            style="warn",
            soft_wrap=True,
        )
    report = find_in_text(
        model,
        made.read,
        untrained=fresh,
        drawn=given.controls or CONTROLS,
        shuffles=given.shuffles or SHUFFLES,
        seed=given.seed,
        states=states,
    )
    column = column or texts.best_column(model, report)
    if page is not None:
        page.write(inspect_units_page.of_text(report, made.name), column)
        return
    if given.text is not None:
        shown = texts.typed(model, given.text, column)
    else:
        shown = texts.excerpt(report, made.read, states, column)
    if given.as_json:
        write_json(texts.facts(report, made, shown, column))
        return
    texts.print_report(console(), report, made)
    texts.print_excerpt(console(), shown, column)


def _agree(given: Given) -> None:
    """Print the units that carry number and gender, and a sentence with a unit; or the page."""
    from cellwright.cli import inspect_units_page
    from cellwright.inspect.units.agreement import find_units
    from cellwright.inspect.units.read import Column

    model = load(given.run, "cpu")
    corpus = generate(agreement.settings_of(given.run))
    corpus = dataclasses.replace(corpus, test=corpus.test[: given.sentences or SENTENCES])
    agreement.ask(model, dataclasses.replace(corpus, test=corpus.test[:1]))  # knows the words?
    words = (corpus.test[0].text if given.text is None else given.text).split()
    column = texts.column_of(model, given.unit, given.state)
    if column is not None:
        values = _values(model, corpus, words, column)  # before the work: the text may be unknown
    page = None
    if given.out is not None:
        from cellwright.inspect.units.states import tokens

        sentences = "".join(f"{probe.text}\n" for probe in corpus.test)
        page = inspect_units_page.Page.of(given, model, tokens(model, sentences))
    report = find_units(
        model,
        corpus,
        agreement.ask,
        top=given.top or TOP,
        drawn=given.controls or CONTROLS,
        shuffles=given.shuffles or SHUFFLES,
        seed=given.seed,
    )
    if column is None:
        best = max(report.findings, key=lambda found: (found.causal, found.auc))
        column = Column(best.state, best.unit)
        values = _values(model, corpus, words, column)
    if page is not None:
        page.write(inspect_units_page.of_agreement(report), column)
        return
    if given.as_json:
        named = {"unit": f"{column.place}", "state": column.state, "words": words}
        write_json({**report.to_dict(), "text": {**named, "values": values}})
        return
    _print(console(), report)
    coloured(console(), words, values, f"unit {column.place}, {column.state}", exact=False)


def write_json(facts: dict[str, Any]) -> None:
    """Print facts as JSON."""
    console().file.write(json.dumps(finite(facts), indent=2, ensure_ascii=False) + "\n")


def _values(
    model: "LanguageModel", corpus: "AgreementCorpus", words: list[str], column: "Column"
) -> list[float]:
    """What a unit's state holds after each word of a text."""
    from cellwright.inspect.units.read import before, read

    if not words:
        raise UsageFault("TEXT: expected words, got none")
    columns, values = read(model, before(corpus), [words])
    if column not in columns:
        raise UsageFault(f"--state: {column.state} is not as wide as the output; choose another")
    return values[0, :, columns.index(column)].tolist()


def _print(out: "Console", report: "UnitsReport") -> None:
    from cellwright.inspect.units.agreement import KINDS

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
    for state, why in report.left_out.items():
        paragraph(out, f"State {state} was not asked: {why}.", indent="  ", first="")
    paragraph(out, caption(report))


def caption(report: "UnitsReport") -> str:
    """How the table's numbers were computed."""
    shuffles = len(next(iter(report.shuffled.values())))
    return (
        f"AUC: how well the unit's value just before the word that must agree tells number or "
        f"gender, on {report.sentences} sentences that took no part in choosing it (0.5: not at "
        f"all, 1: always). Lost: points of accuracy on them when nothing reads the unit. By luck: "
        f"the best of all units in {shuffles} shuffles of the labels, and the most lost without "
        f"one of {len(report.drawn)} random units. Causal: beyond both, and beyond three standard "
        "errors."
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
    others = ", ".join(f"{found.unit} {found.state}" for found in proven if found is not best)
    whole = report.accuracy[kind]
    return (
        f"{kind}: unit {best.unit} {best.state} carries it: without it {whole:.1f} % right become "
        f"{whole - best.drops[kind]:.1f} %" + (f"; {others} too" if others else "") + "."
    )
