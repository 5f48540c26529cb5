"""Panels: a product's weights laid out as the loop reads them, as LLVM IR."""

from collections.abc import Iterator
from typing import NamedTuple

from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import Packing
from cellwright.targets.llvm.outer import mask_below
from cellwright.targets.llvm.share import LOOP
from cellwright.targets.llvm.vector import Vectors

# What a row of the table says of a panel: which packing it belongs to, whether the weight's rows
# are units or depths, the first row and column read, how many units there are, where the panel
# begins and how far its vectors stand apart, and how many there are.
FIELDS = ("packing", "transposed", "row", "column", "units", "target", "apart", "depth")


class Panel(NamedTuple):
    """One slot of a block: a vector of units for every depth, `apart` numbers from the next."""

    row: int
    column: int
    units: int
    target: int
    apart: int


def panels(p: Packing, most: int) -> Iterator[Panel]:
    """List a packing's panels; `most` of a block's slots stand side by side, then as many more."""
    wide, at = p.vectors * p.lanes, 0
    whole = p.width // wide
    blocks = [(b * wide, p.vectors) for b in range(whole)]
    blocks += [(u, 1) for u in range(whole * wide, p.width, p.lanes)]
    for first, vectors in blocks:
        units = [o + first + j * p.lanes for o in p.offsets for j in range(vectors)]
        ends = [o + p.width for o in p.offsets for _ in range(vectors)]
        for begin in range(0, len(units), most):
            count = min(most, len(units) - begin)
            for k, (unit, end) in enumerate(zip(units, ends, strict=True)):
                if begin <= k < begin + count:
                    row, column = (p.start, unit) if p.transposed else (p.start + unit, 0)
                    target = at + (k - begin) * p.lanes
                    yield Panel(row, column, min(p.lanes, end - unit), target, count * p.lanes)
            at += count * p.depth * p.lanes


def packed_size(p: Packing) -> int:
    """Count the numbers of a packed weight."""
    wide = p.vectors * p.lanes
    whole = p.width // wide
    rest = -(-(p.width - whole * wide) // p.lanes)
    return (whole * p.vectors + rest) * p.lanes * p.depth * len(p.offsets)


def emit(m: Machine) -> str:
    """Write `void loop(ptr pointers[], i64 numbers[], i64 row0, i64 row1)`: panels row0 to row1.

    pointers: the table, then each packing's weight and target; numbers: each weight's row stride.
    """
    f = Function("loop", LOOP)
    v = Vectors(f, m.lanes, m.dtype)
    f.do(f"%square = alloca {m.dtype}, i64 {m.lanes * m.lanes}, align 64")
    table = f.load("ptr", "%pointers")
    with f.loop("%row0", "%row1") as loop:
        entry = f.at("i64", table, f.mul(loop.counter, str(len(FIELDS))))
        value = {n: f.load("i64", f.at("i64", entry, str(k))) for k, n in enumerate(FIELDS)}
        pair = f.at("ptr", "%pointers", f.add(f.mul(value["packing"], "2"), "1"))
        weight, target = f.load("ptr", pair), f.load("ptr", f.at("ptr", pair, "1"))
        stride = f.load("i64", f.at("i64", "%numbers", value["packing"]))
        first = f.at(m.dtype, weight, f.add(f.mul(value["row"], stride), value["column"]))
        target = f.at(m.dtype, target, value["target"])
        with f.when(f.op(f"icmp ne i64 {value['transposed']}, 0")):
            _copied(f, v, m, value, first, stride, target)
        with f.when(f.op(f"icmp eq i64 {value['transposed']}, 0")):
            _turned(f, v, m, value, first, stride, target)
    return v.declarations() + f.text()


def _copied(
    f: Function,
    v: Vectors,
    m: Machine,
    value: dict[str, str],
    first: str,
    stride: str,
    target: str,
) -> None:
    """Write a panel whose units stand side by side in the weight already."""
    mask = mask_below(f, m, "0", value["units"])
    with f.loop("0", value["depth"]) as depths:
        found = v.load(f.at(m.dtype, first, f.mul(depths.counter, stride)), mask)
        v.store(found, f.at(m.dtype, target, f.mul(depths.counter, value["apart"])))


def _turned(
    f: Function,
    v: Vectors,
    m: Machine,
    value: dict[str, str],
    first: str,
    stride: str,
    target: str,
) -> None:
    """Write a panel whose units are rows of the weight: squares of it are transposed."""
    last = f.sub(value["units"], "1")
    # Past the last unit its row stands in: it lies in the weight, and nobody reads the result.
    rows = [f.at(m.dtype, first, f.mul(f.least(str(i), last), stride)) for i in range(m.lanes)]
    whole = f.op(f"and i64 {value['depth']}, {-m.lanes}")
    with f.loop("0", whole, str(m.lanes)) as depths:
        k = depths.counter
        square = transposed(f, v, [v.load(f.at(m.dtype, row, k)) for row in rows])
        for j, vector in enumerate(square):
            at = f.mul(f.add(k, str(j)), value["apart"])
            v.store(vector, f.at(m.dtype, target, at))
    rest = f.sub(value["depth"], whole)
    with f.when(f.op(f"icmp sgt i64 {rest}, 0")):
        mask = mask_below(f, m, whole, value["depth"])
        square = transposed(f, v, [v.load(f.at(m.dtype, row, whole), mask) for row in rows])
        for j, vector in enumerate(square):
            v.store(vector, f.at(m.dtype, "%square", str(j * m.lanes)))
        with f.loop("0", rest) as left:
            found = v.load(f.at(m.dtype, "%square", f.mul(left.counter, str(m.lanes))))
            at = f.mul(f.add(whole, left.counter), value["apart"])
            v.store(found, f.at(m.dtype, target, at))


def summed(f: Function, v: Vectors, rows: list[str]) -> str:
    """Add up the lanes of each of `lanes` vectors: lane k of the result is the sum of vector k."""
    lanes, distance = len(rows), 1
    while distance < lanes:
        low, high = _crossed(lanes, distance)
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [v.add(_picked(f, v, a, b, low), _picked(f, v, a, b, high)) for a, b in pairs]
        distance *= 2
    return rows[0]


def transposed(f: Function, v: Vectors, rows: list[str]) -> list[str]:
    """Transpose a square of `lanes` vectors: at each distance 1, 2, 4 ... swap across the diagonal.

    before:  a0 a1   after:  a0 b0
             b0 b1           a1 b1
    """
    rows, lanes, distance = list(rows), len(rows), 1
    while distance < lanes:
        for i in (i for i in range(lanes) if not i & distance):
            a, b = rows[i], rows[i + distance]
            low, high = _crossed(lanes, distance)
            rows[i], rows[i + distance] = _picked(f, v, a, b, low), _picked(f, v, a, b, high)
        distance *= 2
    return rows


def _crossed(lanes: int, distance: int) -> tuple[list[int], list[int]]:
    """Say which lanes of a pair of vectors make up the two that have swapped across a diagonal."""
    low = [e if not e & distance else lanes + e - distance for e in range(lanes)]
    return low, [e + distance if not e & distance else lanes + e for e in range(lanes)]


def _picked(f: Function, v: Vectors, a: str, b: str, lanes: list[int]) -> str:
    chosen = f"<{len(lanes)} x i32> <{', '.join(f'i32 {e}' for e in lanes)}>"
    return f.op(f"shufflevector {v.type} {a}, {v.type} {b}, {chosen}")
