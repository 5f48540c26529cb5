"""Running: one layer in one direction over whole sequences."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellwright.nn import sequences
from cellwright.runtime import Plan, chosen_backend, fused, refused, say_once, traced

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Rows:
    """Where the rows of a batch end, [B], and where their episodes begin, [T, B]."""

    lengths: Tensor | None
    reset: Tensor | None


@dataclass(frozen=True)
class Start:
    """The states [D * num_layers, B, width] before the first step, and after a reset."""

    first: Tensors
    fresh: Tensors

    def at(self, index: int) -> "Start":
        """Return the states [B, width] of one layer and direction."""
        return Start(tuple(s[index] for s in self.first), tuple(s[index] for s in self.fresh))


def run(
    made: Plan,
    values: Tensors,
    start: Start,
    weights: Tensors,
    rows: Rows,
    reverse: bool,
    backend: str,
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
    outputs, final = apply(made, values, start.first, weights, fresh, reset, valid, backend=backend)
    if reverse:
        outputs = tuple(sequences.backwards(y, lengths) for y in outputs)
    return outputs, final


def apply(
    made: Plan,
    values: Tensors,
    states: Tensors,
    weights: Tensors,
    fresh: Tensors = (),
    reset: Tensor | None = None,
    valid: Tensor | None = None,
    *,
    inline: bool = False,
    backend: str = "reference",
) -> tuple[Tensors, Tensors]:
    """Run as machine code or torch operations; in a graph that is being traced, as one operator.

    `backend` "auto" takes machine code where it can serve, "llvm" insists on it. `inline` traces
    the operations too, one time step after the other; so does a transform of torch.func, which no
    operator of torch.library can pass through. Autocast turns the whole layer to its dtype, as it
    does torch.nn's layers.
    """
    device = values[0].device.type
    if _autocasting(device):
        dtype = torch.get_autocast_dtype(device)
        values, states, weights, fresh = (
            _cast(group, dtype) for group in (values, states, weights, fresh)
        )
        with torch.autocast(device, enabled=False):
            return apply(
                made, values, states, weights, fresh, reset, valid, inline=inline, backend=backend
            )
    transformed = torch._C._are_functorch_transforms_active()
    if torch.compiler.is_compiling() and not inline and not transformed:
        return traced(made, values, states, weights, fresh, reset, valid)
    compiled = torch.compiler.is_compiling()
    backend = backend if compiled or inline else chosen_backend(backend)
    if backend != "reference" and not (transformed or compiled or inline):
        reason = refused((*values, *states, *weights, *fresh))
        if reason is None:
            return fused(made, values, states, weights, fresh, reset, valid)
        if backend == "llvm":
            raise RuntimeError(f"backend='llvm' cannot run {made.cell.__name__}: {reason}")
        say_once(made.cell.__name__, reason)
    loop = made.loops[reset is not None, valid is not None]
    masks = [mask for mask in (reset, valid) if mask is not None]
    return loop(*values, *states, *weights, *fresh, *masks)


def _autocasting(device: str) -> bool:
    if not torch._C._is_any_autocast_enabled():
        return False
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensors:
    """Convert floating-point tensors; float64 stays, as autocast leaves it everywhere."""
    return tuple(
        t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
    )
