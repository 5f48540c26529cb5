"""Keep: what a state is multiplied with on its direct way into its next value."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cellwright.language.cell import Cell, cell_from_graph
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import COMPARISONS, LEAVES, PARAMETRIC, Op

# What a slope does not go through: what looks at the state with a weight, or only compares it.
GIVEN: Final = LEAVES | PARAMETRIC | COMPARISONS
# A derivative: a node, a number, or None where it is zero.
Slope = int | float | None


@dataclass(frozen=True)
class Keep:
    """How a step keeps a state: d state.next / d state where no weight lies between the two.

    `equation` names the value, a vector as wide as the state, in the cell that `with_keeps` makes;
    it is None where the keep is the number `constant`. `label` is how people write it: f, 1 - z.
    """

    state: str
    label: str
    equation: str | None
    constant: float | None = None


def with_keeps(cell: type[Cell]) -> tuple[type[Cell], tuple[Keep, ...]]:
    """Give a cell's keeps as outputs more; a state without one has none.

    before:  c.next = f * c + i * g
    after:   c.next = f * c + i * g;  keep_c = f;  emit keep_c

    A state has a keep where sums, products, quotients and choices alone lead from it to its next
    value. What reaches the next value through a matrix, a peephole or a norm counts as given: it is
    the other way, by which gates and candidates look at the state. A path that bends, such as
    tanh(c + ...), or that cuts the vector, is no keep.
    """
    graph = cell.graph
    nodes, outputs, keeps = list(graph.nodes), list(graph.outputs), []
    for slot in graph.states:
        added: list[Node] = []
        try:
            slope = _Slopes(graph, slot.leaf, len(nodes), added).of(slot.next)
        except _Bent:
            continue
        if slope is None:
            continue
        if isinstance(slope, float):
            keeps.append(Keep(slot.name, f"{slope:g}", None, slope))
            continue
        nodes += [*added, Node(Op.CONSTANT, attrs=(("value", 0.0),))]
        name = _free(nodes, f"keep_{slot.name}")
        keeps.append(Keep(slot.name, _label(nodes, slope, slot.name), name))
        nodes.append(Node(Op.ADD, (slope, len(nodes) - 1), graph.nodes[slot.leaf].width, name))
        outputs.append(len(nodes) - 1)
    made = replace(graph, nodes=tuple(nodes), outputs=tuple(outputs))
    return (cell_from_graph(made) if len(nodes) > len(graph.nodes) else cell), tuple(keeps)


class _Bent(Exception):
    """The way from the state to its next value is no sum of products."""


class _Slopes:
    """The derivative of each node by one leaf; what it needs is appended to `added`."""

    def __init__(self, graph: Graph, leaf: int, first: int, added: list[Node]) -> None:
        self.graph, self.first, self.added = graph, first, added
        self.known: dict[int, Slope] = {leaf: 1.0}

    def of(self, end: int) -> Slope:
        """Follow the leaf through what lies between it and `end`, in the order of the step."""
        between: set[int] = set()
        front = [end]
        while front:
            at = front.pop()
            node = self.graph.nodes[at]
            if at not in between and node.op not in GIVEN:
                between.add(at)
                front += node.args
        for index in sorted(between):
            node = self.graph.nodes[index]
            inner = [self.known.get(arg) for arg in node.args]
            if any(slope is not None for slope in inner):
                if node.op not in RULES:
                    raise _Bent
                self.known[index] = RULES[node.op](self, node, inner)
        return self.known.get(end)

    def op(self, op: Op, *args: int | float) -> int:
        """Append an operation on nodes and numbers; return its place."""
        places = []
        for arg in args:
            if isinstance(arg, float):
                self.added.append(Node(Op.CONSTANT, attrs=(("value", arg),)))
                arg = self.first + len(self.added) - 1
            places.append(arg)
        width = next((w for p in places if (w := self._node(p).width)), None)
        self.added.append(Node(op, tuple(places), width))
        return self.first + len(self.added) - 1

    def _node(self, place: int) -> Node:
        return self.added[place - self.first] if place >= self.first else self.graph.nodes[place]

    def value(self, index: int) -> int | float:
        """A node as a factor: its number, where it is one."""
        number = self.graph.nodes[index].attr("value")
        return float(number) if isinstance(number, int | float) else index

    def plus(self, a: Slope, b: Slope) -> Slope:
        if a is None or b is None:
            return b if a is None else a
        if isinstance(a, float) and isinstance(b, float):
            return a + b
        return self.op(Op.ADD, a, b)

    def times(self, a: Slope, b: int | float) -> Slope:
        if a is None or (isinstance(b, float) and b == 1.0):
            return a
        if isinstance(a, float) and isinstance(b, float):
            return a * b
        return b if isinstance(a, float) and a == 1.0 else self.op(Op.MUL, a, b)


Rule = Callable[[_Slopes, Node, list[Slope]], Slope]


def _product(s: _Slopes, node: Node, inner: list[Slope]) -> Slope:
    a, b = node.args
    return s.plus(s.times(inner[0], s.value(b)), s.times(inner[1], s.value(a)))


def _quotient(s: _Slopes, node: Node, inner: list[Slope]) -> Slope:
    if inner[1] is not None:
        raise _Bent
    below = s.value(node.args[1])
    above = inner[0]
    assert above is not None
    if isinstance(above, float) and isinstance(below, float):
        return above / below
    return s.op(Op.DIV, above, below)


def _choice(s: _Slopes, node: Node, inner: list[Slope]) -> Slope:
    picked = [0.0 if slope is None else slope for slope in inner[1:]]
    return s.op(Op.WHERE, node.args[0], *picked)


RULES: Final[dict[Op, Rule]] = {
    Op.ADD: lambda s, _, inner: s.plus(*inner),
    Op.SUB: lambda s, _, inner: s.plus(inner[0], s.times(inner[1], -1.0)),
    Op.NEG: lambda s, _, inner: s.times(inner[0], -1.0),
    Op.MUL: _product,
    Op.DIV: _quotient,
    Op.WHERE: _choice,
}


def _free(nodes: list[Node], wanted: str) -> str:
    names, number, found = {node.name for node in nodes}, 1, wanted
    while found in names:
        number += 1
        found = f"{wanted}_{number}"
    return found


def _label(nodes: list[Node], index: int, state: str) -> str:
    """The keep as people write it, where it is a named value or 1 less one."""
    node = nodes[index]
    if node.name:
        return node.name.removesuffix(".next")
    if node.op is Op.SUB and nodes[node.args[0]].attr("value") == 1.0 and nodes[node.args[1]].name:
        return f"1 - {nodes[node.args[1]].name}"
    return f"d{state}'/d{state}"
