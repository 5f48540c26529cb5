"""Gates: what a model's gates let through and its states are multiplied with, token by token."""

import math
from collections.abc import Iterable, Iterator, Sequence
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
LONGEST: Final = 0.9  # the part of the units that does not reach the longest tenth
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


@dataclass(frozen=True)
class Fading:
    """What was seen of a keep over some steps, for each unit.

    lost     nats lost, the sum of -ln |keep| where it is not 0
    zeros    steps at which it is exactly 0: what was held is gone
    between  steps at which it is neither 0 nor 1
    """

    steps: int
    lost: Tensor  # [H]
    zeros: Tensor  # [H]
    between: Tensor  # [H]

    def __add__(self, other: "Fading") -> "Fading":
        return Fading(
            self.steps + other.steps,
            self.lost + other.lost,
            self.zeros + other.zeros,
            self.between + other.between,
        )

    @property
    def resets(self) -> bool:
        """Whether a unit is set back at some steps."""
        return bool(self.zeros.any())

    @property
    def mixed(self) -> int:
        """How many units are exactly 0 at some steps, and fade at others: nothing says how long."""
        return int(((self.zeros > 0) & (self.between > 0)).sum())

    def lives(self) -> tuple[float | None, ...]:
        """Return for how many steps each unit keeps half; None where it never fades.

        Half-lives ln 2 / -ln f, f the geometric mean. It is 0 for what is 0 at some steps: where
        the keep is only 0 or 1, this is the mean number of steps from one 0 to the next instead.
        Expects that no unit is `mixed`.
        """
        made = []
        for lost, zeros in zip(self.lost.tolist(), self.zeros.tolist(), strict=True):
            rate = lost / self.steps
            kept = math.log(2) / rate if rate > NO_FADING else None
            made.append(self.steps / zeros if zeros else kept)
        return tuple(made)


def fading(kept: Tensor) -> Fading:
    """Look at what a state is multiplied with, [..., H]; all but the last dimension are steps."""
    flat = kept.detach().abs().double().flatten(0, -2)  # [steps, H]
    none = flat == 0
    lost = -flat.masked_fill(none, 1.0).log().sum(0)
    return Fading(len(flat), lost, none.sum(0), (~none & (flat != 1)).sum(0))


def quantile(lives: Iterable[float | None], part: float) -> float | None:
    """Return the least half-life that so large a part of the units does not exceed.

    0.9 is where the longest tenth begins. None is one that never fades, in what is given and found.
    """
    ordered = sorted(math.inf if life is None else life for life in lives)
    # a product such as 0.1 * 30 lies a little above the number it should be
    found = ordered[max(0, math.ceil(part * len(ordered) - 1e-9) - 1)]
    return None if math.isinf(found) else found
