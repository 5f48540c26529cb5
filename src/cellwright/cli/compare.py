"""`cellwright compare`: several cells on one text, equal in parameters and in tokens."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cli import agreement, flags
from cellwright.cli.faults import UsageFault
from cellwright.cli.flags import typed
from cellwright.cli.interrupt import orderly, while_read
from cellwright.cli.progress import display, finite, measure
from cellwright.cli.quantities import count, rate
from cellwright.cli.runs import free_run, quoted
from cellwright.cli.terminal import console
from cellwright.lm.recipes import configure

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.lm import Comparison

EXAMPLES = """
cellwright compare book.txt --cells lstm,gru,rnn --epochs 5
cellwright compare book.txt --cells lstm,mycells.py:Leaky --budget 200000
cellwright compare book.txt --cells lstm,gru --seeds 0,1,2 --json
cellwright compare --corpus agreement --cells lstm,peephole,gru --epochs 3
"""

Cells = Annotated[
    str, typer.Option(metavar="CELL,CELL,...", help="names or file.py:Class, parted by commas")
]
Budget = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="parameters each model may have (default: what the first cell has at --hidden)",
        show_default=False,
    ),
]
Equal = Annotated[str, typer.Option(metavar="WHAT", help="what to hold equal: parameters or width")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...", help="train each cell once a seed (default 0)", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="where to write (default runs/TEXT-compare)", show_default=False
    ),
]


def compare(
    context: typer.Context,
    text: flags.Texts = None,
    cells: Cells = "lstm,gru,rnn",
    budget: Budget = None,
    equal: Equal = "parameters",
    seeds: Seeds = None,
    out: Out = None,
    as_json: flags.Json = False,
    corpus: flags.Corpus = None,
    sentences: flags.Sentences = None,
    level: flags.Level = None,
    vocab: flags.Vocab = None,
    valid: flags.Valid = None,
    test: flags.Test = None,
    layers: flags.Layers = None,
    hidden: flags.Hidden = None,
    embed: flags.Embed = None,
    tie: flags.Tie = None,
    bias: flags.Bias = None,
    dropout: flags.Dropout = None,
    init_scale: flags.InitScale = None,
    epochs: flags.Epochs = None,
    steps: flags.Steps = None,
    batch: flags.Batch = None,
    optimizer: flags.Optimizer = None,
    lr: flags.Lr = None,
    lr_decay: flags.LrDecay = None,
    decay_after: flags.DecayAfter = None,
    clip: flags.Clip = None,
    weight_decay: flags.WeightDecay = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    threads: flags.Threads = None,
) -> int:
    """Train several cells under equal parameters and equal tokens; a table and a plot.

    Called again with the same --out it goes on where it stopped.
    """
    given = typed(context)
    if text:
        given["files"] = tuple(str(path) for path in text)
    elif corpus is None:
        raise UsageFault("no text: name a UTF-8 file, or --corpus agreement")
    else:
        given = {"level": agreement.LEVEL} | given
    names = _parts("--cells", cells)
    config = configure(None, given | {"cell": names[0]})
    where = out or free_run(config.corpus or Path(config.files[0]).stem, "compare")
    from cellwright import lm

    if config.corpus is not None:
        config = agreement.lay_out(config, where, overwrite=True, sentences=sentences)
    shown, stop = console(typer.get_text_stream("stderr") if as_json else None), lm.StopRequest()
    with display(shown) as show, orderly(stop, show.interrupted) as ending:
        comparison = lm.compare(
            config,
            names,
            where,
            budget=budget,
            equal=equal,
            seeds=_numbers(seeds) if seeds else (config.seed,),
            on_event=while_read(show, stop, ending),
            stop=stop,
        )
    if as_json and ending.code == 0:
        console().file.write(json.dumps(finite(comparison.to_dict()), indent=2) + "\n")
    elif comparison.stopped:
        shown.print(
            f"stopped; go on with the same command and --out {quoted(where)}", soft_wrap=True
        )
    else:
        print_comparison(shown, comparison)
    return ending.code


def _parts(flag: str, text: str) -> list[str]:
    """The parts of a list with commas; UsageFault if one is empty."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageFault(f"{flag}: expected values parted by commas, got {text!r}")
    return parts


def _numbers(text: str) -> tuple[int, ...]:
    parts = _parts("--seeds", text)
    if not all(part.isdecimal() for part in parts):
        raise UsageFault(f"--seeds: expected whole numbers parted by commas, got {text!r}")
    return tuple(int(part) for part in parts)


def print_comparison(out: "Console", comparison: "Comparison") -> None:
    """One row for each cell and seed, the best first; then where everything is."""
    rows = sorted(comparison.rows, key=lambda row: row.valid_nats)
    several = len({row.seed for row in rows}) > 1
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("cell")
    name = measure(comparison.level, 1.0)[1]
    heads = ["seed"] * several + ["hidden", "parameters", "tokens", "tok/s", "nats", name]
    for head in heads:
        table.add_column(head, justify="right")
    for row in rows:
        cells: list[Any] = [row.cell] + [row.seed] * several
        cells += [row.hidden, count(row.parameters), count(row.tokens), rate(row.tokens_per_s)]
        cells += [f"{row.valid_nats:.4f}", measure(comparison.level, row.valid_nats)[0]]
        table.add_row(*map(str, cells))
    out.print(table)
    same = "parameters" if comparison.equal == "parameters" else "width"
    out.print(
        f"Validation loss, nats per token; equal {same} and equal tokens; smaller is better.",
        soft_wrap=True,
    )
    made = ("compare.json", "compare.png", "compare.svg")
    for path in (*(comparison.out / name for name in made), *(row.run for row in rows)):
        out.print(f"  {path}", soft_wrap=True)
