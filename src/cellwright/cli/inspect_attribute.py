"""`cellwright inspect attribute`: which tokens of a text a prediction leaned on."""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text as Coloured

from cellwright.cli import flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_step import Text, unseen
from cellwright.cli.models import Run, load
from cellwright.cli.terminal import console, fits, paragraph

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.lm import LanguageModel
    from cellwright.lm.attribution import Attribution, Part
    from cellwright.lm.model import States

EXAMPLES = """
cellwright inspect attribute runs/book --text "The cat sat" --at 4
cellwright inspect attribute runs/book --text "The cat sat" --spans word
cellwright inspect attribute runs/demo/lstm --before "the teacher sings . <eos>" \\
    --text "the king near the girls" --target sings --against sing -o why.html
"""
DISPENSABLE = ("replaced by", "spread")  # in a narrow window, in this order; then the others
SHOWN_BEFORE = 60  # characters of what was read before the text
# What an AttributionError names, and the flag that a person typed for it.
FLAGS = ("target", "against", "at", "method", "replacements", "spans", "steps", "furthest", "text")

Before = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="read first and not looked at: sentences such as it was trained on",
        show_default=False,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="the prediction to explain (default: what follows --at, else the likeliest)",
        show_default=False,
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(metavar="TOKEN", help="... and not this one; may be given several times"),
]
At = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="the token of --text after which it is predicted (default: the last)"
    ),
]
Method = Annotated[
    str, typer.Option(metavar="NAME", help="ablation, gradient, integrated-gradients or all")
]
Replace = Annotated[
    list[str] | None,
    typer.Option(
        metavar="A,B,C", help="what takes a token's place (default: the text's most frequent)"
    ),
]
Spans = Annotated[str, typer.Option(metavar="WHAT", help="what is replaced at once: token, word")]
Furthest = Annotated[
    int, typer.Option(metavar="N", min=0, help="tokens to look back at; 0: all of the text")
]
Steps = Annotated[
    int | None,
    typer.Option(metavar="N", help="of integrated gradients (default 32)", show_default=False),
]
Top = Annotated[int, typer.Option(metavar="N", min=1, help="tokens in the table")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="write a page; replaces one that is there"),
]


def attribute(
    run: Run,
    text: Text,
    before: Before = None,
    target: Target = None,
    against: Against = None,
    at: At = None,
    method: Method = "ablation",
    replace: Replace = None,
    spans: Spans = "token",
    furthest: Furthest = 128,
    steps: Steps = None,
    top: Top = 10,
    out: Out = None,
    as_json: flags.Json = False,
) -> None:
    """Show which tokens of a text a prediction leaned on, and how sure that is.

    Ablation puts other tokens in their place and asks the model again.
    Gradients are computed beside it; where they disagree, a sentence says so.
    """
    from cellwright.inspect.files import check_replaceable, put_page
    from cellwright.inspect.walk.values import tokens_of
    from cellwright.lm.attribution import METHODS
    from cellwright.lm.attribution.spans import AttributionError

    if method not in (*METHODS, "all"):
        raise UsageFault(f"--method: expected {', '.join(METHODS)} or all, got {method!r:.60}")
    if out is not None:
        check_replaceable(out)
    model = load(run, "cpu")
    pieces, _, ids = tokens_of(model, text)
    new, state = ([], None) if before is None else _begun(model, before)
    try:
        found = model.attribute(
            text,
            target,
            METHODS[-1] if method == "all" else method,
            against=against or None,
            at=at,
            replacements=_listed(replace),
            spans=spans,
            furthest=furthest or None,
            steps=steps,
            state=state,
        )
    except AttributionError as error:
        raise UsageFault(_with_flag(str(error))) from None
    new = list(dict.fromkeys([*new, *unseen(model, pieces[: found.at + 1], ids)]))
    notes = _notes(before, new)
    size = None if out is None else put_page(out, _page(found, model.cell.__name__, notes))
    if as_json:
        read = {"cell": model.cell.__name__, "before": before, "text": text, "unseen": new}
        facts = json.dumps({**read, **found.to_dict()}, indent=2, ensure_ascii=False)
        console().file.write(facts + "\n")
        return
    _print(console(), found, METHODS if method == "all" else (method,), top, notes)
    if size is not None:
        console().print(f"\n{out}: {size / 1e3:.0f} kB", soft_wrap=True)


def _listed(replace: list[str] | None) -> list[str] | None:
    """Tokens given one by one or with commas between them; a comma alone is a token."""
    if not replace:
        return None
    found = []
    for word in replace:
        tokens = [","] if word == "," else word.split(",")
        if "" in tokens:
            raise UsageFault(
                f"--replace: expected tokens with commas between them, got {word!r:.60}, with an "
                "empty one; for a comma give --replace , by itself"
            )
        found += tokens
    return found


def _begun(model: "LanguageModel", before: str) -> "tuple[list[str], States]":
    """What of a text the model has never seen, and the state after it."""
    import torch

    from cellwright.inspect.walk.values import tokens_of

    assert model.tokenizer is not None  # a model from a run has one
    if not model.tokenizer.encode(before):
        raise UsageFault("--before: expected one token at least, got none; leave it out")
    pieces, _, ids = tokens_of(model, before)
    with torch.no_grad():
        state = model.trace(ids, names="h").state
    return unseen(model, pieces, ids), state


def _notes(before: str | None, new: Sequence[str]) -> list[str]:
    """What is said of the text that was read."""
    notes = []
    if before is not None:
        cut = before if len(before) <= SHOWN_BEFORE else "…" + before[1 - SHOWN_BEFORE :]
        notes.append(f"Read before it, and not looked at: {cut!r}.")
    if new:
        notes.append(f"The model has never seen {', '.join(map(repr, new))}: read as <unk>.")
    return notes


def _with_flag(text: str) -> str:
    name, colon, rest = text.partition(": ")
    name = {"replacements": "replace"}.get(name, name)
    return f"--{name}{colon}{rest}" if name in (*FLAGS, "replace") else text


def _page(found: "Attribution", cell: str, notes: Sequence[str]) -> str:
    """A page of its own: the same as in a notebook, under a title."""
    from cellwright.web import page

    title = f"{cell}: what {found.target!r} leaned on"
    style = "overflow-wrap:anywhere"
    note = "".join(f'<p style="{style}">{html.escape(said)}</p>' for said in notes)
    body = (
        '<main style="max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem">'
        f"<h1>{html.escape(title)}</h1>{note}{found._repr_html_()}</main>"
    )
    return page(title, styles=("page.css",), body=body, data={}, blobs={}, scripts=())


def _print(
    out: "Console", found: "Attribution", shown: Sequence[str], top: int, notes: Sequence[str]
) -> None:
    from cellwright.lm.attribution.html import probabilities

    paragraph(out, found.headline, "  ", "")
    for note in (*notes, probabilities(found)):
        paragraph(out, note)
    for method in shown:
        scores = found.by_method[method]
        out.print(f"\n{method}; the largest is {max(map(abs, scores)):.2f} nats", style="bold")
        narrow = all(len(part.text) == 1 for part in found.parts)
        (_letters if narrow else _words)(out, found, scores)
    out.print()
    _print_table(out, found, top)
    paragraph(out, found.warning or _agreement(found))
    out.print()
    for method in shown:
        paragraph(out, found.how(method if method != found.method else None))


def _agreement(found: "Attribution") -> str:
    """What the methods agree on, where none of them warns of another."""
    from cellwright.lm.attribution.judge import NOTHING, strongest

    *others, last = found.by_method
    names = f"{', '.join(others)} and {last}"
    most = {strongest(scores) for scores in found.by_method.values()}
    if max(abs(score) for scores in found.by_method.values() for score in scores) < NOTHING:
        return f"{names} agree: nothing matters."
    if len(most) == 1:
        part = found.parts[most.pop()]
        return f"{names} agree: {part.text!r} at {part.start} matters most."
    return (
        f"{names} agree nearly: what is strongest by one is at least half as strong as the "
        "strongest by the other, and has the same sign."
    )


def _words(out: "Console", found: "Attribution", scores: Sequence[float]) -> None:
    """The text with a score under each part: blue against the target, orange for it."""
    from cellwright.lm.attribution import signed
    from cellwright.lm.attribution.html import shade, visible

    largest = max(max(map(abs, scores)), 1e-9)
    first, second, used = Coloured(), Coloured(), 0
    for part, score in zip(found.parts, scores, strict=True):
        word, number = visible(part.text), signed(score)
        width = max(cell_len(word), len(number)) + 1
        if used + width > out.width and used:
            out.print(first, second, sep="\n")
            first, second, used = Coloured(), Coloured(), 0
        first.append(word, style=f"black on {shade(score / largest)}")
        first.append(" " * (width - cell_len(word)))
        second.append(number.ljust(width), style="label")
        used += width
    out.print(first, second, sep="\n")


def _letters(out: "Console", found: "Attribution", scores: Sequence[float]) -> None:
    """The text with tenths of the largest score: above it for the target, below it against."""
    from cellwright.lm.attribution.html import shade, visible

    largest = max(max(map(abs, scores)), 1e-9)
    room = max(1, out.width - 3)
    for begin in range(0, len(scores), room):
        lines = [Coloured("+ ", "label"), Coloured("  "), Coloured("− ", "label")]
        for part, score in zip(found.parts[begin : begin + room], scores[begin:], strict=False):
            sign = part.text if part.text == " " else visible(part.text)
            tenths = min(9, round(10 * abs(score) / largest))
            mark = str(tenths) if tenths else " "
            wide = cell_len(sign)
            lines[0].append((mark if score > 0 else " ").ljust(wide))
            lines[1].append(sign, style=f"black on {shade(score / largest)}")
            lines[2].append((mark if score < 0 else " ").ljust(wide))
        out.print(*lines, sep="\n")


def _print_table(out: "Console", found: "Attribution", top: int) -> None:
    """The strongest, with as many columns as the window has room for, and which it has not."""
    gone: list[str] = []
    rest = [*DISPENSABLE, *(c.method for c in reversed(found.companions))]
    while not fits(out, made := _table(found, found.top(top), gone)) and rest:
        gone.append(rest.pop(0))
    out.print(made)
    if gone:
        paragraph(out, f"Not shown in this narrow window: {', '.join(gone)}.")


def _table(found: "Attribution", parts: "Sequence[Part]", gone: Sequence[str]) -> Table:
    from cellwright.lm.attribution import signed
    from cellwright.lm.attribution.html import visible

    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    places = {part.start: k for k, part in enumerate(found.parts)}
    others, spread = (name not in gone for name in DISPENSABLE)
    companions = [c for c in found.companions if c.method not in gone]
    made.add_column("token", overflow="fold")
    made.add_column("at", justify="right")
    made.add_column(_in_two(found.method), justify="right")
    if spread:
        made.add_column("spread", justify="right")
    for companion in companions:
        made.add_column(_in_two(companion.method), justify="right")
    if others:
        made.add_column("replaced by", style="label")
    for part in parts:
        row = [visible(part.text), str(part.start), signed(part.score)]
        row += [f"{signed(part.low)} to {signed(part.high)}"] if spread else []
        row += [signed(c.scores[places[part.start]]) for c in companions]
        row += [" ".join(map(visible, part.replacements[:3]))] if others else []
        made.add_row(*row)
    return made


def _in_two(name: str) -> str:
    """A method's name over two lines, as a table's head: no wider than its numbers need."""
    return name.replace("-", "-\n")
