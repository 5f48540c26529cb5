"""The gradients of a program two ways: its adjoint, and torch's autograd of its reference."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cellwright.compiler import Adjoint, Program, vjp
from tests.cases import Values, run


def cotangents(tensors: tuple[Tensor, ...], seed: int = 7) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in tensors)


def autograd(
    program: Program, values: Values, *, reset: bool = False, lengths: bool = False
) -> list[Tensor]:
    """Gradients of a random projection of outputs and final states, by autograd."""
    values = values.tracked()
    outputs, final = run(program, values, reset=reset, lengths=lengths)
    everything = (*outputs, *final)
    pairs = [p for p in zip(everything, cotangents(everything), strict=True) if p[0].requires_grad]
    found = torch.autograd.grad(
        [t for t, _ in pairs], values.tensors, [g for _, g in pairs], allow_unused=True
    )
    return [
        torch.zeros_like(t) if g is None else g for g, t in zip(found, values.tensors, strict=True)
    ]


def by_adjoint(
    program: Program,
    adjoint: Adjoint,
    values: Values,
    *,
    reset: bool = False,
    lengths: bool = False,
) -> list[Tensor]:
    """The same gradients from the adjoint program, in the same order."""
    emitted, final = run(adjoint.forward, values, reset=reset, lengths=lengths)
    count = len(program.outputs)
    given = cotangents((*emitted[:count], *final))
    if lengths:  # a row that has ended emits zeros, whatever is said of them
        given = (
            *(torch.where(values.masks[-1][..., None], g, 0) for g in given[:count]),
            *given[count:],
        )
    known = dict(zip((p.name for p in program.inputs), values.inputs, strict=True))
    known |= dict(zip(adjoint.residuals, emitted[count:], strict=True))
    known |= dict(zip(adjoint.cotangents, given[:count], strict=True))
    read = tuple(known[port.name] for port in adjoint.backward.inputs)
    arguments = Values(read, given[count:], values.params, masks=values.masks)
    results, starts = run(adjoint.backward, arguments, reset=reset, lengths=lengths)
    found = dict(zip((name for name, _ in adjoint.backward.results), results, strict=True))

    def named(names: list[str], like: tuple[Tensor, ...]) -> list[Tensor]:
        pairs = zip(names, like, strict=True)
        return [found.get(name, torch.zeros_like(t)) for name, t in pairs]

    grads = named([p.name for p in program.inputs], values.inputs)
    grads += starts[: len(final)]
    grads += named([p.name for p in program.params], values.params)
    return grads + list(starts[len(final) :])


def both_gradients(
    program: Program,
    values: Values,
    *,
    reset: bool = False,
    lengths: bool = False,
    adjoint: Adjoint | None = None,
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield (name, by the adjoint, by autograd) for every argument."""
    names = [p.name for p in program.inputs]
    names += [c.name for c in program.states]
    names += [p.name for p in program.params]
    names += [f"{c.name} at a reset" for c in program.states] if reset else []
    adjoint = adjoint or vjp(program)
    ours = by_adjoint(program, adjoint, values, reset=reset, lengths=lengths)
    theirs = autograd(program, values, reset=reset, lengths=lengths)
    yield from zip(names, ours, theirs, strict=True)
