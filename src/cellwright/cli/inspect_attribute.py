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

    from cellwright.lm.attribution import Attribution, Part

EXAMPLES = """
cellwright inspect attribute runs/book --text "The cat sat" --at 4
cellwright inspect attribute runs/book --text "The cat sat" --spans word
cellwright inspect attribute runs/agreement-lstm --text "the king near the girls" \\
    --target sings --against sing --method all -o why.html
"""
FAINT = 0.05  # share of the largest score below which a space is not told
# What an AttributionError names, and the flag that a person typed for it.
FLAGS = ("target", "against", "at", "method", "replacements", "spans", "steps", "furthest", "text")

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
    typer.Option(metavar="N", help="the token after which it is predicted (default: the last)"),
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
        )
    except AttributionError as error:
        raise UsageFault(_with_flag(str(error))) from None
    new = unseen(model, pieces[: found.at + 1], ids)
    shown = METHODS if method == "all" else (method,)
    size = None if out is None else put_page(out, _page(found, model.cell.__name__, new))
    if as_json:
        facts = {"cell": model.cell.__name__, "text": text, "unseen": new, **found.to_dict()}
        console().file.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    _print(console(), found, shown, top, new)
    if size is not None:
        console().print(f"\n{out}: {size / 1e3:.0f} kB", soft_wrap=True)


def _listed(replace: list[str] | None) -> list[str] | None:
    """Tokens given one by one or with commas between them; a comma alone is a token."""
    if not replace:
        return None
    return [token for word in replace for token in (word.split(",") if word.strip(",") else [","])]


def _with_flag(text: str) -> str:
    name, colon, rest = text.partition(": ")
    name = {"replacements": "replace"}.get(name, name)
    return f"--{name}{colon}{rest}" if name in (*FLAGS, "replace") else text


def _page(found: "Attribution", cell: str, new: Sequence[str]) -> str:
    """A page of its own: the same as in a notebook, under a title."""
    from cellwright.web import page

    title = f"{cell}: what {found.target!r} leaned on"
    note = f"<p>{html.escape(_unseen_line(new))}</p>" if new else ""
    body = (
        '<main style="max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem">'
        f"<h1>{html.escape(title)}</h1>{note}{found._repr_html_()}</main>"
    )
    return page(title, styles=("page.css",), body=body, data={}, blobs={}, scripts=())


def _unseen_line(new: Sequence[str]) -> str:
    return f"The model has never seen {', '.join(map(repr, new))}: read as <unk>."


def _print(
    out: "Console", found: "Attribution", shown: Sequence[str], top: int, new: Sequence[str]
) -> None:
    from cellwright.lm.attribution import signed
    from cellwright.lm.attribution.html import probabilities

    paragraph(
        out, f"{found.question} = {signed(found.score)} nats after token {found.at}", "  ", ""
    )
    paragraph(out, probabilities(found))
    if new:
        paragraph(out, _unseen_line(new))
    for method in shown:
        scores = found.by_method[method]
        out.print(f"\n{method}; the largest is {max(map(abs, scores)):.2f} nats", style="bold")
        narrow = all(len(part.text) == 1 for part in found.parts)
        (_letters if narrow else _words)(out, found, scores)
    out.print()
    out.print(_table(out, found, top))
    if found.warning:
        paragraph(out, found.warning)
    else:
        names = " and ".join(found.by_method)
        paragraph(out, f"{names} agree on what matters most.")
    out.print()
    for method in shown:
        paragraph(out, found.how(method if method != found.method else None))


def _words(out: "Console", found: "Attribution", scores: Sequence[float]) -> None:
    """The text with a score under each part: blue against the target, orange for it."""
    from cellwright.lm.attribution import signed
    from cellwright.lm.attribution.html import shade, visible

    largest = max(max(map(abs, scores)), 1e-9)
    first, second, used = Coloured(), Coloured(), 0
    for part, score in zip(found.parts, scores, strict=True):
        if part.text.isspace() and abs(score) < FAINT * largest:
            continue  # the space between two words that matter, which is there anyway
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


def _table(out: "Console", found: "Attribution", top: int) -> Table:
    """The strongest, with as many columns as the window has room for."""
    made = _columns(found, found.top(top), spread=True, others=True)
    if not fits(out, made):
        made = _columns(found, found.top(top), spread=True, others=False)
    return made if fits(out, made) else _columns(found, found.top(top), spread=False, others=False)


def _columns(found: "Attribution", parts: "Sequence[Part]", *, spread: bool, others: bool) -> Table:
    from cellwright.lm.attribution import signed
    from cellwright.lm.attribution.html import visible

    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    places = {part.start: k for k, part in enumerate(found.parts)}
    made.add_column("token")
    made.add_column("at", justify="right")
    made.add_column(found.method, justify="right")
    if spread:
        made.add_column("spread", justify="right")
    for companion in found.companions:
        made.add_column(companion.method, justify="right")
    if others:
        made.add_column("replaced by", style="label")
    for part in parts:
        row = [visible(part.text), str(part.start), signed(part.score)]
        row += [f"{signed(part.low)} to {signed(part.high)}"] if spread else []
        row += [signed(c.scores[places[part.start]]) for c in found.companions]
        row += [" ".join(map(visible, part.replacements[:3]))] if others else []
        made.add_row(*row)
    return made
