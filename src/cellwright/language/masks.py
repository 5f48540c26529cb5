"""Masks: the random vectors that a layer draws for a cell while it trains."""

from dataclasses import dataclass, replace

from cellwright.language.graph import Graph, Node, read
from cellwright.language.ops import Op


@dataclass(frozen=True)
class MaskSlot:
    """A mask of a cell: where it stands among the inputs, and how it is drawn.

    `rate` is the probability of a zero; elsewhere it is `high`. One is drawn for every step, or,
    where `per_sequence`, for a whole sequence.
    """

    name: str
    position: int
    rate: float
    scaled: bool
    per_sequence: bool

    @property
    def high(self) -> float:
        return 1 / (1 - self.rate) if self.scaled else 1.0

    @property
    def mean(self) -> float:
        return 1.0 if self.scaled else 1 - self.rate


def masks(graph: Graph) -> tuple[MaskSlot, ...]:
    """Return a cell's masks in the order of its inputs, of which they are the last."""
    slots = []
    for position, index in enumerate(graph.inputs):
        node = graph.nodes[index]
        rate = node.attr("rate")
        if isinstance(rate, float):
            scaled, per = bool(node.attr("scaled")), node.attr("per") == "sequence"
            slots.append(MaskSlot(node.name or "", position, rate, scaled, per))
    return tuple(slots)


def is_mask(node: Node) -> bool:
    """Tell whether a node is a mask."""
    return node.op is Op.INPUT and node.attr("rate") is not None


def expected(graph: Graph) -> Graph:
    """Return the cell with every mask at its mean: what a layer computes when it does not train."""
    if not any(is_mask(node) for node in graph.nodes):
        return graph
    means = {m.name: m.mean for m in masks(graph)}
    nodes: list[Node] = []
    same: dict[int, int] = {}  # a value under a mask whose mean is 1, and that value
    for index, node in enumerate(graph.nodes):
        node = replace(node, args=tuple(same.get(arg, arg) for arg in node.args))
        if is_mask(node):
            value = (("values", (means[node.name or ""],)),)
            node = Node(Op.MODULES, (), node.width, attrs=value)
        elif _changes_nothing(graph, node, means):
            same[index] = node.args[0]
        nodes.append(node)
    inputs = tuple(k for k in graph.inputs if not is_mask(graph.nodes[k]))
    return _without_dead(replace(graph, nodes=tuple(nodes), inputs=inputs))


def _changes_nothing(graph: Graph, node: Node, means: dict[str, float]) -> bool:
    """Tell whether a node lays a mask of mean 1 on a vector."""
    if node.op is not Op.MUL or node.name or graph.nodes[node.args[0]].width is None:
        return False
    mask = graph.nodes[node.args[1]]
    return is_mask(mask) and means[mask.name or ""] == 1.0


def _without_dead(graph: Graph) -> Graph:
    """Drop what nothing reads any more."""
    alive = {*graph.inputs, *(s.leaf for s in graph.states), *read(graph)}
    new = {old: k for k, old in enumerate(sorted(alive))}
    kept = [n for k, n in enumerate(graph.nodes) if k in new]
    return replace(
        graph,
        nodes=tuple(replace(n, args=tuple(new[arg] for arg in n.args)) for n in kept),
        inputs=tuple(new[k] for k in graph.inputs),
        states=tuple(replace(s, leaf=new[s.leaf], next=new[s.next]) for s in graph.states),
        outputs=tuple(new[k] for k in graph.outputs),
    )


def unmasked(graph: Graph, index: int) -> int:
    """Return the value that a mask is laid on, or the value itself where there is no mask."""
    node = graph.nodes[index]
    while node.op is Op.MUL and not node.name and is_mask(graph.nodes[node.args[1]]):
        index = node.args[0]
        node = graph.nodes[index]
    return index
