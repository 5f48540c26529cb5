"""The registered operator: a whole recurrent layer as one op, for compiled and exported graphs.

Eager code differentiates the reference's own torch operations, as often as one likes. A graph
that is compiled or exported must not unroll time: there the layer is this one op, whose gradient
is the cell's adjoint Program. Its shape rules hold for any time and batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellwright.runtime.plan import plan_of


@torch.library.custom_op("cellwright::sequence", mutates_args=())
def sequence(
    key: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    params: Sequence[Tensor],
    reset: Tensor | None,
    valid: Tensor | None,
) -> list[Tensor]:
    """Run a plan: returns its outputs, its residuals and its final states, in that order."""
    made = plan_of(key)
    run = made.forward_with_residuals(reset=reset is not None, lengths=valid is not None)
    outputs, final = run(*inputs, *states, *params, *_given(reset, valid))
    return _unaliased([*outputs, *final], [*inputs, *states, *params])


@sequence.register_fake
def _(
    key: str,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    params: Sequence[Tensor],
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
    """Run a plan's adjoint: cotangents of inputs, then of start states, then of parameters."""
    made = plan_of(key)
    program, backward = made.program, made.adjoint.backward
    known = dict(zip((p.name for p in program.inputs), inputs, strict=True))
    known |= dict(zip(made.adjoint.residuals, residuals, strict=True))
    outputs = [f"ct_{name.replace('.', '_')}" for name, _ in program.outputs]
    if valid is not None:  # a row that has ended gives zeros, whatever the loss says of them
        ct_outputs = [torch.where(valid[..., None], ct, 0) for ct in ct_outputs]
    known |= dict(zip(outputs, ct_outputs, strict=True))
    run = made.backward(reset=reset is not None, lengths=valid is not None)
    read = [known[port.name] for port in backward.inputs]
    results, starts = run(*read, *ct_states, *params, *_given(reset, valid))
    found = dict(zip((name for name, _ in backward.results), results, strict=True))
    grads = [_or_zeros(found, p.name, t) for p, t in zip(program.inputs, inputs, strict=True)]
    grads += starts
    grads += [_or_zeros(found, p.name, t) for p, t in zip(program.params, params, strict=True)]
    return _unaliased(grads, [*inputs, *params, *residuals, *ct_outputs, *ct_states])


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
    like = torch.contiguous_format
    return [torch.empty_like(t, memory_format=like) for t in (*inputs, *ct_states, *params)]


def _given(*masks: Tensor | None) -> list[Tensor]:
    return [mask for mask in masks if mask is not None]


def _or_zeros(found: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    return found[name] if name in found else torch.zeros_like(like)


def _unaliased(made: list[Tensor], given: list[Tensor]) -> list[Tensor]:
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
    key, sequences, _states, params, reset, valid = inputs
    made = plan_of(key)
    emitted = len(made.program.outputs)
    kept = output[emitted : emitted + len(made.adjoint.residuals)]
    masks = [mask for mask in (reset, valid) if mask is not None]
    ctx.save_for_backward(*sequences, *params, *kept, *masks)
    ctx.key = key  # type: ignore[attr-defined]
    ctx.has = (reset is not None, valid is not None)  # type: ignore[attr-defined]


def _backward(ctx, grads: list[Tensor]):  # noqa: ANN001, ANN202  torch passes its own context
    made = plan_of(ctx.key)
    program, kept = made.program, len(made.adjoint.residuals)
    saved = list(ctx.saved_tensors)
    sizes = (len(program.inputs), len(program.params), kept)
    inputs, saved = saved[: sizes[0]], saved[sizes[0] :]
    params, saved = saved[: sizes[1]], saved[sizes[1] :]
    residuals, masks = saved[:kept], saved[kept:]
    reset = masks.pop(0) if ctx.has[0] else None
    valid = masks.pop(0) if ctx.has[1] else None
    emitted = len(program.outputs)
    ct_outputs, ct_states = grads[:emitted], grads[emitted + kept :]
    results = sequence_vjp(ctx.key, inputs, params, residuals, ct_outputs, ct_states, reset, valid)
    a, b = len(inputs), len(inputs) + len(ct_states)
    return None, results[:a], results[a:b], results[b:], None, None


sequence.register_autograd(_backward, setup_context=_setup_context)
