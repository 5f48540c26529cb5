"""Gradient flow: how much of a state is left in itself, k steps later, by exact Jacobians."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from cellwright.language.errors import CellwrightError
from cellwright.language.keep import Keep, with_keeps
from cellwright.nn import Recurrent
from cellwright.nn.layers import Layer
from cellwright.nn.running import How, Rows, Start, Tensors, weights_of
from cellwright.runtime import Call, Plan, plan, run_reference

WARM = 20  # steps before the longest lag: a state that has left its zero start


class GradientError(CellwrightError):
    """A layer or sequence of which no gradient flow can be computed."""


@dataclass(frozen=True)
class StateFlow:
    """One state's flow; `gain` [samples, lags] is ||d s_T / d s_{T-k}||, other states held fixed.

    `kept` [samples, lags] is the norm of the product of the state's keeps over those k steps, the
    largest among the units, and `keep` what they are (f); both are None for a state without one.
    """

    state: str
    gain: Tensor
    keep: str | None
    kept: Tensor | None


@dataclass(frozen=True)
class LayerFlow:
    """The flow of a layer's states at lags 1, 2, ...

    `bound` [samples, lags] is the product of the steps' spectral norms: ||J_T|| ||J_{T-1}|| ...,
    J_t the Jacobian of all the layer's states by all of them one step before.
    """

    layer: int
    bound: Tensor
    states: tuple[StateFlow, ...]

    @property
    def lags(self) -> int:
        """The longest lag."""
        return self.bound.shape[1]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values; sample after sample, lags from 1."""
        return {
            "layer": self.layer,
            "lags": self.lags,
            "bound": self.bound.tolist(),
            "states": {
                s.state: {
                    "gain": s.gain.tolist(),
                    "keep": s.keep,
                    "kept": None if s.kept is None else s.kept.tolist(),
                }
                for s in self.states
            },
        }


def joined(flows: Sequence[LayerFlow]) -> LayerFlow:
    """Put the samples of flows of one kind of layer together."""
    states = []
    for same in zip(*(flow.states for flow in flows), strict=True):
        kept = [s.kept for s in same if s.kept is not None]
        gain = torch.cat([s.gain for s in same])
        first = same[0]
        states.append(StateFlow(first.state, gain, first.keep, torch.cat(kept) if kept else None))
    return LayerFlow(flows[0].layer, torch.cat([f.bound for f in flows]), tuple(states))


def gradient_flow(module: Recurrent, x: Tensor | Tensors, lags: int) -> tuple[LayerFlow, ...]:
    """Compute the flow of every layer, each for the sequence that the layers below give it.

    x: [T, B, width], T more than `lags`, read from zero states; each of B rows is a sample, and T
    is its last step. Computed in float64 on torch operations, masks at their means.
    GradientError for a module in two directions and for sequences that are too short.
    """
    values = x if isinstance(x, tuple) else (x,)
    if any(module.stack.both_ways):
        raise GradientError("gradient flow: a layer in two directions has no one direction of time")
    if lags < 1 or values[0].shape[0] <= lags:
        raise GradientError(
            f"gradient flow: lags must be 1 to {values[0].shape[0] - 1}, one less than the "
            f"{values[0].shape[0]} steps of the sequence, got {lags}"
        )
    if values[0].dtype != torch.float64:
        raise GradientError(f"gradient flow: expected float64, got {values[0].dtype}")
    return tuple(_layer_flow(run, lags) for run in _runs(module, values))


@dataclass(frozen=True)
class _Ran:
    """A layer, what it read [T, B, width] and each state's path [T + 1, B, width]."""

    index: int
    layer: Layer
    bias: bool
    weights: Tensors
    values: Tensors
    paths: Tensors


def _runs(module: Recurrent, values: Tensors) -> Iterator[_Ran]:
    below: Tensors = ()
    batch = values[0].shape[1]
    training = module.training
    module.eval()
    try:
        for index, layer in enumerate(module._layers):
            read = layer.reads(values, below)
            weights = tuple(w.detach() for w in weights_of(module, layer.names[0]))
            start = tuple(values[0].new_zeros(batch, width) for _, width in layer.states)
            with torch.no_grad():
                how = How("reference")
                at = Start(start, ())
                below, _, trail = layer.run(module, read, at, Rows(None, None), 0, how, emit=True)
            paths = [torch.cat([s[None], path]) for s, path in zip(start, trail, strict=True)]
            yield _Ran(index, layer, module.bias, weights, read, tuple(paths))
    finally:
        module.train(training)


def _layer_flow(ran: _Ran, lags: int) -> LayerFlow:
    keeping = _Keeping.of(ran.layer, ran.bias)
    samples = [_Sample.of(ran, keeping, row, lags) for row in range(ran.values[0].shape[1])]
    states = []
    for name, _ in ran.layer.states:
        keep = keeping.keeps.get(name)
        states.append(
            StateFlow(
                state=name,
                gain=torch.stack([s.gains[name] for s in samples]),
                keep=keep.label if keep else None,
                kept=torch.stack([s.kept[name] for s in samples]) if keep else None,
            )
        )
    return LayerFlow(ran.index, torch.stack([s.bound for s in samples]), tuple(states))


@final
class _Keeping:
    """A layer's plan that also puts out what its states are multiplied with."""

    def __init__(self, plan: Plan, keeps: Sequence[Keep], outputs: int) -> None:
        self.plan, self.outputs = plan, outputs
        self.keeps = {keep.state: keep for keep in keeps}

    @classmethod
    def of(cls, layer: Layer, bias: bool) -> "_Keeping":
        cell, keeps = with_keeps(layer.plan.cell)
        return cls(plan(cell, layer.sizes, bias), keeps, len(layer.plan.cell.graph.outputs))

    def values(self, outputs: Tensors, like: Tensor) -> dict[str, Tensor]:
        """Each state's keep at each step, [steps, width]; one wide where it is a number."""
        more = iter(outputs[self.outputs :])
        return {
            name: like.new_full((len(like), 1), keep.constant or 0.0)
            if keep.equation is None
            else next(more)[0]
            for name, keep in self.keeps.items()
        }


@dataclass(frozen=True)
class _Sample:
    """One row's numbers, [lags] each."""

    bound: Tensor
    gains: dict[str, Tensor]
    kept: dict[str, Tensor]

    @classmethod
    def of(cls, ran: _Ran, keeping: _Keeping, row: int, lags: int) -> "_Sample":
        values = tuple(v[-lags:, row] for v in ran.values)  # [lags, I]
        before = tuple(p[-lags - 1 : -1, row] for p in ran.paths)  # [lags, width] each
        jacobians, outputs = step_jacobians(keeping.plan, values, before, ran.weights)
        backwards = jacobians.flip(0)  # the last step first
        slices, at = {}, 0
        for name, width in ran.layer.states:
            slices[name] = slice(at, at + width)
            at += width
        total = torch.eye(at, dtype=jacobians.dtype)
        gains: dict[str, list[Tensor]] = {name: [] for name in slices}
        for jacobian in backwards:  # d s_T / d s_{T-k} = J_T J_{T-1} ... J_{T-k+1}
            total = total @ jacobian
            for name, own in slices.items():
                gains[name].append(spectral(total[own, own]))
        kept = {
            name: keep.flip(0).cumprod(0).abs().amax(1)
            for name, keep in keeping.values(outputs, before[0]).items()
        }
        norms = torch.stack([spectral(jacobian) for jacobian in backwards])
        return cls(norms.cumprod(0), {n: torch.stack(g) for n, g in gains.items()}, kept)


def step_jacobians(
    made: Plan, values: Tensors, before: Tensors, weights: Tensors
) -> tuple[Tensor, Tensors]:
    """Differentiate one step of a plan, for many inputs and states side by side.

    values: [R, width], before: the states [R, width]. Returns J [R, N, N], rows the states after
    the step, columns those before it, N all their widths; and the plan's outputs [1, R, width].
    """
    states = tuple(s.detach().requires_grad_() for s in before)
    inputs = tuple(v[None].detach() for v in values)
    with torch.enable_grad():
        outputs, after = run_reference(made, Call(inputs, states, weights))
        rows = [row for state in after for row in _rows(state, states)]
    return torch.stack(rows, 1), tuple(y.detach() for y in outputs)


def _rows(state: Tensor, states: Tensors) -> Iterator[Tensor]:
    """The gradient [R, N] of each unit; rows of the batch do not touch each other."""
    for unit in range(state.shape[1]):
        made: Sequence[Tensor | None] = (None,) * len(states)
        if state.requires_grad:
            total = state[:, unit].sum()
            made = torch.autograd.grad(total, states, retain_graph=True, allow_unused=True)
        filled = [
            torch.zeros_like(s) if g is None else g for g, s in zip(made, states, strict=True)
        ]
        yield torch.cat(filled, 1)


def spectral(matrix: Tensor) -> Tensor:
    """Return the largest singular value, a scalar; scaled first, so that its square is a number."""
    scale = matrix.abs().amax()
    if scale == 0 or not torch.isfinite(scale):
        return scale
    scaled = matrix / scale
    return scale * torch.linalg.eigvalsh(scaled.T @ scaled)[-1].clamp(min=0).sqrt()
