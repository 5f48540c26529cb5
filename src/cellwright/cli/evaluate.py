"""`cellwright evaluate`: how well a trained model predicts a text."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli import agreement, flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.models import Device, Run, load
from cellwright.cli.progress import finite
from cellwright.cli.quantities import count, duration, short
from cellwright.cli.terminal import console
from cellwright.tasks.agreement import generate

if TYPE_CHECKING:
    from cellwright.lm import Evaluation

EXAMPLES = """
cellwright evaluate runs/book other.txt
cellwright evaluate runs/book part1.txt part2.txt --json
cellwright evaluate runs/agreement-lstm --corpus agreement
"""

Texts = Annotated[
    list[Path] | None,
    typer.Argument(metavar="TEXT", help="UTF-8 text files, scored as one text"),
]
Corpus = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="score a generated text exactly: agreement"),
]


def evaluate(
    run: Run,
    text: Texts = None,
    corpus: Corpus = None,
    device: Device = "cpu",
    as_json: flags.Json = False,
) -> None:
    """Score every token of a text: nats, bits per character, perplexity.

    With --corpus agreement: which words agree as they must, by dependency and distance.
    """
    if (corpus is None) == (not text):
        raise UsageFault("give a text to score, or --corpus agreement: one of the two")
    if corpus is not None:
        agreement.check(corpus)
    model = load(run, device)
    if corpus is not None:
        scores = agreement.ask(model, generate(agreement.settings_of(run)))
        if as_json:
            console().file.write(json.dumps(finite(scores.to_dict()), indent=2) + "\n")
        else:
            agreement.print_scores(console(), {model.cell.__name__: scores})
        return
    from cellwright.lm import evaluate

    def warn(note: str) -> None:
        typer.echo(f"note: {note}", err=True)

    result = evaluate(model, text or [], on_warning=warn)
    if as_json:
        console().file.write(json.dumps(finite(result.to_dict()), indent=2) + "\n")
    else:
        _print(result)


def _print(result: "Evaluation") -> None:
    out = console()
    rows = [
        ("nats per token", f"{result.nats:.4f}"),
        ("perplexity", short(result.perplexity)),
        ("bits per character", f"{result.bits_per_character:.4f}"),
        ("tokens scored", f"{count(result.scored)} of {count(result.tokens)}"),
        ("characters", count(result.characters)),
        ("time", duration(result.seconds)),
    ]
    if result.unknown:
        rows.insert(4, ("unknown tokens", count(result.unknown)))
    for label, value in rows:
        out.print(f"{label:<20}{value}")
