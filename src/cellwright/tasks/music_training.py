"""Training on music: shuffled pieces, Adam, and an end when validation stops getting better."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cellwright.language.cell import Cell
from cellwright.language.errors import SettingError
from cellwright.tasks.music import MusicError
from cellwright.tasks.music_model import MusicModel, Rolls, nats_of_steps, score

_LARGEST: Final = 10**6


@dataclass(frozen=True)
class Recipe:
    """How every model is trained, the learning rate aside.

    At most `epochs` passes over the pieces, in a new order each time, `batch` of them a step;
    the gradient is that of the mean loss of the batch's steps, its norm at most `clip`. Training
    ends after `patience` epochs without a better validation. SettingError for what cannot be.
    """

    epochs: int = 200
    patience: int = 20
    batch: int = 4
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= _LARGEST:
                raise SettingError(
                    f"{name}: expected a whole number from 1 to {_LARGEST}, got {value!r:.40}"
                )
        if type(self.clip) not in (int, float) or not 0 < self.clip < math.inf:
            raise SettingError(f"clip: expected a number above 0, got {self.clip!r:.40}")


@dataclass(frozen=True)
class Outcome:
    """One training. Losses are nats for each step; `best_epoch` has the least validation.

    `curve` is the validation before training and after each epoch. `train_nats` is the mean over
    the best epoch, nan where that is the start; the test losses are those of the best epoch's
    weights. `broke_down`: a loss or gradient was not finite, and training ended there.
    """

    best_epoch: int
    train_nats: float
    valid_nats: float
    test_nats: float
    test_nats_by_piece: float
    curve: tuple[float, ...]
    broke_down: bool
    seconds: float

    @property
    def epochs(self) -> int:
        """How many epochs were trained and validated."""
        return len(self.curve) - 1


def train(
    rolls: Rolls,
    cell: type[Cell],
    hidden: int,
    lr: float,
    seed: int,
    recipe: Recipe,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Train one model from `seed`; None if `stopped()` said so before the end.

    The same arguments give the same outcome on the same machine. MusicError if the untrained
    model's loss is not a number.
    """
    begun = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicModel(cell, hidden)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    curve = [score(model, rolls.valid).nats]
    if not math.isfinite(curve[0]):
        raise MusicError(f"{cell.__name__}: the loss of the untrained model is {curve[0]}")
    best, best_epoch, train_nats, broke_down = _copy(model), 0, math.nan, False
    while len(curve) - 1 < recipe.epochs and len(curve) - 1 - best_epoch < recipe.patience:
        if stopped():
            return None
        trained = _epoch(model, optimizer, rolls.train, recipe, order)
        valid = score(model, rolls.valid).nats if trained is not None else math.nan
        if trained is None or not math.isfinite(valid):
            broke_down = True
            break
        if valid < curve[best_epoch]:
            best, best_epoch, train_nats = _copy(model), len(curve), trained
        curve.append(valid)
    model.load_state_dict(best)
    test = score(model, rolls.test)
    return Outcome(
        best_epoch=best_epoch,
        train_nats=train_nats,
        valid_nats=curve[best_epoch],
        test_nats=test.nats,
        test_nats_by_piece=test.nats_by_piece,
        curve=tuple(curve),
        broke_down=broke_down,
        seconds=time.perf_counter() - begun,
    )


def _copy(model: MusicModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _epoch(
    model: MusicModel,
    optimizer: torch.optim.Optimizer,
    pieces: tuple[Tensor, ...],
    recipe: Recipe,
    order: torch.Generator,
) -> float | None:
    """Train on every piece once; the mean loss of the steps, None if something was not finite."""
    model.train()
    total, steps = 0.0, 0
    for some in torch.randperm(len(pieces), generator=order).split(recipe.batch):
        losses, lengths = nats_of_steps(model, [pieces[k] for k in some.tolist()])
        count = int(lengths.sum())
        optimizer.zero_grad()
        (losses.sum() / count).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip, foreach=True)
        if not math.isfinite(float(norm)):
            return None
        optimizer.step()
        total += float(losses.detach().sum())
        steps += count
    return total / steps
