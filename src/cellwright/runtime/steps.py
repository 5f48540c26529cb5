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
        params = [*(p.name for p in self.program.params), *self.once.names]
        states = [c.name for c in self.program.states]
        names = {
            "sequence": [p.name for p in self.program.inputs],
            "once": params,
            "begin": states,
            "final": states,
            "out": [name for kind, name in pointers if kind == "out"],
        }
        # Where each tensor's address goes: the pointer's place, its kind, its place in the kind.
        self.places = [
            (at, kind, names[kind].index(name))
            for at, (kind, name) in enumerate(pointers)
            if kind in names
        ]
        self.places += [
            (at, "once", params.index(self.kernel.packings[int(name)].weight))
            for at, (kind, name) in enumerate(pointers)
            if kind == "weight"
        ]
        self.own: list[tuple[int, int]] = []  # the pointer's place, and where its area begins
        self.numbers_of_a_row = 0
        for at, (kind, name) in enumerate(pointers):
            if kind in OWN:
                self.own.append((at, self.numbers_of_a_row))
                self.numbers_of_a_row += numbers_of_a_row(kind, self.width[name], machine)
        self.ends = [c.width for c in self.program.states]
        self.outs = {name: self.width[name] for name in names["out"]}

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
        enough = steps * batch * self.work >= WORTH_A_THREAD and torch.get_num_threads() > 1
        units = torch.get_num_threads() if enough and threads.can_share_units() else 1
        ends = [empty(like, batch, width) for width in self.ends]
        outs = [empty(like, steps, batch, width) for width in self.outs.values()]
        tensors = {
            "sequence": [x if x.stride(-1) == 1 else x.contiguous() for x in inputs],
            "once": [p.contiguous() for p in (*params, *self.once(params, like))],
            "begin": [s.contiguous() for s in states],
            "final": ends,
            "out": outs,
        }
        pointers = [0] * len(self.kernel.pointers)
        for at, kind, k in self.places:
            pointers[at] = tensors[kind][k].data_ptr()
        rows = batch * units
        own = empty(like, rows * self.numbers_of_a_row)
        base, size = own.data_ptr(), rows * own.element_size()
        for at, begin in self.own:
            pointers[at] = base + begin * size
        numbers = [0] * len(self.kernel.numbers)
        ports = dict(zip((p.name for p in self.program.inputs), tensors["sequence"], strict=True))
        for at, (kind, name) in enumerate(self.kernel.numbers):
            if kind == "size":
                numbers[at] = steps if name == "steps" else batch
            else:
                numbers[at] = ports[name].stride(0 if kind == "step" else 1)
        if units > 1:
            threads.share_units(self.code, pointers, numbers, batch, units)
        else:
            threads.share(self.code, pointers, numbers, (0, batch), batch)
        made = dict(zip(self.outs, outs, strict=True))
        return [made[v] for _, v in self.program.outputs], ends
