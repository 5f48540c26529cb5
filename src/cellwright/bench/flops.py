"""FLOPs: how much arithmetic a Program's matrix products do."""

from cellwright.compiler import Program
from cellwright.compiler.program import PRODUCTS

# A product y = W v has two more in its adjoint, each of its size: W^T dy, and dy v^T.
TRAINING = 3


def flops(program: Program) -> int:
    """Count 2 * rows * depth of every product that one row takes in one forward step.

    Hoisted products belong to each step too; those of parameters alone do not. A weight with
    zero blocks counts as the full matrix that it is multiplied as. Multiply by T * B for a call,
    and by `TRAINING` for a forward and a backward pass.
    """
    widths = program.widths()
    return sum(
        2 * instr.width * widths[instr.args[0]]
        for instr in (*program.hoisted, *program.body)
        if instr.op in PRODUCTS
    )
