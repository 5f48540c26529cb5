"""What training tells whoever watches, and how it is asked to stop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from cellwright.lm.evaluation import Evaluation


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on at `progress` (0 to 1). Sizes count tokens."""

    out: Path
    cell: str
    cell_name: str
    parameters: int
    tokens: int
    vocab: int
    level: str
    epochs: int | None
    minutes: float | None
    device: str
    resumed: bool
    epoch: int
    progress: float
    valid_tokens: int
    test_tokens: int


@dataclass(frozen=True)
class Step:
    """Window `window` of `windows` is done.

    `loss` is the mean nats per token since the last Step, `tokens` all trained on so far,
    `seconds` all spent, over resumes too, `eta` those left.
    """

    epoch: int
    window: int
    windows: int
    loss: float
    tokens: int
    tokens_per_s: float
    lr: float
    grad_norm: float
    progress: float
    eta: float
    seconds: float


@dataclass(frozen=True)
class Validated:
    """The validation text was scored, `window` of `windows` into `epoch`.

    `train_nats` is the mean over the epoch's windows so far, those before a resume included;
    `best_nats` is the least validation so far, this one included.
    """

    epoch: int
    window: int
    windows: int
    train_nats: float
    nats: float
    perplexity: float
    bits_per_character: float
    tokens: int
    is_best: bool
    best_nats: float
    seconds: float


@dataclass(frozen=True)
class Saved:
    """The run in `path` can be resumed from here."""

    path: Path
    epoch: int
    window: int
    seconds: float


@dataclass(frozen=True)
class Warned:
    """Something a person should know, in one line."""

    text: str


@dataclass(frozen=True)
class Finished:
    """Training is over, or `stopped` early on request (then it can be resumed).

    `epoch` counts the epochs that are complete; `window` of the `windows` of the next one are done
    too. `train_nats` is the mean over the last epoch trained in, or the part of it that was;
    `valid_nats` the best validation; `test` the score of model.safetensors on the test text.
    """

    out: Path
    epoch: int
    window: int
    windows: int
    tokens: int
    seconds: float
    train_nats: float
    valid_nats: float | None
    test: Evaluation | None
    stopped: bool
    parameters: int


@dataclass(frozen=True)
class Comparing:
    """Training `index` of `count` (from 1) of a comparison is next: its cell, seed and size."""

    cell: str
    seed: int
    index: int
    count: int
    hidden: int
    parameters: int


Event = Comparing | Started | Step | Validated | Saved | Warned | Finished
OnEvent = Callable[[Event], None]


@final
class StopRequest:
    """A flag that asks training to finish its step, save and return; safe in a signal handler."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask for the stop."""
        self._set = True

    def is_set(self) -> bool:
        """Whether the stop was asked for."""
        return self._set
