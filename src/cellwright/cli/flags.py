"""The flags of a training run, declared once for the verbs that train.

Each alias is a typer annotation; its field of the same name in `TrainConfig` holds the default and
the check. None means "not typed", so that a recipe can tell what it may set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from cellwright.cli.faults import flag_of
from cellwright.lm.config import (
    DEFAULT_EPOCHS,
    DROPOUTS,
    LEVELS,
    NON_MONOTONE,
    OPTIMIZERS,
    PRECISIONS,
    REDUCTIONS,
    TrainConfig,
)
from cellwright.tasks.agreement import AgreementConfig

FIELDS = {f.name: f for f in fields(TrainConfig)}


def _option(
    name: str, metavar: str, text: str, panel: str, default: str = "", flag: str = ""
) -> Any:
    """A typer option whose help ends in the default that `TrainConfig` holds."""
    known = default or _shown(FIELDS[name].default)
    ending = f" (default {known})" if known else ""
    declared = [flag or flag_of(name)]
    return typer.Option(
        *declared,
        metavar=metavar,
        help=text + ending,
        rich_help_panel=panel,
        show_default=False,
    )


def _shown(value: Any) -> str:
    """A default as help shows it: 1.0 -> '1', None and False -> ''."""
    if value is None or value is False:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


MODEL, TRAINING, TEXT, MACHINE = "Model", "Training", "Text", "Machine"
REGULAR = "Regularisation"

Texts = Annotated[
    list[Path] | None,
    typer.Argument(metavar="TEXT", help="UTF-8 text files, read one after another"),
]
Corpus = Annotated[
    str | None, _option("corpus", "NAME", "train on a generated text: agreement", TEXT)
]
Sentences = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help=f"size of the generated text (default {AgreementConfig().sentences})",
        rich_help_panel=TEXT,
        show_default=False,
    ),
]
Level = Annotated[
    str | None, _option("level", "LEVEL", f"what a token is: {', '.join(LEVELS)}", TEXT)
]
Vocab = Annotated[
    int | None, _option("vocab", "N", "largest vocabulary; bpe alone has a default, 8000", TEXT)
]
Valid = Annotated[
    str | None,
    _option("valid", "FILE|X", "validation text, or the share of the end held out; 0: none", TEXT),
]
Test = Annotated[str | None, _option("test", "FILE", "text to score once, at the end", TEXT)]

CellSpec = Annotated[
    str | None,
    _option("cell", "CELL", "one that `cellwright cells` lists, file.py:Class or cell.json", MODEL),
]
Layers = Annotated[int | None, _option("layers", "N", "layers, one on the other", MODEL)]
Hidden = Annotated[int | None, _option("hidden", "N", "units of a layer", MODEL)]
LastHidden = Annotated[
    int | None, _option("last_hidden", "N", "units of the last layer", MODEL, "as --hidden")
]
Embed = Annotated[
    int | None,
    _option("embed", "N", "width of the embedding", MODEL, "as --hidden; tied, as the output"),
]
Proj = Annotated[
    int | None,
    _option("proj_size", "N", "width of the output of a cell with a projection", MODEL, "none"),
]
Tie = Annotated[
    bool | None,
    _option("tie", "", "decoder shares the embedding's weights", MODEL, flag="--tie/--no-tie"),
]
Bias = Annotated[
    bool | None,
    _option("bias", "", "biases inside the cell", MODEL, "on", flag="--bias/--no-bias"),
]
InitScale = Annotated[
    float | None,
    _option("init_scale", "X", "start every weight in U(-X, X)", MODEL, "each layer's own"),
]
ForgetBias = Annotated[
    float | None,
    _option("forget_bias", "X", "start the forget gates' bias at X", MODEL, "as the weights"),
]

Dropout = Annotated[
    float | None, _option("dropout", "X", "on the embedding, between layers, at the end", REGULAR)
]
InputDropout = Annotated[
    float | None,
    _option("input_dropout", "X", "on the embedding (dropouti)", REGULAR, "as --dropout"),
]
LayerDropout = Annotated[
    float | None,
    _option("layer_dropout", "X", "between layers (dropouth)", REGULAR, "as --dropout"),
]
DropoutKind = Annotated[
    str | None,
    _option(
        "dropout_kind",
        "KIND",
        f"{' or '.join(DROPOUTS)}: a new mask each step, or one for the window",
        REGULAR,
    ),
]
EmbeddingDropout = Annotated[
    float | None,
    _option("embedding_dropout", "X", "drop whole words of the embedding (dropoute)", REGULAR),
]
LayerNorm = Annotated[
    bool | None,
    _option("layer_norm", "", "norm the cell's sums", MODEL, flag="--layer-norm/--no-layer-norm"),
]
Zoneout = Annotated[
    str | None,
    _option("zoneout", "X|h=X,c=X", "how often a unit of the state keeps its value", REGULAR),
]
RecurrentDropout = Annotated[
    str | None,
    _option(
        "recurrent_dropout",
        "X|g=X",
        "on the first state, one mask for the window; or on a named state or equation",
        REGULAR,
    ),
]
WeightDrop = Annotated[
    float | None,
    _option("weight_drop", "X", "on the recurrent matrices' weights (wdrop)", REGULAR),
]
Ar = Annotated[
    float | None, _option("ar", "X", "penalty on the size of the last layer's output", REGULAR)
]
Tar = Annotated[
    float | None, _option("tar", "X", "penalty on its change from step to step", REGULAR)
]
WeightDecay = Annotated[
    float | None, _option("weight_decay", "X", "weight decay of the optimizer", REGULAR)
]

Epochs = Annotated[
    int | None, _option("epochs", "N", "passes over the text", TRAINING, str(DEFAULT_EPOCHS))
]
Minutes = Annotated[
    float | None, _option("minutes", "X", "train this long, instead of --epochs", TRAINING)
]
Steps = Annotated[int | None, _option("steps", "N", "window of backpropagation, tokens", TRAINING)]
VarySteps = Annotated[
    bool | None,
    _option(
        "vary_steps",
        "",
        "draw each window's length near --steps, now and then near half of it",
        TRAINING,
        flag="--vary-steps/--no-vary-steps",
    ),
]
Batch = Annotated[int | None, _option("batch", "N", "streams read side by side", TRAINING)]
Optimizer = Annotated[str | None, _option("optimizer", "NAME", ", ".join(OPTIMIZERS), TRAINING)]
NonMonotone = Annotated[
    int | None,
    _option(
        "non_monotone",
        "N",
        "nt-asgd: average once no validation of N epochs was the best",
        TRAINING,
        str(NON_MONOTONE),
    ),
]
Reduction = Annotated[
    str | None,
    _option(
        "reduction",
        "NAME",
        f"{' or '.join(REDUCTIONS)}: the loss over a window, as --lr and --clip see it",
        TRAINING,
    ),
]
Lr = Annotated[float | None, _option("lr", "X", "learning rate", TRAINING)]
LrDecay = Annotated[
    float | None, _option("lr_decay", "X", "multiply the rate by X each epoch", TRAINING)
]
DecayAfter = Annotated[
    int | None, _option("decay_after", "N", "... from the epoch after N on", TRAINING)
]
Clip = Annotated[
    float | None, _option("clip", "X", "largest norm of the gradient; 0: no limit", TRAINING)
]
Seed = Annotated[int | None, _option("seed", "N", "of the weights and the dropout", TRAINING)]

Watch = Annotated[
    bool | None,
    _option(
        "watch",
        "",
        "look at gates and gradients after each epoch, and say what is wrong",
        TRAINING,
        "on",
        flag="--watch/--no-watch",
    ),
]

Device = Annotated[str | None, _option("device", "NAME", "auto, cpu, cuda, cuda:N, mps", MACHINE)]
Precision = Annotated[str | None, _option("precision", "NAME", ", ".join(PRECISIONS), MACHINE)]
Threads = Annotated[
    int | None, _option("threads", "N", "threads of the CPU", MACHINE, "torch's choice")
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def typed(context: typer.Context) -> dict[str, Any]:
    """The training flags that the user typed, by field name."""
    return {
        name: value
        for name, value in context.params.items()
        if name in FIELDS and value is not None
    }


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Values by field name as one could type them: {'hidden': 8} -> ['--hidden 8']."""
    words = []
    for name, value in values.items():
        flag = flag_of(name)
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, float):
            near = f"{value:g}"
            words.append(f"{flag} {near if float(near) == value else repr(value)}")
        elif value is not None and name != "files":
            words.append(f"{flag} {value}")
    return words


def folded(words: Sequence[str], width: int, indent: str) -> str:
    """Flags in lines of at most `width`, each flag beside its value."""
    lines = [indent.rstrip()]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > width and lines[-1].strip():
            lines.append(indent.rstrip())
        lines[-1] += " " + word if lines[-1].strip() else indent + word
    return "\n".join(lines)
