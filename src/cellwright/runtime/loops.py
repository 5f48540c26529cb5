"""Loops: a loop as machine code, and the memory and arguments of one call of it."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cellwright.runtime import native, threads
from cellwright.runtime.listing import machine
from cellwright.targets.llvm import panels
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import STATISTICS, Kernel

# Below this many multiply-adds a second thread costs more than it saves; so it does in packing
# below this many numbers.
WORTH_A_THREAD = 1 << 20
WORTH_PACKING = 1 << 16
# Rows of a long matrix taken at a time: they stay in the cache while the weights pass by.
CHUNK = 192
# Loops keep their own rows in these, which nobody else sees.
OWN = ("even", "odd", "scratch", "statistics")


@dataclass(frozen=True)
class Piece:
    """How a call is taken piece by piece in time: so many `steps` of the `whole` each time.

    `local` names the sequences that are only read within the piece that made them: they have room
    for one piece, and stay in the cache. `like` has the dtype of all.
    """

    like: Tensor
    whole: int
    batch: int
    steps: int
    local: frozenset[str]


class FastLoop:
    """A kernel, compiled, and how to call it."""

    def __init__(self, kernel: Kernel, dtype: torch.dtype) -> None:
        self.kernel = kernel
        self.program = kernel.program
        self.machine = machine(dtype)
        self.code = native.compiled(kernel.text)
        self.width = self.program.widths()
        self.work = sum(p.depth * p.width * len(p.offsets) for p in kernel.packings)
        self.own = numbers_of_a_row(kernel, self.machine.lanes)
        self.packed = [panels.packed_size(p) for p in self.kernel.packings]
        self.to_pack = sum(self.packed)
        self.table = torch.tensor(_table(self), dtype=torch.int64)
        self.panels = len(self.table)
        at = {pointer: k for k, pointer in enumerate(self.kernel.pointers)}
        # Where each state begins, and where it ends: there the next piece of a sequence begins.
        self.continued = [(at["begin", c.name], at["final", c.name]) for c in self.program.states]

    def over_time(
        self,
        values: dict[str, Tensor],
        piece: Piece,
        states: Sequence[Tensor],
        starts: Sequence[Tensor],
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> "Call":
        """Prepare a call whose rows are the batch's and whose steps are those of time."""
        like, given = piece.like, dict[tuple[str, str], Tensor | None]()
        for name, mask in (("reset", reset), ("valid", valid)):
            given["mask", name] = None if mask is None else mask.contiguous()
        ends: list[Tensor] = []
        totals: list[Tensor] = []
        for k, c in enumerate(self.program.states):
            begin = given["begin", c.name] = states[k].contiguous()
            ends.append(empty(like, piece.batch, c.width))
            given["final", c.name] = ends[-1]
            if self.program.reverse:
                totals.append(empty(like, piece.batch, c.width))
                given["total", c.name] = totals[-1]
            else:
                given["again", c.name] = starts[k].contiguous() if starts else begin
        units = self._sharing_units(piece.whole, piece.batch)
        made = Call(self, values, piece, given, units)
        made.ends = ends + totals if reset is not None else ends
        return made

    def over_rows(self, values: dict[str, Tensor], piece: Piece) -> "Call":
        """Prepare a call whose rows are all steps of all of the batch's rows."""
        for p in self.program.inputs:
            values[p.name] = values[p.name].contiguous()
        return Call(self, values, piece, None, 1)

    def _sharing_units(self, steps: int, batch: int) -> int:
        """Say among how many threads the units are divided, 1 where the rows are."""
        most = torch.get_num_threads()
        enough = steps * batch * self.work >= WORTH_A_THREAD
        few = 0 < batch < 2 * most and bool(self.program.stages)
        return most if enough and few and most > 1 and threads.can_share_units() else 1

    def pack(self, values: Mapping[str, Tensor], targets: Sequence[int]) -> None:
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


class Call:
    """One call of a loop: its memory, its packed weights and its arguments; `run` takes a piece.

    It adds what the loop emits to the values it is given: a sequence of all steps or, where the
    piece says that nobody reads it later, of the piece's.
    """

    def __init__(
        self,
        loop: FastLoop,
        values: dict[str, Tensor],
        piece: Piece,
        given: Mapping[tuple[str, str], Tensor | None] | None,
        units: int,
    ) -> None:
        self.loop, self.piece, self.units = loop, piece, units
        self.by_rows = given is None
        self.ends: list[Tensor] = []
        like, kernel = piece.like, loop.kernel
        rows = piece.batch * (piece.steps if self.by_rows else 1)
        sizes = [rows * numbers * units for numbers in loop.own]
        kept, addresses = areas(like, [*sizes, *loop.packed])
        own, packs = iter(addresses), addresses[len(sizes) :]
        self.kept: list[object] = [kept]
        self.pointers: list[int] = []
        self.moves: list[int] = []  # how far each pointer moves on with a step, in bytes
        for kind, name in kernel.pointers:
            place = next(own) if kind in OWN else packs[int(name)] if kind == "weight" else None
            pair = self._argument(kind, name, values, given) if place is None else (place, 0)
            self.pointers.append(pair[0])
            self.moves.append(pair[1])
        loop.pack(values, packs)
        self.numbers = [
            0 if kind == "size" else self._stride(kind, values[name])
            for kind, name in kernel.numbers
        ]
        enough = piece.whole * piece.batch * loop.work >= WORTH_A_THREAD
        self.threads = torch.get_num_threads() if enough else 1

    def _argument(
        self,
        kind: str,
        name: str,
        values: dict[str, Tensor],
        given: Mapping[tuple[str, str], Tensor | None] | None,
    ) -> tuple[int, int]:
        """Return where an argument lies and how far a step moves it on; (0, 0) for none."""
        piece, moves = self.piece, 0
        if kind in ("sequence", "out"):
            if kind == "out":
                steps = piece.steps if name in piece.local else piece.whole
                values[name] = empty(piece.like, steps, piece.batch, self.loop.width[name])
            tensor = values[name] = _dense_rows(values[name])
            moves = 0 if name in piece.local else tensor.stride(0) * tensor.element_size()
        elif kind == "once":
            tensor = values[name].contiguous()
        else:
            assert given is not None or kind == "mask"
            tensor = given[kind, name] if given else None
            moves = piece.batch if kind == "mask" else 0
        self.kept.append(tensor)
        address = 0 if tensor is None else tensor.data_ptr()
        return address, moves if address else 0

    def _stride(self, kind: str, sequence: Tensor) -> int:
        """How far a sequence's steps or rows lie apart; a batch of one may say anything of rows."""
        if kind == "step":
            return sequence.stride(0)
        return sequence.shape[2] if self.by_rows else sequence.stride(1)

    def run(self, first: int, steps: int) -> None:
        """Run so many steps from the first; the states go on from where the last piece ended."""
        pointers = self.pointers
        if first:
            pairs = zip(pointers, self.moves, strict=True)
            pointers = [pointer + first * move for pointer, move in pairs]
        rows = self.piece.batch * (steps if self.by_rows else 1)
        sizes = {"steps": 1 if self.by_rows else steps, "batch": rows}
        for k, (kind, name) in enumerate(self.loop.kernel.numbers):
            if kind == "size":
                self.numbers[k] = sizes[name]
        if self.units > 1:
            threads.share_units(self.loop.code, pointers, self.numbers, rows, self.units)
        else:
            edges = threads.divided(rows, self.threads)
            chunk = CHUNK if self.by_rows else max(1, rows)
            threads.share(self.loop.code, pointers, self.numbers, edges, chunk)
        if not self.by_rows and steps < self.piece.whole:
            for k, final in self.loop.continued:
                self.pointers[k] = pointers[final]


def numbers_of_a_row(kernel: Kernel, lanes: int) -> list[int]:
    """Count the numbers that a row holds in each of a loop's own buffers, in their order."""
    width = kernel.program.widths()
    return [
        STATISTICS if kind == "statistics" else -(-width[name] // lanes) * lanes
        for kind, name in kernel.pointers
        if kind in OWN
    ]


def _table(loop: FastLoop) -> list[list[int]]:
    """Say of every panel of every packing where it comes from and where it goes."""
    return [
        [k, int(p.transposed), *panel, p.depth]
        for k, p in enumerate(loop.kernel.packings)
        for panel in panels.panels(p, loop.machine.vectors)
    ]


@functools.cache
def _packing_code(m: Machine) -> native.Code:
    return native.compiled(panels.emit(m))


def _dense_rows(t: Tensor) -> Tensor:
    """Return a tensor whose rows are dense, as the machine code reads them."""
    return t if t.stride(-1) == 1 or t.shape[-1] == 1 else t.contiguous()


def empty(like: Tensor, *shape: int) -> Tensor:
    """Return memory for the loop to write."""
    return like.new_empty(shape)


def areas(like: Tensor, sizes: Sequence[int]) -> tuple[object, list[int]]:
    """Return memory for areas of so many numbers each: what keeps it, and where each begins."""
    starts, total = _layout(tuple(sizes), like.element_size())
    kept = like.new_empty(total)
    first = kept.data_ptr()
    return kept, [first + start for start in starts]


@functools.lru_cache(maxsize=512)
def _layout(sizes: tuple[int, ...], number: int) -> tuple[tuple[int, ...], int]:
    """Return where areas begin, in bytes, each in its own lines of the cache; and all numbers."""
    align = 64 // number
    starts, total = [], 0
    for size in sizes:
        starts.append(total * number)
        total += -(-size // align) * align
    return tuple(starts), total
