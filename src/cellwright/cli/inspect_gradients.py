"""`cellwright inspect gradients`: how far back a cell's states can be felt, by lag."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright import cells as catalogue
from cellwright.cli import flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.outfiles import Overwrite, check_ours, check_place, is_png
from cellwright.cli.terminal import console, fits, paragraph

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from cellwright.inspect.gradients.plot import Panel

EXAMPLES = """
cellwright inspect gradients
cellwright inspect gradients -o flow.svg
cellwright inspect gradients --cells lstm,coupled --forget-bias 1
cellwright inspect gradients runs/book -o book.png
cellwright inspect gradients runs/book --text other.txt --json
"""
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # lags of the table
LARGEST = 1e4  # of a bias
TITLE = b"How much of a state is left in itself"  # stands in an SVG as a comment, too

Runs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="RUN", help="trained runs: before and after their training"),
]
Cells = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="cells at initialisation (default rnn,lstm,gru where no RUN is given)",
        show_default=False,
    ),
]
BIASES = "0,1,3"
Biases = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,...",
        help=f"forget biases of the cells that have an f (default {BIASES})",
        show_default=False,
    ),
]
Hidden = Annotated[int, typer.Option(metavar="N", min=1, help="units of the cells")]
Lags = Annotated[int, typer.Option(metavar="N", min=1, max=2000, help="longest lag, in steps")]
Samples = Annotated[
    int, typer.Option(metavar="N", min=1, max=100, help="seeds of a cell, places in a run's text")
]
Text = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="text that the runs read (default: their validation text)"),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="the picture: .svg, .png or .pdf"),
]


def gradients(
    run: Runs = None,
    cells: Cells = None,
    forget_bias: Biases = None,
    hidden: Hidden = 32,
    lags: Lags = 100,
    samples: Samples = 5,
    text: Text = None,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: flags.Json = False,
) -> None:
    """Show how a state's gradient fades with the lag, beside its bound and the product of f."""
    from cellwright.inspect.gradients.of import Draws, of_cell, of_run, takes_bias
    from cellwright.inspect.gradients.plot import check_path, draw

    if out is not None:
        check_place(out, "flow.svg")
        check_path(out)
        if not overwrite:
            check_ours(out, _is_ours, "a picture of ours")
    elif overwrite:
        raise UsageFault("--overwrite: replaces the file that -o names; give both, or neither")
    if text is not None and not run:
        raise UsageFault("--text: is read by runs; name one, or leave it out")
    names = cells if cells is not None else "" if run else "rnn,lstm,gru"
    wanted = [(name, catalogue.find(name)) for name in _split(names)]
    biases = _numbers(BIASES if forget_bias is None else forget_bias)
    if forget_bias is not None and not any(takes_bias(cell, hidden) for _, cell in wanted):
        raise UsageFault(
            "--forget-bias: none of the cells has an equation f with a bias, and runs keep theirs; "
            "leave it out, or name such a cell with --cells"
        )
    draws = Draws(lags, samples)
    panels = [p for name, cell in wanted for p in of_cell(name, cell, biases, hidden, draws)]
    panels += [p for path in run or [] for p in of_run(path, text, draws)]
    caption = _caption(panels, hidden if wanted else None, samples, bool(run))
    if out is not None:
        draw(panels, caption, out)
    if as_json:
        made = [{"title": p.title, "when": p.when, **p.flow.to_dict()} for p in panels]
        console().file.write(json.dumps({"caption": caption, "panels": made}, indent=2) + "\n")
        return
    _print(console(), panels, caption)
    if out is not None:
        console().print(f"picture: {out}", soft_wrap=True)


def _is_ours(held: bytes) -> bool:
    """Whether a file is such a picture; of a PDF that cannot be told."""
    return is_png(held) or (held.startswith(b"<?xml") and b"<svg " in held and TITLE in held)


def _split(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _numbers(text: str) -> list[float]:
    try:
        made = [float(word) for word in _split(text)]
    except ValueError:
        made = []
    if not made or not all(abs(number) <= LARGEST for number in made):  # NaN is not
        raise UsageFault(f"--forget-bias: expected numbers separated by commas, got {text!r:.60}")
    return made


def _caption(panels: Sequence["Panel"], hidden: int | None, samples: int, runs: bool) -> str:
    """How the numbers were computed, for the picture and the terminal."""
    states = dict.fromkeys(s.state for p in panels for s in p.flow.states)
    several = any(len(p.flow.states) > 1 for p in panels)
    keeps = dict.fromkeys(s.keep for p in panels for s in p.flow.states if s.keep)
    said = [
        f"{', '.join(states)}: largest singular value of the exact Jacobian of the state at the "
        "last step by itself k steps earlier"
        + (" (the others held fixed there)" if several else "")
        + f"; median and range of {samples}",
    ]
    if hidden is not None:
        said[0] += f" seeds, {hidden} units, N(0, 1) inputs" + (", or" if runs else "")
    if runs:
        said[0] += " places in the run's text"
    said.append(
        "Dotted: the bound, the product of the k steps' largest singular values"
        + (" (of all states at once)" if several else "")
    )
    if keeps:
        marks = ", ".join(f"Π {keep}" for keep in keeps)
        said.append(
            f"Dashed, {marks}: what the direct path multiplies the state with, the unit that "
            "keeps most"
        )
    return ". ".join(said) + ". float64, torch operations."


def _print(out: "Console", panels: Sequence["Panel"], caption: str) -> None:
    """A table of the medians, a line for each state, bound and keep."""
    longest = max(p.flow.lags for p in panels)
    lags = [k for k in SHOWN if k <= longest]
    if longest not in lags:
        lags.append(longest)
    while len(lags) > 4 and not fits(out, _table(panels, lags)):
        lags.pop(len(lags) // 2)
    out.print(_table(panels, lags))
    paragraph(out, caption)


def _table(panels: Sequence["Panel"], lags: Sequence[int]) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    made.add_column("k, steps back")
    for lag in lags:
        made.add_column(f"{lag}", justify="right", no_wrap=True)

    def add(label: str, values: "Tensor", style: str | None = None) -> None:
        middle = values.median(0).values
        shown = [f"{middle[k - 1]:.1e}" if k <= len(middle) else "." for k in lags]
        made.add_row(f"  {label}", *shown, style=style)

    for panel in panels:
        made.add_row(f"{panel.title}, {panel.when}", style="bold")
        for state in panel.flow.states:
            add(f"|d{state.state}_T/d{state.state}|", state.gain)
            if state.kept is not None:
                add(f"Π {state.keep}", state.kept, "label")
        add("bound", panel.flow.bound, "label")
        made.add_section()
    return made
