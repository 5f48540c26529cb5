"""Units: loops over blocks of units, products first and the equations on their results."""

import itertools

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.program import NORMS, PRODUCTS, SCALAR
from cellwright.language.ops import Op
from cellwright.targets.llvm.block import Block
from cellwright.targets.llvm.direct import direct_name
from cellwright.targets.llvm.memory import Memory
from cellwright.targets.llvm.micro import Machine, product_name
from cellwright.targets.llvm.needs import Packing, Root


class Units(Memory):
    """Writes the loops over units of one stage; base of what writes the loop over time."""

    def __init__(self, program: Program, machine: Machine, direct: bool = False) -> None:
        super().__init__(program, machine)
        self.direct = direct
        self.straight: set[tuple[int, int]] = set()  # depths and units of the direct products
        self.packings: list[Packing] = []
        self.kernels: set[tuple[int, int]] = set()  # vectors and rows of the products called
        self.tile_slots = 1

    def unit_loops(self, roots: list[Root]) -> None:
        """Write loops over units that compute and store the roots, one for each width."""
        by_width: dict[int, list[Root]] = {}
        for root in roots:
            width = self.width[root.value] or self.width[root.name]
            for low, high in self.cuts(root.value, width):
                by_width.setdefault(high - low, []).append(
                    Root(root.value, low, root.kind, root.name)
                )
        for width, parts in by_width.items():
            self.unit_loop(width, parts)
        self.ready.update(root.value for root in roots if root.kind == "memory")

    def cuts(self, value: str, width: int) -> list[tuple[int, int]]:
        """Split a value's units where a concatenation in its expression goes on to another part."""
        points, seen = {0, width}, set()
        stack = [(value, 0, width, 0)]
        while stack:  # paths through an expression may be many more than its values
            part = stack.pop()
            name, low, high, shift = part
            instr = self.made.get(name)
            if part in seen or instr is None or self.home[name] != "body" or name in self.ready:
                continue
            seen.add(part)
            if instr.op is Op.CONCAT:
                at = 0
                for arg in instr.args:
                    first, last = max(low, at), min(high, at + self.width[arg])
                    if first < last:
                        points.update((first - shift, last - shift))
                        stack.append((arg, first - at, last - at, shift - at))
                    at += self.width[arg]
            elif instr.op is Low.SLICE:
                start = instr.rows[0]
                stack.append((instr.args[0], low + start, high + start, shift + start))
            elif instr.op not in PRODUCTS and instr.op not in NORMS:
                vectors = [arg for arg in instr.args if self.width[arg] != SCALAR]
                stack += [(arg, low, high, shift) for arg in vectors]
        ordered = sorted(points)
        return list(itertools.pairwise(ordered))

    def unit_loop(self, width: int, roots: list[Root]) -> None:
        f, lanes = self.f, self.m.lanes
        wanted = self.wanted(roots)
        slots = sum(len(offsets) for offsets in wanted.values())
        vectors = max(1, self.m.vectors // slots) if slots else 1
        vectors = min(vectors, max(1, width // lanes))
        numbers = {}
        for name, offsets in wanted.items():
            numbers[name] = len(self.packings)
            self.packings.append(self.packing(name, width, tuple(offsets), vectors))
        whole = width // (vectors * lanes)
        rest = -(-(width - whole * vectors * lanes) // lanes)
        if whole:
            low, high = self.share(whole)
            with f.loop(low, high) as blocks:
                u = f.mul(blocks.counter, str(vectors * lanes))
                at = {
                    n: f.mul(
                        blocks.counter,
                        str(self.packings[k].depth * len(wanted[n]) * vectors * lanes),
                    )
                    for n, k in numbers.items()
                }
                self.block(roots, u, [lanes] * vectors, wanted, numbers, at)
        if not rest:
            return
        with self.alone():  # of whole blocks the first part has the fewest
            for j in range(rest):
                first = whole * vectors * lanes + j * lanes
                at = {
                    n: str((whole * vectors + j) * lanes * self.packings[k].depth * len(wanted[n]))
                    for n, k in numbers.items()
                }
                count = min(lanes, width - first)
                self.block(roots, str(first), [count], wanted, numbers, at)

    def share(self, blocks: int) -> tuple[str, str]:
        """Say which of a number of blocks are this part's."""
        low = self.f.mul(str(blocks), "%part")
        ends = low, self.f.add(low, str(blocks))
        low, high = (self.f.op(f"udiv i64 {end}, %parts") for end in ends)
        return low, high

    def wanted(self, roots: list[Root]) -> dict[str, list[int]]:
        """Find which products the roots read in this stage, and at which offsets."""
        found: dict[str, list[int]] = {}
        seen: set[tuple[str, int]] = set()
        stack = [(root.value, root.low) for root in reversed(roots)]
        while stack:
            name, offset = stack.pop()
            if (name, offset) in seen or self.home[name] != "body" or name in self.ready:
                continue
            seen.add((name, offset))
            instr = self.made[name]
            if instr.op in PRODUCTS:
                found.setdefault(name, []).append(offset)
            elif instr.op is Low.SLICE:
                stack.append((instr.args[0], offset + instr.rows[0]))
            elif instr.op is Op.CONCAT:
                stack.append(self.part(instr, offset))
            elif instr.op not in NORMS:
                stack += [(arg, offset) for arg in reversed(instr.args)]
        return found

    def part(self, concat: Instr, offset: int) -> tuple[str, int]:
        at = 0
        for arg in concat.args:
            if at <= offset < at + self.width[arg]:
                return arg, offset - at
            at += self.width[arg]
        raise AssertionError(f"{concat.name} has no unit {offset}")

    def packing(self, name: str, width: int, offsets: tuple[int, ...], vectors: int) -> Packing:
        instr = self.made[name]
        start, stop = instr.rows
        depth = self.width[instr.args[0]]
        transposed = instr.op is Low.PRODUCT_T
        return Packing(
            name,
            instr.args[1],
            transposed,
            start,
            stop,
            depth,
            width,
            offsets,
            vectors,
            self.m.lanes,
        )

    def block(
        self,
        roots: list[Root],
        u: str,
        counts: list[int],
        wanted: dict[str, list[int]],
        numbers: dict[str, int],
        at: dict[str, str],
    ) -> None:
        """Write the work on one block of units: products for groups of rows, then the equations.

        `counts` says how many units each vector of the block has.
        """
        f = self.f
        masks = [None if n == self.m.lanes else self.v.first_lanes(n) for n in counts]
        if not wanted:
            with f.loop("%row0", "%row1") as rows:
                self.equations(roots, u, masks, rows.counter, None, {})
            return
        vectors = len(masks)
        slot: dict[tuple[str, int, int], int] = {}
        for name, offsets in wanted.items():
            for offset in offsets:
                for j in range(vectors):
                    slot[name, offset, j] = len(slot)
        self.tile_slots = max(self.tile_slots, len(slot))
        if self.direct:
            with f.loop("%row0", "%row1") as rows:
                for place, number in slot.items():
                    self.directly(place, numbers[place[0]], number, u, counts, rows.counter)
                self.equations(roots, u, masks, rows.counter, "%tile", slot)
            return
        with f.loop("%row0", "%row1", "%group") as groups:
            rows = f.least(f.sub("%row1", groups.counter), "%group")
            base = 0
            for name, offsets in wanted.items():
                self.products(
                    name,
                    numbers[name],
                    len(offsets) * vectors,
                    groups.counter,
                    rows,
                    at[name],
                    base,
                )
                base += len(offsets) * vectors
            with f.loop("0", rows) as inner:
                tile = f.at(self.m.dtype, "%tile", f.mul(inner.counter, str(self.m.lanes)))
                row = f.add(groups.counter, inner.counter)
                self.equations(roots, u, masks, row, tile, slot)

    def products(
        self, name: str, number: int, slots: int, first: str, rows: str, at: str, base: int
    ) -> None:
        """Call the kernel for one product's slots, as many at a time as the registers hold."""
        f, m = self.f, self.m
        operand = self.made[name].args[0]
        left, stride = self.memory(operand, first), self.stride(operand)
        depth = self.packings[number].depth
        panel = f.at(m.dtype, f"%w{number}", at)
        for begin in range(0, slots, m.vectors):
            count = min(m.vectors, slots - begin)
            weights = f.at(m.dtype, panel, str(begin * depth * m.lanes))
            tile = f.at(m.dtype, "%tile", str((base + begin) * m.rows * m.lanes))
            self.call(
                count, rows, f"ptr {left}, i64 {stride}, ptr {weights}, i64 {depth}, ptr {tile}"
            )

    def directly(
        self,
        place: tuple[str, int, int],
        number: int,
        slot: int,
        u: str,
        counts: list[int],
        row: str,
    ) -> None:
        """Call the kernel for one row and one vector of units, on the weight as it lies."""
        name, offset, j = place
        f, m, p = self.f, self.m, self.packings[number]
        assert not p.transposed, "only a step forward in time is taken directly"
        first = f.add(u, str(p.start + offset + j * m.lanes))
        weights = f.at(m.dtype, f"%w{number}", f.mul(first, str(p.depth)))
        tile = f.at(m.dtype, "%tile", str(slot * m.rows * m.lanes))
        self.straight.add((p.depth, counts[j]))
        args = f"ptr {self.memory(self.made[name].args[0], row)}, ptr {weights}, ptr {tile}"
        f.do(f"call void @{direct_name(p.depth, counts[j])}({args})")

    def call(self, slots: int, rows: str, args: str) -> None:
        """Call the product kernel for a number of rows known only when the loop runs."""
        f = self.f
        done = f.new("done")
        labels = [f.new("rows") for _ in range(self.m.rows)]
        cases = " ".join(f"i64 {r + 1}, label %{labels[r]}" for r in range(self.m.rows - 1))
        f.do(f"switch i64 {rows}, label %{labels[-1]} [ {cases} ]")
        for r, label in enumerate(labels, start=1):
            self.kernels.add((slots, r))
            f.label(label)
            f.do(f"call void @{product_name(slots, r)}({args})")
            f.do(f"br label %{done}")
        f.label(done)

    def equations(
        self,
        roots: list[Root],
        u: str,
        masks: list[str | None],
        row: str,
        tile: str | None,
        slot: dict[tuple[str, int, int], int],
    ) -> None:
        """Compute and store the roots of one row, vector by vector."""
        bases: dict[str, str] = {}
        for j, mask in enumerate(masks):
            at = self.f.add(u, str(j * self.m.lanes))
            block = Block(self, at, mask, row, tile, slot, j, bases)
            for root in roots:
                value = block.value(root.value, root.low)
                target = (
                    self.memory(root.name, row)
                    if root.kind == "memory"
                    else self.row_of(self.then[root.name], self.width[root.name], row)
                )
                self.put(value, target, self.f.add(at, str(root.low)), mask)
