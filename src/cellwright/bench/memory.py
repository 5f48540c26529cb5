"""Memory: whether a shape can be timed on this machine, told before anything is allocated."""

import os
from pathlib import Path

import torch

from cellwright.bench.errors import WishError
from cellwright.bench.shapes import Shape
from cellwright.bench.sides import Subject

LIMIT = Path("/sys/fs/cgroup/memory.max")  # what a container may use; "max": no limit


def memory() -> int | None:
    """Bytes that a process of this machine, or of this container, may use; None: not known."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = LIMIT.read_text(encoding="ascii").strip() if LIMIT.is_file() else "max"
    return min(there, int(limit)) if limit.isdecimal() else there


def least(subject: Subject, shape: Shape, dtype: torch.dtype) -> int:
    """Bytes that timing a cell at a shape takes at the least; it may take several times as many.

    Two sides, machine code and a loop, each hold the parameters and their gradients, the inputs
    [T, B, I] and theirs, and the outputs [T, B, H].
    """
    program = subject.plan(shape.width).program
    widths = program.widths()
    parameters = sum(p.rows * (p.columns or 1) for p in program.params)
    inputs = shape.rows * sum(port.width for port in program.inputs)
    outputs = shape.rows * sum(widths[value] for _, value in program.outputs)
    return 2 * dtype.itemsize * (2 * parameters + 2 * inputs + outputs)


def check_memory(subject: Subject, shape: Shape, dtype: torch.dtype) -> None:
    """Raise WishError for a shape that this machine cannot hold; nothing is allocated for it."""
    needed, there = least(subject, shape, dtype), memory()
    if there is not None and needed > there:
        raise WishError(
            f"shapes: {subject.name} at {shape} needs more than {needed / 2**30:,.0f} GiB of "
            f"memory, this machine has {there / 2**30:,.0f}; take fewer steps, rows or units"
        )
