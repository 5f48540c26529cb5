"""Block: the equations of one vector of units, as LLVM IR."""

from typing import Protocol

from cellwright.compiler import Instr, Low
from cellwright.compiler.program import NORMS, PRODUCTS, SCALAR
from cellwright.language.errors import UnsupportedOp
from cellwright.language.ops import Op
from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.vector import POINT, Vectors


class Addresses(Protocol):
    """What a block needs of the loop that it stands in."""

    f: Function
    v: Vectors
    m: Machine
    width: dict[str, int]
    home: dict[str, str]
    made: dict[str, Instr]
    pointer: dict[tuple[str, str], str]
    ready: set[str]

    def memory(self, name: str, row: str) -> str: ...

    def get(self, base: str, u: str, mask: str | None) -> str: ...

    def statistics(self, norm: str, row: str) -> str: ...

    def part(self, concat: Instr, offset: int) -> tuple[str, int]: ...


class Block:
    """The values of one vector of units of one row, each computed once."""

    def __init__(
        self,
        writer: Addresses,
        u: str,
        mask: str | None,
        row: str,
        tile: str | None,
        slot: dict[tuple[str, int, int], int],
        j: int,
        bases: dict[str, str],
    ) -> None:
        self.w = writer
        self.u, self.mask, self.row, self.tile, self.slot, self.j = u, mask, row, tile, slot, j
        self.bases = bases
        self.memo: dict[tuple[str, int], str] = {}

    def value(self, name: str, offset: int) -> str:
        stack = [(name, offset)]
        while stack:  # a chain of equations may be longer than Python's own stack
            top = stack[-1]
            reads = [] if top in self.memo else self._reads(*top)
            missing = [key for key in reads if key not in self.memo]
            if missing:
                stack += reversed(missing)
                continue
            stack.pop()
            if top not in self.memo:
                self.memo[top] = self._value(*top)
        return self.memo[name, offset]

    def _reads(self, name: str, offset: int) -> list[tuple[str, int]]:
        """List what a value is computed from here: nothing where it is loaded."""
        w = self.w
        if w.width[name] == SCALAR or w.home[name] != "body" or name in w.ready:
            return []
        instr = w.made[name]
        if instr.op is Low.SLICE:
            return [(instr.args[0], offset + instr.rows[0])]
        if instr.op is Op.CONCAT:
            return [w.part(instr, offset)]
        first = 2 if instr.op in PRODUCTS else 0  # a product's bias; its vector is in memory
        return [(arg, offset) for arg in instr.args[first:]]

    def _loaded(self, base: str, offset: int) -> str:
        return self.w.get(base, self.w.f.add(self.u, str(offset)), self.mask)

    def _value(self, name: str, offset: int) -> str:
        w = self.w
        if w.width[name] == SCALAR:
            number = w.made[name].attr("value")
            assert isinstance(number, float)
            return w.v.const(number)
        if w.home[name] == "once":
            return self._loaded(w.pointer["once", name], offset)
        if w.home[name] != "body" or name in w.ready:
            if name not in self.bases:
                self.bases[name] = w.memory(name, self.row)
            return self._loaded(self.bases[name], offset)
        instr = w.made[name]
        if instr.op in PRODUCTS:
            return self._product(instr, offset)
        if instr.op is Low.SLICE:
            return self.value(instr.args[0], offset + instr.rows[0])
        if instr.op is Op.CONCAT:
            return self.value(*w.part(instr, offset))
        if instr.op is Low.ZEROS:
            return w.v.const(0.0)
        if instr.op in NORMS:
            return self._norm(instr, offset)
        if instr.op not in POINT:
            raise UnsupportedOp(f"llvm: no code for {instr.op}")
        return POINT[instr.op](w.v, *(self.value(arg, offset) for arg in instr.args))

    def _product(self, instr: Instr, offset: int) -> str:
        w = self.w
        place = self.slot[instr.name, offset, self.j] * w.m.rows * w.m.lanes
        assert self.tile is not None
        found = w.v.load(w.f.at(w.m.dtype, self.tile, str(place)))
        if instr.op is Low.PRODUCT and len(instr.args) == 3:
            found = w.v.add(found, self.value(instr.args[2], offset))
        return found

    def _norm(self, instr: Instr, offset: int) -> str:
        w, v = self.w, self.w.v
        base = w.statistics(instr.name, self.row)

        def number(k: int) -> str:
            return v.splat(w.f.load(w.m.dtype, w.f.at(w.m.dtype, base, str(k))))

        adjoint = instr.op is Low.NORMALIZE_VJP
        source = self.value(instr.args[1] if adjoint else instr.args[0], offset)
        normal = v.mul(v.sub(source, number(0)), number(1))
        if adjoint:
            ct = v.sub(self.value(instr.args[0], offset), number(2))
            return v.mul(number(1), v.sub(ct, v.mul(normal, number(3))))
        if instr.op is Op.LAYER_NORM:
            gain, shift = (self.value(arg, offset) for arg in instr.args[1:])
            return v.add(v.mul(normal, gain), shift)
        return normal
