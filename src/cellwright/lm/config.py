"""What one training run is: every flag of `cellwright train`, checked when it is made."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cellwright.language.errors import CellwrightError

VERSION = 1
LEVELS = ("char", "word", "bpe")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed")
DEFAULT_EPOCHS = 10
# What may change when a run is resumed: how long it goes on, and on which machine.
RESUMABLE = ("epochs", "minutes", "device", "threads")


class ConfigError(CellwrightError):
    """A flag whose value cannot be used, alone or beside another."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Sizes count units, tokens and windows; `lr_decay` multiplies.

    The gradient of a step is that of the loss summed over the window's `steps` and averaged
    over the `batch`, as in Zaremba's and Karpathy's programs, so `lr` and `clip` are theirs.
    The learning rate of epoch e (from 1) is lr * lr_decay ** max(0, e - decay_after).
    Exactly one of `epochs` and `minutes` is set; with neither, `epochs` is 10.
    `valid` is a file or the fraction of the text's end that is held out; 0 or None: none.
    Raises ConfigError at the first value that cannot be used.
    """

    files: tuple[str, ...] = ()
    corpus: str | None = None  # name of a generated corpus: recorded, `files` hold its text
    cell: str = "lstm"
    level: str = "char"
    vocab: int | None = None  # largest vocabulary; None: the tokenizer's own default
    layers: int = 1
    hidden: int = 256
    embed: int | None = None  # None: as wide as `hidden`
    tie: bool = False
    bias: bool = True  # biases inside the cell; the decoder always has one
    dropout: float = 0.0
    steps: int = 64
    batch: int = 32
    epochs: int | None = None
    minutes: float | None = None
    optimizer: str = "adam"
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
    threads: int | None = None  # None: torch's own choice

    def __post_init__(self) -> None:
        if isinstance(self.files, str):
            raise ConfigError(f"files: expected a sequence of names, got the text {self.files!r}")
        object.__setattr__(self, "files", tuple(str(name) for name in self.files))
        object.__setattr__(self, "valid", _valid(self.valid))
        if self.epochs is None and self.minutes is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        if self.epochs is not None and self.minutes is not None:
            raise ConfigError("epochs, minutes: give one of the two, not both")
        for name, (check, expected) in _CHECKS.items():
            if not check(getattr(self, name)):
                raise ConfigError(f"{name}: expected {expected}, got {getattr(self, name)!r}")
        if self.tie and self.embed not in (None, self.hidden):
            raise ConfigError(
                f"tie: needs embed equal to hidden ({self.hidden}), got embed {self.embed}; "
                "leave embed out"
            )

    @property
    def embed_size(self) -> int:
        """Width of the embedding in units."""
        return self.hidden if self.embed is None else self.embed

    def learning_rate(self, epoch: int) -> float:
        """Learning rate of `epoch`, counted from 1."""
        return self.lr * self.lr_decay ** max(0, epoch - self.decay_after)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values, with the version of its format."""
        return {"version": VERSION, **dataclasses.asdict(self), "files": list(self.files)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The configuration that `to_dict` wrote; ConfigError for any other."""
        if not isinstance(values, Mapping) or values.get("version") != VERSION:
            found = values.get("version") if isinstance(values, Mapping) else values
            raise ConfigError(
                f"training configuration: expected version {VERSION}, got {found!r}; "
                "was it written by another version of Cellwright?"
            )
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
            if name not in RESUMABLE and _plain(value) != _plain(getattr(self, name)):
                raise ConfigError(
                    f"{name}: a resumed run keeps its {name} ({getattr(self, name)!r}), got "
                    f"{value!r}; only {', '.join(RESUMABLE)} can change"
                )
        if changes.get("epochs") is not None:
            changes.setdefault("minutes", None)
        if changes.get("minutes") is not None:
            changes.setdefault("epochs", None)
        return dataclasses.replace(self, **changes)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


def _valid(value: float | str | None) -> float | str | None:
    """A fraction as a float, a file as its name, none as None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value < 1:
            raise ConfigError(f"valid: expected a file or a fraction from 0 to 1, got {value:g}")
        return float(value) or None
    return value


def _count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: object, least: float = 0.0, most: float = math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) and least <= value <= most


def _device(value: object) -> bool:
    if not isinstance(value, str):
        return False
    kind, _, index = value.partition(":")
    return value in ("auto", "cpu", "mps", "cuda") or (kind == "cuda" and index.isdecimal())


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


MOST_LAYERS = 1000
LARGEST_WINDOW = 1 << 24

_Check = tuple[Callable[[Any], bool], str]
_COUNT: _Check = (_count, "a whole number of at least 1")
_CHECKS: dict[str, _Check] = {
    "corpus": (lambda v: v is None or _text(v), "a name"),
    "cell": (_text, "a catalogue name or file.py:Class"),
    "level": (lambda v: v in LEVELS, f"one of {', '.join(LEVELS)}"),
    "vocab": (lambda v: v is None or _count(v, 2), "a whole number of at least 2"),
    "layers": (lambda v: _count(v) and v <= MOST_LAYERS, f"a whole number from 1 to {MOST_LAYERS}"),
    "hidden": _COUNT,
    "embed": (lambda v: v is None or _count(v), "a whole number of at least 1"),
    "tie": (lambda v: isinstance(v, bool), "true or false"),
    "bias": (lambda v: isinstance(v, bool), "true or false"),
    "dropout": (lambda v: _number(v) and v < 1, "a number of at least 0 and below 1"),
    "steps": (lambda v: _count(v) and v <= LARGEST_WINDOW, f"1 to {LARGEST_WINDOW}"),
    "batch": (lambda v: _count(v) and v <= LARGEST_WINDOW, f"1 to {LARGEST_WINDOW}"),
    "epochs": (lambda v: v is None or _count(v), "a whole number of at least 1"),
    "minutes": (lambda v: v is None or (_number(v) and v > 0), "a number above 0"),
    "optimizer": (lambda v: v in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
    "lr": (lambda v: _number(v) and v > 0, "a number above 0"),
    "lr_decay": (lambda v: _number(v, most=1) and v > 0, "a factor above 0 and at most 1"),
    "decay_after": (lambda v: _count(v, 0), "a whole number of epochs, 0 or more"),
    "clip": (_number, "a norm of at least 0 (0: no clipping)"),
    "weight_decay": (_number, "a number of at least 0"),
    "init_scale": (lambda v: v is None or (_number(v) and v > 0), "a number above 0"),
    "forget_bias": (lambda v: v is None or _number(v, least=-math.inf), "a finite number"),
    "valid": (lambda v: v is None or isinstance(v, float) or _text(v), "a file or a fraction"),
    "test": (lambda v: v is None or _text(v), "a file"),
    "seed": (lambda v: _count(v, 0) and v < 2**63, "a whole number of at least 0"),
    "device": (_device, "auto, cpu, cuda, cuda:N or mps"),
    "precision": (lambda v: v in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
    "threads": (lambda v: v is None or _count(v), "a whole number of at least 1"),
}
