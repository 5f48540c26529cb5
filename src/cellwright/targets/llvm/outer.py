"""Outer: the gradient of a weight, one product over all steps and rows, as LLVM IR."""

from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.share import LOOP
from cellwright.targets.llvm.vector import Vectors

DEPTH = 256  # rows of the two sequences taken at a time, so that both parts stay in the cache
POINTERS = ("left", "right", "out")
NUMBERS = ("left_stride", "right_stride", "depth", "width")


def emit(m: Machine) -> str:
    """Write `void loop(ptr pointers[], i64 numbers[], i64 row0, i64 row1)`.

    out[i][j] = sum over k of left[k][i] * right[k][j], for i from row0 to row1; left and right are
    [depth][*] with their strides, out is [*][width], dense.
    """
    f = Function("loop", LOOP)
    v = Vectors(f, m.lanes, m.dtype)
    value = {n: f.load("ptr", f.at("ptr", "%pointers", str(k))) for k, n in enumerate(POINTERS)}
    value |= {n: f.load("i64", f.at("i64", "%numbers", str(k))) for k, n in enumerate(NUMBERS)}
    panel = m.vectors * m.lanes
    with f.loop("0", value["depth"], str(DEPTH)) as depths:
        begin = depths.counter
        end = f.least(f.add(begin, str(DEPTH)), value["depth"])
        whole = f.mul(f.op(f"sdiv i64 {value['width']}, {panel}"), str(panel))
        with f.loop("0", whole, str(panel)) as columns:
            _rows(f, m, value, begin, end, columns.counter, "", m.vectors)
        with f.loop(whole, value["width"], str(m.lanes)) as columns:
            mask = mask_below(f, m, columns.counter, value["width"])
            _rows(f, m, value, begin, end, columns.counter, mask, 1)
    sizes = [(s, r) for s in {m.vectors, 1} for r in range(1, m.rows + 1)]
    tiles = "".join(_tile(s, r, m, masked=s == 1) for s, r in sorted(sizes))
    if m.vectors == 1:
        tiles = "".join(_tile(1, r, m, masked=True) for r in range(1, m.rows + 1))
    return v.declarations() + tiles + f.text()


def mask_below(f: Function, m: Machine, at: str, width: str) -> str:
    """Write the mask of the lanes that lie below the width."""
    left = f.op(f"trunc i64 {f.sub(width, at)} to i32")
    one = f.op(f"insertelement <{m.lanes} x i32> poison, i32 {left}, i32 0")
    zeros = f"<{m.lanes} x i32> zeroinitializer"
    wide = f.op(f"shufflevector <{m.lanes} x i32> {one}, <{m.lanes} x i32> poison, {zeros}")
    count = f"<{', '.join(f'i32 {k}' for k in range(m.lanes))}>"
    return f.op(f"icmp slt <{m.lanes} x i32> {count}, {wide}")


def _rows(
    f: Function,
    m: Machine,
    value: dict[str, str],
    begin: str,
    end: str,
    column: str,
    mask: str,
    vectors: int,
) -> None:
    """Write the loop over groups of output rows for one panel of columns."""
    with f.loop("%row0", "%row1", str(m.rows)) as groups:
        first = groups.counter
        rows = f.least(f.sub("%row1", first), str(m.rows))
        left = f.add(f.mul(begin, value["left_stride"]), first)
        right = f.add(f.mul(begin, value["right_stride"]), column)
        out = f.add(f.mul(first, value["width"]), column)
        addresses = [
            f"ptr {f.at(m.dtype, value['left'], left)}, i64 {value['left_stride']}",
            f"ptr {f.at(m.dtype, value['right'], right)}, i64 {value['right_stride']}",
            f"i64 {f.sub(end, begin)}, ptr {f.at(m.dtype, value['out'], out)}",
            f"i64 {value['width']}, i64 {begin}",
        ]
        if mask:
            addresses.append(f"<{m.lanes} x i1> {mask}")
        done = f.new("done")
        labels = [f.new("rows") for _ in range(m.rows)]
        cases = " ".join(f"i64 {r + 1}, label %{labels[r]}" for r in range(m.rows - 1))
        f.do(f"switch i64 {rows}, label %{labels[-1]} [ {cases} ]")
        for r, label in enumerate(labels, start=1):
            f.label(label)
            f.do(f"call void @outer_{vectors}x{r}({', '.join(addresses)})")
            f.do(f"br label %{done}")
        f.label(done)


def _tile(vectors: int, rows: int, m: Machine, masked: bool) -> str:
    """Write the kernel of one tile: it sets the output on the first part, adds on later ones."""
    args = [("ptr", "a"), ("i64", "lda"), ("ptr", "b"), ("i64", "ldb"), ("i64", "depth")]
    args += [("ptr", "out"), ("i64", "ldo"), ("i64", "before")]
    args += [(f"<{m.lanes} x i1>", "mask")] if masked else []
    f = Function(f"outer_{vectors}x{rows}", args, private=True)
    v = Vectors(f, m.lanes, m.dtype)
    mask = "%mask" if masked else None
    zeros = [(v.type, v.const(0.0))] * (vectors * rows)
    with f.loop("0", "%depth", "1", zeros) as steps:
        a = f.at(m.dtype, "%a", f.mul(steps.counter, "%lda"))
        b = f.at(m.dtype, "%b", f.mul(steps.counter, "%ldb"))
        right = [v.load(f.at(m.dtype, b, str(s * m.lanes)), mask) for s in range(vectors)]
        sums = list(steps.carried)
        for r in range(rows):
            x = v.splat(f.load(m.dtype, f.at(m.dtype, a, str(r))))
            for s in range(vectors):
                sums[r * vectors + s] = v.fma(x, right[s], sums[r * vectors + s])
        steps.nexts = sums
    added = f.op("icmp ne i64 %before, 0")
    places = [
        f.at(m.dtype, f.at(m.dtype, "%out", f.mul(str(r), "%ldo")), str(s * m.lanes))
        for r in range(rows)
        for s in range(vectors)
    ]
    with f.when(added):
        for place, total in zip(places, steps.carried, strict=True):
            v.store(v.add(total, v.load(place, mask)), place, mask)
    first = f.op("icmp eq i64 %before, 0")
    with f.when(first):
        for place, total in zip(places, steps.carried, strict=True):
            v.store(total, place, mask)
    return f.text()
