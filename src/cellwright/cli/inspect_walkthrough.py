"""`cellwright inspect walkthrough`: a page that walks through a model's own numbers."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.cli.inspect_step import Text
from cellwright.cli.models import Run, load
from cellwright.cli.terminal import console

EXAMPLES = """
cellwright inspect walkthrough runs/book --text "The cat sat" -o page.html
cellwright inspect walkthrough runs/lstm --text "The cat sat" \\
    --versus runs/rnn --open
"""

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
    from cellwright.inspect.page import write_page

    if out.is_dir():
        raise UsageFault(f"--out: {out} is a directory; name a file, as in {out / 'page.html'}")
    model = load(run, "cpu")
    beside = None if versus is None else load(versus, "cpu")
    made = write_page(out, model, text, beside)
    live = "live: it computes what you type" if made.live else made.why
    console().print(f"{out}: {made.size / 1e6:.1f} MB, {live}", soft_wrap=True)
    if show:
        webbrowser.open(out.resolve().as_uri())
