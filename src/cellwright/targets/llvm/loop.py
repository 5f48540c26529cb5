"""Loop: the body of a Program, over all steps of a range of rows, as one function of LLVM IR.

A stage runs over blocks of units and, inside a block, over groups of rows: a kernel multiplies
the group's rows with the block's packed weights, and the pointwise equations follow at once on
its result. What a later stage, another step or the caller reads is stored; all else lives in
registers.
"""

from collections.abc import Callable

from cellwright.compiler import Program
from cellwright.targets.llvm.direct import direct
from cellwright.targets.llvm.micro import Machine, product
from cellwright.targets.llvm.needs import Kernel, Root, rows_read
from cellwright.targets.llvm.norms import statistics
from cellwright.targets.llvm.share import meeting
from cellwright.targets.llvm.units import Units


def emit(program: Program, machine: Machine, *, direct: bool = False) -> Kernel:
    """Return the loop of a program for a machine; `direct`: its weights are not packed."""
    return _Loop(program, machine, direct).kernel()


class _Loop(Units):
    """Writes the loop over time."""

    def kernel(self) -> Kernel:
        f, p = self.f, self.program
        self.arguments()
        self.has = {
            mask: f.op(f"icmp ne ptr {self.pointer['mask', mask]}, null")
            for mask in ("reset", "valid")
        }
        place = len(f.lines)
        f.lines.append("")  # the tile and the weights, which are known at the end
        first_weight = len(self.pointer)
        self.rows_of_a_group()
        with self.alone():
            self.begin()
        self.meet()
        steps = self.number["size", "steps"]
        with f.loop("0", steps) as loop:
            t = loop.counter
            self.t = f.sub(f.sub(steps, "1"), t) if p.reverse else t
            self.now, self.then = self.buffers(t, "even", "odd"), self.buffers(t, "odd", "even")
            self.step()
        with self.alone():
            self.end(self.buffers(steps, "even", "odd"))
        f.lines[place : place + 1] = self.tile_and_weights(first_weight)
        kernels = "".join(product(slots, rows, self.m) for slots, rows in sorted(self.kernels))
        pointers = (*self.pointer, *(("weight", str(k)) for k in range(len(self.packings))))
        kernels += "".join(direct(k, units, self.m) for k, units in sorted(self.straight))
        text = self.v.declarations() + meeting(self.m.pause) + kernels + f.text()
        return Kernel(text, pointers, tuple(self.number), tuple(self.packings), self.emitted, p)

    def buffers(self, step: str, even: str, odd: str) -> dict[str, str]:
        """Choose each state's buffer by whether a step is even or odd."""
        is_odd = self.f.op(f"trunc i64 {step} to i1")
        return {
            c.name: self.f.choose(is_odd, self.pointer[odd, c.name], self.pointer[even, c.name])
            for c in self.program.states
        }

    def begin(self) -> None:
        """Copy the start states into the first buffers."""
        with self.f.loop("%row0", "%row1") as rows:
            row = rows.counter
            for c in self.program.states:
                target = self.own("even", c.name, row)
                self.copy(c.width, self.dense("begin", c.name, row), target)
                if self.program.reverse:
                    self.clear(c.width, self.dense("total", c.name, row))

    def end(self, last: dict[str, str]) -> None:
        """Copy the final states out of the last buffers."""
        with self.f.loop("%row0", "%row1") as rows:
            row = rows.counter
            for c in self.program.states:
                source = self.row_of(last[c.name], c.width, row)
                self.copy(c.width, source, self.dense("final", c.name, row))

    def rows_of_a_group(self) -> None:
        """Divide the rows evenly among tiles: a tile of few rows leaves registers unused."""
        f, most = self.f, self.m.rows
        rows = f.sub("%row1", "%row0")
        count = f.op(f"udiv i64 {f.add(rows, str(most - 1))}, {most}")
        some = f.op(f"select i1 {f.op(f'icmp eq i64 {count}, 0')}, i64 1, i64 {count}")
        f.do(f"%group = udiv i64 {f.add(rows, f.sub(some, '1'))}, {some}")

    def tile_and_weights(self, first: int) -> list[str]:
        """Write what stands at the function's head: the tile, and the packed weights' addresses."""
        size = self.tile_slots * self.m.rows * self.m.lanes
        lines = [f"  %tile = alloca {self.m.dtype}, i64 {size}, align 64"]
        lines += ["  %mine = alloca i64", "  store i64 0, ptr %mine"]
        lines.append("  %shared = icmp sgt i64 %parts, 1")
        for k in range(len(self.packings)):
            lines.append(f"  %wp{k} = getelementptr inbounds ptr, ptr %pointers, i64 {first + k}")
            lines.append(f"  %w{k} = load ptr, ptr %wp{k}")
        return lines

    def step(self) -> None:
        f, p = self.f, self.program
        self.ready = set()
        if not p.reverse:
            with f.when(self.has["reset"]):
                with self.alone():
                    self.each_row("reset", True, self.restart)
                self.meet()
        with self.alone():
            self.keep_states()
        for k in range(len(p.stages)):
            self.stage(k)
        if not p.stages:  # nothing depends on the states: they take what was computed before
            self.unit_loops([Root(c.next, 0, "next", c.name) for c in p.states])
            self.meet()
        with f.when(self.has["valid"]):
            with self.alone():
                self.each_row("valid", False, self.hold)
            self.meet()
        if p.reverse:
            with f.when(self.has["reset"]):
                with self.alone():
                    self.each_row("reset", True, self.collect)
                self.meet()

    def keep_states(self) -> None:
        """Write the states that the caller wants as the step reads them."""
        f = self.f
        for name in self.emitted:
            if self.home[name] == "state":  # as it is read by the step
                with f.loop("%row0", "%row1") as rows:
                    self.copy(
                        self.width[name],
                        self.memory(name, rows.counter),
                        self.out(name, rows.counter),
                    )

    def each_row(self, mask: str, wanted: bool, write: Callable[[str], None]) -> None:
        """Write something for the rows whose mask is set, or not set, at this step."""
        f = self.f
        with f.loop("%row0", "%row1") as rows:
            at = f.add(f.mul(self.t, self.number["size", "batch"]), rows.counter)
            byte = f.load("i8", f.at("i8", self.pointer["mask", mask], at))
            with f.when(f.op(f"icmp {'ne' if wanted else 'eq'} i8 {byte}, 0")):
                write(rows.counter)

    def restart(self, row: str) -> None:
        for c in self.program.states:
            self.copy(c.width, self.dense("again", c.name, row), self.memory(c.name, row))

    def hold(self, row: str) -> None:
        """A row that has ended keeps its states; its adjoint passes nothing to the weights."""
        for c in self.program.states:
            after = self.row_of(self.then[c.name], c.width, row)
            self.copy(c.width, self.memory(c.name, row), after)
        outputs = self.emitted if self.program.reverse else dict(self.program.outputs).values()
        for name in dict.fromkeys(outputs):
            if name in self.emitted:
                self.clear(self.width[name], self.out(name, row))

    def collect(self, row: str) -> None:
        """The cotangent of a state that was reset belongs to the start state."""
        for c in self.program.states:
            ct = self.row_of(self.then[c.name], c.width, row)
            total = self.dense("total", c.name, row)

            def move(u: str, mask: str | None, ct: str = ct, total: str = total) -> None:
                both = self.v.add(self.get(total, u, mask), self.get(ct, u, mask))
                self.put(both, total, u, mask)
                self.put(self.v.const(0.0), ct, u, mask)

            self.blocks(c.width, move)

    def stage(self, k: int) -> None:
        stage = self.program.stages[k]
        here = {i.name for i in stage}
        if stage.norms:
            products = {i.name for i in stage.products}
            read = {a for i in stage.norms for a in rows_read(i)}
            early = [
                v
                for v in (*self.emitted, *self.scratch)
                if v in here and (v in read or v in products)
            ]
            self.unit_loops([Root(v, 0, "memory", v) for v in early])
            self.meet()
            for norm in stage.norms:
                statistics(self, norm)
        roots = [
            Root(v, 0, "memory", v)
            for v in (*self.emitted, *self.scratch)
            if v in here and v not in self.ready
        ]
        last = k == len(self.program.stages) - 1
        for c in self.program.states:
            if c.next in here or (last and self.home[c.next] != "body"):
                roots.append(Root(c.next, 0, "next", c.name))
        self.unit_loops(roots)
        self.meet()
