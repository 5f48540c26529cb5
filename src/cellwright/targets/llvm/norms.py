"""Norms: the row statistics of layer normalisation and of its adjoint."""

from collections.abc import Callable

from cellwright.compiler import Instr, Low
from cellwright.targets.llvm.memory import Memory


def statistics(mem: Memory, norm: Instr) -> None:
    """Write a norm's mean and scale for each row, and for its adjoint two sums more."""
    f, v, m = mem.f, mem.v, mem.m
    width = mem.width[norm.name]
    eps = norm.attr("eps")
    assert isinstance(eps, float)
    adjoint = norm.op is Low.NORMALIZE_VJP
    source = norm.args[1] if adjoint else norm.args[0]
    with f.loop("%row0", "%row1") as rows:
        base = mem.memory(source, rows.counter)
        (total,) = _sums(mem, width, 1, lambda u, mask: [mem.get(base, u, mask)])
        mean = _scaled(mem, total, 1.0 / width)
        wide = v.splat(mean)

        def squares(u: str, mask: str | None) -> list[str]:
            d = v.sub(mem.get(base, u, mask), wide)
            d = v.select(mask, d, v.const(0.0)) if mask else d
            return [v.mul(d, d)]

        (total,) = _sums(mem, width, 1, squares)
        variance = v.add(v.splat(_scaled(mem, total, 1.0 / width)), v.const(eps))
        scale = v.div(v.const(1.0), v.call("sqrt", variance))
        numbers = [wide, scale]
        if adjoint:
            ct = mem.memory(norm.args[0], rows.counter)

            def inner(u: str, mask: str | None) -> list[str]:
                c = mem.get(ct, u, mask)
                normal = v.mul(v.sub(mem.get(base, u, mask), wide), scale)
                return [c, v.mul(c, normal)]  # c is zero past the row's end

            numbers += [v.splat(_scaled(mem, s, 1.0 / width)) for s in _sums(mem, width, 2, inner)]
        store = mem.statistics(norm.name, rows.counter)
        for k, number in enumerate(numbers):
            one = f.op(f"extractelement {v.type} {number}, i32 0")
            f.do(f"store {m.dtype} {one}, ptr {f.at(m.dtype, store, str(k))}")


def _scaled(mem: Memory, scalar: str, factor: float) -> str:
    t = mem.m.dtype
    first = mem.v.const(factor).split(",")[0].split()[-1]
    return mem.f.op(f"fmul {t} {scalar}, {first.strip('<>')}")


def _sums(
    mem: Memory, width: int, count: int, terms: Callable[[str, str | None], list[str]]
) -> list[str]:
    """Add up values over a row; returns scalars."""
    v, f = mem.v, mem.f
    whole = width - width % mem.m.lanes
    kept = [v.const(0.0)] * count
    if whole:
        with f.loop("0", str(whole), str(mem.m.lanes), [(v.type, k) for k in kept]) as units:
            found = terms(units.counter, None)
            units.nexts = [v.add(a, b) for a, b in zip(units.carried, found, strict=True)]
        kept = units.carried
    if width > whole:
        found = terms(str(whole), mem.tail(width))
        kept = [v.add(a, b) for a, b in zip(kept, found, strict=True)]
    return [v.total(k) for k in kept]
