"""Listing: the text of a program's machine code, without compiling or keeping it."""

import torch

from cellwright.compiler import Program
from cellwright.compiler.phases import part
from cellwright.runtime import native
from cellwright.runtime.loops import DTYPES
from cellwright.targets.llvm.loop import emit
from cellwright.targets.llvm.needs import Kernel


def loop(program: Program, dtype: torch.dtype) -> Kernel:
    """Return the loop of a program for this processor, as it would be compiled."""
    return emit(part(program), native.machine(DTYPES[dtype]))
