"""`cellwright inspect step`: one unit at one token, as lines that can be checked by hand."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli import flags
from cellwright.cli.models import Run, load
from cellwright.cli.terminal import console, paragraph

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.inspect.walk.rows import Row, Spot
    from cellwright.inspect.walk.values import Reading
    from cellwright.lm import LanguageModel
    from cellwright.lm.attribution import Attribution

EXAMPLES = """
cellwright inspect step runs/book --text "The cat sat" --at 4 --unit 3
cellwright inspect step runs/book --text "The cat sat" --layer 1 --json
"""
WIDE = 72  # columns from which on names, formulas and values stand beside one another
GUESSES = 5
STRONGEST = 5  # of the tokens that are looked back at

Text = Annotated[
    str, typer.Option("--text", metavar="TEXT", help="what the model reads", show_default=False)
]
At = Annotated[
    int | None,
    typer.Option(metavar="N", help="the token, counted from 0 (default: the last)"),
]
Unit = Annotated[int, typer.Option(metavar="N", help="the unit, counted from 0")]
Layer = Annotated[int, typer.Option(metavar="N", help="the layer, counted from 0")]


def step(
    run: Run,
    text: Text,
    at: At = None,
    unit: Unit = 0,
    layer: Layer = 0,
    as_json: flags.Json = False,
) -> None:
    """Print what one unit of a model computes at one token of a text.

    Every line can be checked by hand: a formula, the numbers in it, its value.
    """
    from cellwright.inspect.walk.rows import Spot, rows
    from cellwright.inspect.walk.values import read

    model = load(run, "cpu")
    reading = read(model, text)
    spot = Spot(layer, reading.steps - 1 if at is None else at, unit)
    found = rows(reading, spot)
    out = console()
    if as_json:
        facts = _facts(model, reading, spot, found)
        out.file.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    _print_head(out, model, reading, spot)
    for name, group in itertools.groupby(found, key=lambda row: row.step):
        _print_step(out, name, list(group))
    _print_guesses(out, model, reading, spot)
    _print_back(out, model, reading, spot)


def unseen(model: "LanguageModel", pieces: Sequence[str], ids: Sequence[int]) -> list[str]:
    """The characters or words of a text that a model has never seen, each once."""
    unknown = model.tokenizer.unknown_id if model.tokenizer is not None else None
    new = [p for p, k in zip(pieces, ids, strict=False) if k == unknown and p != "<unk>"]
    return list(dict.fromkeys(new))


def _facts(
    model: "LanguageModel", reading: "Reading", spot: "Spot", found: list["Row"]
) -> dict[str, object]:
    return {
        "cell": model.cell.__name__,
        "layer": spot.layer,
        "token": spot.token,
        "piece": reading.pieces[spot.token],
        "unit": spot.unit,
        "unseen": unseen(model, reading.pieces, reading.ids),
        "rows": [asdict(row) for row in found],
        "predictions": [
            {"token": name, "probability": p, "from_unit": given}
            for name, p, given in _guesses(model, reading, spot)
        ],
        "look_back": _looked_back(model, reading, spot).to_dict(),
    }


def _print_head(out: "Console", model: "LanguageModel", reading: "Reading", spot: "Spot") -> None:
    before = "".join(reading.pieces[: spot.token]) if reading.exact else ""
    after = f" after {before[-12:]!r}" if before else ""
    last = len(reading.layers) - 1
    layers = f", layer {spot.layer} of 0 to {last}" if last else ""
    out.print(
        f"{model.cell.__name__}{layers}, unit {spot.unit}, token {spot.token}: "
        f"{reading.pieces[spot.token]!r}{after}"
    )
    if new := unseen(model, reading.pieces, reading.ids):
        paragraph(out, f"never seen, so read as <unk>: {', '.join(map(repr, new))}")


def _print_step(out: "Console", name: str, found: list["Row"]) -> None:
    """One step of the walk: a table, or, in a narrow window, a paragraph for each value."""
    from rich.table import Table

    from cellwright.inspect.walk.rows import TITLES, number

    out.print(f"\n{TITLES[name]}", style="bold")
    if out.width < WIDE:
        for row in found:
            head = " = ".join(filter(None, (row.name, row.formula)))
            paragraph(out, head, indent=" " * 4, first="  ")
            if row.numbers:
                paragraph(out, row.numbers, indent=" " * 4)
            out.print(f"    = {number(row.value)}", style="number")
        return
    table = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False, expand=True)
    table.add_column(width=8, no_wrap=True)
    table.add_column(ratio=1)
    table.add_column(justify="right", no_wrap=True, vertical="bottom")
    for row in found:
        how = "\n".join(filter(None, (row.formula, row.numbers)))
        table.add_row(row.name or "", how, number(row.value))
    out.print(table)


def _guesses(
    model: "LanguageModel", reading: "Reading", spot: "Spot"
) -> list[tuple[str, float, float | None]]:
    """The likeliest next tokens, their probabilities, and what the unit adds to their logits.

    None where the layer's output does not reach the decoder, or has no such unit.
    """
    import numpy as np

    from cellwright.inspect.walk.values import token_name

    p = np.exp(reading.log_probabilities()[spot.token])
    weight = model.decoder.weight.detach().double().numpy()
    last = spot.layer == len(reading.layers) - 1 and spot.unit < weight.shape[1]
    layer, values = reading.layers[-1], reading.values[-1]
    h = values[layer.graph.outputs[0]][spot.token]
    return [
        (
            token_name(model, int(k)),
            float(p[k]),
            float(weight[k, spot.unit] * h[spot.unit]) if last else None,
        )
        for k in np.argsort(-p, kind="stable")[:GUESSES]
    ]


def _print_guesses(
    out: "Console", model: "LanguageModel", reading: "Reading", spot: "Spot"
) -> None:
    from rich.table import Table

    from cellwright.inspect.walk.rows import number

    out.print("\nPredict", style="bold")
    found = _guesses(model, reading, spot)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="label")
    table.add_column("next")
    table.add_column("p", justify="right")
    by_unit = found[0][2] is not None
    if by_unit:
        table.add_column(f"logit from unit {spot.unit}", justify="right")
    for name, p, given in found:
        table.add_row(repr(name), f"{p:.4f}", *([number(given)] if given is not None else []))
    out.print(table)
    if spot.token + 1 < reading.steps:
        nats = -reading.log_probabilities()[spot.token, reading.ids[spot.token + 1]]
        name = reading.pieces[spot.token + 1]
        out.print(f"came: {name!r}, at {nats / 0.6931471805599453:.2f} bits")


def _looked_back(model: "LanguageModel", reading: "Reading", spot: "Spot") -> "Attribution":
    """What the next token, or where the text ends the likeliest, owes to the last few tokens."""
    from cellwright.inspect.walk.back import FURTHEST
    from cellwright.lm.attribution.judge import renamed

    found = model.attribute(reading.ids, at=spot.token, furthest=FURTHEST)
    return renamed(found, [reading.pieces[part.start] for part in found.parts])


def _print_back(out: "Console", model: "LanguageModel", reading: "Reading", spot: "Spot") -> None:
    from rich.table import Table

    from cellwright.lm.attribution import signed

    found = _looked_back(model, reading, spot)
    out.print("\nLook back", style="bold")
    gradient = dict(zip((p.start for p in found.parts), found.by_method["gradient"], strict=True))
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="label")
    for head in ("at", "token", "effect", "gradient"):
        table.add_column(head, justify="left" if head == "token" else "right")
    for part in found.top(STRONGEST):
        effect, slope = signed(part.score, 3), signed(gradient[part.start], 3)
        table.add_row(str(part.start), repr(part.text), effect, slope)
    out.print(table)
    paragraph(
        out,
        f"effect: what {found.question} loses, in nats, where others stand in the token's place; "
        f"gradient: the same by a straight line. {found.warning}",
    )
