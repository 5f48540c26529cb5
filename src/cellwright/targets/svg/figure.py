"""Figures: a measured cell as shapes."""

from collections.abc import Set as AbstractSet

from cellwright.targets.equations import rows
from cellwright.targets.svg.arrows import arrow
from cellwright.targets.svg.blocks import Block, Kind
from cellwright.targets.svg.geometry import MARK, NAME, RING, TEXT, Box, Drawing, Route
from cellwright.targets.svg.shapes import (
    Commands,
    Group,
    Path,
    Rect,
    Shape,
    Spot,
    Text,
    crossings,
    rounded,
    tail,
)
from cellwright.targets.svg.symbols import Symbol, signs, symbol

CORNER, FRAME_CORNER = 9.0, 14.0
WORDS = {
    Kind.LAYER: "layer with weights",
    Kind.POINTWISE: "pointwise operation",
    Kind.PIECE: "part of a vector",
    Kind.FIXED: "fixed values",
    Kind.MERGE: "vectors put end to end",
    Kind.BEFORE: "state before the step",
    Kind.AFTER: "state after the step",
    Kind.INPUT: "input",
    Kind.OUTPUT: "output",
}


def figure(
    drawing: Drawing,
    lit: AbstractSet[int] | None = None,
    marked: AbstractSet[int] = frozenset(),
) -> tuple[Shape, ...]:
    """Return a cell's shapes.

    lit: the blocks that are not faded, all where it is None; a wire is lit where both its ends
    are. marked: blocks to point out.
    """
    made = _Figure(drawing, lit, marked)
    frame = Rect("frame", 0, 0, drawing.width, drawing.height, FRAME_CORNER)
    return frame, *made.rings(), *made.wires(), *made.blocks()


class _Figure:
    def __init__(
        self,
        drawing: Drawing,
        lit: AbstractSet[int] | None,
        marked: AbstractSet[int],
    ) -> None:
        self.drawing, self.lit, self.marked = drawing, lit, marked
        self.graph = drawing.cell.graph
        self.signs = signs(self.graph)
        self.said = {
            name: f"{line.left} = {line.right}" for line in rows(self.graph) for name in line.names
        }

    def _faded(self, *blocks: int) -> str:
        return "" if self.lit is None or all(k in self.lit for k in blocks) else "faded"

    def rings(self) -> list[Shape]:
        """Return the rings around what is marked; wires that end there lie on top of them."""
        found: list[Shape] = []
        for k in sorted(self.marked):
            block, box = self.drawing.cell.blocks[k], self.drawing.boxes[k]
            if box.width and box.height:
                left, top, right, bottom = box.sides
                wide, high = right - left + 2 * RING, bottom - top + 2 * RING
                radius = _radius(block, box) + RING
                found.append(Rect("ring", left - RING, top - RING, wide, high, radius))
        return found

    def wires(self) -> list[Shape]:
        """Return the wires; straight ones come last and so lie on top of what they cross."""
        by_source: dict[int, list[Route]] = {}
        for route in self.drawing.routes:
            by_source.setdefault(route.wire.source, []).append(route)
        bent = {k: all(len(route.corners) > 2 for route in by_source[k]) for k in by_source}
        shown: list[Shape] = []
        below: list[Route] = []
        for source in sorted(by_source, key=lambda k: (not bent[k], k)):
            shown += self._tree(source, by_source[source], below)
            below += by_source[source]
        return shown

    def _tree(self, source: int, routes: list[Route], below: list[Route]) -> list[Shape]:
        """Return one source's wires: first what they hide of those below, then their lines."""
        gaps: set[Commands] = set()
        for route in routes:
            for other in below:
                crossed = crossings(route.corners, other.corners)
                gaps.update(_gap(spot, flat) for spot, flat in crossed)
        shown: list[Shape] = [Path("halo", gap) for gap in sorted(gaps)]
        for style in ("faded", ""):
            for route in routes:
                sink = route.wire.sink[0]
                if self._faded(source, sink) == style:
                    title = f"{self._title(source)} → {self._title(sink)}"
                    shown.append(Group(self._wire(route), title=title, style=style))
        return shown

    def _wire(self, route: Route) -> tuple[Shape, ...]:
        sink, number = route.wire.sink
        block = self.drawing.cell.blocks[sink]
        style = "peephole" if block.feeds[number].peephole else "wire"
        corners = list(route.corners)
        if route.fork and self.lit is None:  # what it shares is drawn already
            corners = tail(corners, route.fork, CORNER)
        if route.out:  # it bends into the wire that goes on
            x, y = corners[-1]
            corners.append((x + route.out[0] * CORNER, y + route.out[1] * CORNER))
        if block.kind is Kind.MERGE:
            return (Path(style, rounded(corners, CORNER)),)
        return arrow(style, corners, CORNER)

    def blocks(self) -> list[Shape]:
        found: list[Shape] = []
        for k, block in enumerate(self.drawing.cell.blocks):
            shapes = self._block(k, block)
            if shapes:
                said, node = self._title(k), self._node(block)
                found.append(Group(shapes, title=said, node=node, style=self._faded(k)))
        for sink, mark in self.drawing.marks.items():
            text = Text("note", mark.symbol, mark.x, mark.y, mark.size, mark.anchor)
            found.append(Group((text,), style=self._faded(sink[0])))
        return found

    def _block(self, k: int, block: Block) -> tuple[Shape, ...]:
        box = self.drawing.boxes[k]
        shapes: list[Shape] = []
        if block.kind in (Kind.LAYER, Kind.POINTWISE, Kind.PIECE, Kind.FIXED):
            shapes += [_boxed(block, box), _inside(block, box)]
        elif block.kind in (Kind.INPUT, Kind.OUTPUT):
            sign = _name(self._end(block), box.x, box.y + NAME * 0.28, "middle")
            shapes += [_boxed(block, box), sign]
        if k in self.drawing.names:
            label = self.drawing.names[k]
            if block.kind in (Kind.BEFORE, Kind.AFTER):
                sign = self._end(block)
            else:
                assert block.node is not None
                sign = self.signs[block.node]
            shapes.append(_name(sign, label.x, label.y, label.anchor))
        return tuple(shapes)

    def _end(self, block: Block) -> Symbol:
        if block.kind is Kind.AFTER:
            return symbol(block.label, "t")
        if block.kind is Kind.OUTPUT:
            index = next(k for k in self.graph.outputs if self.graph.nodes[k].name == block.label)
            return self.signs[index]
        assert block.node is not None
        return self.signs[block.node]

    def _node(self, block: Block) -> str:
        if block.equation is None:
            return block.label
        return self.graph.nodes[block.equation].name or ""

    def _title(self, k: int) -> str:
        """Say in words what a block is; a named one is its equation."""
        block = self.drawing.cell.blocks[k]
        name = self.graph.nodes[block.node].name if block.node is not None else None
        if name and name.removesuffix(".next") in self.said and block.kind not in (
            Kind.BEFORE, Kind.INPUT,
        ):  # fmt: skip
            return self.said[name.removesuffix(".next")]
        label = block.label.removesuffix(".next")
        return f"{label}: {WORDS[block.kind]}" if label else WORDS[block.kind]


def _boxed(block: Block, box: Box) -> Rect:
    left, top, right, bottom = box.sides
    return Rect(block.kind.value, left, top, right - left, bottom - top, _radius(block, box))


def _radius(block: Block, box: Box) -> float:
    """Return how round a block's corners are."""
    return {Kind.LAYER: 5.0, Kind.PIECE: 4.0, Kind.FIXED: 4.0}.get(block.kind, box.height / 2)


def _inside(block: Block, box: Box) -> Text:
    size = TEXT if len(block.label) > 1 else TEXT + 2
    if block.kind in (Kind.PIECE, Kind.FIXED):
        size = MARK + 1
    return Text("ink", Symbol(block.label), box.x, box.y + size * 0.34, size)


def _name(sign: Symbol, x: float, y: float, anchor: str) -> Text:
    leans = len(sign.stem) == 1  # words stand upright
    return Text("ink", sign, x, y, NAME, anchor, leans)


def _gap(spot: Spot, flat: bool) -> Commands:
    (x, y), far = spot, 6.0
    dx, dy = (far, 0.0) if flat else (0.0, far)
    return ("M", (x - dx, y - dy)), ("L", (x + dx, y + dy))
