"""Steps: a few steps of a few rows, in one call that reads the weights as they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor

from cellwright.compiler import Low, Program
from cellwright.compiler.program import PRODUCTS
from cellwright.runtime import loops, native, threads
from cellwright.runtime.listing import machine, step
from cellwright.runtime.loops import OWN, numbers_of_a_row
from cellwright.runtime.parameters import Once

# Packed weights are read faster, but packing reads and writes them once more: up to so many rows
# in all, and so many at a time, it does not pay.
FEW = 16
ROWS = 4
# Below this many multiply-adds a second thread costs more than it saves. That is less than a loop
# over packed weights needs (`loops.WORTH_A_THREAD`): the weights come from memory here.
WORTH_SHARING_UNITS = 1 << 19


def takes(program: Program) -> bool:
    """Say whether a program can be run this way: forward in time, its weights read by rows."""
    forward = not (program.reverse or program.results or program.residuals)
    made = {i.name for i in (*program.hoisted, *program.body)}
    emits = made.issuperset(value for _, value in program.outputs)
    return forward and emits and all(i.op is not Low.PRODUCT_T for i in program.instrs)


@dataclass(frozen=True)
class Few:
    """What calls of so many steps and rows have in common.

    `shapes` are those of the final states and of what is emitted; `numbers` what the loop is told
    of sizes and strides; `sizes` what its own memory takes, times the threads that divide units.
    """

    shapes: tuple[tuple[int, ...], ...]
    numbers: tuple[int, ...]
    sizes: tuple[int, ...]
    rows: tuple[int, int]
    shared: bool


class FastStep:
    """A program's compiled loop with the input's product inside, for calls of few rows."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.kernel = step(program, dtype)
        self.program = self.kernel.program
        self.code = native.compiled(self.kernel.text)
        self.width = self.program.widths()
        products = [i for i in self.program.body if i.op in PRODUCTS]
        self.work = sum(i.width * self.width[i.args[0]] for i in products)
        pointers = self.kernel.pointers
        read = [name for kind, name in pointers if kind == "once"]
        self.once = Once(self.program, [*read, *(p.weight for p in self.kernel.packings)])
        self.ends = [c.width for c in self.program.states]
        self.outs = {name: self.width[name] for kind, name in pointers if kind == "out"}
        # Final states come first in what a call allocates.
        places = {name: k for k, name in enumerate(self.outs, len(self.ends))}
        self.outputs = [places[v] for _, v in self.program.outputs]
        self.own = numbers_of_a_row(self.kernel, machine(dtype).lanes)
        self.in_order = itemgetter(*self._order())
        self._few: dict[tuple[int, int], Few] = {}

    def _order(self) -> list[int]:
        """Say which address of a call each pointer takes; the last of them is null."""
        names: dict[str, list[str]] = {
            "sequence": [p.name for p in self.program.inputs],
            "begin": [c.name for c in self.program.states],
            "once": [*(p.name for p in self.program.params), *self.once.names],
            "final": [c.name for c in self.program.states],
            "out": list(self.outs),
            "own": [],
        }
        first, total = {}, 0
        for kind, known in names.items():
            first[kind] = total
            total += len(known)
        found, own = [], 0
        for kind, name in self.kernel.pointers:
            if kind in OWN:
                found.append(total + own)
                own += 1
            elif kind == "weight":
                weight = self.kernel.packings[int(name)].weight
                found.append(first["once"] + names["once"].index(weight))
            else:
                found.append(first[kind] + names[kind].index(name) if kind in names else -1)
        return found

    @staticmethod
    def fits(steps: int, batch: int) -> bool:
        """Say whether a call has rows few enough."""
        return 0 < batch <= ROWS and 0 < steps * batch <= FEW

    def __call__(
        self, inputs: Sequence[Tensor], states: Sequence[Tensor], params: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the outputs and the final states.

        Of a step of a microsecond's arithmetic, this is what takes the time: it does little.
        """
        like = inputs[0]
        steps, batch, _ = like.shape
        few = self._few.get((steps, batch)) or self._prepared(steps, batch)
        units = torch.get_num_threads() if few.shared and threads.can_share_units() else 1
        given = [*inputs, *states, *params, *self.once(params, like)]
        if not all(map(Tensor.is_contiguous, given)):
            given = [t.contiguous() for t in given]
        new = like.new_empty
        made = [new(*shape) for shape in few.shapes]  # a tuple would take longer to read
        sizes = few.sizes if units == 1 else [size * units for size in few.sizes]
        kept, own = loops.areas(like, sizes)
        pointers = self.in_order([*map(Tensor.data_ptr, (*given, *made)), *own, 0])
        if units == 1:
            threads.share(self.code, pointers, few.numbers, few.rows, batch)
        else:
            threads.share_units(self.code, pointers, few.numbers, batch, units)
        del kept
        return [made[k] for k in self.outputs], made[: len(self.ends)]

    def _prepared(self, steps: int, batch: int) -> Few:
        """Work out what calls of a size, whose inputs are dense, have in common."""
        sizes = {"steps": steps, "batch": batch}
        apart = {"step": batch, "row": 1}
        few = self._few[steps, batch] = Few(
            shapes=(
                *((batch, width) for width in self.ends),
                *((steps, batch, width) for width in self.outs.values()),
            ),
            numbers=tuple(
                sizes[name] if kind == "size" else self.width[name] * apart[kind]
                for kind, name in self.kernel.numbers
            ),
            sizes=tuple(batch * numbers for numbers in self.own),
            rows=(0, batch),
            shared=steps * batch * self.work >= WORTH_SHARING_UNITS,
        )
        return few
