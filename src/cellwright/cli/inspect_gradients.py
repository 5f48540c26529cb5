"""`cellwright inspect gradients`: how far back a cell's states can be felt, by lag."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright import cells as catalogue
from cellwright.cli import flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.terminal import console, fits, paragraph
from cellwright.language.cell import Cell

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from cellwright.inspect.gradients_plot import Panel
    from cellwright.lm import LanguageModel
    from cellwright.nn import Recurrent

EXAMPLES = """
cellwright inspect gradients
cellwright inspect gradients -o flow.svg
cellwright inspect gradients --cells lstm,coupled --forget-bias 1
cellwright inspect gradients runs/book -o book.png
cellwright inspect gradients runs/book --text other.txt --json
"""
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # lags of the table
BAD_LISTS = "expected {wanted}, separated by commas, got {value!r}"

Runs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN]...", help="trained runs: before and after their training"),
]
Cells = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,...",
        help="cells at initialisation (default rnn,lstm,gru where no RUN is given)",
        show_default=False,
    ),
]
Biases = Annotated[
    str, typer.Option(metavar="X,Y,...", help="forget biases of the cells that have an f")
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
    forget_bias: Biases = "0,1,3",
    hidden: Hidden = 32,
    lags: Lags = 100,
    samples: Samples = 5,
    text: Text = None,
    out: Out = None,
    as_json: flags.Json = False,
) -> None:
    """Show how a state's gradient fades with the lag, beside its bound and the product of f."""
    from cellwright.inspect.gradients_plot import check_path, draw

    if out is not None:
        check_path(out)
    if text is not None and not run:
        raise UsageFault("--text: is read by runs; name one, or leave it out")
    names = cells if cells is not None else "" if run else "rnn,lstm,gru"
    wanted = [(name, catalogue.find(name)) for name in _split(names)]
    biases = _numbers(forget_bias)
    panels = [p for name, cell in wanted for p in _cell(name, cell, biases, hidden, lags, samples)]
    panels += [p for path in run or [] for p in _run(path, text, lags, samples)]
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


def _split(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _numbers(text: str) -> list[float]:
    try:
        made = [float(word) for word in _split(text)]
    except ValueError:
        made = []
    if not made or any(abs(number) > 1e4 for number in made):  # NaN compares as false
        raise UsageFault("--forget-bias: " + BAD_LISTS.format(wanted="numbers", value=text))
    if any(number != number for number in made):
        raise UsageFault("--forget-bias: " + BAD_LISTS.format(wanted="numbers", value=text))
    return made


def _cell(
    name: str, cell: type[Cell], biases: Sequence[float], hidden: int, lags: int, samples: int
) -> Iterator["Panel"]:
    """A panel for a cell, one for each forget bias where it has one; a sample is a seed."""
    import torch

    from cellwright.inspect.gradients import WARM, LayerFlow, StateFlow, gradient_flow
    from cellwright.inspect.gradients_plot import Panel

    def flow(seed: int, bias: float | None) -> "LayerFlow":
        torch.manual_seed(seed)
        module, widths = _module(cell, hidden)
        if bias is not None:
            module.blocks()["f.bias"].fill_(bias)
        x = tuple(torch.randn(WARM + lags, 1, width, dtype=torch.float64) for width in widths)
        return gradient_flow(module, x, lags)[0]

    with torch.random.fork_rng(devices=[]):
        gated = "f.bias" in _module(cell, hidden)[0].blocks()
        for bias in biases if gated else (None,):
            each = [flow(seed, bias) for seed in range(samples)]
            states = [
                StateFlow(
                    first.state,
                    torch.cat([f.states[k].gain for f in each]),
                    first.keep,
                    None if first.kept is None else torch.cat([_kept(f.states[k]) for f in each]),
                )
                for k, first in enumerate(each[0].states)
            ]
            made = LayerFlow(0, torch.cat([f.bound for f in each]), tuple(states))
            title = name if bias is None else f"{name}, forget bias {bias:g}"
            yield Panel(title, "untrained", made)


def _kept(state: object) -> "Tensor":
    kept = getattr(state, "kept")  # noqa: B009
    return kept
