"""Fast: a Program whose loop is machine code, called with torch's tensors."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.rows import rowwise, sequences
from cellwright.runtime import native, threads
from cellwright.targets import parts
from cellwright.targets.llvm import outer as outer_kernel
from cellwright.targets.llvm.loop import emit
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import STATISTICS, Packing

DTYPES = {torch.float32: "float", torch.float64: "double"}
# Below this many multiply-adds a second thread costs more than it saves.
WORTH_A_THREAD = 1 << 20
# Rows of a long matrix taken at a time: they stay in the cache while the weights pass by.
CHUNK = 192


class FastProgram:
    """Runs a Program over [T, B, ...] tensors; made for one dtype, any T and B."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        self.loop = FastLoop(program, dtype)
        read = [*self.loop.read, *(a for i in program.after for a in i.args)]
        read += [v for _, v in (*program.outputs, *program.results)]
        read += program.residuals
        width = self.loop.width
        self.early = _rows(program, program.hoisted, read, dtype)
        rows = sequences(program, program.after)
        late = [i for i in program.after if i.name in rows]
        wanted = [a for i in program.after for a in i.args] + [v for _, v in program.results]
        self.late = _rows(program, late, wanted, dtype)
        for loop in (self.early, self.late):
            read += loop.read if loop else []
        self.once = _once(program, list(dict.fromkeys(read)))
        self.outer = [i for i in program.after if i.op is Low.OUTER]
        rest = tuple(i for i in program.after if i.name not in rows and i.op is not Low.OUTER)
        self.given = list(dict.fromkeys(a for i in rest for a in i.args if width[a]))
        made = {i.name for i in rest}
        self.given = [a for a in self.given if a not in made]
        self.given += [v for _, v in program.results if v not in made and v not in self.given]
        self.sums = _function(parts.emit_after(program, rest, self.given), "after")

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
        program = self.program
        values = dict(zip((p.name for p in program.inputs), inputs, strict=True))
        values |= dict(zip((p.name for p in program.params), params, strict=True))
        values |= dict(zip(self.once.names, self.once.call(*params), strict=True))
        if self.early:
            self.early.rows(values, inputs[0])
        ends = self.loop.steps(values, inputs[0], states, starts, reset, valid)
        if self.late:
            self.late.rows(values, inputs[0])
        for i in self.outer:
            values[i.name] = outer(values[i.args[0]], values[i.args[1]])
        sizes = (*inputs[0].shape[:2], -1)
        made = [self._output(values[v], v, sizes, valid) for _, v in program.outputs]
        made += [values[v] for v in program.residuals]
        if program.results:
            made += self.sums(*(values[name] for name in self.given))
        return made, ends

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
    code = _outer_code(native.machine(DTYPES[a.dtype]))
    addresses = [a.data_ptr(), b.data_ptr(), made.data_ptr()]
    sizes = [a.shape[1], b.shape[1], a.shape[0], b.shape[1]]
    threads.share(code, addresses, sizes, edges, max(1, a.shape[1]))
    return made


@functools.cache
def _outer_code(machine: Machine) -> native.Code:
    return native.compiled(outer_kernel.emit(machine))


@dataclass(frozen=True)
class _Once:
    """What only the parameters decide, as a torch function of them."""

    names: tuple[str, ...]
    call: Callable[..., tuple[Tensor, ...]]


def _once(program: Program, read: Sequence[str]) -> _Once:
    once = {i.name for i in program.once}
    widths = program.widths()
    names = tuple(v for v in read if v in once and widths[v])
    return _Once(names, _function(parts.emit_once(program, names), "once"))


def _rows(
    program: Program, instrs: Sequence[Instr], wanted: Sequence[str], dtype: torch.dtype
) -> "FastLoop | None":
    """Compile work on whole sequences, if there is any."""
    made = {i.name for i in instrs}
    chosen = [v for v in dict.fromkeys(wanted) if v in made]
    return FastLoop(rowwise(program, instrs, chosen), dtype) if chosen else None


class FastLoop:
    """The compiled loop of a Program, and how to call it."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = program
        self.machine = native.machine(DTYPES[dtype])
        self.kernel = emit(program, self.machine)
        self.code = native.compiled(self.kernel.text)
        self.width = program.widths()
        self.work = sum(p.depth * p.width * len(p.offsets) for p in self.kernel.packings)
        # What the caller must have at hand: sequences, vectors of parameters, weights.
        self.read = [name for kind, name in self.kernel.pointers if kind in ("sequence", "once")]
        self.read += [p.weight for p in self.kernel.packings]

    def steps(
        self,
        values: dict[str, Tensor],
        like: Tensor,
        states: Sequence[Tensor],
        starts: Sequence[Tensor],
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> list[Tensor]:
        """Run all steps; adds what the loop emits to `values` and returns the final states."""
        frame = _Frame(self, values, like, states, starts, reset, valid)
        frame.run(self._edges(frame.steps, frame.batch))
        values |= frame.out
        return frame.ends()

    def rows(self, values: dict[str, Tensor], like: Tensor) -> None:
        """Run a rowwise program over all T * B rows; adds what it emits to `values`."""
        steps, batch = like.shape[:2]
        flat = {v: t for v, t in values.items() if t.dim() < 3}
        flat |= {
            p.name: values[p.name].contiguous().view(1, steps * batch, p.width)
            for p in self.program.inputs
        }
        frame = _Frame(self, flat, flat[self.program.inputs[0].name], (), (), None, None)
        frame.run(self._edges(1, steps * batch), CHUNK)
        values |= {v: t.view(steps, batch, self.width[v]) for v, t in frame.out.items()}

    def _edges(self, steps: int, rows: int) -> list[int]:
        """Share rows out among threads, where there is work enough for more than one."""
        enough = steps * rows * self.work >= WORTH_A_THREAD
        return threads.divided(rows, torch.get_num_threads() if enough else 1)


class _Frame:
    """The memory and the arguments of one call."""

    def __init__(
        self,
        fast: FastLoop,
        values: dict[str, Tensor],
        like: Tensor,
        states: Sequence[Tensor],
        starts: Sequence[Tensor],
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> None:
        self.fast = fast
        self.steps, self.batch = like.shape[:2]
        self.like = like
        self.values = values
        names = [c.name for c in fast.program.states]
        self.begin = {n: s.contiguous() for n, s in zip(names, states, strict=True)}
        self.again = {n: s.contiguous() for n, s in zip(names, starts, strict=False)}
        self.masks = {"reset": reset, "valid": valid}
        self.out: dict[str, Tensor] = {}
        self.final: dict[str, Tensor] = {}
        self.total: dict[str, Tensor] = {}
        self.kept: list[Tensor] = []

    def run(self, edges: list[int], chunk: int | None = None) -> None:
        """Call the loop for each range of rows between edges, one thread a range."""
        kernel = self.fast.kernel
        addresses = [self._address(kind, name) for kind, name in kernel.pointers]
        numbers = [self._number(kind, name) for kind, name in kernel.numbers]
        threads.share(self.fast.code, addresses, numbers, edges, chunk or max(1, self.batch))

    def ends(self) -> list[Tensor]:
        return [
            *self.final.values(),
            *(self.total.values() if self.masks["reset"] is not None else ()),
        ]

    def _address(self, kind: str, name: str) -> int | None:
        tensor = self._tensor(kind, name)
        if tensor is None:
            return None
        self.kept.append(tensor)
        return tensor.data_ptr()

    def _tensor(self, kind: str, name: str) -> Tensor | None:
        fast, batch = self.fast, self.batch
        if kind == "mask":
            mask = self.masks[name]
            return None if mask is None else mask.contiguous().view(torch.uint8)
        if kind == "weight":
            packing = fast.kernel.packings[int(name)]
            return pack(packing, self.values[packing.weight], fast.machine.vectors)
        width = fast.width[name]
        padded = -(-width // fast.machine.lanes) * fast.machine.lanes
        if kind == "sequence":
            found = self.values[name]
            self.values[name] = found if found.stride(-1) == 1 or width == 1 else found.contiguous()
            return self.values[name]
        if kind == "once":
            return self.values[name].contiguous()
        if kind == "begin":
            return self.begin[name]
        if kind == "again":
            return self.again.get(name, self.begin[name])
        if kind in ("even", "odd", "scratch"):
            return empty(self.like, batch, padded)
        if kind == "statistics":
            return empty(self.like, batch, STATISTICS)
        made = {"final": self.final, "total": self.total, "out": self.out}[kind]
        shape = (self.steps, batch, width) if kind == "out" else (batch, width)
        made[name] = empty(self.like, *shape)
        return made[name]

    def _number(self, kind: str, name: str) -> int:
        if kind == "size":
            return self.steps if name == "steps" else self.batch
        return self.values[name].stride(0 if kind == "step" else 1)


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return memory for the loop to write."""
    return like.new_empty(shape)


def pack(p: Packing, weight: Tensor, most: int) -> Tensor:
    """Lay a product's weights out as the loop reads them; `most` vectors stand side by side."""
    rows = weight[p.start : p.stop]
    columns = rows if p.transposed else rows.t()  # [K, N]
    wide = p.vectors * p.lanes
    whole = p.width // wide
    rest = -(-(p.width - whole * wide) // p.lanes)
    chosen = torch.stack([columns[:, o : o + p.width] for o in p.offsets], 1)  # [K, G, width]
    short = whole * wide + rest * p.lanes - p.width
    if short:
        chosen = torch.nn.functional.pad(chosen, (0, short))
    count = len(p.offsets)
    pieces = []
    if whole:
        first = chosen[:, :, : whole * wide].reshape(p.depth, count, whole, p.vectors, p.lanes)
        pieces += _passes(first.permute(2, 0, 1, 3, 4).flatten(2, 3), most)
    if rest:
        last = chosen[:, :, whole * wide :].reshape(p.depth, count, rest, p.lanes)
        pieces += _passes(last.permute(2, 0, 1, 3), most)
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _passes(blocks: Tensor, most: int) -> list[Tensor]:
    """Put each block's slots, [blocks, K, slots, lanes], after one another in groups of `most`."""
    slots = blocks.shape[2]
    groups = [blocks[:, :, k : k + most].flatten(1) for k in range(0, slots, most)]
    return [(torch.cat(groups, 1) if len(groups) > 1 else groups[0]).flatten()]


def _function(source: str, name: str) -> Callable[..., tuple[Tensor, ...]]:
    namespace: dict = {}
    exec(compile(source, f"<cellwright {name}>", "exec"), namespace)
    return namespace[name]
