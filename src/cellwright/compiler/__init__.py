"""Floor 2: from a cell's graph to a Program, by passes that can be read one at a time."""

from collections.abc import Callable, Iterator, Mapping

from cellwright.compiler.build import build
from cellwright.compiler.hoist import hoist
from cellwright.compiler.pack import pack
from cellwright.compiler.program import Block, Instr, Low, Param, Program, ProgramError, verify
from cellwright.compiler.rename import rename
from cellwright.compiler.simplify import simplify
from cellwright.compiler.stage import stage
from cellwright.compiler.vjp import Adjoint, vjp
from cellwright.compiler.widen import widen
from cellwright.language.graph import Graph


def lower(
    graph: Graph, sizes: Mapping[str, int], with_bias: bool = True, *, wide: bool = True
) -> Program:
    """Compile a cell for given widths: the last of `passes`.

    Without `wide` each gate keeps an operation of its own: machine code reads a gate's units one
    vector at a time and gains nothing from wider ones.
    """
    *_, (_, program) = passes(graph, sizes, with_bias, wide=wide)
    return program


def passes(
    graph: Graph, sizes: Mapping[str, int], with_bias: bool = True, *, wide: bool = True
) -> Iterator[tuple[Callable[..., Program], Program]]:
    """Compile a cell pass by pass: each pass, and the program after it."""
    program = build(graph, sizes, with_bias)
    yield build, program
    widened = (widen,) if wide else ()
    for run in (simplify, pack, hoist, *widened, simplify, stage, rename):
        program = run(program)
        yield run, program


__all__ = [
    "Adjoint",
    "Block",
    "Instr",
    "Low",
    "Param",
    "Program",
    "ProgramError",
    "lower",
    "passes",
    "verify",
    "vjp",
]
