"""`cellwright inspect walkthrough`: a page that walks through a model's own numbers."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_step import Text, unseen
from cellwright.cli.models import Run, load
from cellwright.cli.runs import quoted
from cellwright.cli.terminal import console, paragraph

EXAMPLES = """
cellwright inspect walkthrough runs/book --text "The cat sat" -o page.html
cellwright inspect walkthrough runs/lstm --text "The cat sat" \\
    --versus runs/rnn --open
"""

VOCABULARY, WEIGHTS = "tokenizer.json", "model.safetensors"
MOST_BESIDE = 3  # runs that are mentioned

Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FILE", help="the page; replaces a page that is there"),
]
Versus = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="a second run to read the same text beside it", show_default=False
    ),
]
Open = Annotated[bool, typer.Option("--open", help="show the page in the browser")]


def walkthrough(
    run: Run,
    text: Text,
    out: Out = Path("walkthrough.html"),
    versus: Versus = None,
    show: Open = False,
) -> None:
    """Write one page that walks through a model as it reads a text, number by number.

    The page is one file and asks no other machine for anything. Where the
    model fits into it, it computes what you type there.
    """
    from cellwright.inspect.walk.page import write_page
    from cellwright.inspect.walk.values import tokens_of

    if out.is_dir():
        raise UsageFault(f"--out: {out} is a directory; name a file, as in {out / 'page.html'}")
    model = load(run, "cpu")
    beside = None if versus is None else load(versus, "cpu")
    others = neighbours(run) if versus is None else ()
    made = write_page(out, model, text, beside, [other.name for other in others])
    live = "live: it computes what you type" if made.live else made.why
    console().print(f"{out}: {made.size / 1e6:.1f} MB, {live}", soft_wrap=True)
    pieces, _, ids = tokens_of(model, text)
    if new := unseen(model, pieces, ids):
        paragraph(console(), f"never seen, so read as <unk>: {', '.join(map(repr, new))}")
    if others:
        console().print(
            f"Step 8 can show a second model: --versus {quoted(others[0])}", soft_wrap=True
        )
    if show:
        webbrowser.open(out.resolve().as_uri())


def neighbours(run: Path) -> tuple[Path, ...]:
    """Return runs that lie beside this one and have the same vocabulary, the first few by name."""
    own = (run / VOCABULARY).read_bytes()
    around = run.parent if run.name not in ("", "..") else run.resolve().parent
    found = []
    for other in sorted(around.iterdir()):
        try:
            same = (other / VOCABULARY).read_bytes() == own
            whole = (other / WEIGHTS).is_file()
        except OSError:  # a file, or a directory that is no run
            continue
        if same and whole and other.resolve() != run.resolve():
            found.append(other)
    return tuple(found[:MOST_BESIDE])
