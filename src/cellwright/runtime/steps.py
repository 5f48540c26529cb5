"""Steps: a few steps of a few rows, in one call that reads the weights as they lie."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cellwright.compiler import Low, Program
from cellwright.compiler.hoist import unhoist
from cellwright.compiler.program import PRODUCTS
from cellwright.runtime import native, threads
from cellwright.runtime.loops import DTYPES, OWN, empty, numbers_of_a_row
from cellwright.runtime.parameters import Once
from cellwright.targets.llvm.loop import emit

# Packed weights are read faster, but packing reads and writes them once more: up to so many rows
# in all, and so many at a time, it does not pay.
FEW = 16
ROWS = 4
# Below this many multiply-adds a second thread costs more than it saves: the weights are read once.
WORTH_A_THREAD = 1 << 19


def takes(program: Program) -> bool:
    """Say whether a program can be run this way: forward in time, its weights read by rows."""
    forward = not (program.reverse or program.results or program.residuals)
    made = {i.name for i in (*program.hoisted, *program.body)}
    emits = made.issuperset(value for _, value in program.outputs)
    return forward and emits and all(i.op is not Low.PRODUCT_T for i in program.instrs)


class FastStep:
    """A program's compiled loop with the input's product inside, for calls of few rows."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program = unhoist(program)
        machine = native.machine(DTYPES[dtype])
        self.kernel = emit(self.program, machine, direct=True)
        self.code = native.compiled(self.kernel.text)
        self.width = self.program.widths()
        products = [i for i in self.program.body if i.op in PRODUCTS]
        self.work = sum(i.width * self.width[i.args[0]] for i in products)
        pointers = self.kernel.pointers
        read = [name for kind, name in pointers if kind == "once"]
        self.once = Once(self.program, [*read, *(p.weight for p in self.kernel.packings)])
        self.ends = [c.width for c in self.program.states]
        self.outs = {name: self.width[name] for kind, name in pointers if kind == "out"}
        self.outputs = [list(self.outs).index(v) for _, v in self.program.outputs]
        self.own = [
            numbers_of_a_row(kind, self.width[name], machine)
            for kind, name in pointers
            if kind in OWN
        ]
        self.order = self._order()
        self._numbers: dict[tuple[int, int], list[int]] = {}

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
        """Return the outputs and the final states."""
        like = inputs[0]
        steps, batch = like.shape[:2]
        units = 1
        if steps * batch * self.work >= WORTH_A_THREAD and threads.can_share_units():
            units = torch.get_num_threads()
        ends = [empty(like, batch, width) for width in self.ends]
        outs = [empty(like, steps, batch, width) for width in self.outs.values()]
        given = [*inputs, *states, *params, *self.once(params, like)]
        given = [t if t.is_contiguous() else t.contiguous() for t in given]
        addresses = [t.data_ptr() for t in (*given, *ends, *outs)]
        kept = empty(like, batch * units * sum(self.own))
        at, size = kept.data_ptr(), batch * units * kept.element_size()
        for numbers in self.own:
            addresses.append(at)
            at += numbers * size
        addresses.append(0)
        pointers = [addresses[k] for k in self.order]
        if units > 1:
            threads.share_units(self.code, pointers, self.numbers(steps, batch), batch, units)
        else:
            threads.share(self.code, pointers, self.numbers(steps, batch), (0, batch), batch)
        return [outs[k] for k in self.outputs], ends

    def numbers(self, steps: int, batch: int) -> list[int]:
        """Return the sizes and strides of a call, whose inputs are dense."""
        found = self._numbers.get((steps, batch))
        if found is None:
            sizes = {"steps": steps, "batch": batch}
            found = [
                sizes[name]
                if kind == "size"
                else self.width[name] * (batch if kind == "step" else 1)
                for kind, name in self.kernel.numbers
            ]
            self._numbers[steps, batch] = found
        return found
