"""Gates: what a model's gates let through and its states are multiplied with, token by token."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from cellwright.language.keep import Keep, with_keeps
from cellwright.language.ops import Op
from cellwright.lm.model import LanguageModel
from cellwright.nn.layers import Layer
from cellwright.nn.running import How, Rows, Start, Tensors, run, weights_of
from cellwright.runtime import plan
from cellwright.runtime.trail import named_values

LOW, HIGH = 0.1, 0.9  # a gate below, or above, is said to be saturated
SHUT, OPEN = 0.01, 0.99  # a unit of a gate that never leaves one of these is stuck
LEAST_KEPT: Final = 1e-30  # what is less counts as this: its logarithm is a number
NO_FADING: Final = 1e-9  # nats a step


@dataclass(frozen=True)
class Gated:
    """What a layer computes on a batch: outputs, gates by equation, keeps by state, [T, B, width].

    A keep that is a number stands once for all steps and rows, [1, width].
    """

    outputs: Tensors
    gates: dict[str, Tensor]
    kept: dict[str, tuple[Keep, Tensor]]


def gated(model: LanguageModel, ids: Tensor, start: Sequence[Tensors]) -> Iterator[Gated]:
    """Read ids [B, T] layer after layer, from the states [B, width] in `start`, one for each layer.

    Runs on torch operations: nothing is compiled for it. Masks are at their means.
    """
    x, below = model.embedding(ids).transpose(0, 1), ()  # [T, B, E]
    module = model.recurrent
    for layer, at in zip(module._layers, start, strict=True):
        weights = weights_of(module, layer.names[0])
        seen = _gated(layer, module.bias, layer.reads((x,), below), at, weights)
        below = seen.outputs
        yield seen


def _gated(layer: Layer, bias: bool, read: Tensors, at: Tensors, weights: Tensors) -> Gated:
    own = layer.plan.cell
    cell, keeps = with_keeps(own)
    gates = [n for n, v in named_values(own.graph).items() if v.bent is Op.SIGMOID]
    made = plan(cell, layer.sizes, bias).emitting(gates)
    outputs, _ = run(made, read, Start(at, ()), weights, Rows(None, None), False, How("reference"))
    count = len(own.graph.outputs)
    more = iter(outputs[count : made.emitted])
    widths = dict(layer.states)
    kept = {
        keep.state: (
            keep,
            next(more)
            if keep.constant is None
            else read[0].new_full((1, widths[keep.state]), keep.constant),
        )
        for keep in keeps
    }
    values = {name: outputs[k] for name, k in zip(gates, made.trail, strict=True)}
    return Gated(tuple(outputs[:count]), values, kept)


def fading(kept: Tensor) -> Tensor:
    """Return -ln of the geometric mean over all but the last dimension: [..., H] to [H]."""
    return -kept.abs().float().clamp(min=LEAST_KEPT).log().flatten(0, -2).mean(0)


def half_life(rate: float) -> float | None:
    """Return how many steps half is kept for at a rate of fading; None where it never fades."""
    return math.log(2) / rate if rate > NO_FADING else None
