"""`cellwright train`: a language model from a text, in a run directory."""

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellwright.cli import agreement, flags
from cellwright.cli.faults import INTERRUPTED, UsageFault
from cellwright.cli.flags import as_flags, folded, typed
from cellwright.cli.interrupt import orderly, while_read
from cellwright.cli.progress import display
from cellwright.cli.quantities import duration
from cellwright.cli.runs import free_run, quoted
from cellwright.cli.terminal import console
from cellwright.lm.pace import reached
from cellwright.lm.recipes import RECIPES, configure

if TYPE_CHECKING:
    from rich.console import Console

    from cellwright.lm import Finished, StopRequest

_RECIPES = "\n".join(
    f"  {name}\n{folded(as_flags(values), 74, '    ')}" for name, values in RECIPES.items()
)
EXAMPLES = f"""
cellwright train book.txt
cellwright train book.txt --cell gru --hidden 512 --minutes 30
cellwright train book.txt --cell mycells.py:Leaky --out runs/leaky
cellwright train train.txt --valid valid.txt --test test.txt \\
    --recipe zaremba-small
cellwright train train.txt --valid valid.txt --recipe awd-lstm \\
    --cell gru --epochs 200
cellwright train --corpus agreement --cell lstm --hidden 96 --epochs 16
cellwright train --resume runs/book-lstm --epochs 20

Recipes are flags and nothing else; a flag you type replaces the recipe's:
{_RECIPES}
"""

Out = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="run directory (default runs/TEXT-CELL)", show_default=False),
]
Resume = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="go on with this run from its last save", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace the run that --out holds")]
Board = Annotated[
    bool,
    typer.Option("--tensorboard", help="write RUN/tensorboard too: losses, gates, gradients"),
]
Recipe = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"{', '.join(RECIPES)}: see below", show_default=False),
]


def train(
    context: typer.Context,
    text: flags.Texts = None,
    out: Out = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    recipe: Recipe = None,
    as_json: flags.Json = False,
    corpus: flags.Corpus = None,
    sentences: flags.Sentences = None,
    level: flags.Level = None,
    vocab: flags.Vocab = None,
    valid: flags.Valid = None,
    test: flags.Test = None,
    cell: flags.CellSpec = None,
    layers: flags.Layers = None,
    hidden: flags.Hidden = None,
    last_hidden: flags.LastHidden = None,
    embed: flags.Embed = None,
    proj_size: flags.Proj = None,
    layer_norm: flags.LayerNorm = None,
    tie: flags.Tie = None,
    bias: flags.Bias = None,
    init_scale: flags.InitScale = None,
    forget_bias: flags.ForgetBias = None,
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
    minutes: flags.Minutes = None,
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
    seed: flags.Seed = None,
    watch: flags.Watch = None,
    tensorboard: Board = False,
    device: flags.Device = None,
    precision: flags.Precision = None,
    threads: flags.Threads = None,
) -> int:
    """Train a language model on a text, or go on with a run.

    Ctrl-C finishes the step, saves, and says how to go on.
    """
    given = typed(context) | ({"files": tuple(str(path) for path in text)} if text else {})
    if resume is not None:
        if recipe or overwrite or (out is not None and out != resume):
            raise UsageFault(
                "--resume: a run goes on as it began; leave out --recipe, --overwrite and --out"
            )
        return _go_on(resume, given, as_json, tensorboard)
    if not text and corpus is None:
        raise UsageFault("no text: name a UTF-8 file, or --corpus agreement")
    if sentences is not None and corpus is None:
        raise UsageFault("--sentences: sets the size of a generated text; add --corpus agreement")
    return _begin(recipe, given, out, overwrite, sentences, as_json, tensorboard)


def _begin(
    recipe: str | None,
    given: dict[str, Any],
    out: Path | None,
    overwrite: bool,
    sentences: int | None,
    as_json: bool,
    board: bool,
) -> int:
    """Check the flags, lay out the corpus, train."""
    if given.get("corpus") is not None:
        given = {"level": agreement.LEVEL} | given
    config = configure(recipe, given)
    from cellwright.lm import train
    from cellwright.lm.run import check_free
    from cellwright.lm.texts import check_names

    check_names(config)
    if out is None:
        first = config.corpus or Path(config.files[0]).stem
        out = free_run(first, Path(config.cell).name.replace(":", "-"))
    if recipe is not None and not as_json:
        words = as_flags({**RECIPES[recipe], **given})
        console().print(f"{recipe}:\n{folded(words, 78, '  ')}", style="label")
    check_free(out, overwrite)
    texts = nullcontext(config)
    if config.corpus is not None:
        texts = agreement.laid_out(config, out, sentences)
    with texts as config:
        return _run(
            lambda show, stop: train(config, out, on_event=show, stop=stop, overwrite=overwrite),
            as_json,
            board,
        )


def _go_on(run: Path, given: dict[str, Any], as_json: bool, board: bool) -> int:
    from cellwright.lm import resume
    from cellwright.lm.storage import CURVES

    board = board or (run / CURVES).is_dir()  # what shows a run is to show all of it
    return _run(
        lambda show, stop: resume(run, changes=given, on_event=show, stop=stop), as_json, board
    )


def _run(work: "Callable[[Any, StopRequest], Finished]", as_json: bool, board: bool) -> int:
    """Do the work under a display that Ctrl-C ends in order; return the exit code."""
    from cellwright.lm import StopRequest

    out, stop = console(), StopRequest()
    with (
        display(out, as_json) as show,
        orderly(stop, show.interrupted) as ending,
        _heard(while_read(show, stop, ending), board) as hear,
    ):
        finished = work(hear, stop)
    if not finished.stopped:
        if not as_json:
            _closing(out, finished)
        return 0
    if ending.signal != signal.SIGPIPE and not as_json:
        out.print(
            f"stopped after {duration(finished.seconds)} of training, {_reached(finished)}; "
            f"saved in {finished.out}\n"
            f"  go on   {quoted('cellwright', 'train', '--resume', finished.out)}",
            soft_wrap=True,
        )
    return ending.code or INTERRUPTED


@contextmanager
def _heard(show: Callable[[Any], None], board: bool) -> Iterator[Callable[[Any], None]]:
    """`show`, with TensorBoard listening too where it was asked for."""
    if not board:
        yield show
        return
    from cellwright.lm.tensorboard import TensorBoard

    with closing(TensorBoard(show)) as hear:
        yield hear


def _reached(finished: "Finished") -> str:
    return reached(finished.epoch, finished.window, finished.windows)


def _closing(out: "Console", finished: "Finished") -> None:
    """How good the model is, and what to do with it."""
    run = finished.out
    time = duration(finished.seconds)
    out.print(f"trained {time}, {_reached(finished)}: {run}", soft_wrap=True)
    if finished.valid_nats is not None:
        out.print(f"  best validation  {finished.valid_nats:.4f} nats/token")
    if finished.test is not None:
        out.print(
            f"  test             {finished.test.nats:.4f} nats/token, perplexity "
            f"{finished.test.perplexity:.4g}, {finished.test.bits_per_character:.4f} "
            "bits/char"
        )
    for label, words in (
        ("hear it", ("generate", run, "--length", 300)),
        ("score it", ("evaluate", run, "TEXT")),
        ("go further", ("train", "--resume", run, "--epochs", finished.epoch + 5)),
    ):
        out.print(f"  {label:<12}{quoted('cellwright', *words)}", soft_wrap=True)
