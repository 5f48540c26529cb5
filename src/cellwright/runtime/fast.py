"""Fast: a Program whose loop is machine code, called with torch's tensors."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cellwright.compiler import Low, Program
from cellwright.compiler.phases import part
from cellwright.compiler.rows import sequences
from cellwright.language.ops import Op
from cellwright.runtime import listing, native, threads
from cellwright.runtime.listing import machine
from cellwright.runtime.loops import WORTH_A_THREAD, FastLoop, Piece, empty
from cellwright.runtime.parameters import Once, function
from cellwright.runtime.steps import FastStep, takes
from cellwright.targets import parts
from cellwright.targets.llvm import outer as outer_kernel
from cellwright.targets.llvm import total as total_kernel
from cellwright.targets.llvm.micro import Machine

# A sequence that is read only where it is made goes through memory of PIECE bytes, once it would
# take WORTH_CUTTING: the caches hold it then, and no new pages have to be asked for.
PIECE = 4 << 20
WORTH_CUTTING = 16 << 20


class FastProgram:
    """Runs a Program over [T, B, ...] tensors; made for one dtype, any T and B.

    What a call needs is compiled when the first such call comes.
    """

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = part(program)
        self.dtype = dtype
        self.takes_steps = takes(self.program)

    def __call__(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        params: Sequence[Tensor],
        starts: Sequence[Tensor] = (),
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return outputs, residuals and results in one list, and the final states.

        Those of an adjoint are followed by the cotangents of what resets put in place.
        """
        if self.takes_steps and reset is None and valid is None:
            steps, batch, _ = inputs[0].shape
            if FastStep.fits(steps, batch):
                return self.step(inputs, states, params)
        return self.sequence(inputs, states, params, starts, reset, valid)

    @functools.cached_property
    def step(self) -> FastStep:
        return FastStep(self.program, self.dtype)

    @functools.cached_property
    def sequence(self) -> "FastSequence":
        return FastSequence(self.program, self.dtype)


class FastSequence:
    """A program's loop over time, and the work on whole sequences before and after it."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        made = listing.kernels(program, dtype)
        self.loop = FastLoop(made.loop, dtype)
        self.early = FastLoop(made.early, dtype) if made.early else None
        self.late = FastLoop(made.late, dtype) if made.late else None
        self.once = Once(program, made.read)
        width = self.loop.width
        self.summed = [i for i in program.after if i.op in SUMS]
        rows = sequences(program, program.after)
        rest = tuple(i for i in program.after if i.name not in rows and i.op not in SUMS)
        given = dict.fromkeys(a for i in rest for a in i.args if width[a])
        own = {i.name for i in rest}
        given = dict.fromkeys(a for a in given if a not in own)
        given |= dict.fromkeys(v for _, v in program.results if v not in own)
        # The first parameter's dtype is the one that new tensors take.
        self.given = list(given | dict.fromkeys(p.name for p in program.params[:1]))
        self.local = self._local()
        self.sums = function(parts.emit_after(program, rest, self.given), "after")

    def _local(self) -> frozenset[str]:
        """Find what is computed before the loop and read nowhere but in it."""
        program = self.program
        read = {v for _, v in (*program.outputs, *program.results)} | {*program.residuals}
        read |= {a for i in program.after for a in i.args}
        return frozenset(self.early.kernel.emitted if self.early else ()) - read

    def __call__(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        params: Sequence[Tensor],
        starts: Sequence[Tensor],
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return what `FastProgram` returns."""
        program = self.program
        values = dict(zip((p.name for p in program.inputs), inputs, strict=True))
        values |= dict(zip((p.name for p in program.params), params, strict=True))
        values |= dict(zip(self.once.names, self.once(params, inputs[0]), strict=True))
        piece = self._piece(inputs[0])
        early = self.early.over_rows(values, piece) if self.early else None
        loop = self.loop.over_time(values, piece, states, starts, reset, valid)
        late = self.late.over_rows(values, piece) if self.late else None
        for first in range(0, max(1, piece.whole), max(1, piece.steps)):
            steps = min(piece.steps, piece.whole - first)
            for call in (early, loop, late):
                if call:
                    call.run(first, steps)
        for i in self.summed:
            values[i.name] = SUMS[i.op](*(values[arg] for arg in i.args))
        sizes = (*inputs[0].shape[:2], -1)
        made = [self._output(values[v], v, sizes, valid) for _, v in program.outputs]
        made += [values[v] for v in program.residuals]
        if program.results:
            made += self.sums(*(values[name] for name in self.given))
        return made, loop.ends

    def _piece(self, like: Tensor) -> Piece:
        """Cut time so that what only one piece needs stays in the cache.

        An adjoint is taken whole: its sums over time are faster in one go.
        """
        steps, batch = like.shape[:2]
        size = batch * like.element_size() * sum(self.loop.width[v] for v in self.local)
        if self.program.reverse or steps * size <= WORTH_CUTTING:
            return Piece(like, steps, batch, steps, frozenset())
        return Piece(like, steps, batch, max(1, PIECE // size), self.local)

    def _output(
        self, value: Tensor, name: str, sizes: tuple[int, ...], valid: Tensor | None
    ) -> Tensor:
        """Return an output as [T, B, width], zero past a row's end; the loop's own are so."""
        if name in self.loop.kernel.emitted:
            return value
        value = value.expand(*sizes[:2], value.shape[-1])
        return value if valid is None else torch.where(valid[..., None], value, 0)


def outer(left: Tensor, right: Tensor) -> Tensor:
    """Sum over time and batch of the outer products of two sequences: [T, B, M], [T, B, N]."""
    a, b = left.contiguous().flatten(0, 1), right.contiguous().flatten(0, 1)
    if not a.shape[0]:
        return a.new_zeros(a.shape[1], b.shape[1])
    made = empty(a, a.shape[1], b.shape[1])
    enough = a.numel() * b.shape[1] >= WORTH_A_THREAD
    edges = threads.divided(a.shape[1], torch.get_num_threads() if enough else 1)
    code = _outer_code(machine(a.dtype))
    addresses = [a.data_ptr(), b.data_ptr(), made.data_ptr()]
    sizes = [a.shape[1], b.shape[1], a.shape[0], b.shape[1]]
    threads.share(code, addresses, sizes, edges, max(1, a.shape[1]))
    return made


def total(values: Tensor) -> Tensor:
    """Sum over time and batch of a sequence: [T, B, N]."""
    a = values.contiguous()
    width = a.shape[-1]
    if not a.numel():
        return a.new_zeros(width)
    made = empty(a, width)
    m = machine(a.dtype)
    groups = -(-width // total_kernel.group(m))
    edges = threads.divided(groups, torch.get_num_threads() if a.numel() >= WORTH_A_THREAD else 1)
    addresses, sizes = [a.data_ptr(), made.data_ptr()], [a.numel() // width, width]
    threads.share(_total_code(m), addresses, sizes, edges, groups)
    return made


SUMS: dict[Op | Low, Callable[..., Tensor]] = {Low.OUTER: outer, Low.TOTAL: total}


@functools.cache
def _outer_code(m: Machine) -> native.Code:
    return native.compiled(outer_kernel.emit(m))


@functools.cache
def _total_code(m: Machine) -> native.Code:
    return native.compiled(total_kernel.emit(m))
