"""`cellwright compare`: several cells on one text or music, equal in budget and in size."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from cellwright.cells import CATALOGUE
from cellwright.cli import agreement, flags
from cellwright.cli.compare_music import Asked, compare_music
from cellwright.cli.faults import UsageFault
from cellwright.cli.flags import typed
from cellwright.cli.interrupt import orderly, while_read
from cellwright.cli.progress import display, finite, measure
from cellwright.cli.quantities import count, rate
from cellwright.cli.runs import free_run, quoted
from cellwright.cli.terminal import console, fits, paragraph
from cellwright.lm.recipes import configure

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.lm import Comparison

EXAMPLES = """
cellwright compare book.txt --cells lstm,gru,rnn --epochs 5
cellwright compare book.txt --cells lstm,mycells.py:Leaky --budget 200000
cellwright compare book.txt --cells lstm,gru --seeds 0,1,2 --json
cellwright compare --corpus agreement --cells lstm,peephole,gru --epochs 3
cellwright compare book.txt --cells all --rates 1e-3,3e-3,1e-2 --seeds 0,1,2
cellwright compare --music chorales.json --cells all
cellwright compare --music made-up --cells lstm,gru --epochs 20
"""

ALL = "all"
Number = TypeVar("Number", int, float)
DISPENSABLE = ("tok/s", "tokens", "hidden", "parameters")  # in a narrow window, in this order

Cells = Annotated[
    str,
    typer.Option(
        metavar="CELL,CELL,...",
        help="names or file.py:Class, parted by commas; all: the whole catalogue",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="parameters each model may have (default: what the first cell has at --hidden; "
        "on music 20000)",
        show_default=False,
    ),
]
Equal = Annotated[str, typer.Option(metavar="WHAT", help="what to hold equal: parameters or width")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="train each cell once a seed (default 0; on music 0,1,2)",
        show_default=False,
    ),
]
Rates = Annotated[
    str | None,
    typer.Option(
        metavar="X,X,...",
        help="learning rates to choose from: each cell is tried with each at the first seed, and "
        "the best in validation serves the other seeds (default --lr; on music 1e-3,3e-3,1e-2)",
        show_default=False,
    ),
]
Music = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.json",
        help="piano rolls in the place of a text: lists of MIDI pitches, step by step, in train, "
        "valid and test; made-up: music that is made here",
        show_default=False,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="on music, end after N epochs without a better validation (default 20)",
        show_default=False,
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
    rates: Rates = None,
    music: Music = None,
    patience: Patience = None,
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
    last_hidden: flags.LastHidden = None,
    embed: flags.Embed = None,
    proj_size: flags.Proj = None,
    layer_norm: flags.LayerNorm = None,
    tie: flags.Tie = None,
    bias: flags.Bias = None,
    init_scale: flags.InitScale = None,
    dropout: flags.Dropout = None,
    dropout_kind: flags.DropoutKind = None,
    input_dropout: flags.InputDropout = None,
    layer_dropout: flags.LayerDropout = None,
    embedding_dropout: flags.EmbeddingDropout = None,
    zoneout: flags.Zoneout = None,
    recurrent_dropout: flags.RecurrentDropout = None,
    weight_drop: flags.WeightDrop = None,
    weight_decay: flags.WeightDecay = None,
    ar: flags.Ar = None,
    tar: flags.Tar = None,
    epochs: flags.Epochs = None,
    steps: flags.Steps = None,
    vary_steps: flags.VarySteps = None,
    batch: flags.Batch = None,
    optimizer: flags.Optimizer = None,
    non_monotone: flags.NonMonotone = None,
    reduction: flags.Reduction = None,
    lr: flags.Lr = None,
    lr_decay: flags.LrDecay = None,
    decay_after: flags.DecayAfter = None,
    clip: flags.Clip = None,
    device: flags.Device = None,
    precision: flags.Precision = None,
    threads: flags.Threads = None,
) -> int:
    """Train several cells under equal parameters and equal budget; a table and a plot.

    The same command with the same --out goes on where it stopped; another command is refused.
    """
    given = typed(context)
    names = None if cells == ALL else _parts("--cells", cells)
    each_rate = None if rates is None else _numbers("--rates", rates, float)
    each_seed = None if seeds is None else _numbers("--seeds", seeds, int)
    if music is not None:
        _refuse_beside_music(text, sentences, equal)
        asked = Asked(music, names, each_rate, each_seed, budget, patience, given, out, as_json)
        return compare_music(asked)
    _refuse_without_music(patience, each_rate, given)
    if text:
        given["files"] = tuple(str(path) for path in text)
    elif corpus is None:
        raise UsageFault("no text: name a UTF-8 file, or --corpus agreement")
    else:
        given = {"level": agreement.LEVEL} | given
    first = names[0] if names is not None else next(iter(CATALOGUE))
    config = configure(None, given | {"cell": first})
    from cellwright import lm
    from cellwright.lm.texts import check_names

    check_names(config)
    where = out or free_run(config.corpus or Path(config.files[0]).stem, "compare")
    texts = nullcontext(config)
    if config.corpus is not None:
        texts = agreement.laid_out(config, where, sentences)
    shown, stop = console(typer.get_text_stream("stderr") if as_json else None), lm.StopRequest()
    with (
        texts as config,
        display(shown) as show,
        orderly(stop, show.interrupted) as ending,
    ):
        comparison = lm.compare(
            config,
            names,
            where,
            budget=budget,
            equal=equal,
            seeds=(config.seed,) if each_seed is None else each_seed,
            rates=each_rate,
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


def _numbers(flag: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """The numbers of a list with commas; UsageFault if a part is none of its kind."""
    try:
        return tuple(kind(part) for part in _parts(flag, text))
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise UsageFault(f"{flag}: expected {wanted} parted by commas, got {text!r}") from None


def _refuse_beside_music(text: Sequence[Path] | None, sentences: int | None, equal: str) -> None:
    """UsageFault for what only a text has."""
    if text:
        raise UsageFault("--music: give music or a text, not both")
    if sentences is not None:
        raise UsageFault("--music: --sentences is the size of a generated text; leave it out")
    if equal != "parameters":
        raise UsageFault(f"--equal: on music cells are equal in parameters, got {equal!r:.40}")


def _refuse_without_music(
    patience: int | None, rates: Sequence[float] | None, given: Mapping[str, object]
) -> None:
    if patience is not None:
        raise UsageFault("--patience: ends a training on --music; on a text give --epochs")
    if rates is not None and "lr" in given:
        raise UsageFault("--rates, --lr: give one of the two, not both")


def print_comparison(out: "Console", comparison: "Comparison") -> None:
    """One row for each cell and seed, the best first; then where everything is.

    In a narrow window columns are left out, those first that say least.
    """
    columns, gone = _columns(comparison), []
    while not fits(out, made := _table(columns)) and len(gone) < len(DISPENSABLE):
        gone.append(name := DISPENSABLE[len(gone)])
        columns.pop(name)
    out.print(made)
    if gone:
        paragraph(out, f"Not shown in this narrow window: {', '.join(gone)}.")
    paragraph(
        out,
        f"Validation loss, nats per token; {_equalities(comparison)}; smaller is better.",
    )
    for name, why in comparison.left_out.items():
        paragraph(out, f"Left out: {name}: {why}")
    for said in comparison.broke_down:
        paragraph(out, f"Broke down: {said}")
    made_files = ("compare.json", "compare.md", "compare.png", "compare.svg")
    paths = [comparison.out / name for name in made_files]
    for path in (*paths, *(row.run for row in comparison.chosen())):
        out.print(f"  {path}", soft_wrap=True)


def _columns(comparison: "Comparison") -> dict[str, list[str]]:
    """The cells of each column, by its head, the best row first."""
    rows = sorted(comparison.chosen(), key=lambda row: row.valid_nats)
    columns = {"cell": [row.cell for row in rows]}
    if len({row.lr for row in comparison.rows}) > 1:
        columns["rate"] = [f"{row.lr:g}" for row in rows]
    if len({row.seed for row in rows}) > 1:
        columns["seed"] = [str(row.seed) for row in rows]
    columns["hidden"] = [str(row.hidden) for row in rows]
    columns["parameters"] = [count(row.parameters) for row in rows]
    columns["tokens"] = [count(row.tokens) for row in rows]
    columns["tok/s"] = [rate(row.tokens_per_s) for row in rows]
    columns["nats"] = [f"{row.valid_nats:.4f}" for row in rows]
    name = measure(comparison.level, 1.0)[1]
    columns[name] = [measure(comparison.level, row.valid_nats)[0] for row in rows]
    return columns


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for number, head in enumerate(columns):
        if number == 0:  # a path of one's own may be long: it folds, the figures do not
            table.add_column(head, overflow="fold")
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _equalities(comparison: "Comparison") -> str:
    """What was equal in these trainings, from their own numbers."""
    rows = comparison.rows
    tokens = [row.tokens for row in rows]
    counts = [row.parameters for row in rows]
    widths = [row.hidden for row in rows]
    said = []
    if min(counts) == max(counts):
        said.append(f"equal parameters ({count(counts[0])})")
    elif comparison.budget is not None:
        worst = max(abs(row.difference) for row in rows) / comparison.budget
        percent = math.ceil(10_000 * worst) / 100
        said.append(f"parameters equal within {percent:g} % of {count(comparison.budget)}")
    else:
        said.append(f"parameters from {count(min(counts))} to {count(max(counts))}")
    if comparison.equal == "width":
        same = min(widths) == max(widths)
        said.append(f"equal width ({widths[0]})" if same else "different widths")
    if min(tokens) == max(tokens):
        said.append(f"equal tokens ({count(tokens[0])})")
    else:
        said.append(f"unequal tokens ({count(min(tokens))} to {count(max(tokens))})")
    return ", ".join(said)
