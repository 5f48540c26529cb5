"""Fused: a plan's loop as machine code, with its gradient, for eager mode on the CPU."""

import functools
import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cellwright.compiler import Program, vjp
from cellwright.compiler.simplify import drop_dead
from cellwright.runtime.fast import DTYPES, FastProgram
from cellwright.runtime.native import machine, missing, processor
from cellwright.runtime.operator import unaliased
from cellwright.runtime.plan import Plan
from cellwright.runtime.threads import describe

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Counts:
    """How many tensors of each kind a call passes, in this order; two masks, or None, follow."""

    inputs: int
    states: int
    params: int
    fresh: int


def refused(tensors: Tensors) -> str | None:
    """Say why machine code cannot serve these tensors, or None where it can."""
    for t in tensors:
        if t.device.type != "cpu":
            return f"tensors on {t.device.type}; machine code is made for the CPU"
        if t.dtype not in DTYPES or t.dtype != tensors[0].dtype:
            return f"tensors of {t.dtype}; there is machine code for float32 and float64"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation, which the reference can do"
    return missing()


def path_of(dtype: torch.dtype) -> str:
    """Describe the machine code that runs for a dtype."""
    m = machine(DTYPES[dtype])
    kind = str(dtype).removeprefix("torch.")
    return (
        f"machine code for {processor()[0]}: vectors of {m.lanes} {kind}, tiles of {m.rows} rows "
        f"by {m.vectors} vectors, up to {torch.get_num_threads()} of {describe()}"
    )


@functools.cache
def say_once(cell: str, reason: str) -> None:
    """Log, once in a process, that a cell runs on the reference path and why."""
    logging.getLogger("cellwright").warning(
        "%s runs on the reference path (a loop of torch operations), not as machine code: %s",
        cell,
        reason,
    )


class _Fused(torch.autograd.Function):
    """Runs the compiled forward program; its backward runs the compiled adjoint."""

    @staticmethod
    def forward(ctx: Any, made: Plan, counts: Counts, *tensors: Tensor | None) -> Tensors:
        inputs, states, params, fresh, masks = _sorted(counts, tensors)
        fast = programs(made, inputs[0].dtype)
        outputs, final = fast.training(inputs, states, params, fresh, *masks)
        emitted = len(made.program.outputs)
        ctx.made, ctx.counts, ctx.kept = made, counts, outputs[emitted:]
        ctx.save_for_backward(*tensors)
        given = [t for t in (*inputs, *states, *params, *fresh) if t is not None]
        return tuple(unaliased([*outputs[:emitted], *final], given))

    @staticmethod
    def backward(ctx: Any, *cts: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the gradient must have one too
            return None, None, *_through_reference(ctx.made, ctx.counts, tensors, cts)
        inputs, states, params, fresh, masks = _sorted(ctx.counts, tensors)
        fast = programs(ctx.made, inputs[0].dtype)
        program = fast.backward if any(ctx.needs_input_grad[2 : 2 + len(inputs)]) else fast.weights
        emitted = len(ctx.made.program.outputs)
        reset, valid = masks
        seen = cts[:emitted]
        if valid is not None:  # past a row's end outputs are zero, whatever the loss says of them
            seen = tuple(torch.where(valid[..., None], ct, 0) for ct in seen)
        known = dict(zip((p.name for p in fast.forward.inputs), inputs, strict=True))
        known |= dict(zip(fast.forward.residuals, ctx.kept, strict=True))
        known |= dict(zip(fast.cotangents, seen, strict=True))
        read = [known[port.name] for port in program.program.inputs]
        results, ends = program(read, cts[emitted:], params, (), reset, valid)
        found = dict(zip((name for name, _ in program.program.results), results, strict=True))
        count = len(states)
        grads: list[Tensor | None] = [found.get(p.name) for p in fast.forward.inputs]
        grads += ends[:count]
        grads += [found.get(p.name) for p in fast.forward.params]
        grads += ends[count:] if fresh else []
        return None, None, *grads, None, None


def _sorted(counts: Counts, tensors: Any) -> tuple[Tensors, Tensors, Tensors, Tensors, Any]:
    made, at = [], 0
    for count in (counts.inputs, counts.states, counts.params, counts.fresh):
        made.append(tuple(tensors[at : at + count]))
        at += count
    return (*made, tensors[at : at + 2])


def _through_reference(
    made: Plan, counts: Counts, tensors: Any, cts: Tensors
) -> list[Tensor | None]:
    """Differentiate the reference's own operations, so that the result can be again."""
    *groups, masks = _sorted(counts, tensors)
    reset, valid = masks
    given = [t for group in groups for t in group]
    outputs, final = made.loops[reset is not None, valid is not None](
        *given, *(m for m in masks if m is not None)
    )
    wanted = [t for t in given if t.requires_grad]
    pairs = [(y, ct) for y, ct in zip((*outputs, *final), cts, strict=True) if y.requires_grad]
    ys, kept = [y for y, _ in pairs], [ct for _, ct in pairs]
    grads = iter(torch.autograd.grad(ys, wanted, kept, create_graph=True, allow_unused=True))
    return [next(grads) if t.requires_grad else None for t in given] + [None, None]


@dataclass(frozen=True)
class Programs:
    """The compiled programs of a plan for one dtype; each is compiled when it is first run."""

    forward: Program
    adjoint: Program
    cotangents: tuple[str, ...]
    plain: Program
    dtype: torch.dtype

    @functools.cached_property
    def inference(self) -> FastProgram:
        return FastProgram(self.plain, self.dtype)

    @functools.cached_property
    def training(self) -> FastProgram:
        return FastProgram(self.forward, self.dtype)

    @functools.cached_property
    def backward(self) -> FastProgram:
        return FastProgram(self.adjoint, self.dtype)

    @functools.cached_property
    def weights(self) -> FastProgram:
        """The adjoint without the inputs' gradients, where nobody wants them."""
        ports = {p.name for p in self.forward.inputs}
        results = tuple(r for r in self.adjoint.results if r[0] not in ports)
        return FastProgram(drop_dead(replace(self.adjoint, results=results)), self.dtype)


@functools.lru_cache(maxsize=512)
def programs(made: Plan, dtype: torch.dtype) -> Programs:
    """Return a plan's compiled programs."""
    plain = made.narrow()
    adjoint = vjp(plain)
    return Programs(adjoint.forward, adjoint.backward, adjoint.cotangents, plain, dtype)


def fused(
    made: Plan,
    values: Tensors,
    states: Tensors,
    weights: Tensors,
    fresh: Tensors,
    reset: Tensor | None,
    valid: Tensor | None,
) -> tuple[Tensors, Tensors]:
    """Run a plan as machine code; returns outputs and final states."""
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in (*values, *states, *weights))):
        program = programs(made, values[0].dtype).inference
        outputs, final = program(values, states, weights, fresh, reset, valid)
        return tuple(outputs), tuple(final)
    counts = Counts(len(values), len(states), len(weights), len(fresh))
    made_all = _Fused.apply(made, counts, *values, *states, *weights, *fresh, reset, valid)
    emitted = len(made.program.outputs)
    return tuple(made_all[:emitted]), tuple(made_all[emitted:])
