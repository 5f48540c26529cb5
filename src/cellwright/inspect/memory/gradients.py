"""Gradient by lag: what one prediction owes to the tokens, and to the states, so many steps back.

Each prediction is a row of one batch: a window of steps that starts from the state that the text
before it left, without a gradient. One backward pass through the batch gives all rows and all lags
at once, exact within the window: rows do not touch each other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cellwright.inspect.memory.report import Decay
from cellwright.inspect.memory.text import Read
from cellwright.inspect.memory.threads import few_threads
from cellwright.lm.model import LanguageModel
from cellwright.nn.running import How, Rows, Start, Tensors, run, weights_of
from cellwright.nn.trace_patch import patched_plan
from cellwright.runtime import use_backend

MOST_NUMBERS = 60_000_000  # that a backward pass may keep: about half a gigabyte in float64
KEPT = 24  # numbers kept for each unit of a state in a step, by a cell of average size


@dataclass(frozen=True)
class Windows:
    """The windows of a text whose next token is predicted: `steps` tokens before each target."""

    targets: Tensor  # [M]
    steps: int

    @property
    def starts(self) -> set[int]:
        """After how many tokens of the text a state is wanted."""
        return {int(p) - self.steps for p in self.targets}


def norms(r: Read, windows: Windows) -> dict[str, Tensor]:
    """Norms [M, lags] of d log p(target) by "x", an embedded token, and by each layer's states.

    Lag 0 is the last token read before the target, and the state after it. A state's gradient is
    the whole one: all that reads the state, in its own step and later. In the model's own dtype,
    on torch operations.
    """
    size = max(1, MOST_NUMBERS // (windows.steps * _kept_in_a_step(r.model)))
    found: dict[str, list[Tensor]] = {}
    for at in range(0, len(windows.targets), size):
        for name, values in _batch(r, windows.targets[at : at + size], windows.steps).items():
            found.setdefault(name, []).append(values)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _kept_in_a_step(model: LanguageModel) -> int:
    widths = [width for layer in model.recurrent._layers for _, width in layer.states]
    return KEPT * sum(widths) + model.shape.embed


def _batch(r: Read, targets: Tensor, steps: int) -> dict[str, Tensor]:
    rows = r.ids[targets[:, None] + torch.arange(-steps, 0)]
    dtype = r.model.embedding.weight.dtype
    start = [tuple(s.to(dtype) for s in layer) for layer in r.at(targets - steps)]
    with torch.enable_grad(), use_backend("reference"), few_threads(r.model):
        x = r.model.embedding(rows).detach().transpose(0, 1).requires_grad_()  # [T, M, E]
        h, kept = with_states(r.model, x, start)
        chosen = log_softmax(r.model.decoder(h[-1]), 1).gather(1, r.ids[targets][:, None])
        leaves = [x, *(value for path in kept.values() for value in path)]
        found = torch.autograd.grad(chosen.sum(), leaves, allow_unused=True)
    made = {"x": found[0].norm(dim=2).T.flip(1)}
    for number, (name, path) in enumerate(kept.items()):
        at = 1 + number * steps
        by_step = [
            rows.new_zeros(len(rows), dtype=dtype) if g is None else g.norm(dim=1)
            for g in found[at : at + steps]
        ]
        assert len(by_step) == len(path)
        made[name] = torch.stack(by_step, 1).flip(1)
    return made


def with_states(
    model: LanguageModel, x: Tensor, start: Sequence[Tensors]
) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Read x [T, B, E] on torch operations; return the outputs [T, B, W] and each state's values.

    The values, one [B, width] after each step, are those that the rest is computed from: a gradient
    can be asked for by each.
    """
    module, output = model.recurrent, x
    below: Tensors = ()
    kept: dict[str, list[Tensor]] = {}
    for number, (layer, at) in enumerate(zip(module._layers, start, strict=True)):
        own = {name: [] for name, _ in layer.states}
        kept |= {f"layers.{number}.{name}": path for name, path in own.items()}
        weights = weights_of(module, layer.names[0])
        made = patched_plan(layer.plan, {name: (_noting(path),) for name, path in own.items()})
        read = layer.reads((x,), below)
        none = Rows(None, None)
        outputs, _ = run(made, read, Start(at, ()), weights, none, False, How("reference"))
        below = outputs[: made.emitted]
        output = outputs[0]
    return output, kept


def _noting(path: list[Tensor]) -> Callable[[Tensor, int], Tensor]:
    """A patch that changes nothing and remembers what passes."""

    def note(value: Tensor, step: int) -> Tensor:
        if step == 0:
            path.clear()
        if not value.requires_grad:
            value = value.clone().requires_grad_()
        path.append(value)
        return value

    return note


def finite_lags(values: Tensor) -> int:
    """How many lags there are before the first at which a norm [M, lags] is too large a number."""
    return int(values.isfinite().all(0).long().cumprod(0).sum())


def decay(values: Tensor) -> Decay:
    """Median and quartiles over rows, of norms [M, lags]."""
    low, median, high = torch.quantile(values.double(), torch.tensor([0.25, 0.5, 0.75]).double(), 0)
    numbers: Mapping[str, Tensor] = {"median": median, "low": low, "high": high}
    return Decay(
        tuple(range(values.shape[1])), **{k: tuple(v.tolist()) for k, v in numbers.items()}
    )
