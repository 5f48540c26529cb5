"""Running: one layer in one direction over whole sequences."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from cellwright.nn import parameters, sequences
from cellwright.runtime import (
    CHUNK_OF_ANY,
    COMPUTED_IN,
    TRANSFORMS,
    Call,
    Plan,
    chosen_backend,
    chunk_length,
    recorded,
    refused,
    resolved,
    run_eagerly,
    run_reference,
    run_traced,
    say_once,
    unserved,
)

Tensors = tuple[Tensor, ...]
# A graph that is traced records the backend in force: torch cannot trace a context variable. This
# is what torch.compiler.assume_constant_result sets; that takes a second to import the compiler.
chosen_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]


class Rows(NamedTuple):
    """Where the rows of a batch end, [B], and where their episodes begin, [T, B]."""

    lengths: Tensor | None
    reset: Tensor | None


class Start(NamedTuple):
    """The states [B, width] before the first step, and after a reset."""

    first: Tensors
    fresh: Tensors


class How(NamedTuple):
    """Which path runs, `backend`, and how many steps lie between states that are kept.

    `recompute` is False where all is kept, and True for about sqrt(T) steps. `inline` puts a
    layer's operations, not one operator, into a graph that is being traced.
    """

    backend: str = "auto"
    recompute: bool | int = False
    inline: bool = False


def parameters_of(made: Plan, suffix: str) -> tuple[str, ...]:
    """Name the attributes that hold a plan's parameters, in the order in which it takes them."""
    return tuple(parameters.attribute(param, suffix) for param in made.program.params)


def weights_of(module: nn.Module, names: tuple[str, ...]) -> Tensors:
    """Return a module's weights by name.

    They are looked up at every call, so whatever torch puts in a parameter's place counts: a
    parametrization, a pruned or normed weight, a tensor of `functional_call`.
    """
    held: dict[str, Any] = module._parameters
    return tuple([held[n] if n in held else getattr(module, n) for n in names])


def checked_recompute(recompute: bool | int) -> bool | int:
    """Return a layer's `recompute`, or raise TypeError or ValueError that says what it may be."""
    if not isinstance(recompute, int):
        raise TypeError(
            "recompute is True, False or how many steps lie between two kept states, got "
            f"{type(recompute).__name__}"
        )
    if recompute is not False and recompute < 1:
        raise ValueError(f"recompute is True, False or a number of steps from 1, got {recompute}")
    return recompute


def kept_between(recompute: bool | int) -> str:
    """Say what a training pass keeps with `recompute`."""
    every = f"about sqrt(T) steps ({CHUNK_OF_ANY} in a traced graph)"
    every = every if recompute is True else f"{recompute} steps"
    return f"recompute: training keeps the states every {every}, backward() makes the rest again"


def run(
    made: Plan,
    values: Tensors,
    start: Start,
    weights: Tensors,
    rows: Rows,
    reverse: bool,
    how: How,
) -> tuple[Tensors, Tensors]:
    """Run a plan over inputs [T, B, width]; in reverse each row is read back from its end.

    Returns the plan's outputs [T, B, width], which lie as the inputs do, and the final states
    [B, width].
    """
    reset, lengths = rows.reset, rows.lengths
    if reverse:
        values = tuple(sequences.backwards(v, lengths) for v in values)
        reset = None if reset is None else sequences.reset_backwards(reset, lengths)
    valid = None
    if lengths is not None:
        valid = sequences.valid_mask(lengths, values[0].shape[0])
        # Whatever fills a row past its end, NaN too, must not reach the weights' gradients.
        values = tuple(torch.where(valid[..., None], v, 0) for v in values)
    fresh = start.fresh if reset is not None else ()
    outputs, final = apply(made, Call(values, start.first, weights, fresh, reset, valid), how)
    if reverse:
        outputs = tuple(sequences.backwards(y, lengths) for y in outputs)
    return outputs, final


def apply(made: Plan, call: Call, how: How) -> tuple[Tensors, Tensors]:
    """Run as machine code or torch operations; in a graph that is being traced, as one operator.

    A transform of torch.func, which no operator of torch.library can pass through, is traced
    operation by operation, one time step after the other. Autocast turns the whole layer to its
    dtype, as it does nn.LSTM; machine code computes bfloat16 and float16 in float32, and what
    comes out is converted.
    """
    backend = chosen_backend(how.backend)
    transformed = torch._C._are_functorch_transforms_active()
    like = call.inputs[0]
    autocast = _autocast_to(like) if torch._C._is_any_autocast_enabled() else None
    dtype = autocast or like.dtype
    if not autocast and dtype not in COMPUTED_IN:
        return _run(made, call, how, backend, transformed)
    code = backend != "reference" and not transformed and like.device.type == "cpu"
    computed = COMPUTED_IN.get(dtype, dtype) if code else dtype
    inputs, states, params, starts = (_cast(group, computed) for group in call[:4])
    call = Call(inputs, states, params, starts, call.reset, call.valid)
    with torch.autocast(like.device.type, enabled=False) if autocast else nullcontext():
        outputs, final = _run(made, call, how, backend, transformed)
    return _cast(outputs, dtype), _cast(final, dtype)


def _run(
    made: Plan, call: Call, how: How, backend: str, transformed: bool
) -> tuple[Tensors, Tensors]:
    """Run in the dtype of the call.

    A cell's step goes into a graph as torch operations, to be joined with what stands around it;
    as one operator where machine code was asked for by name.
    """
    if transformed and backend == "llvm":
        raise unserved(made, TRANSFORMS)
    compiling = torch.compiler.is_compiling()
    chunk = _chunk(how.recompute, call.inputs[0], transformed) if how.recompute else 0
    one = not transformed and (not how.inline or backend == "llvm")
    if compiling and one:
        return run_traced(made, backend, chunk, call)
    if backend != "reference" and not compiling:
        reason = TRANSFORMS if transformed else refused(call.given, call.masks)
        if reason is not None and not transformed:
            call = call.mapped(resolved)  # where that is all there is to it
            reason = refused(call.given, call.masks)
        if reason is None:
            return run_eagerly(made, backend, chunk, call)
        if one and recorded(call.given):
            return run_traced(made, backend, chunk, call)
        if backend == "llvm":
            raise unserved(made, reason)
        say_once(made.cell.__name__, reason)
    return run_eagerly(made, "reference", chunk, call) if chunk else run_reference(made, call)


def _chunk(recompute: bool | int, like: Tensor, transformed: bool) -> int:
    """Return how many steps lie between kept states; RuntimeError where none can be kept."""
    if transformed or forward_ad._current_level >= 0:
        raise RuntimeError(
            "recompute is for backward(), not for torch.func's transforms or forward mode; "
            "there, use a layer with recompute=False"
        )
    if like.is_complex():
        raise RuntimeError(f"recompute is for real numbers, got {like.dtype}; use recompute=False")
    return chunk_length(recompute, like.shape[0])


def _autocast_to(like: Tensor) -> torch.dtype | None:
    """Return the dtype that autocast asks for, None without it; it leaves float64 as it is."""
    device = like.device.type
    available = torch.amp.is_autocast_available(device)
    if not available or not torch.is_autocast_enabled(device) or like.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(device)


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensors:
    """Convert floating-point tensors but for float64."""
    return tuple(
        t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
    )
