"""Direct: products with weights as they lie, for so few rows that packing would not pay."""

from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.panels import summed
from cellwright.targets.llvm.vector import Vectors


def direct_name(depth: int, units: int) -> str:
    """Name the kernel of a depth and a number of units."""
    return f"direct_{depth}x{units}"


def direct(depth: int, units: int, m: Machine) -> str:
    """Write the kernel `tile[u] = sum over k of a[k] * w[u][k]` for `units` units.

    a: one row; w: rows of the weight, dense; tile: a vector, zero past the units.
    """
    args = [("ptr noalias", "a"), ("ptr noalias", "w"), ("ptr noalias", "tile")]
    f = Function(direct_name(depth, units), args, private=True)
    v = Vectors(f, m.lanes, m.dtype)
    whole = depth - depth % m.lanes

    def step(k: str, sums: list[str], mask: str | None) -> list[str]:
        x = v.load(f.at(m.dtype, "%a", k), mask)
        rows = [f.at(m.dtype, "%w", f.add(k, str(u * depth))) for u in range(units)]
        return [v.fma(x, v.load(w, mask), s) for w, s in zip(rows, sums, strict=True)]

    sums = [v.const(0.0)] * units
    if whole:
        with f.loop("0", str(whole), str(m.lanes), [(v.type, s) for s in sums]) as main:
            main.nexts = step(main.counter, main.carried, None)
        sums = main.carried
    if depth > whole:
        sums = step(str(whole), sums, v.first_lanes(depth - whole))
    sums += [v.const(0.0)] * (m.lanes - units)
    v.store(summed(f, v, sums), "%tile")
    return f.text()
