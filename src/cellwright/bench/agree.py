"""Agree: two sides compute the same numbers, or there is nothing to time."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellwright.bench.errors import Disagreement
from cellwright.bench.sides import Drawn, Side

STEPS = 20  # compared steps: over many more, some cells magnify any rounding
# Largest difference, relative to the larger of 1 and the largest number of the tensor.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}


class _GradientsDiffer(Disagreement):
    """Values agree and gradients do not, as where a gradient jumps."""


@dataclass(frozen=True)
class Agreement:
    """The largest relative differences of values and of gradients (None: a side has none)."""

    values: float
    gradients: float | None


def agreement(ours: Side, peer: Side, draws: Sequence[Drawn], what: str) -> Agreement:
    """Compare outputs, final states and all gradients of two sides; `what` names the case.

    Gradients have to agree on one of the draws, values on every one that is looked at. Raises
    Disagreement that names the first tensor that differs by more than `TOLERANCE`.
    """
    *early, last = draws
    for drawn in early:
        with contextlib.suppress(_GradientsDiffer):
            return _compared(ours, peer, drawn, what)
    return _compared(ours, peer, last, what)


def _compared(ours: Side, peer: Side, drawn: Drawn, what: str) -> Agreement:
    limit = TOLERANCE[drawn.inputs[0].dtype]
    mine, theirs = ours.outcome(drawn), peer.outcome(drawn)
    place = f"{what}: {ours.name} and {peer.name}"
    values = _largest(mine.values, theirs.values, limit, place)
    if peer.train is None:
        return Agreement(values, None)
    try:
        return Agreement(values, _largest(mine.gradients, theirs.gradients, limit, f"{place}, d"))
    except Disagreement as error:
        raise _GradientsDiffer(str(error)) from None


def _largest(
    mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor], limit: float, place: str
) -> float:
    if set(mine) != set(theirs):
        only = ", ".join(sorted(set(mine) ^ set(theirs)))
        raise Disagreement(f"{place}: only one side has {only}")
    largest = 0.0
    for name, ours in mine.items():
        if ours.shape != theirs[name].shape:
            sizes = f"{list(ours.shape)} and {list(theirs[name].shape)}"
            raise Disagreement(f"{place} {name}: of sizes {sizes}")
        gap = difference(ours, theirs[name])
        if not gap <= limit:
            raise Disagreement(
                f"{place} {name}: differ by {gap:.1e}, at most {limit:.0e} is rounding; "
                "nothing was timed"
            )
        largest = max(largest, gap)
    return largest


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the larger of 1 and |theirs|; infinite for a NaN."""
    if not ours.numel():
        return 0.0
    gap = (ours - theirs).abs().max().nan_to_num(nan=torch.inf).item()
    return gap / max(1.0, theirs.abs().max().item())
