"""Passes: a plan over whole sequences, without a gradient, with one, and its adjoint.

Each pass runs the programs that serve the call: machine code or torch operations. With a chunk
length, a training pass keeps the states before each chunk and nothing else, and the adjoint
makes what it needs anew, chunk by chunk from the last to the first.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cellwright.runtime.compiled import Programs, serving
from cellwright.runtime.plan import Plan

# Where a graph is traced for any number of steps, sqrt(T) has no value: that of 4096 is taken.
CHUNK_OF_ANY = 64


class Call(NamedTuple):
    """What a pass reads: inputs [T, B, width], states [B, width], parameters, masks [T, B].

    `starts` [B, width], what a reset puts in place of each state, is empty without `reset`.
    """

    inputs: Sequence[Tensor]
    states: Sequence[Tensor]
    params: Sequence[Tensor]
    starts: Sequence[Tensor] = ()
    reset: Tensor | None = None
    valid: Tensor | None = None

    @property
    def given(self) -> list[Tensor]:
        """All tensors but the masks."""
        return [*self.inputs, *self.states, *self.params, *self.starts]

    @property
    def masks(self) -> list[Tensor]:
        """The masks that there are."""
        if self.reset is None and self.valid is None:
            return []
        return [mask for mask in (self.reset, self.valid) if mask is not None]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """Return the call with every tensor changed."""
        inputs, states, params, starts = ([change(t) for t in group] for group in self[:4])
        reset, valid = (None if mask is None else change(mask) for mask in (self.reset, self.valid))
        return Call(inputs, states, params, starts, reset, valid)

    def chunk(self, k: int, length: int, states: Sequence[Tensor]) -> "Call":
        """Return the call for the k-th chunk of so many steps, which begins from given states."""
        part = slice(k * length, min(self.inputs[0].shape[0], (k + 1) * length))
        return Call(
            [x[part] for x in self.inputs],
            states,
            self.params,
            self.starts,
            *(None if mask is None else mask[part] for mask in (self.reset, self.valid)),
        )


class Gradients(NamedTuple):
    """Cotangents of a call's arguments; None for what nobody wants or nothing depends on."""

    inputs: list[Tensor | None]
    states: list[Tensor]
    params: list[Tensor | None]
    starts: list[Tensor | None]


# A training pass's outputs, its final states, and what it keeps beside them.
Kept = tuple[list[Tensor], list[Tensor], list[Tensor]]


def chunk_length(recompute: bool | int, steps: int) -> int:
    """Return how many steps lie between two states that are kept; 0 keeps everything."""
    if recompute is True:
        known = type(steps) is int and not torch.compiler.is_compiling()
        return math.isqrt(steps - 1) + 1 if known else CHUNK_OF_ANY
    return int(recompute)


def forward(made: Plan, backend: str, call: Call) -> tuple[list[Tensor], list[Tensor]]:
    """Run without keeping anything; returns outputs and final states.

    Nothing shares memory with another or an argument, though a cell may hand its input on.
    """
    found = serving(made, backend, call.inputs[0])
    outputs, final = found.inference(*call)
    if found.own_memory:
        return outputs, final
    alone = unaliased([*outputs, *final], call.given)
    return alone[: len(outputs)], alone[len(outputs) :]


def training(made: Plan, backend: str, chunk: int, call: Call) -> Kept:
    """Run and keep what the adjoint will read beside the outputs.

    With a `chunk` of steps that is the states before each chunk, [chunks, B, width]; else it is
    what `Programs.kept` names, [T, B, width]. Nothing shares memory with another or an argument.
    """
    found = serving(made, backend, call.inputs[0])
    outputs, final, kept = _chunked(found, chunk, call) if chunk else _whole(found, call)
    if found.own_memory:
        return outputs, final, kept
    alone = unaliased([*outputs, *final, *kept], call.given)
    rest = len(outputs) + len(final)
    return alone[: len(outputs)], alone[len(outputs) : rest], alone[rest:]


def adjoint(
    made: Plan,
    backend: str,
    chunk: int,
    wanted: bool,
    call: Call,
    read: Sequence[Tensor],
    ct_outputs: Sequence[Tensor],
    ct_states: Sequence[Tensor],
) -> Gradients:
    """Run the adjoint on what `Programs.read` names or, with a `chunk`, on the states kept.

    `wanted` says whether somebody wants the gradients of the inputs. The states of `call` are not
    read.
    """
    found = serving(made, backend, call.inputs[0])
    valid = call.valid
    if valid is not None:  # past a row's end outputs are zero, whatever the loss says of them
        ct_outputs = [torch.where(valid[..., None], ct, 0) for ct in ct_outputs]
    if not chunk:
        return _back(found, wanted, call, read, ct_outputs, ct_states)
    inputs: list[Tensor | None] = [None] * len(call.inputs)
    if wanted:
        inputs = [x.new_zeros(x.shape) for x in call.inputs]
    states = list(ct_states)
    params: list[Tensor | None] = [None] * len(call.params)
    starts: list[Tensor | None] = [None] * len(call.starts)
    for k in reversed(range(len(read[0]))):
        part = call.chunk(k, chunk, [s[k] for s in read])
        outputs, _, kept = _whole(found, part)
        again = [*(outputs[at] for at in found.again), *kept]
        here = slice(k * chunk, k * chunk + len(part.inputs[0]))
        back = _back(found, wanted, part, again, [ct[here] for ct in ct_outputs], states)
        for whole, ct in zip(inputs, back.inputs, strict=True):
            if whole is not None and ct is not None:
                whole[here] = ct
        states = back.states
        params, starts = _added(params, back.params), _added(starts, back.starts)
    return Gradients(inputs, states, params, starts)


def _whole(found: Programs, call: Call) -> Kept:
    made, final = found.training(*call)
    return made[: len(found.emitted)], final, [made[at] for at in found.beside]


def _chunked(found: Programs, chunk: int, call: Call) -> Kept:
    """Run chunk by chunk, so that no more than a chunk's values are there at a time."""
    steps, batch = call.inputs[0].shape[:2]
    widths = found.plain.widths()
    outputs = [call.inputs[0].new_empty(steps, batch, widths[v]) for v in found.emitted]
    states, begins = list(call.states), []
    for k in range(-(-steps // chunk)):
        begins.append(states)
        made, states = found.inference(*call.chunk(k, chunk, states))
        for whole, y in zip(outputs, made, strict=True):
            whole[k * chunk : k * chunk + len(y)] = y
    return outputs, states, [torch.stack(s) for s in zip(*begins, strict=True)]


def _back(
    found: Programs,
    wanted: bool,
    call: Call,
    read: Sequence[Tensor],
    ct_outputs: Sequence[Tensor],
    ct_states: Sequence[Tensor],
) -> Gradients:
    run = found.backward if wanted else found.weights
    program = found.forward
    known = dict(zip((p.name for p in program.inputs), call.inputs, strict=True))
    known |= dict(zip(found.read, read, strict=True))
    known |= dict(zip(found.cotangents, ct_outputs, strict=True))
    args = [known[port.name] for port in run.program.inputs]
    results, ends = run(args, ct_states, call.params, (), call.reset, call.valid)
    made = dict(zip((name for name, _ in run.program.results), results, strict=True))
    count = len(ct_states)
    return Gradients(
        [made.get(p.name) for p in program.inputs],
        list(ends[:count]),
        [made.get(p.name) for p in program.params],
        list(ends[count:]),
    )


def _added(total: Sequence[Tensor | None], more: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Add gradients; in new memory, for two of them may be one tensor."""
    pairs = zip(total, more, strict=True)
    return [b if a is None else a if b is None else a + b for a, b in pairs]


def unaliased(made: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor]:
    """Copy what shares memory with an argument or an earlier result: an op may return neither."""
    seen = {t.untyped_storage()._cdata for t in given if t.numel()}
    result = []
    for t in made:
        place = t.untyped_storage()._cdata
        fresh = t.contiguous() if not t.numel() or place not in seen else t.clone()
        seen.add(fresh.untyped_storage()._cdata)
        result.append(fresh)
    return result
