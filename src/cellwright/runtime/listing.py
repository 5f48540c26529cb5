"""Listing: the text of a program's machine code, without compiling or keeping it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cellwright.compiler import Instr, Program
from cellwright.compiler.hoist import unhoist
from cellwright.compiler.phases import part
from cellwright.compiler.rows import rowwise, sequences
from cellwright.runtime import native
from cellwright.targets.llvm.loop import emit
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import Kernel

DTYPES = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Kernels:
    """What is compiled of a program: its loop over time, and the work on sequences around it.

    `read` names what all of them, and the sums after them, read.
    """

    early: Kernel | None
    loop: Kernel
    late: Kernel | None
    read: tuple[str, ...]


def loop(program: Program, dtype: torch.dtype) -> Kernel:
    """Return the loop of a program for this processor, as it would be compiled."""
    return emit(part(program), machine(dtype))


def step(program: Program, dtype: torch.dtype) -> Kernel:
    """Return the loop, of a program that `part` has arranged, which reads the weights unpacked."""
    return emit(unhoist(program), machine(dtype), direct=True)


def kernels(program: Program, dtype: torch.dtype) -> Kernels:
    """Return all loops of a program that `part` has arranged, each where there is work for it."""
    m = machine(dtype)
    over_time = emit(program, m)
    read = [*reads(over_time), *(a for i in program.after for a in i.args)]
    read += [v for _, v in (*program.outputs, *program.results)]
    read += program.residuals
    early = _rows(program, program.hoisted, read, m)
    rows = sequences(program, program.after)
    late = [i for i in program.after if i.name in rows]
    wanted = [a for i in program.after if i.name not in rows for a in i.args]
    wanted += [v for _, v in program.results]
    around = early, _rows(program, late, wanted, m)
    read += [name for kernel in around if kernel for name in reads(kernel)]
    return Kernels(around[0], over_time, around[1], tuple(read))


def reads(kernel: Kernel) -> list[str]:
    """Name what a loop's caller has at hand: sequences, vectors of parameters, weights."""
    named = [name for kind, name in kernel.pointers if kind in ("sequence", "once")]
    return named + [p.weight for p in kernel.packings]


def machine(dtype: torch.dtype) -> Machine:
    """Describe this processor's vectors and tile for a dtype."""
    return native.machine(DTYPES[dtype])


def _rows(
    program: Program, instrs: Sequence[Instr], wanted: Sequence[str], m: Machine
) -> Kernel | None:
    """Write the loop for work on whole sequences, if there is any."""
    made = {i.name for i in instrs}
    chosen = [v for v in dict.fromkeys(wanted) if v in made]
    return emit(rowwise(program, instrs, chosen), m) if chosen else None
