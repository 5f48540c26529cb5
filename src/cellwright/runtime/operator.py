"""The registered operator: a whole recurrent layer as one op, for compiled and exported graphs.

Eager code differentiates the reference's own torch operations, as often as one likes. A graph
that is compiled or exported must not unroll time: there the layer is this one op, whose gradient
is the cell's adjoint Program. Its shape rules hold for any time and batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellwright.runtime.plan import Plan, Run, plan_of


@torch.library.custom_op("cellwright::sequence", mutates_args=())
def sequence(
    key: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    starts: Sequence[Tensor],
    reset: Tensor | None,
    valid: Tensor | None,
) -> list[Tensor]:
    """Run a plan: returns its outputs, its residuals and its final states, in that order.

    inputs [T, B, width]; states [B, width]; `starts` [B, width], what a reset puts in place of
    each state, is empty where `reset` is None; `reset` and `valid` are masks [T, B].
    """
    made = plan_of(key)
    run = made.forward_with_residuals(reset=reset is not None, lengths=valid is not None)
    outputs, final = _plainly(run, [*inputs, *states, *params, *starts, *_given(reset, valid)])
    return unaliased([*outputs, *final], [*inputs, *states, *params, *starts])


@sequence.register_fake
def _(
    key: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    starts: Sequence[Tensor],
    reset: Tensor | None,
    valid: Tensor | None,
) -> list[Tensor]:
    program = plan_of(key).adjoint.forward
    widths = program.widths()
    steps, batch = inputs[0].shape[:2]
    emitted = [*(v for _, v in program.outputs), *program.residuals]
    made = [inputs[0].new_empty((steps, batch, widths[v])) for v in emitted]
    return made + [torch.empty_like(s, memory_format=torch.contiguous_format) for s in states]


@torch.library.custom_op("cellwright::sequence_vjp", mutates_args=())
def sequence_vjp(
    key: str,
    inputs: Sequence[Tensor],
    params: Sequence[Tensor],
    residuals: Sequence[Tensor],
    ct_outputs: Sequence[Tensor],
    ct_states: Sequence[Tensor],
    reset: Tensor | None,
    valid: Tensor | None,
) -> list[Tensor]:
    """Run a plan's adjoint: cotangents of inputs, states, parameters and, with `reset`, starts."""
    made = plan_of(key)
    program, backward = made.program, made.adjoint.backward
    known = dict(zip((p.name for p in program.inputs), inputs, strict=True))
    known |= dict(zip(made.adjoint.residuals, residuals, strict=True))
    if valid is not None:  # a row that has ended gives zeros, whatever the loss says of them
        ct_outputs = [torch.where(valid[..., None], ct, 0) for ct in ct_outputs]
    known |= dict(zip(made.adjoint.cotangents, ct_outputs, strict=True))
    run = made.backward(reset=reset is not None, lengths=valid is not None)
    read = [known[port.name] for port in backward.inputs]
    results, ends = _plainly(run, [*read, *ct_states, *params, *_given(reset, valid)])
    found = dict(zip((name for name, _ in backward.results), results, strict=True))
    grads = [_or_zeros(found, p.name, t) for p, t in zip(program.inputs, inputs, strict=True)]
    grads += ends[: len(ct_states)]
    grads += [_or_zeros(found, p.name, t) for p, t in zip(program.params, params, strict=True)]
    grads += ends[len(ct_states) :]
    return unaliased(grads, [*inputs, *params, *residuals, *ct_outputs, *ct_states])


@sequence_vjp.register_fake
def _(
    key: str,
    inputs: Sequence[Tensor],
    params: Sequence[Tensor],
    residuals: Sequence[Tensor],
    ct_outputs: Sequence[Tensor],
    ct_states: Sequence[Tensor],
    reset: Tensor | None,
    valid: Tensor | None,
) -> list[Tensor]:
    given = [*inputs, *ct_states, *params, *(ct_states if reset is not None else ())]
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in given]


def _plainly(run: Run, args: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Run in the dtype of the arguments: the layer has done what autocast asks for."""
    with torch.autocast(args[0].device.type, enabled=False):
        return run(*args)


def _given(*masks: Tensor | None) -> list[Tensor]:
    return [mask for mask in masks if mask is not None]


def _or_zeros(found: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    return found[name] if name in found else torch.zeros_like(like)


def unaliased(made: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Copy what shares memory with an argument or an earlier result: an op may return neither."""
    seen = {t.untyped_storage().data_ptr() for t in given if t.numel()}
    result = []
    for t in made:
        place = t.untyped_storage().data_ptr()
        fresh = t.contiguous() if not t.numel() or place not in seen else t.clone()
        seen.add(fresh.untyped_storage().data_ptr())
        result.append(fresh)
    return result


def _setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: list) -> None:
    key, sequences, _states, params, _starts, reset, valid = inputs
    made = plan_of(key)
    emitted = len(made.program.outputs)
    kept = output[emitted : emitted + len(made.adjoint.residuals)]
    ctx.save_for_backward(*sequences, *params, *kept, *_given(reset, valid))
    ctx.key = key  # type: ignore[attr-defined]
    ctx.has = (reset is not None, valid is not None)  # type: ignore[attr-defined]


def _backward(ctx, grads: list[Tensor]):  # noqa: ANN001, ANN202  torch passes its own context
    made = plan_of(ctx.key)
    program, kept = made.program, len(made.adjoint.residuals)
    saved = list(ctx.saved_tensors)
    inputs, params, residuals = _cut(saved, (len(program.inputs), len(program.params), kept))
    masks = saved[len(inputs) + len(params) + kept :]
    reset = masks.pop(0) if ctx.has[0] else None
    valid = masks.pop(0) if ctx.has[1] else None
    emitted = len(program.outputs)
    ct_outputs, ct_states = grads[:emitted], grads[emitted + kept :]
    results = sequence_vjp(ctx.key, inputs, params, residuals, ct_outputs, ct_states, reset, valid)
    ct_inputs, ct_begin, ct_params = _cut(results, (len(inputs), len(ct_states), len(params)))
    ct_starts = results[len(inputs) + len(ct_states) + len(params) :]
    return None, ct_inputs, ct_begin, ct_params, ct_starts, None, None


def _cut(tensors: Sequence[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    """Cut a list into pieces of the given sizes; what is left over is left out."""
    at, pieces = 0, []
    for size in sizes:
        pieces.append(list(tensors[at : at + size]))
        at += size
    return pieces


sequence.register_autograd(_backward, setup_context=_setup_context)


def traced(
    made: Plan,
    inputs: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    params: tuple[Tensor, ...],
    starts: tuple[Tensor, ...],
    reset: Tensor | None,
    valid: Tensor | None,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Put a plan into the graph that is being traced as one op; returns outputs, final states."""
    results = sequence(made.key, inputs, states, params, starts, reset, valid)
    return tuple(results[: len(made.program.outputs)]), tuple(results[-len(states) :])
