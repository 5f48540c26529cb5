"""The registered operator: a whole recurrent layer as one op, and its gradient.

A graph that is compiled or exported must not unroll time: there a layer is `cellwright::sequence`.
Where somebody wants a gradient it becomes `cellwright::sequence_training`, which keeps what
`cellwright::sequence_vjp`, the cell's adjoint, will read. Each chooses machine code or torch
operations when it runs, by the device, the dtype and the backend that the graph recorded. Eager
code runs the same passes without the way through torch's dispatcher. Shape rules hold for any
time and batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from cellwright.runtime import passes
from cellwright.runtime.compiled import (
    TRANSFORMS,
    copied,
    layout,
    recorded,
    refused,
    resolved,
    say_once,
    unfit,
    unserved,
    wants_code,
)
from cellwright.runtime.passes import Call, Gradients, Kept
from cellwright.runtime.plan import Plan, plan_of

Tensors = tuple[Tensor, ...]
CALL = (
    "Tensor[] inputs, Tensor[] states, Tensor[] params, Tensor[] starts, "
    "Tensor? reset, Tensor? valid"
)
SCHEMAS = {
    "sequence": f"(str key, str backend, int chunk, {CALL}) -> Tensor[]",
    "sequence_training": f"(str key, str backend, int chunk, {CALL}) -> Tensor[]",
    "sequence_vjp": (
        f"(str key, str backend, int chunk, bool wanted, {CALL}, "
        "Tensor[] read, Tensor[] ct_outputs, Tensor[] ct_states) -> Tensor[]"
    ),
}
_LIBRARY = torch.library.Library("cellwright", "DEF")
for _name, _schema in SCHEMAS.items():
    _LIBRARY.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))
sequence = torch.ops.cellwright.sequence.default
sequence_training = torch.ops.cellwright.sequence_training.default
sequence_vjp = torch.ops.cellwright.sequence_vjp.default


# -- what the operators do ------------------------------------------------------------------


def _sequence(key: str, backend: str, chunk: int, *given: Any) -> list[Tensor]:
    """Return outputs and final states."""
    outputs, final = passes.forward(*_checked("sequence", key, backend, Call(*given)))
    return [*outputs, *final]


def _training(key: str, backend: str, chunk: int, *given: Any) -> list[Tensor]:
    """Return outputs, final states and what is kept."""
    made, _, call = _checked("sequence_training", key, backend, Call(*given))
    outputs, final, kept = passes.training(made, backend, chunk, call)
    return [*outputs, *final, *kept]


def _vjp(key: str, backend: str, chunk: int, wanted: bool, *given: Any) -> list[Tensor]:
    """Return cotangents of the inputs, where they are wanted, states, parameters and starts."""
    more = [t for group in given[6:] for t in group]
    made, _, call = _checked("sequence_vjp", key, backend, Call(*given[:6]), more)
    found = passes.adjoint(made, backend, chunk, wanted, call, *given[6:])
    likes = [*(call.inputs if wanted else ()), *given[-1], *call.params, *call.starts]
    cts = [*(found.inputs if wanted else ()), *found.states, *found.params, *found.starts]
    grads = [
        torch.zeros_like(like) if ct is None else ct for ct, like in zip(cts, likes, strict=True)
    ]
    return passes.unaliased(grads, [*call.given, *more])


def _checked(
    name: str, key: str, backend: str, call: Call, more: Sequence[Tensor] = ()
) -> tuple[Plan, str, Call]:
    """Check what machine code would read: no layer stands before an operator in a graph."""
    made = plan_of(key)
    like = call.inputs[0]
    reason = unfit([*call.given, *more], call.masks) if wants_code(backend, like) else None
    if reason is not None:
        raise RuntimeError(f"cellwright::{name} cannot run {made.cell.__name__}: {reason}")
    return made, backend, call


def _differentiable(key: str, backend: str, chunk: int, *given: Any) -> list[Tensor]:
    """Run below autograd, with the adjoint as the gradient where one is wanted."""
    call = Call(*given)
    if forward_ad._current_level >= 0 and any(_has_tangent(t) for t in call.given):
        raise RuntimeError(
            "cellwright::sequence has no forward-mode derivative; call the layer itself, not a "
            "graph that torch.compile or torch.export made of it"
        )
    if torch.is_grad_enabled() and _wanted(call):
        return list(_Sequence.apply(THROUGH_OPERATORS, plan_of(key), backend, chunk, *_flat(call)))
    with torch._C._AutoDispatchBelowAutograd():
        return sequence(key, backend, chunk, *given)


def _has_tangent(t: Tensor) -> bool:
    return forward_ad.unpack_dual(t).tangent is not None


for _name, _run in (
    ("sequence", _sequence),
    ("sequence_training", _training),
    ("sequence_vjp", _vjp),
):
    _LIBRARY.impl(_name, _run, "CompositeExplicitAutograd")
_LIBRARY.impl("sequence", _differentiable, "Autograd")


# -- the shapes of what they return ---------------------------------------------------------


@torch.library.register_fake("cellwright::sequence", lib=_LIBRARY)
def _(key: str, backend: str, chunk: int, *given: Any) -> list[Tensor]:
    call = Call(*given)
    program = plan_of(key).program
    widths, like = program.widths(), call.inputs[0]
    outputs = [like.new_empty((*like.shape[:2], widths[v])) for _, v in program.outputs]
    return outputs + [s.new_empty(s.shape) for s in call.states]


@torch.library.register_fake("cellwright::sequence_training", lib=_LIBRARY)
def _(key: str, backend: str, chunk: int, *given: Any) -> list[Tensor]:
    call = Call(*given)
    like = call.inputs[0]
    steps, batch = like.shape[:2]
    found = layout(plan_of(key), backend, like)
    widths = found.forward.widths()
    made = [like.new_empty((steps, batch, widths[v])) for v in found.emitted]
    made += [s.new_empty(s.shape) for s in call.states]
    if chunk:
        chunks = (steps + chunk - 1) // chunk
        return made + [s.new_empty((chunks, *s.shape)) for s in call.states]
    return made + [like.new_empty((steps, batch, widths[v])) for v in found.kept]


@torch.library.register_fake("cellwright::sequence_vjp", lib=_LIBRARY)
def _(key: str, backend: str, chunk: int, wanted: bool, *given: Any) -> list[Tensor]:
    call = Call(*given[:6])
    likes = [*(call.inputs if wanted else ()), *given[-1], *call.params, *call.starts]
    return [t.new_empty(t.shape) for t in likes]


# -- the gradient ---------------------------------------------------------------------------


class Passes(NamedTuple):
    """A training pass and its adjoint, called as those of `runtime.passes` are."""

    training: Callable[..., Kept]
    adjoint: Callable[..., Gradients]


def _training_operator(made: Plan, backend: str, chunk: int, call: Call) -> Kept:
    results = sequence_training(made.key, backend, chunk, *call)
    sizes = (len(made.program.outputs), len(call.states), len(results))
    outputs, final, kept = _cut(results, sizes)
    return outputs, final, kept


def _adjoint_operator(
    made: Plan, backend: str, chunk: int, wanted: bool, call: Call, *read: Any
) -> Gradients:
    results = sequence_vjp(made.key, backend, chunk, wanted, *call, *read)
    inputs = len(call.inputs)
    sizes = (inputs if wanted else 0, len(read[-1]), len(call.params), len(call.starts))
    pieces = _cut(results, sizes)
    return Gradients(pieces[0] if wanted else [None] * inputs, *pieces[1:])


DIRECTLY = Passes(passes.training, passes.adjoint)
THROUGH_OPERATORS = Passes(_training_operator, _adjoint_operator)


class _Sequence(torch.autograd.Function):
    """A plan whose gradient is its adjoint, and whose gradient's gradient is the reference's."""

    @staticmethod
    def forward(
        ctx: Any,
        runs: Passes,
        made: Plan,
        backend: str,
        chunk: int,
        counts: tuple[int, ...],
        *tensors: Tensor | None,
    ) -> Tensors:
        call = _call(counts, tensors)
        outputs, final, kept = runs.training(made, backend, chunk, call)
        again = () if chunk else layout(made, backend, call.inputs[0]).again
        ctx.save_for_backward(*tensors, *(outputs[at] for at in again), *kept)
        ctx.runs, ctx.made, ctx.backend, ctx.chunk, ctx.counts = runs, made, backend, chunk, counts
        return (*outputs, *final)

    @staticmethod
    def backward(ctx: Any, *cts: Tensor) -> tuple[Tensor | None, ...]:
        made, counts, saved = ctx.made, ctx.counts, ctx.saved_tensors
        given = sum(counts) + 2
        call = _call(counts, saved[:given])
        read, cts = saved[given:], tuple(resolved(ct) for ct in cts)
        again = torch.is_grad_enabled()  # create_graph=True: the gradient must have one too
        runs = None if again else _runs_back(ctx, [*call.given, *read, *cts], call.masks)
        if runs is None:
            return *(None,) * 5, *_through_reference(made, call, cts, again), None, None
        wanted = any(ctx.needs_input_grad[5 : 5 + counts[0]])
        emitted = len(made.program.outputs)
        cotangents = cts[:emitted], cts[emitted:]
        found = runs.adjoint(made, ctx.backend, ctx.chunk, wanted, call, read, *cotangents)
        return *(None,) * 5, *(ct for group in found for ct in group), None, None


def _runs_back(ctx: Any, tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> Passes | None:
    """Return how the adjoint runs on what was kept and the cotangents; None: it cannot.

    They need not be what they were in the forward pass: the cotangents may be those of vmap, one
    for each row of a Jacobian, a hook may have put others in the place of what was kept, and a
    dispatch mode may be active that was not.
    """
    transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    if not transformed:
        if ctx.runs is THROUGH_OPERATORS or torch.compiler.is_compiling():
            return THROUGH_OPERATORS
        if ctx.backend == "reference":
            return DIRECTLY
    reason = refused(tensors, masks) if ctx.backend != "reference" else None
    if reason is None and not transformed:
        return DIRECTLY
    if not transformed and recorded(tensors):
        return THROUGH_OPERATORS
    if ctx.backend == "llvm":
        raise unserved(ctx.made, f"backward() with {reason or TRANSFORMS}")
    if ctx.backend == "auto":
        say_once(ctx.made.cell.__name__, f"backward() with {reason or TRANSFORMS}")
    return None


def _wanted(call: Call) -> bool:
    return any(t.requires_grad for group in call[:4] for t in group)


def _flat(call: Call) -> tuple[Any, ...]:
    """Return how many tensors of each kind a call has, then all of them and the two masks."""
    inputs, states, params, starts, reset, valid = call
    counts = (len(inputs), len(states), len(params), len(starts))
    return counts, *inputs, *states, *params, *starts, reset, valid


def _call(counts: Sequence[int], tensors: Any) -> Call:
    return Call(*_cut(tensors, counts), *tensors[sum(counts) :][:2])


def _cut(tensors: Any, sizes: Sequence[int]) -> list[Any]:
    """Cut into pieces of the given sizes; what is left over is left out."""
    at, pieces = 0, []
    for size in sizes:
        pieces.append(tensors[at : at + size])
        at += size
    return pieces


@torch.enable_grad()
def _through_reference(made: Plan, call: Call, cts: Tensors, again: bool) -> list[Tensor | None]:
    """Differentiate the reference's own operations; `again` so that the result can be too."""
    # Views, since one argument may depend on another or be it: each counts for its own place.
    given = [t.view_as(t) for t in call.given]
    loop = made.loops[call.reset is not None, call.valid is not None]
    outputs, final = loop(*given, *call.masks)
    wanted = [t for t in given if t.requires_grad]
    pairs = [(y, ct) for y, ct in zip((*outputs, *final), cts, strict=True) if y.requires_grad]
    ys, kept = [y for y, _ in pairs], [ct for _, ct in pairs]
    grads = iter(torch.autograd.grad(ys, wanted, kept, create_graph=again, allow_unused=True))
    return [next(grads) if t.requires_grad else None for t in given]


# -- how a layer runs -----------------------------------------------------------------------


def run_eagerly(made: Plan, backend: str, chunk: int, call: Call) -> tuple[Tensors, Tensors]:
    """Run a plan with its adjoint as its gradient; returns outputs and final states."""
    if not (torch.is_grad_enabled() and _wanted(call)):
        outputs, final = passes.forward(made, backend, call)
        return tuple(outputs), tuple(final)
    results = _Sequence.apply(DIRECTLY, made, backend, chunk, *_flat(call))
    emitted = len(made.program.outputs)
    return results[:emitted], results[emitted:]


def run_reference(made: Plan, call: Call) -> tuple[Tensors, Tensors]:
    """Run a plan as torch operations, which torch differentiates, transforms and traces."""
    loop = made.loops[call.reset is not None, call.valid is not None]
    outputs, final = loop(*call.given, *call.masks)
    flags = copied(made.key)
    if True not in flags:
        return outputs, final
    fresh = [y.clone() if flag else y for y, flag in zip((*outputs, *final), flags, strict=True)]
    return tuple(fresh[: len(outputs)]), tuple(fresh[len(outputs) :])


def run_traced(made: Plan, backend: str, chunk: int, call: Call) -> tuple[Tensors, Tensors]:
    """Put a plan into the graph that is being traced, as one op."""
    results = sequence(made.key, backend, chunk, *call)
    emitted = len(made.program.outputs)
    return tuple(results[:emitted]), tuple(results[emitted:])
