"""Cells, sizes, tolerances and random numbers that the tests of several floors share."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cellwright.cells import CATALOGUE
from cellwright.compiler import Program, lower
from cellwright.targets import reference

# Largest difference of two ways to compute the same thing, relative to the larger of 1 and |a|.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
# Gradients pass through twice as many operations, and through sums over time and batch.
GRADIENT_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}

CELLS = tuple(CATALOGUE)
MASKS = {
    "no mask": (False, False),
    "reset": (True, False),
    "lengths": (False, True),
    "both": (True, True),
}
Outcome = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


def widths(inputs: int = 3, hidden: int = 5) -> dict[str, int]:
    """Sizes for every width symbol of the catalogue; the projection is narrower than the state."""
    return {"input": inputs, "hidden": hidden, "proj": max(1, hidden // 2), "static": 2}


def options(name: str, hidden: int) -> dict[str, Any]:
    """What a layer of a catalogue cell needs to be told besides its input and hidden size."""
    symbols = CATALOGUE[name].graph.symbols
    sizes = widths(hidden=hidden)
    made: dict[str, Any] = {"proj_size": sizes["proj"]} if "proj" in symbols else {}
    return made | ({"widths": {"static": sizes["static"]}} if "static" in symbols else {})


@dataclass(frozen=True)
class Values:
    """Arguments for the function of a program: [T, B, width], [B, width], parameters."""

    inputs: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    params: tuple[Tensor, ...]
    starts: tuple[Tensor, ...] = ()
    masks: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.inputs, *self.states, *self.params, *self.starts)

    def tracked(self) -> "Values":
        """The same numbers as leaves that gradients reach."""

        def leaves(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(t.detach().clone().requires_grad_() for t in tensors)

        return replace(
            self,
            inputs=leaves(self.inputs),
            states=leaves(self.states),
            params=leaves(self.params),
            starts=leaves(self.starts),
        )


def draw(
    program: Program,
    steps: int = 4,
    batch: int = 3,
    *,
    dtype: torch.dtype = torch.float64,
    scale: float = 0.5,
    reset: bool = False,
    lengths: bool = False,
    seed: int = 0,
) -> Values:
    """Draw every number a program reads, all of them different."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    masks = []
    if reset:
        masks.append(torch.rand(steps, batch, generator=generator) < 0.4)
    if lengths:  # one row runs to the end, one has no steps at all where there are several
        ends = torch.randint(1, steps + 1, (batch,), generator=generator)
        ends[0] = steps
        if batch > 1:
            ends[1] = 0
        masks.append(torch.arange(steps)[:, None] < ends)
    return Values(
        inputs=tuple(normal(steps, batch, p.width) for p in program.inputs),
        states=tuple(normal(batch, c.width) for c in program.states),
        params=tuple(normal(*p.shape) * scale for p in program.params),
        starts=tuple(normal(batch, c.width) for c in program.states) if reset else (),
        masks=tuple(masks),
    )


@functools.lru_cache(maxsize=1024)
def compiled(source: str, name: str) -> Callable[..., Outcome]:
    """Run source where nothing but Python's builtins is in reach; return one of its functions."""
    namespace: dict[str, Callable[..., Outcome]] = {}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


def run(program: Program, values: Values, *, reset: bool = False, lengths: bool = False) -> Outcome:
    """Run a program's reference: its outputs (and residuals or results), its final states."""
    source = reference.emit(program, reset=reset, lengths=lengths)
    return compiled(source, reference.function_name(program))(*values.tensors, *values.masks)


def lowered(name: str, inputs: int = 3, hidden: int = 5) -> Program:
    return lower(CATALOGUE[name].graph, widths(inputs, hidden))


def blocks(program: Program, params: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name each equation's weights inside the packed parameters: `f.x`, `f.h`, `f.bias`."""
    return {
        block.key: weight[block.start : block.stop]
        for param, weight in zip(program.params, params, strict=True)
        for block in param.blocks
    }


def fill(program: Program, params: Sequence[Tensor], weights: Mapping[str, Tensor]) -> None:
    """Write weights, by equation and operand, into packed parameters."""
    for key, view in blocks(program, params).items():
        view.copy_(weights[key])


def assert_close(found: Tensor, wanted: Tensor, tolerance: float, what: str = "") -> None:
    assert found.shape == wanted.shape, (what, found.shape, wanted.shape)
    assert found.dtype == wanted.dtype, (what, found.dtype, wanted.dtype)
    torch.testing.assert_close(
        found, wanted, rtol=tolerance, atol=tolerance, msg=lambda text: f"{what}: {text}"
    )
