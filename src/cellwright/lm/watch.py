"""Training watch: what the gates, the memory and the gradients of a model do on one batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.lm.corpus import TokenFile, Windows
from cellwright.lm.gates import (
    HIGH,
    LONGEST,
    LOW,
    OPEN,
    SHUT,
    Fading,
    fading,
    gated,
    quantile,
)
from cellwright.lm.model import LanguageModel

MOST_ROWS: Final = 8
MOST_STEPS: Final = 512
STUCK: Final = 0.5  # the share of a gate's units from which on it is worth a word
NOTHING: Final = 1e-6  # of the largest gradient: lost among float32's sums
FAR_TOO_MUCH: Final = 100.0  # times the nearest token's gradient


@dataclass(frozen=True)
class GateWatch:
    """A gate on a batch: shares of its values below 0.1 and above 0.9, of its units stuck.

    A unit is `shut`, or `open`, if it is below 0.01, above 0.99, at every token.
    """

    low: float
    high: float
    shut: float
    open: float


@dataclass(frozen=True)
class HalfLife:
    """How long a state's units keep half their content, in steps: the median, the longest tenth.

    ln 2 / -ln(f), f the geometric mean of what the unit is multiplied with at each step; where that
    is only 0 or 1, the mean number of steps between two zeros; None where it never fades.
    """

    median: float | None
    longest_tenth: float | None


@dataclass(frozen=True)
class LayerWatch:
    """A layer's gates by equation, and the half-lives of its states that are multiplied."""

    gates: dict[str, GateWatch]
    half_lives: dict[str, HalfLife]


@dataclass(frozen=True)
class Watch:
    """What was seen: layers, and the gradient of the last token's loss by lag.

    `gradient` is the median over rows of the norm of d loss / d embedding of the token `lags` back.
    """

    layers: tuple[LayerWatch, ...]
    lags: tuple[int, ...]
    gradient: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {
            "layers": [
                {
                    "gates": {
                        name: {k: round(v, 4) for k, v in vars(gate).items()}
                        for name, gate in layer.gates.items()
                    },
                    "half_lives": {name: vars(life) for name, life in layer.half_lives.items()},
                }
                for layer in self.layers
            ],
            "lags": list(self.lags),
            "gradient": list(self.gradient),
        }

    def warnings(self) -> dict[str, str]:
        """What is wrong, if anything, a line for each kind of fault."""
        found = {}
        for kind, text in (
            ("stuck", self._stuck()), ("vanishing", self._vanishing()),
            ("exploding", self._exploding()),
        ):  # fmt: skip
            if text is not None:
                found[kind] = text
        return found

    def _stuck(self) -> str | None:
        for number, layer in enumerate(self.layers):
            for name, gate in layer.gates.items():
                for share, side in ((gate.shut, f"below {SHUT:g}"), (gate.open, f"above {OPEN:g}")):
                    if share > STUCK:
                        return (
                            f"layer {number}: {100 * share:.0f} % of the units of {name} stand "
                            f"{side} at every token: they gate nothing; try a lower --lr"
                        )
        return None

    def _vanishing(self) -> str | None:
        least = NOTHING * max(self.gradient)
        gone = [lag for lag, g in zip(self.lags, self.gradient, strict=True) if lag and g < least]
        if not gone or gone[0] > self.lags[-1] / 2:
            return None
        gated = any("f" in layer.gates for layer in self.layers)
        remedy = "a higher --forget-bias" if gated else "a cell with a memory, such as lstm or gru"
        return (
            f"gradients vanish within the window: {gone[0]} tokens back less than {NOTHING:g} of "
            f"the largest is left, so what stands further back of the {self.lags[-1] + 1} is "
            f"not learnt from; use {remedy}"
        )

    def _exploding(self) -> str | None:
        largest = max(self.gradient)
        if not math.isfinite(largest) or largest > FAR_TOO_MUCH * self.gradient[0] > 0:
            lag = self.lags[self.gradient.index(largest)]
            return (
                f"gradients explode: {lag} tokens back it is {largest / self.gradient[0]:.0f} "
                "times that of the nearest; use a lower --lr, or a lower --clip"
            )
        return None


def watch(model: LanguageModel, text: TokenFile, steps: int) -> Watch:
    """Look at a model on one batch of a text: a window of `steps` after another that warms it up.

    Draws no random number and leaves the model as it was.
    """
    rows = max(1, min(MOST_ROWS, text.tokens // (2 * steps + 1)))
    ids, targets, state = _batch(model, text, rows, min(steps, MOST_STEPS))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            start = None if state is None else model(state)[1]
            layers = _layers(model, ids, start)
        lags, gradient = _gradient(model, ids, targets, start)
    finally:
        model.train(training)
    return Watch(layers, lags, gradient)


def _batch(
    model: LanguageModel, text: TokenFile, rows: int, steps: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The second window [B, T] with its targets, and the first, if the text has two."""
    device = model.embedding.weight.device
    found = []
    for x, y in Windows(text.ids, rows, steps):
        found.append((x.to(device), y.to(device)))
        if len(found) == 2:
            break
    before = found[0][0] if len(found) == 2 and found[1][0].shape == found[0][0].shape else None
    x, y = found[0] if before is None else found[1]
    return x, y, before


def _layers(model: LanguageModel, ids: Tensor, start: Any) -> tuple[LayerWatch, ...]:
    x = model.embedding(ids).transpose(0, 1)  # [T, B, E]
    first = model.recurrent._start(start, x, True, False).first
    return tuple(
        LayerWatch(
            {name: _gate(values) for name, values in seen.gates.items()},
            {
                state: _half_life(found)
                for state, (_, values) in seen.kept.items()
                if not (found := fading(values)).mixed
            },
        )
        for seen in gated(model, ids, first)
    )


def _gate(values: Tensor) -> GateWatch:
    """Of a gate's values [T, B, H]."""
    flat = values.flatten(0, 1).float()  # [T B, H]
    low, high = flat.amin(0), flat.amax(0)
    shares = (flat < LOW), (flat > HIGH), (high < SHUT), (low > OPEN)
    return GateWatch(*(share.float().mean().item() for share in shares))


def _half_life(seen: Fading) -> HalfLife:
    lives = seen.lives()
    return HalfLife(quantile(lives, 0.5), quantile(lives, LONGEST))


def _gradient(
    model: LanguageModel, ids: Tensor, targets: Tensor, start: Any
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    with torch.enable_grad():
        x = model.embedding(ids).detach().requires_grad_()  # [B, T, E]
        h, _ = model.recurrent(x, start)
        loss = cross_entropy(model.decoder(h[:, -1]).float(), targets[:, -1], reduction="sum")
        (found,) = torch.autograd.grad(loss, x)
    norms = found.float().norm(dim=2).median(0).values.flip(0)  # [T], by lag
    lags = _lags(len(norms))
    return lags, tuple(norms[lag].item() for lag in lags)


def _lags(steps: int) -> tuple[int, ...]:
    """0, 1, 2, 4, ..., and the window's longest."""
    powers: Sequence[int] = [1 << k for k in range(steps.bit_length()) if 1 << k < steps]
    return tuple(sorted({0, *powers, steps - 1}))
