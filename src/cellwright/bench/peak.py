"""Peak: how many multiply-adds a second this processor does when nothing holds it up."""

from collections.abc import Sequence

import torch

from cellwright.bench.measure import timed
from cellwright.runtime import native, threads
from cellwright.runtime.listing import DTYPES
from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.share import LOOP
from cellwright.targets.llvm.vector import Vectors

UNROLL = 8
SECONDS = 2e-3  # of a burst: short beside a clock's drift, long beside the call of a thread


def emit(machine: Machine) -> str:
    """Write `loop`: for every row, `numbers[0]` rounds of independent chains `c = c * a + a`.

    There are as many chains as a tile has sums, so they fit the registers and hide each other's
    latency. `pointers` are the results, a vector a row, and the number a; with a = 1/2 the chains
    stay near 1, whatever their length. Without a fused instruction it is a product and a sum.
    """
    f = Function("loop", LOOP)
    v = Vectors(f, machine.lanes, machine.dtype)
    t, name = v.type, f"llvm.fmuladd.{v.suffix}"
    made, given = (f.load("ptr", f.at("ptr", "%pointers", str(k))) for k in (0, 1))
    a = v.splat(f.load(machine.dtype, given))
    rounds = f.load("i64", "%numbers")
    chains = machine.rows * machine.vectors
    with f.loop("%row0", "%row1") as rows:
        first = [(t, v.const(1.0 + k / 64)) for k in range(chains)]
        with f.loop("0", rounds, carried=first) as inner:
            values = list(inner.carried)
            for _ in range(UNROLL):
                values = [f.op(f"call {t} @{name}({t} {c}, {t} {a}, {t} {a})") for c in values]
            inner.nexts = values
        total = inner.carried[0]
        for value in inner.carried[1:]:
            total = v.add(total, value)
        v.store(total, f.at(machine.dtype, made, f.mul(rows.counter, str(machine.lanes))))
    return f"declare {t} @{name}({t}, {t}, {t})\n" + f.text()


class Peak:
    """Multiply-adds on a number of threads; calling it runs one burst of `flops`."""

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        machine = native.machine(DTYPES[dtype])
        self._code = native.compiled(emit(machine))
        self._made = torch.empty(count, machine.lanes, dtype=dtype)
        self._given = torch.tensor([0.5], dtype=dtype)
        self._edges = list(range(count + 1))
        self._rounds = 1000
        alone = min(timed(lambda: self._run([0, 1])) for _ in range(5))
        self._rounds = max(1, round(1000 * SECONDS / alone))
        chains = machine.rows * machine.vectors
        self.flops = 2 * machine.lanes * chains * UNROLL * count * self._rounds

    def __call__(self) -> None:
        self._run(self._edges)

    def _run(self, edges: list[int]) -> None:
        places = [self._made.data_ptr(), self._given.data_ptr()]
        threads.share(self._code, places, [self._rounds], edges, 1)

    @property
    def results(self) -> torch.Tensor:
        """What the last burst computed: [threads, lanes], each the sum of its chains."""
        return self._made

    def best(self, bursts: int = 25) -> float:
        """FLOP/s of the fastest of some bursts."""
        return self.flops / min(timed(self) for _ in range(bursts))


def rates(dtype: torch.dtype, counts: Sequence[int]) -> list[float]:
    """FLOP/s of the peak on each number of threads."""
    return [Peak(dtype, count).best() for count in counts]
