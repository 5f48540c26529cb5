"""Floor 2: from a cell's graph to a Program, by passes that can be read one at a time."""

from collections.abc import Mapping

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
    """Compile a cell for given widths: build, simplify, pack, hoist, widen, stage, rename.

    Without `wide` each gate keeps an operation of its own: machine code reads a gate's units one
    vector at a time and gains nothing from wider ones.
    """
    program = hoist(pack(simplify(build(graph, sizes, with_bias))))
    return rename(stage(simplify(widen(program) if wide else program)))


__all__ = [
    "Adjoint",
    "Block",
    "Instr",
    "Low",
    "Param",
    "Program",
    "ProgramError",
    "lower",
    "verify",
    "vjp",
]
