"""Memory: where a compiled loop finds and puts the values of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cellwright.compiler import Program
from cellwright.compiler.program import NORMS, SCALAR
from cellwright.targets.llvm.ir import Function
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import (
    STATISTICS,
    emitted_values,
    homes_of,
    scratch_values,
    values_read,
)
from cellwright.targets.llvm.share import LOOP
from cellwright.targets.llvm.vector import Vectors


class Memory:
    """The arguments of a loop and the addresses of its values; base of what writes the loop."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self.program = program
        self.m = machine
        self.width = program.widths()
        self.made = {i.name: i for i in program.instrs}
        self.home = homes_of(program)
        self.emitted = emitted_values(program, self.home, self.width)
        self.scratch = tuple(v for v in scratch_values(program, self.home) if v not in self.emitted)
        self.f = Function("loop", LOOP)
        self.v = Vectors(self.f, machine.lanes, machine.dtype)
        self.pointer: dict[tuple[str, str], str] = {}
        self.number: dict[tuple[str, str], str] = {}
        self.t = ""  # the step, and each state's buffer before and after it
        self.now: dict[str, str] = {}
        self.then: dict[str, str] = {}
        self.ready: set[str] = set()  # values of this step that lie in memory

    def argument(self, kind: str, name: str) -> None:
        at = self.f.at("ptr", "%pointers", str(len(self.pointer)))
        self.pointer[kind, name] = self.f.load("ptr", at)

    def parameter(self, kind: str, name: str) -> None:
        at = self.f.at("i64", "%numbers", str(len(self.number)))
        self.number[kind, name] = self.f.load("i64", at)

    def arguments(self) -> None:
        """Load every pointer and number: what a step reads is then at hand."""
        p = self.program
        read = [a for i in p.body for a in values_read(i)] + [c.next for c in p.states]
        for name in dict.fromkeys(read):
            if self.home[name] == "sequence":
                self.argument("sequence", name)
                self.parameter("step", name)
                self.parameter("row", name)
            elif self.home[name] == "once" and self.width[name] != SCALAR:
                self.argument("once", name)
        for c in p.states:
            kinds = ("begin", "even", "odd", "final", "total" if p.reverse else "again")
            for kind in kinds:
                self.argument(kind, c.name)
        for name in self.emitted:
            self.argument("out", name)
        for name in self.scratch:
            self.argument("scratch", name)
        for instr in p.body:
            if instr.op in NORMS:
                self.argument("statistics", instr.name)
        for mask in ("reset", "valid"):
            self.argument("mask", mask)
        self.parameter("size", "steps")
        self.parameter("size", "batch")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Write what one thread does for all that share the units."""
        with self.f.when(self.f.op("icmp eq i64 %part, 0")):
            yield

    def meet(self) -> None:
        """Write a wait for the others: they read what this thread has written so far."""
        with self.f.when("%shared"):
            self.f.do("call void @meet(ptr %gate, ptr %mine, i64 %parts)")

    def padded(self, width: int) -> int:
        return -(-width // self.m.lanes) * self.m.lanes

    def row_of(self, base: str, width: int, row: str) -> str:
        """Row of one of our own buffers, whose rows are padded to whole vectors."""
        return self.f.at(self.m.dtype, base, self.f.mul(row, str(self.padded(width))))

    def own(self, kind: str, name: str, row: str) -> str:
        return self.row_of(self.pointer[kind, name], self.width[name], row)

    def statistics(self, norm: str, row: str) -> str:
        """Where a norm keeps what it knows of a row; threads that share the units have each one."""
        at = self.f.add(row, self.f.mul("%part", self.number["size", "batch"]))
        at = self.f.mul(at, str(STATISTICS))
        return self.f.at(self.m.dtype, self.pointer["statistics", norm], at)

    def dense(self, kind: str, name: str, row: str) -> str:
        """Row of a caller's matrix [B, width]."""
        at = self.f.mul(row, str(self.width[name]))
        return self.f.at(self.m.dtype, self.pointer[kind, name], at)

    def out(self, name: str, row: str) -> str:
        """Row of an emitted sequence [T, B, width] at this step."""
        index = self.f.add(self.f.mul(self.t, self.number["size", "batch"]), row)
        at = self.f.mul(index, str(self.width[name]))
        return self.f.at(self.m.dtype, self.pointer["out", name], at)

    def memory(self, name: str, row: str) -> str:
        """Where a row of a value lies at this step."""
        if self.home[name] == "state":
            return self.row_of(self.now[name], self.width[name], row)
        if self.home[name] == "sequence":
            step = self.f.mul(self.t, self.number["step", name])
            at = self.f.add(step, self.f.mul(row, self.number["row", name]))
            return self.f.at(self.m.dtype, self.pointer["sequence", name], at)
        if name in self.emitted:
            return self.out(name, row)
        return self.own("scratch", name, row)

    def stride(self, name: str) -> str:
        """Distance between rows of a value in memory, in elements."""
        if self.home[name] == "sequence":
            return self.number["row", name]
        return str(
            self.width[name]
            if name in self.emitted and self.home[name] != "state"
            else self.padded(self.width[name])
        )

    def get(self, base: str, u: str, mask: str | None) -> str:
        return self.v.load(self.f.at(self.m.dtype, base, u), mask)

    def put(self, value: str, base: str, u: str, mask: str | None) -> None:
        self.v.store(value, self.f.at(self.m.dtype, base, u), mask)

    def tail(self, width: int) -> str | None:
        rest = width % self.m.lanes
        return self.v.first_lanes(rest) if rest else None

    def blocks(self, width: int, write: Callable[[str, str | None], None]) -> None:
        """Write something for every vector of a row."""
        whole = width - width % self.m.lanes
        if whole:
            with self.f.loop("0", str(whole), str(self.m.lanes)) as units:
                write(units.counter, None)
        if width > whole:
            write(str(whole), self.tail(width))

    def copy(self, width: int, source: str, target: str) -> None:
        self.blocks(width, lambda u, mask: self.put(self.get(source, u, mask), target, u, mask))

    def clear(self, width: int, target: str) -> None:
        self.blocks(width, lambda u, mask: self.put(self.v.const(0.0), target, u, mask))
