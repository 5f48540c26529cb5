"""`cellwright inspect memory`: whether a trained model remembers, how far back, and by what."""

import json
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli import flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.models import Run
from cellwright.cli.quantities import count, sparkline
from cellwright.cli.terminal import console, fits, is_live, paragraph

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.inspect.memory.report import Gate, MemoryReport

EXAMPLES = """
cellwright inspect memory runs/book
cellwright inspect memory runs/book other.txt -o report.html --open
cellwright inspect memory runs/book --lags 500 --json
"""
LAGS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)  # of the table
LEAST_COLUMNS = 3  # that stay in a narrow window

Text = Annotated[
    Path | None,
    typer.Argument(metavar="TEXT", help="text file, - for standard input (default: the run's "
                   "validation text)", show_default=False),
]  # fmt: skip
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="the report as a page; replaces one that is there"
    ),
]
Lags = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=2000, help="longest lag of the gradients (default: 200, or half "
        "the text)", show_default=False,
    ),
]  # fmt: skip
Places = Annotated[
    int, typer.Option(metavar="N", min=10, max=100_000, help="places where losses are compared")
]
Seed = Annotated[int, typer.Option(metavar="N", help="of what is shuffled")]
Open = Annotated[bool, typer.Option("--open", help="show the page in the browser")]


def memory(
    run: Run,
    text: Text = None,
    out: Out = None,
    lags: Lags = None,
    places: Places = 2048,
    seed: Seed = 0,
    as_json: flags.Json = False,
    show: Open = False,
) -> None:
    """Say how far back a model remembers on a text, and how one knows.

    A verdict in plain sentences, then loss by context, gradients by lag,
    half-lives, gates and single units, beside the model before its training.
    """
    from cellwright.inspect.files import check_replaceable
    from cellwright.inspect.memory.measuring import Asked, measure
    from cellwright.inspect.memory.page import write_report

    if show and out is None:
        raise UsageFault("--open: shows the page that -o names; give both, or neither")
    if out is not None:
        check_replaceable(out)
    given = _standard_input() if text == Path("-") else text
    with _progress() as on_progress:
        report = measure(run, given, Asked(places, lags=lags, seed=seed), on_progress=on_progress)
    size = None if out is None else write_report(out, report)
    if as_json:
        console().file.write(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n")
    else:
        _print(console(), report)
        if out is not None and size is not None:
            console().print(f"{out}: {size / 1e6:.1f} MB", soft_wrap=True)
    if show and out is not None:
        webbrowser.open(out.resolve().as_uri())


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageFault(
            f"TEXT: standard input is not UTF-8 at byte {error.start}; convert it first, for "
            "example with: iconv -f LATIN1 -t UTF-8"
        ) from None


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done, gone when it is; nothing elsewhere."""
    if not is_live(sys.stderr):
        yield lambda _: None
        return
    with console(sys.stderr).status("loading") as status:
        yield status.update


# -- the terminal's view ------------------------------------------------------------------


def _print(out: "Console", report: "MemoryReport") -> None:
    facts = report.facts
    unknown = f", {count(facts.unknown)} unknown" if facts.unknown else ""
    paragraph(
        out,
        f"{facts.run}: {facts.cell}, {facts.layers} x {facts.hidden}, "
        f"{count(facts.parameters)} parameters, on {count(facts.tokens)} {facts.unit}s"
        f"{unknown} of {facts.text}",
    )
    out.print()
    for sentence in report.verdict:
        paragraph(out, sentence.text, indent="  ", first="- ")
    for name, make in SCREENS.items():
        out.print(f"\n{TITLES[name].format(unit=facts.unit)}", style="bold")
        for made in make(out, report):
            if isinstance(made, str):
                paragraph(out, made, indent="  ", first="  ")
            else:
                out.print(made)
        if name in report.left_out:
            paragraph(out, f"Not here: {report.left_out[name]}.", indent="  ", first="  ")
    out.print()
    paragraph(
        out,
        f"{facts.seconds:.0f} s. How each number was computed: the page (-o report.html), or "
        '"methods" in --json.',
    )


TITLES = {
    "context": "Context actually used: loss in nats after so many {unit}s",
    "gradients": "Gradient of log p by lag, median (untrained below)",
    "half-lives": "Half-lives by the gates, in steps",
    "gates": "Gates: share of values below 0.1 and above 0.9",
    "units": "Units that tell where a feature holds: AUC on held-out text",
}


def _table(heads: Sequence[str], left: int = 1) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for k, head in enumerate(heads):
        made.add_column(head, justify="left" if k < left else "right", no_wrap=k >= left)
    return made


def _narrowed(
    out: "Console",
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    dropped: Callable[[int], int] = lambda columns: columns - 1,
) -> Iterator[Table | str]:
    """A table with as many columns as the window has place for, and which are not shown.

    `dropped` says which of so many columns can be spared first: the last. No table of no rows.
    """
    kept = [*range(len(heads))]
    while rows:
        made = _table([heads[k] for k in kept])
        for row in rows:
            made.add_row(*(row[k] for k in kept))
        if len(kept) <= LEAST_COLUMNS or fits(out, made):
            yield made
            if gone := [head for k, head in enumerate(heads) if k not in kept]:
                yield f"Not shown in this narrow window: {', '.join(gone)}."
            return
        kept.pop(dropped(len(kept)))


def _context(out: "Console", report: "MemoryReport") -> Iterator[Table | str]:
    found = report.context
    full = found.reset.full
    rows = []
    for k, context in enumerate(found.contexts):
        excess = found.reset.loss[k] - full
        ends = {found.lacking: " lacking", found.enough: " enough"}
        others = (found.stranger, found.shuffled, found.untrained)
        rows.append([
            f"{context:,}{ends.get(context, '')}", f"{found.reset.loss[k]:.3f}",
            f"{excess:+.3f} ± {found.reset.error[k]:.3f}",
            *("" if losses is None else f"{losses.loss[k]:.3f}" for losses in others),
        ])  # fmt: skip
    kinds = (found.reset, found.stranger, found.shuffled, found.untrained)
    last = ["" if losses is None else f"{losses.full:.3f}" for losses in kinds]
    rows.append(["all before", last[0], "", *last[1:]])
    rows.append(["by frequency", f"{found.guessing:.3f}", "", "", "", ""])
    heads = ("context", "loss", "above all", "other text", "shuffled", "untrained")
    yield from _narrowed(out, heads, rows)


def _gradients(out: "Console", report: "MemoryReport") -> Iterator[Table | str]:
    longest = max((len(made.trained.lags) for made in report.gradients), default=0)
    lags = [lag for lag in LAGS if lag < longest]
    rows = []
    for made in report.gradients:
        for name, decay in ((made.of, made.trained), ("  untrained", made.untrained)):
            if decay is None:
                continue
            shown = [f"{decay.median[lag]:.0e}" if lag < len(decay.median) else "." for lag in lags]
            rows.append([name, *shown])
    heads = ["steps back", *(f"{lag}" for lag in lags)]
    yield from _narrowed(out, heads, rows, lambda columns: columns // 2)


def _half_lives(out: "Console", report: "MemoryReport") -> Iterator[Table | str]:
    window = report.facts.window
    rows = []
    for made in report.half_lives:
        how = f"{made.keep}, resets" if made.resets else made.keep
        name = f"layers.{made.layer}.{made.state} ({how})"
        rows.append(_lives(name, made.trained, window))
        if made.untrained is not None:
            rows.append(_lives("  untrained", made.untrained, window))
    for state in dict.fromkeys(made.state for made in report.half_lives):
        same = [made.trained for made in report.half_lives if made.state == state]
        if len(same) > 1:
            rows.append(
                _lives(f"{state} of all layers", [n for lives in same for n in lives], window)
            )
    heads = ("state", "median", "longest", f"over {window}", "longest tenth", "shortest tenth")
    yield from _narrowed(out, heads, rows)


def _lives(name: str, lives: Sequence[float | None], window: int) -> list[str]:
    from cellwright.inspect.memory.tables import beyond
    from cellwright.lm.gates import LONGEST, quantile

    median, longest, tenth, shortest = (quantile(lives, part) for part in (0.5, 1, LONGEST, 0.1))
    values = [
        "no end" if n is None or n >= 1e6 else f"{n:.1f}"
        for n in (median, longest, tenth, shortest)
    ]
    return [name, *values[:2], f"{100 * beyond(lives, window):.0f} %", *values[2:]]


def _gates(out: "Console", report: "MemoryReport") -> Iterator[Table | str]:
    rows = [_gate(gate) for gate in report.gates]
    yield from _narrowed(out, ("gate", "< 0.1", "> 0.9", "shut", "open", "0 to 1"), rows)
    dead = _table(("dead units", "of", "which"), left=1)
    for made in report.dead:
        some = ", ".join(f"{unit}" for unit in made.dead[:8]) + (", ..." * (len(made.dead) > 8))
        dead.add_row(f"layers.{made.layer}: {len(made.dead)}", f"{made.units}", some)
    yield dead


def _gate(gate: "Gate") -> list[str]:
    stuck = [f"{len(units)} of {gate.units}" for units in (gate.shut, gate.open)]
    shares = [f"{100 * part:.0f} %" for part in (gate.low, gate.high)]
    return [f"layers.{gate.layer}.{gate.name}", *shares, *stuck, sparkline([*gate.histogram], 20)]


def _units(out: "Console", report: "MemoryReport") -> Iterator[Table | str]:
    rows = [
        [
            made.feature, f"{made.auc:.2f}", f"{made.layer}:{made.unit} {made.state}",
            f"{max(made.shuffled, default=0.5):.2f}", f"{made.untrained:.2f}",
            f"{made.token:.2f}", f"{100 * made.share:.0f} %",
        ]
        for made in report.probes
    ]  # fmt: skip
    heads = ("feature", "AUC", "unit", "luck", "untrained", "token", "holds at")
    yield from _narrowed(out, heads, rows)


SCREENS: dict[str, Callable[["Console", "MemoryReport"], Iterator[Table | str]]] = {
    "context": _context,
    "gradients": _gradients,
    "half-lives": _half_lives,
    "gates": _gates,
    "units": _units,
}
