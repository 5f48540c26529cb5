"""Vectors: arithmetic and the cells' functions on vectors of one type, as LLVM IR."""

import math
import struct
from collections.abc import Callable

from cellwright.compiler import Low
from cellwright.language.ops import Op
from cellwright.targets.llvm.ir import Function

LN2 = math.log(2.0)
# ln 2 in two parts, the first short enough that its multiples by an exponent are exact.
LN2_PARTS = {
    "float": (0.693359375, LN2 - 0.693359375),
    "double": (0.6931471803691238, 1.9082149292705877e-10),  # LN2 itself is rounded
}
# Terms of the exponential's series on |r| <= ln 2 / 2: the next one is below rounding.
TERMS = {"float": 7, "double": 14}
# Beyond these arguments exp is zero or infinite, and 1 / (1 + exp) and tanh have settled.
EXP_RANGE = {"float": (-104.0, 89.0), "double": (-746.0, 710.0)}
SIGMOID_RANGE = {"float": 87.0, "double": 708.0}
TANH_RANGE = {"float": 10.0, "double": 20.0}
INTEGER = {"float": ("i32", 127, 23), "double": ("i64", 1023, 52)}  # type, bias, mantissa bits
BYTES = {"float": 4, "double": 8}


class Vectors:
    """Writes operations on `<lanes x dtype>` into a function."""

    def __init__(self, f: Function, lanes: int, dtype: str) -> None:
        self.f = f
        self.lanes = lanes
        self.dtype = dtype
        self.type = f"<{lanes} x {dtype}>"
        self.suffix = f"v{lanes}f{8 * BYTES[dtype]}"

    def const(self, value: float) -> str:
        if self.dtype == "float":  # rounded to what a float holds, as LLVM asks
            value = struct.unpack("f", struct.pack("f", value))[0]
        bits = struct.unpack("Q", struct.pack("d", value))[0]
        return f"<{', '.join([f'{self.dtype} 0x{bits:016X}'] * self.lanes)}>"

    def op2(self, name: str, a: str, b: str) -> str:
        return self.f.op(f"{name} {self.type} {a}, {b}")

    def add(self, a: str, b: str) -> str:
        return self.op2("fadd contract", a, b)

    def sub(self, a: str, b: str) -> str:
        return self.op2("fsub contract", a, b)

    def mul(self, a: str, b: str) -> str:
        return self.op2("fmul contract", a, b)

    def div(self, a: str, b: str) -> str:
        return self.op2("fdiv", a, b)

    def neg(self, a: str) -> str:
        return self.f.op(f"fneg {self.type} {a}")

    def fma(self, a: str, b: str, c: str) -> str:
        """A * b + c, rounded once where the processor can: elsewhere `llvm.fma` would be a call."""
        t = self.type
        return self.f.op(f"call {t} @llvm.fmuladd.{self.suffix}({t} {a}, {t} {b}, {t} {c})")

    def call(self, name: str, a: str) -> str:
        return self.f.op(f"call {self.type} @llvm.{name}.{self.suffix}({self.type} {a})")

    def compare(self, how: str, a: str, b: str) -> str:
        return self.f.op(f"fcmp {how} {self.type} {a}, {b}")

    def select(self, condition: str, a: str, b: str) -> str:
        mask = f"<{self.lanes} x i1> {condition}"
        return self.f.op(f"select {mask}, {self.type} {a}, {self.type} {b}")

    def splat(self, scalar: str) -> str:
        one = self.f.op(f"insertelement {self.type} poison, {self.dtype} {scalar}, i32 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.f.op(f"shufflevector {self.type} {one}, {self.type} poison, {zeros}")

    def total(self, v: str) -> str:
        """Add up the lanes; the order is free, and the same every time."""
        name = f"llvm.vector.reduce.fadd.{self.suffix}"
        zero = f"{self.dtype} 0x8000000000000000"
        return self.f.op(f"call reassoc {self.dtype} @{name}({zero}, {self.type} {v})")

    def load(self, address: str, mask: str | None = None) -> str:
        if mask is None:
            return self.f.op(f"load {self.type}, ptr {address}, align {BYTES[self.dtype]}")
        masked = f"ptr {address}, i32 {BYTES[self.dtype]}, <{self.lanes} x i1> {mask}"
        name = f"llvm.masked.load.{self.suffix}.p0"
        return self.f.op(f"call {self.type} @{name}({masked}, {self.type} zeroinitializer)")

    def store(self, value: str, address: str, mask: str | None = None) -> None:
        if mask is None:
            align = BYTES[self.dtype]
            self.f.do(f"store {self.type} {value}, ptr {address}, align {align}")
            return
        name = f"llvm.masked.store.{self.suffix}.p0"
        place = f"ptr {address}, i32 {BYTES[self.dtype]}, <{self.lanes} x i1> {mask}"
        self.f.do(f"call void @{name}({self.type} {value}, {place})")

    def first_lanes(self, count: int) -> str:
        """Return the mask of the first lanes."""
        bits = [f"i1 {'true' if k < count else 'false'}" for k in range(self.lanes)]
        return f"<{', '.join(bits)}>"

    def declarations(self) -> str:
        """Declare the intrinsics that the operations call."""
        t, s, d = self.type, self.suffix, self.dtype
        mask = f"<{self.lanes} x i1>"
        lines = [
            f"declare {t} @llvm.{n}.{s}({t})" for n in ("rint", "floor", "fabs", "log", "sqrt")
        ]
        lines.append(f"declare {t} @llvm.fmuladd.{s}({t}, {t}, {t})")
        lines.append(f"declare {t} @llvm.masked.load.{s}.p0(ptr, i32, {mask}, {t})")
        lines.append(f"declare void @llvm.masked.store.{s}.p0({t}, ptr, i32, {mask})")
        lines.append(f"declare {d} @llvm.vector.reduce.fadd.{s}({d}, {t})")
        return "\n".join(lines) + "\n"

    # -- functions ------------------------------------------------------------------------

    def clamp(self, x: str, low: float, high: float) -> str:
        """Keep x in a range; NaN stays NaN, since it compares false."""
        x = self.select(self.compare("olt", x, self.const(low)), self.const(low), x)
        return self.select(self.compare("ogt", x, self.const(high)), self.const(high), x)

    def split_exponent(self, x: str) -> tuple[str, str]:
        """Return n and r with x = n ln 2 + r, n whole and |r| at most ln 2 / 2."""
        n = self.call("rint", self.mul(x, self.const(1.0 / LN2)))
        high, low = LN2_PARTS[self.dtype]
        r = self.fma(n, self.const(-high), x)
        return n, self.fma(n, self.const(-low), r)

    def series(self, r: str) -> str:
        """(e^r - 1) / r, by the series of the exponential."""
        total = self.const(1.0 / math.factorial(TERMS[self.dtype]))
        for k in range(TERMS[self.dtype] - 1, 0, -1):
            total = self.fma(total, r, self.const(1.0 / math.factorial(k)))
        return total

    def power_of_two(self, n: str) -> str:
        """2^n for a whole n in range; 1 for NaN, whose NaN travels in the other factor."""
        kind, bias, shift = INTEGER[self.dtype]
        whole = f"<{self.lanes} x {kind}>"

        def literal(value: int) -> str:
            return f"<{', '.join([f'{kind} {value}'] * self.lanes)}>"

        known = self.select(self.compare("ord", n, n), n, self.const(0.0))
        i = self.f.op(f"fptosi {self.type} {known} to {whole}")
        i = self.f.op(f"add {whole} {i}, {literal(bias)}")
        i = self.f.op(f"shl {whole} {i}, {literal(shift)}")
        return self.f.op(f"bitcast {whole} {i} to {self.type}")

    def exp(self, x: str) -> str:
        n, r = self.split_exponent(self.clamp(x, *EXP_RANGE[self.dtype]))
        p = self.fma(self.series(r), r, self.const(1.0))
        # In two factors: 2^n alone leaves the range before e^x does.
        half = self.call("floor", self.mul(n, self.const(0.5)))
        p = self.mul(p, self.power_of_two(half))
        return self.mul(p, self.power_of_two(self.sub(n, half)))

    def sigmoid(self, x: str) -> str:
        bound = SIGMOID_RANGE[self.dtype]
        # Two more than the largest exponent: there 2^n is infinite, and the result exactly zero.
        n, r = self.split_exponent(self.clamp(self.neg(x), -bound, bound + 2))
        e = self.mul(self.fma(self.series(r), r, self.const(1.0)), self.power_of_two(n))
        return self.div(self.const(1.0), self.add(e, self.const(1.0)))

    def tanh(self, x: str) -> str:
        """(e^2x - 1) / (e^2x + 1), with e^2x - 1 computed as such: exact near zero."""
        bound = TANH_RANGE[self.dtype]
        y = self.clamp(x, -bound, bound)
        n, r = self.split_exponent(self.add(y, y))
        scale = self.power_of_two(n)
        minus_one = self.sub(scale, self.const(1.0))
        m = self.fma(self.mul(self.series(r), r), scale, minus_one)
        return self.div(m, self.add(m, self.const(2.0)))

    def relu(self, x: str) -> str:
        return self.select(self.compare("olt", x, self.const(0.0)), self.const(0.0), x)

    def extreme(self, how: str, a: str, b: str) -> str:
        """Return the larger or smaller of two values; NaN if one is."""
        chosen = self.select(self.compare(how, a, b), b, a)
        return self.select(self.compare("uno", b, b), b, chosen)


POINT: dict[Op | Low, Callable[..., str]] = {
    Op.ADD: Vectors.add,
    Op.SUB: Vectors.sub,
    Op.MUL: Vectors.mul,
    Op.DIV: Vectors.div,
    Op.NEG: Vectors.neg,
    Op.ABS: lambda v, a: v.call("fabs", a),
    Op.SIGMOID: Vectors.sigmoid,
    Op.TANH: Vectors.tanh,
    Op.RELU: Vectors.relu,
    Op.EXP: Vectors.exp,
    Op.LOG: lambda v, a: v.call("log", a),
    Op.MAXIMUM: lambda v, a, b: v.extreme("olt", a, b),
    Op.MINIMUM: lambda v, a, b: v.extreme("ogt", a, b),
    Op.LESS: lambda v, a, b: v.compare("olt", a, b),
    Op.LESS_EQUAL: lambda v, a, b: v.compare("ole", a, b),
    Op.WHERE: Vectors.select,
}
