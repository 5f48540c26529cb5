"""Loops: a Program's loop as machine code, and the memory and arguments of one call of it."""

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cellwright.compiler import Program
from cellwright.runtime import native, threads
from cellwright.targets.llvm import panels
from cellwright.targets.llvm.loop import emit
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import STATISTICS

DTYPES = {torch.float32: "float", torch.float64: "double"}
# Below this many multiply-adds a second thread costs more than it saves; so it does in packing
# below this many numbers.
WORTH_A_THREAD = 1 << 20
WORTH_PACKING = 1 << 16
# Rows of a long matrix taken at a time: they stay in the cache while the weights pass by.
CHUNK = 192
# Loops keep their own rows in these, which nobody else sees.
OWN = ("even", "odd", "scratch", "statistics")
NO_MASKS = {("mask", "reset"): None, ("mask", "valid"): None}


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
        self.own = [
            numbers_of_a_row(kind, self.width[name], self.machine)
            for kind, name in self.kernel.pointers
            if kind in OWN
        ]
        self.packed = [panels.packed_size(p) for p in self.kernel.packings]
        self.to_pack = sum(self.packed)
        self.table = torch.tensor(_table(self), dtype=torch.int64)
        self.panels = len(self.table)

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
        steps, batch = like.shape[:2]
        given: dict[tuple[str, str], Tensor | None] = {
            ("mask", "reset"): None if reset is None else reset.contiguous(),
            ("mask", "valid"): None if valid is None else valid.contiguous(),
        }
        ends: list[Tensor] = []
        totals: list[Tensor] = []
        for k, c in enumerate(self.program.states):
            begin = given["begin", c.name] = states[k].contiguous()
            ends.append(empty(like, batch, c.width))
            given["final", c.name] = ends[-1]
            if self.program.reverse:
                totals.append(empty(like, batch, c.width))
                given["total", c.name] = totals[-1]
            else:
                given["again", c.name] = starts[k].contiguous() if starts else begin
        units = self._sharing_units(steps, batch)
        edges = [0, batch] if units > 1 else self._edges(steps, batch)
        self._run(values, like, steps, batch, given, edges, max(1, batch), units)
        return ends + totals if reset is not None else ends

    def rows(self, values: dict[str, Tensor], like: Tensor) -> None:
        """Run a rowwise program over all T * B rows; adds what it emits to `values`."""
        steps, batch = like.shape[:2]
        flat = {v: t for v, t in values.items() if t.dim() < 3}
        flat |= {
            p.name: values[p.name].contiguous().view(1, steps * batch, p.width)
            for p in self.program.inputs
        }
        edges = self._edges(1, steps * batch)
        made = self._run(flat, like, 1, steps * batch, NO_MASKS, edges, CHUNK)
        values |= {v: t.view(steps, batch, self.width[v]) for v, t in made.items()}

    def _sharing_units(self, steps: int, batch: int) -> int:
        """Say among how many threads the units are divided, 1 where the rows are."""
        most = torch.get_num_threads()
        enough = steps * batch * self.work >= WORTH_A_THREAD
        few = 0 < batch < 2 * most and bool(self.program.stages)
        return most if enough and few and most > 1 and threads.can_share_units() else 1

    def _edges(self, steps: int, rows: int) -> list[int]:
        """Share rows out among threads, where there is work enough for more than one."""
        enough = steps * rows * self.work >= WORTH_A_THREAD
        return threads.divided(rows, torch.get_num_threads() if enough else 1)

    def _run(
        self,
        values: dict[str, Tensor],
        like: Tensor,
        steps: int,
        batch: int,
        given: Mapping[tuple[str, str], Tensor | None],
        edges: list[int],
        chunk: int,
        units: int = 1,
    ) -> dict[str, Tensor]:
        """Call the loop, one thread for each range of rows between edges; returns what it emits."""
        sizes = [batch * numbers * units for numbers in self.own]
        kept, addresses = areas(like, [*sizes, *self.packed])
        own, packs = iter(addresses), addresses[len(sizes) :]
        made: dict[str, Tensor] = {}
        pointers: list[int] = []
        for kind, name in self.kernel.pointers:
            if kind == "sequence":
                values[name] = _dense_rows(values[name])
                pointers.append(values[name].data_ptr())
            elif kind == "out":
                made[name] = empty(like, steps, batch, self.width[name])
                pointers.append(made[name].data_ptr())
            elif kind == "once":
                values[name] = values[name].contiguous()
                pointers.append(values[name].data_ptr())
            elif kind == "weight":
                pointers.append(packs[int(name)])
            elif kind in OWN:
                pointers.append(next(own))
            else:
                tensor = given[kind, name]
                pointers.append(0 if tensor is None else tensor.data_ptr())
        self._pack(values, packs)
        numbers = [
            (steps if name == "steps" else batch)
            if kind == "size"
            else values[name].stride(0 if kind == "step" else 1)
            for kind, name in self.kernel.numbers
        ]
        if units > 1:
            threads.share_units(self.code, pointers, numbers, batch, units)
        else:
            threads.share(self.code, pointers, numbers, edges, chunk)
        del kept
        values |= made
        return made

    def _pack(self, values: Mapping[str, Tensor], targets: Sequence[int]) -> None:
        """Lay the weights out as the loop reads them."""
        if not targets:
            return
        pointers, strides, kept = [self.table.data_ptr()], [], []
        for p, target in zip(self.kernel.packings, targets, strict=True):
            kept.append(_dense_rows(values[p.weight]))
            pointers += [kept[-1].data_ptr(), target]
            strides.append(kept[-1].stride(0))
        count = self.panels
        enough = self.to_pack >= WORTH_PACKING
        edges = threads.divided(count, torch.get_num_threads() if enough else 1)
        threads.share(_packing_code(self.machine), pointers, strides, edges, count)


def numbers_of_a_row(kind: str, width: int, machine: Machine) -> int:
    """Count the numbers that a row of one of the loop's own buffers holds."""
    lanes = machine.lanes
    return STATISTICS if kind == "statistics" else -(-width // lanes) * lanes


def _table(loop: FastLoop) -> list[list[int]]:
    """Say of every panel of every packing where it comes from and where it goes."""
    return [
        [k, int(p.transposed), *panel, p.depth]
        for k, p in enumerate(loop.kernel.packings)
        for panel in panels.panels(p, loop.machine.vectors)
    ]


@functools.cache
def _packing_code(machine: Machine) -> native.Code:
    return native.compiled(panels.emit(machine))


def _dense_rows(t: Tensor) -> Tensor:
    """Return a tensor whose rows are dense, as the machine code reads them."""
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return memory for the loop to write."""
    return like.new_empty(shape)


def areas(like: Tensor, sizes: Sequence[int]) -> tuple[object, list[int]]:
    """Return memory for areas of so many numbers each: what keeps it, and where each begins."""
    align = 64 // like.element_size()
    starts, total = [], 0
    for size in sizes:
        starts.append(total)
        total += -(-size // align) * align
    kept = empty(like, total)
    first = kept.data_ptr()
    return kept, [first + start * like.element_size() for start in starts]
