"""Probes of single units: how well a value alone tells two kinds of sentence apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

Half = tuple[Tensor, Tensor]  # ranks [N, U] and labels [N] of one half of the sentences


@dataclass(frozen=True)
class Probed:
    """How well the best single unit tells where a feature of the text holds, on held-out text.

    share      of the tokens where the feature holds: the base rate
    auc        of the unit chosen on the text's first half, measured on its second
    high       whether a high value says that the feature holds
    shuffled   the best AUC of any unit for labels that mean nothing, once for each draw
    untrained  the best unit's AUC in the model as training began with it
    token      the AUC of the current token alone: what needs no memory
    errors     the standard errors of auc - token and of auc - untrained; blocks of the held-out
               text are the samples, infinite where the feature is in too few of them
    """

    feature: str
    share: float
    layer: int
    state: str
    unit: int
    auc: float
    high: bool
    shuffled: tuple[float, ...]
    untrained: float
    token: float
    errors: tuple[float, float] = (0.0, 0.0)


def ranks(values: Tensor) -> Tensor:
    """Rank each column of [N, U] from 1; equal values share the mean of their ranks."""
    made = torch.empty(values.shape, dtype=torch.float64)
    for unit, column in enumerate(values.T):
        _, place, counts = torch.unique(column, return_inverse=True, return_counts=True)
        last = counts.cumsum(0)
        made[:, unit] = (last - (counts - 1) / 2).double()[place]
    return made


def auc(ranked: Tensor, truth: Tensor) -> Tensor:
    """Area under the ROC curve of every column of ranks [N, U], for labels [N] or [S, N].

    It is the chance that a sentence of which the label is true has the higher value: 0.5 where the
    unit says nothing, 0 or 1 where it says all.
    """
    truth = truth.double()
    ones = truth.sum(-1, keepdim=True)
    zeros = truth.shape[-1] - ones
    return (truth @ ranked - ones * (ones + 1) / 2) / (ones * zeros)


def held_out_auc(fit: Half, held: Half) -> tuple[Tensor, Tensor, Tensor]:
    """AUC [U] of both halves, and which way is up: the first half chooses the sign for both."""
    first, second = auc(*fit), auc(*held)
    up = first >= 0.5
    return torch.where(up, first, 1 - first), torch.where(up, second, 1 - second), up


def shuffled_best(fit: Half, held: Half, shuffles: int, rng: torch.Generator) -> tuple[float, ...]:
    """The best held-out AUC of any unit where the labels mean nothing, once for each shuffle."""
    made = []
    for _ in range(shuffles):
        mixed = [
            (ranked, truth[torch.randperm(len(truth), generator=rng)])
            for ranked, truth in (fit, held)
        ]
        made.append(float(held_out_auc(mixed[0], mixed[1])[1].max()))
    return tuple(made)
