"""What one training run is: every flag of `cellwright train`, checked when it is made."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellwright.language.errors import CellwrightError
from cellwright.lm import rates
from cellwright.lm.fields import FLAG, Rule, number, one_of, optional, shown, text, whole

VERSION = 1
LEVELS = ("char", "word", "bpe")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "nt-asgd")
DROPOUTS = ("plain", "locked")
REDUCTIONS = ("sum", "mean")
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed")
DEFAULT_EPOCHS = 10
# What may change when a run is resumed: how long it goes on, and on which machine.
RESUMABLE = ("epochs", "minutes", "device", "threads")
# Fields that the first files of this version do not have.
LATER = ("proj_size", "last_hidden", "dropout_kind", "input_dropout", "layer_dropout")
LATER += (
    "layer_norm",
    "zoneout",
    "recurrent_dropout",
    "weight_drop",
    "embedding_dropout",
    "ar",
    "tar",
    "non_monotone",
    "vary_steps",
    "reduction",
    "watch",
)
NON_MONOTONE = 5  # epochs, as in Merity, Keskar & Socher's experiments
LEAST_VARIED = 5  # tokens of the shortest window that is drawn


class ConfigError(CellwrightError):
    """A flag whose value cannot be used, alone or beside another."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Sizes count units, tokens and windows; `lr_decay` multiplies.

    The gradient of a step is that of the loss averaged over the `batch` and, over the window's
    `steps`, summed ("sum", as in Zaremba's and Karpathy's programs) or averaged ("mean", as in
    Merity's): with the `reduction` of the one whose `lr` and `clip` these are.
    The learning rate of epoch e (from 1) is lr * lr_decay ** max(0, e - decay_after).
    Exactly one of `epochs` and `minutes` is set; with neither, `epochs` is 10.
    `valid` is a file or the fraction of the text's end that is held out; 0 or None: none.
    `dropout` acts on the embedding, between the layers and on the last output, but where
    `input_dropout` and `layer_dropout` say otherwise for the first two; "locked" keeps one mask
    for a whole window. `embedding_dropout` drops whole words, each wherever it stands.
    Raises ConfigError at the first value that cannot be used.
    """

    files: tuple[str, ...] = ()
    corpus: str | None = None  # name of a generated corpus: recorded, `files` hold its text
    cell: str = "lstm"
    level: str = "char"
    vocab: int | None = None  # largest vocabulary; None: the tokenizer's own default
    layers: int = 1
    hidden: int = 256
    last_hidden: int | None = None  # units of the last layer; None: `hidden`
    embed: int | None = None  # None: as wide as `hidden`; where tied, as the output
    proj_size: int = 0  # width of the output of a cell with a projection; 0 for all others
    layer_norm: bool = False
    zoneout: float | str | None = None  # a rate for all states, or "h=.05,c=.5"
    recurrent_dropout: float | str | None = None  # of the first state, or "g=.3" of what is named
    weight_drop: float = 0.0  # of the recurrent matrices' weights
    tie: bool = False
    bias: bool = True  # biases inside the cell; the decoder always has one
    dropout: float = 0.0
    dropout_kind: str = "plain"
    input_dropout: float | None = None
    layer_dropout: float | None = None
    embedding_dropout: float = 0.0
    ar: float = 0.0  # times the mean square of the last output, dropped: added to the loss
    tar: float = 0.0  # times the mean square of its differences in time, before the dropout
    steps: int = 64
    vary_steps: bool = False  # draw each window's length near `steps`, now and then near its half
    batch: int = 32
    epochs: int | None = None
    minutes: float | None = None
    optimizer: str = "adam"
    non_monotone: int | None = None  # nt-asgd: epochs without a better validation; None: 5
    reduction: str = "sum"
    lr: float = 2e-3
    lr_decay: float = 1.0
    decay_after: int = 0
    clip: float = 5.0  # largest norm of the whole gradient; 0: no clipping
    weight_decay: float = 0.0
    init_scale: float | None = None  # every weight from U(-s, s); None: each layer's own
    forget_bias: float | None = None  # None: as initialised
    valid: float | str | None = 0.1
    test: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    watch: bool = True  # look at gates and gradients after each validation
    threads: int | None = None  # None: torch's own choice

    def __post_init__(self) -> None:
        if not isinstance(self.files, tuple | list):
            raise ConfigError(f"files: expected a sequence of names, got {shown(self.files)}")
        object.__setattr__(self, "files", tuple(str(name) for name in self.files))
        for name, plain in _AS_TYPED.items():
            object.__setattr__(self, name, plain(getattr(self, name)))
        if self.epochs is None and self.minutes is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        if self.epochs is not None and self.minutes is not None:
            raise ConfigError("epochs, minutes: give one of the two, not both")
        for name, rule in _CHECKS.items():
            if not rule.holds(value := getattr(self, name)):
                raise ConfigError(f"{name}: expected {rule.wanted}, got {shown(value)}")
        self._agree()

    def _agree(self) -> None:
        """ConfigError for a flag that does not go with another."""
        width = self.output_width
        if self.tie and self.embed not in (None, width):
            raise ConfigError(
                f"tie: needs embed equal to the output's width ({width}), got embed {self.embed}; "
                "leave embed out"
            )
        if self.layers == 1 and self.last_hidden not in (None, self.hidden):
            raise ConfigError(
                f"last_hidden: the only layer is the last one: expected hidden's {self.hidden}, "
                f"got {self.last_hidden}; set hidden and leave last_hidden out"
            )
        if self.layers == 1 and self.layer_dropout:
            raise ConfigError(
                "layer_dropout: acts between layers, and layers is 1: expected 0, got "
                f"{self.layer_dropout:g}"
            )
        if self.dropout_kind == "locked" and not any(self.dropouts):
            raise ConfigError("dropout_kind: expected a dropout to lock, got none; set dropout")
        if self.tar and self.steps == 1:
            raise ConfigError("tar: expected steps of at least 2 to compare, got 1")
        if self.vary_steps and self.steps < 2 * LEAST_VARIED:
            raise ConfigError(
                f"vary_steps: expected steps of at least {2 * LEAST_VARIED}, got {self.steps}"
            )
        self._agree_on_averaging()

    def _agree_on_averaging(self) -> None:
        if self.optimizer != "nt-asgd":
            if self.non_monotone is not None:
                raise ConfigError(
                    f"non_monotone: expected the optimizer nt-asgd, got {self.optimizer}; "
                    "leave it out"
                )
            return
        if self.valid is None:
            raise ConfigError(
                "optimizer: nt-asgd begins to average when the validation loss gets no better: "
                "expected a validation text, got none"
            )
        if self.precision == "bf16-true":
            raise ConfigError(
                "precision: nt-asgd averages many weights: expected 32-true, 64-true or "
                "bf16-mixed, got bf16-true, too coarse for that"
            )

    @property
    def output_width(self) -> int:
        """Units of the last layer's output, as far as the configuration alone can say."""
        return self.proj_size or self.last_hidden or self.hidden

    @property
    def embed_size(self) -> int:
        """Width of the embedding in units."""
        if self.embed is not None:
            return self.embed
        return self.output_width if self.tie else self.hidden

    @property
    def dropouts(self) -> tuple[float, float, float]:
        """The rates of the dropout on the input, between the layers and on the output."""
        first, between = (
            self.dropout if rate is None else rate
            for rate in (self.input_dropout, self.layer_dropout)
        )
        return first, between, self.dropout

    def learning_rate(self, epoch: int, steps: int | None = None) -> float:
        """Learning rate of `epoch`, counted from 1, for a window of `steps` tokens.

        Where lengths vary and the loss is averaged over them, the rate is in proportion to the
        length, so that each token counts the same; None is a window of the full length.
        """
        rate = self.lr * self.lr_decay ** max(0, epoch - self.decay_after)
        scaled = steps is not None and self.vary_steps and self.reduction == "mean"
        return rate * steps / self.steps if scaled else rate  # type: ignore[operator]

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values, with the version of its format."""
        return {"version": VERSION, **dataclasses.asdict(self), "files": list(self.files)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The configuration that `to_dict` wrote; ConfigError for any other."""
        if not isinstance(values, Mapping) or values.get("version") != VERSION:
            found = values.get("version") if isinstance(values, Mapping) else values
            raise ConfigError(
                f"training configuration: expected version {VERSION}, got {shown(found)}; "
                "was it written by another version of Cellwright?"
            )
        names = [f.name for f in dataclasses.fields(cls) if f.name not in LATER]
        missing = next((name for name in names if name not in values), None)
        if missing is not None:
            raise ConfigError(f"{missing}: expected a value, got nothing")
        files = values["files"]
        if not (isinstance(files, list) and all(_NAME.holds(name) for name in files)):
            raise ConfigError(f"files: expected a list of names, got {shown(files)}")
        return cls.from_flags({name: value for name, value in values.items() if name != "version"})

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> "TrainConfig":
        """The configuration with these fields; ConfigError names a field that does not exist."""
        unknown = sorted(set(flags) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ConfigError(f"{unknown[0]}: no such setting of a training run")
        return cls(**flags)

    def resumed(self, changes: Mapping[str, Any]) -> "TrainConfig":
        """This configuration with `changes`, which may only say how long and where to go on."""
        changes = dict(changes)
        for name, value in changes.items():
            plain = _AS_TYPED.get(name, _plain)
            if name not in RESUMABLE and plain(value) != _plain(getattr(self, name)):
                raise ConfigError(
                    f"{name}: a resumed run keeps its {name} ({_said(getattr(self, name))}), got "
                    f"{_said(value)}; only {', '.join(RESUMABLE)} can change"
                )
        if changes.get("epochs") is not None:
            changes.setdefault("minutes", None)
        if changes.get("minutes") is not None:
            changes.setdefault("epochs", None)
        return dataclasses.replace(self, **changes)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _said(value: object) -> str:
    """A setting as one would type it."""
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else f"{value}"


def _valid(value: float | str | None) -> float | str | None:
    """A fraction as a float, a file as its name, none as None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if type(value) in (int, float):
        if not 0 <= value < 1:  # type: ignore[operator]
            raise ConfigError(
                f"valid: expected a file or a fraction from 0 to 1, got {shown(value)}"
            )
        return float(value) or None  # type: ignore[arg-type]
    return value


# Fields that a command line gives as text, whatever they hold.
_AS_TYPED = {"valid": _valid, "zoneout": rates.plain, "recurrent_dropout": rates.plain}


def _device(value: object) -> bool:
    if not isinstance(value, str):
        return False
    kind, _, index = value.partition(":")
    numbered = index.isascii() and index.isdecimal() and len(index) <= 3
    return value in ("auto", "cpu", "mps", "cuda") or (kind == "cuda" and numbered)


MOST_LAYERS = 1000
LARGEST_WINDOW = 1 << 24
LARGEST_WIDTH = (1 << 31) - 1  # far beyond any machine: what it cannot hold is refused later
MOST_EPOCHS = 10**9
MOST_THREADS = 1024
LARGEST_BIAS = 1e4  # a gate is shut, or open, long before

_NAME = text(longest=4096)
_WIDTH = whole(1, LARGEST_WIDTH)
_RATE = number(0, 1, below=True)
_CHECKS: dict[str, Rule] = {
    "corpus": optional(_NAME),
    "cell": Rule(_NAME.holds, "a catalogue name, file.py:Class or cell.json"),
    "level": one_of(*LEVELS),
    "vocab": optional(whole(2, 1 << 24)),
    "layers": whole(1, MOST_LAYERS),
    "hidden": _WIDTH,
    "embed": optional(_WIDTH),
    "proj_size": whole(0, LARGEST_WIDTH),
    "layer_norm": FLAG,
    "zoneout": optional(rates.rule("h=.05,c=.5")),
    "recurrent_dropout": optional(rates.rule("g=.3")),
    "weight_drop": _RATE,
    "tie": FLAG,
    "bias": FLAG,
    "last_hidden": optional(_WIDTH),
    "dropout": _RATE,
    "dropout_kind": one_of(*DROPOUTS),
    "input_dropout": optional(_RATE),
    "layer_dropout": optional(_RATE),
    "embedding_dropout": _RATE,
    "ar": number(0),
    "tar": number(0),
    "steps": whole(1, LARGEST_WINDOW),
    "vary_steps": FLAG,
    "batch": whole(1, LARGEST_WINDOW),
    "epochs": optional(whole(1, MOST_EPOCHS)),
    "minutes": optional(number(0, MOST_EPOCHS, above=True)),
    "optimizer": one_of(*OPTIMIZERS),
    "non_monotone": optional(whole(1, MOST_EPOCHS)),
    "reduction": one_of(*REDUCTIONS),
    "lr": number(0, above=True),
    "lr_decay": number(0, 1, above=True),
    "decay_after": whole(0, MOST_EPOCHS),
    "clip": number(0),  # 0: no clipping
    "weight_decay": number(0),
    "init_scale": optional(number(0, above=True)),
    "forget_bias": optional(number(-LARGEST_BIAS, LARGEST_BIAS)),
    "valid": optional(Rule(lambda v: type(v) is float or _NAME.holds(v), "a file or a fraction")),
    "test": optional(Rule(_NAME.holds, "a file")),
    "seed": whole(0, 2**63 - 1),
    "device": Rule(_device, "auto, cpu, cuda, cuda:N or mps"),
    "precision": one_of(*PRECISIONS),
    "watch": FLAG,
    "threads": optional(whole(1, MOST_THREADS)),
}
