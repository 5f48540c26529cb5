"""What one training run is: every flag of `cellwright train`, checked when it is made."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cellwright.language.errors import CellwrightError
from cellwright.lm.fields import FLAG, Rule, number, one_of, optional, shown, text, whole

VERSION = 1
LEVELS = ("char", "word", "bpe")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed")
DEFAULT_EPOCHS = 10
# What may change when a run is resumed: how long it goes on, and on which machine.
RESUMABLE = ("epochs", "minutes", "device", "threads")
LATER = ("proj_size",)  # fields that the first files of this version do not have


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
    proj_size: int = 0  # width of the output of a cell with a projection; 0 for all others
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
        if not isinstance(self.files, tuple | list):
            raise ConfigError(f"files: expected a sequence of names, got {shown(self.files)}")
        object.__setattr__(self, "files", tuple(str(name) for name in self.files))
        object.__setattr__(self, "valid", _valid(self.valid))
        if self.epochs is None and self.minutes is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        if self.epochs is not None and self.minutes is not None:
            raise ConfigError("epochs, minutes: give one of the two, not both")
        for name, rule in _CHECKS.items():
            if not rule.holds(value := getattr(self, name)):
                raise ConfigError(f"{name}: expected {rule.wanted}, got {shown(value)}")
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
    if type(value) in (int, float):
        if not 0 <= value < 1:  # type: ignore[operator]
            raise ConfigError(
                f"valid: expected a file or a fraction from 0 to 1, got {shown(value)}"
            )
        return float(value) or None  # type: ignore[arg-type]
    return value


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
_CHECKS: dict[str, Rule] = {
    "corpus": optional(_NAME),
    "cell": Rule(_NAME.holds, "a catalogue name or file.py:Class"),
    "level": one_of(*LEVELS),
    "vocab": optional(whole(2, 1 << 24)),
    "layers": whole(1, MOST_LAYERS),
    "hidden": _WIDTH,
    "embed": optional(_WIDTH),
    "proj_size": whole(0, LARGEST_WIDTH),
    "tie": FLAG,
    "bias": FLAG,
    "dropout": number(0, 1, below=True),
    "steps": whole(1, LARGEST_WINDOW),
    "batch": whole(1, LARGEST_WINDOW),
    "epochs": optional(whole(1, MOST_EPOCHS)),
    "minutes": optional(number(0, MOST_EPOCHS, above=True)),
    "optimizer": one_of(*OPTIMIZERS),
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
    "threads": optional(whole(1, MOST_THREADS)),
}
