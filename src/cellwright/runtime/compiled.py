"""Compiled: which path serves a call, and a plan's programs on each of the paths."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from cellwright.compiler import Low, Program, vjp
from cellwright.compiler.simplify import drop_dead
from cellwright.language.ops import Op
from cellwright.runtime.fast import FastProgram
from cellwright.runtime.listing import DTYPES
from cellwright.runtime.native import machine, missing, processor
from cellwright.runtime.plan import Plan, Run, plan_of, text_of
from cellwright.runtime.threads import describe

Tensors = tuple[Tensor, ...]
TRANSFORMS = "torch.func's transforms (grad, jvp, vmap), which the reference can do"
Key, dispatch_keys = torch._C.DispatchKey, torch._C._dispatch_keys
raw_keys = torch._C.DispatchKeySet.raw_repr
PRE_DISPATCH, is_included = Key.PreDispatch, torch._C._dispatch_tls_is_dispatch_key_included
active_modes = torch._C._len_torch_dispatch_stack
_UNTRACKED = torch._C.DispatchKeySet(Key.CPU).add(Key.AutocastCPU)  # made in inference mode
_TRACKED = _UNTRACKED.add(Key.ADInplaceOrView).add(Key.AutogradCPU)
PLAIN = frozenset((Tensor, Parameter))
# What torch's dispatcher knows of a dense tensor on the CPU whose memory holds its numbers. One
# look at it tells sparse, quantized, negated, zero and wrapped tensors, those of vmap too.
DENSE = frozenset(keys.raw_repr() for keys in (_TRACKED, _UNTRACKED))
# What torch operations compute as a view, or need not compute.
VIEWS = frozenset({Low.SLICE, Low.ZEROS, Op.CONSTANT, Op.MODULES})
# Computed in another dtype, whose machine code there is; the results go back to their own.
COMPUTED_IN = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def refused(tensors: Sequence[Tensor], masks: Sequence[Tensor] = ()) -> str | None:
    """Say why machine code cannot serve these tensors and masks, or None where it can.

    It reads their memory and nobody sees it do so: what keeps its numbers elsewhere, wants to see
    every operation or gives them another meaning is for torch operations.
    """
    if not (PLAIN.issuperset(map(type, tensors)) and PLAIN.issuperset(map(type, masks))):
        kind = next(type(t) for t in (*tensors, *masks) if type(t) not in PLAIN)
        return (
            f"a {kind.__name__}, a subclass of torch.Tensor that may hold its numbers elsewhere; "
            "machine code reads torch.Tensor and torch.nn.Parameter"
        )
    reason = unfit(tensors, masks)
    if reason is not None:
        return reason
    if watched():
        return "a mode of torch.utils._python_dispatch, which is to see every operation"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace, which records operations; torch.export takes the layer as one"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation, which the reference can do"
    return missing()


def unfit(tensors: Sequence[Tensor], masks: Sequence[Tensor] = ()) -> str | None:
    """Say which tensor is not dense, on the CPU and of the one dtype, or None where all are."""
    dtype = tensors[0].dtype
    for t in tensors:
        if t.dtype is not dtype or dtype not in DTYPES:
            return _unlike(t, dtype)
    if DENSE.issuperset(map(raw_keys, map(dispatch_keys, (*tensors, *masks)))):
        return None
    unlike = next(t for t in (*tensors, *masks) if raw_keys(dispatch_keys(t)) not in DENSE)
    return _unlike(unlike, unlike.dtype)


def _unlike(t: Tensor, dtype: torch.dtype) -> str:
    """Say what keeps machine code from a tensor that is to be dense and of a dtype."""
    if not t.is_cpu:
        return f"tensors on {t.device.type}; machine code is made for the CPU"
    if dtype not in DTYPES and dtype is not torch.bool:
        return f"tensors of {dtype}; there is machine code for float32 and float64"
    if t.dtype is not dtype:
        return f"tensors of {dtype} and {t.dtype}; machine code computes in one of them"
    return f"a tensor that is not dense memory ({dispatch_keys(t)})"


def watched() -> bool:
    """Tell whether a dispatch mode is active: a FakeTensorMode, make_fx, a counter of operations.

    make_fx(pre_dispatch=True) has a stack of modes of its own, which a dispatch key tells of.
    """
    return active_modes() > 0 or is_included(PRE_DISPATCH)


def recorded(tensors: Sequence[Tensor]) -> bool:
    """Tell whether a call is to be seen as one operator: by a dispatch mode, by fake tensors.

    A subclass of somebody else's knows torch's operations, not this one, and gets them one by one;
    so does forward mode, which the operator cannot do.
    """
    kinds = {type(t) for t in tensors}
    known = kinds <= {Tensor, Parameter, FakeTensor}
    return known and (FakeTensor in kinds or watched()) and forward_ad._current_level < 0


def resolved(t: Tensor) -> Tensor:
    """Return the numbers of a dense tensor as memory holds them.

    Torch keeps the negative of a tensor as a mark on it, and zeros that autograd made as no memory.
    """
    if type(t) not in PLAIN:
        return t
    return t + 0 if t._is_zerotensor() else t.resolve_neg()


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


def copied(key: str) -> tuple[bool, ...]:
    """Say of the outputs and final states of a plan's loop which of them may be someone else's.

    A cell may hand its input, its old state or a part of one on: that is what was given, or a
    view of it.
    """
    return _copied(key)


# A graph that is traced takes the answer as it is; see `nn.running`.
copied._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=512)
def _copied(key: str) -> tuple[bool, ...]:
    program = plan_of(key).program
    looped = {*(c.name for c in program.states), *(i.name for i in program.body)}
    made = {i.name for i in (*program.hoisted, *program.body) if i.op not in VIEWS}
    emitted = [v for _, v in program.outputs]
    outputs = [  # what the loop emits step by step is stacked
        v in emitted[:k] or v not in looped | made for k, v in enumerate(emitted)
    ]
    final = [c.next for c in program.states]
    return (*outputs, *(v in final[:k] or v not in made for k, v in enumerate(final)))


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
    return backend != "reference" and like.is_cpu and like.dtype in DTYPES


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
