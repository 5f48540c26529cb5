"""Compiled: which path serves a call, and a plan's programs on each of the paths."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from cellwright.compiler import Program, vjp
from cellwright.compiler.simplify import drop_dead
from cellwright.runtime.fast import DTYPES, FastProgram
from cellwright.runtime.native import machine, missing, processor
from cellwright.runtime.plan import Plan, Run, text_of
from cellwright.runtime.threads import describe

Tensors = tuple[Tensor, ...]
# Computed in another dtype, whose machine code there is; the results go back to their own.
COMPUTED_IN = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def refused(tensors: Sequence[Tensor]) -> str | None:
    """Say why machine code cannot serve these tensors, or None where it can."""
    dtype = tensors[0].dtype
    served = dtype in DTYPES
    for t in tensors:
        if not t.is_cpu:
            return f"tensors on {t.device.type}; machine code is made for the CPU"
        if not served or t.dtype is not dtype:
            return f"tensors of {t.dtype}; there is machine code for float32 and float64"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace, which records operations; torch.export takes the layer as one"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation, which the reference can do"
    return missing()


def computed_in(tensors: Tensors) -> Tensors:
    """Return tensors in the dtype that machine code computes theirs in; the same where it is it."""
    dtype = COMPUTED_IN.get(tensors[0].dtype) if tensors else None
    return tensors if dtype is None else tuple(t.to(dtype) for t in tensors)


def path_of(dtype: torch.dtype) -> str:
    """Describe the machine code that runs for a dtype."""
    m = machine(DTYPES[dtype])
    kind = str(dtype).removeprefix("torch.")
    return (
        f"machine code for {processor()[0]}: vectors of {m.lanes} {kind}, tiles of {m.rows} rows "
        f"by {m.vectors} vectors, up to {torch.get_num_threads()} of {describe()}"
    )


@functools.cache
def say_once(cell: str, reason: str) -> None:
    """Log, once in a process, that a cell runs on the reference path and why."""
    logging.getLogger("cellwright").warning(
        "%s runs on the reference path (a loop of torch operations), not as machine code: %s",
        cell,
        reason,
    )


class Runner(Protocol):
    """A Program, ready to run: machine code or torch operations."""

    program: Program

    def __call__(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        params: Sequence[Tensor],
        starts: Sequence[Tensor] = (),
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return what the program gives at each step or at the end, and the final states."""
        ...


class ReferenceProgram:
    """Runs a Program as torch operations; called as a FastProgram is."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._runs: dict[tuple[bool, bool], Run] = {}

    def __call__(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        params: Sequence[Tensor],
        starts: Sequence[Tensor] = (),
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run in the dtype of the arguments: the layer has done what autocast asks for."""
        masked = (reset is not None, valid is not None)
        run = self._runs.get(masked)
        if run is None:
            run = self._runs[masked] = text_of(self.program, "", *masked)
        masks = [mask for mask in (reset, valid) if mask is not None]
        with torch.autocast(inputs[0].device.type, enabled=False):
            outputs, final = run(*inputs, *states, *params, *starts, *masks)
        return list(outputs), list(final)


@dataclass(frozen=True)
class Programs:
    """A plan's programs, each ready to run; one is made when it is first run.

    What the adjoint reads of the forward pass is some of its outputs, at the places `again`, and
    what is `kept` beside them, at the places `beside` in what the training program gives. With
    `own_memory` what comes out shares memory neither with an argument nor with the rest.
    """

    plain: Program
    forward: Program
    adjoint: Program
    cotangents: tuple[str, ...]
    make: Callable[[Program], Runner]
    own_memory: bool

    @functools.cached_property
    def emitted(self) -> tuple[str, ...]:
        return tuple(v for _, v in self.forward.outputs)

    @functools.cached_property
    def again(self) -> tuple[int, ...]:
        residuals = dict.fromkeys(self.forward.residuals)
        return tuple(self.emitted.index(v) for v in residuals if v in self.emitted)

    @functools.cached_property
    def kept(self) -> tuple[str, ...]:
        return tuple(v for v in dict.fromkeys(self.forward.residuals) if v not in self.emitted)

    @functools.cached_property
    def beside(self) -> tuple[int, ...]:
        return tuple(len(self.emitted) + self.forward.residuals.index(v) for v in self.kept)

    @functools.cached_property
    def read(self) -> tuple[str, ...]:
        """Names of what the adjoint reads of the forward pass, in the order it is kept in."""
        return (*(self.emitted[at] for at in self.again), *self.kept)

    @functools.cached_property
    def inference(self) -> Runner:
        return self.make(self.plain)

    @functools.cached_property
    def training(self) -> Runner:
        return self.make(self.forward)

    @functools.cached_property
    def backward(self) -> Runner:
        return self.make(self.adjoint)

    @functools.cached_property
    def weights(self) -> Runner:
        """The adjoint without the inputs' gradients, where nobody wants them."""
        ports = {p.name for p in self.forward.inputs}
        results = tuple(r for r in self.adjoint.results if r[0] not in ports)
        return self.make(drop_dead(replace(self.adjoint, results=results)))


@functools.lru_cache(maxsize=512)
def programs(made: Plan, dtype: torch.dtype) -> Programs:
    """Return a plan's programs as machine code."""
    shape = texts(made, narrow=True)
    body = {i.name for i in shape.forward.body}
    alone = len(set(shape.emitted)) == len(shape.emitted) and body.issuperset(shape.emitted)
    fast = functools.partial(FastProgram, dtype=dtype)
    return replace(shape, make=fast, own_memory=alone)


@functools.lru_cache(maxsize=512)
def texts(made: Plan, *, narrow: bool) -> Programs:
    """Return a plan's programs as torch operations, with one operation a gate or a wide one."""
    plain = made.narrow() if narrow else made.program
    adjoint = vjp(plain) if narrow else made.adjoint
    return Programs(
        plain, adjoint.forward, adjoint.backward, adjoint.cotangents, ReferenceProgram, False
    )


def wants_code(backend: str, like: Tensor) -> bool:
    """Tell from what a graph knows of a call whether machine code is to run it."""
    return backend != "reference" and like.device.type == "cpu" and like.dtype in DTYPES


def layout(made: Plan, backend: str, like: Tensor) -> Programs:
    """Return the programs that say what a call keeps, the same on every machine."""
    return texts(made, narrow=wants_code(backend, like))


def serving(made: Plan, backend: str, like: Tensor) -> Programs:
    """Return the programs that serve a call; RuntimeError where "llvm" cannot and must."""
    code = wants_code(backend, like)
    reason = missing() if code else refused((like,)) if backend != "reference" else None
    if code and reason is None:
        return programs(made, like.dtype)
    if backend == "llvm":
        raise unserved(made, str(reason))
    if reason is not None:
        say_once(made.cell.__name__, reason)
    return texts(made, narrow=code)


def unserved(made: Plan, reason: str) -> RuntimeError:
    """Say that the path asked for by name cannot serve."""
    return RuntimeError(f"backend='llvm' cannot run {made.cell.__name__}: {reason}")
