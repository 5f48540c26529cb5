"""Micro kernels: small matrix products whose results stay in registers."""

import functools
from dataclasses import dataclass

from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.vector import Vectors

UNROLL = 4
CHAINS = 10  # independent sums that keep two multiply-adders of four cycles busy


@dataclass(frozen=True)
class Machine:
    """What code is written for: lanes of a vector, its type, and the tile that fits its registers.

    A tile is `rows` rows of the left matrix by `vectors` vectors of the right one. `pause` is the
    call that a thread makes between two looks at a gate.
    """

    lanes: int
    dtype: str
    rows: int
    vectors: int
    pause: str = ""


def product_name(vectors: int, rows: int) -> str:
    """Name the kernel of a tile's size."""
    return f"product_{vectors}x{rows}"


@functools.cache
def product(vectors: int, rows: int, m: Machine) -> str:
    """Write the kernel `tile[s][r] = sum over k of a[r][k] * w[k][s]`.

    a: `rows` rows, `lda` apart; w: packed, [K][vectors][lanes]; tile: [vectors][m.rows][lanes].
    """
    args = [("ptr noalias", "a"), ("i64", "lda"), ("ptr noalias", "w"), ("i64", "depth")]
    f = Function(product_name(vectors, rows), [*args, ("ptr noalias", "tile")], private=True)
    v = Vectors(f, m.lanes, m.dtype)
    chains = 1
    while vectors * rows * chains < CHAINS and chains < UNROLL:
        chains *= 2  # too few sums to hide a multiply-add's latency: split them over k
    count = vectors * rows
    left = ["%a"]
    for _ in range(1, rows):
        left.append(f.at(m.dtype, left[-1], "%lda"))

    def steps(first: str, sums: list[str], number: int) -> list[str]:
        for j in range(number):
            k = f.add(first, str(j))
            base = f.at(m.dtype, "%w", f.mul(k, str(vectors * m.lanes)))
            right = [v.load(f.at(m.dtype, base, str(s * m.lanes))) for s in range(vectors)]
            for r in range(rows):
                x = v.splat(f.load(m.dtype, f.at(m.dtype, left[r], k)))
                for s in range(vectors):
                    at = (j % chains) * count + r * vectors + s
                    sums[at] = v.fma(x, right[s], sums[at])
        return sums

    whole = f.op(f"and i64 %depth, {-UNROLL}")
    zeros = [(v.type, v.const(0.0))] * (count * chains)
    with f.loop("0", whole, str(UNROLL), zeros) as main:
        main.nexts = steps(main.counter, list(main.carried), UNROLL)
    with f.loop(whole, "%depth", "1", [(v.type, c) for c in main.carried]) as rest:
        rest.nexts = steps(rest.counter, list(rest.carried), 1)
    for s in range(vectors):
        for r in range(rows):
            total = rest.carried[r * vectors + s]
            for chain in range(1, chains):
                total = v.add(total, rest.carried[chain * count + r * vectors + s])
            v.store(total, f.at(m.dtype, "%tile", str((s * m.rows + r) * m.lanes)))
    return f.text()
