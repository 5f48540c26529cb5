"""Total: the gradient of a bias, a sum over all steps and rows, as LLVM IR."""

from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.outer import mask_below
from cellwright.targets.llvm.share import LOOP
from cellwright.targets.llvm.vector import Vectors

VECTORS = 8  # sums that run side by side


def emit(m: Machine) -> str:
    """Write the compiled loop `out[j] = sum over k of values[k][j]`.

    pointers: values [depth][width], dense, and out; numbers: depth and width. Its rows are groups
    of `group(m)` units.
    """
    f = Function("loop", LOOP)
    v = Vectors(f, m.lanes, m.dtype)
    values, out = (f.load("ptr", f.at("ptr", "%pointers", str(k))) for k in range(2))
    depth, width = (f.load("i64", f.at("i64", "%numbers", str(k))) for k in range(2))
    with f.loop("%row0", "%row1") as groups:
        first = f.mul(groups.counter, str(group(m)))
        full = f.op(f"icmp sle i64 {f.add(first, str(group(m)))}, {width}")
        with f.when(full):
            _sum(f, v, m, values, out, first, depth, width, VECTORS, None)
        with f.when(f.op(f"xor i1 {full}, true")), f.loop(first, width, str(m.lanes)) as units:
            mask = mask_below(f, m, units.counter, width)
            _sum(f, v, m, values, out, units.counter, depth, width, 1, mask)
    return v.declarations() + f.text()


def group(m: Machine) -> int:
    """Return how many units one thread sums at a time."""
    return VECTORS * m.lanes


def _sum(
    f: Function,
    v: Vectors,
    m: Machine,
    values: str,
    out: str,
    first: str,
    depth: str,
    width: str,
    vectors: int,
    mask: str | None,
) -> None:
    with f.loop("0", depth, "1", [(v.type, v.const(0.0))] * vectors) as steps:
        row = f.at(m.dtype, values, f.add(f.mul(steps.counter, width), first))
        found = [v.load(f.at(m.dtype, row, str(s * m.lanes)), mask) for s in range(vectors)]
        steps.nexts = [v.add(a, b) for a, b in zip(steps.carried, found, strict=True)]
    for s, total in enumerate(steps.carried):
        v.store(total, f.at(m.dtype, f.at(m.dtype, out, first), str(s * m.lanes)), mask)
