"""Transforms: from a cell to a cell."""

from dataclasses import replace

from cellwright.language.cell import Cell, cell_from_graph
from cellwright.language.graph import Graph, Node, StateSlot
from cellwright.language.masks import unmasked
from cellwright.language.ops import Op


def with_split_biases(cell: type[Cell]) -> type[Cell]:
    """Give every affine of the input and the hidden state torch's second bias.

    before:  affine(x, h) = W x + U h + b
    after:   W x + U h + b + b', b' stored beside U (`bias_hh`)

    One bias is enough for the mathematics; torch keeps two, and its `state_dict` holds both.
    """
    graph = cell.graph
    hidden = graph.states[0].leaf
    nodes: list[Node] = []
    moved: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        nodes.append(replace(node, args=tuple(moved[arg] for arg in node.args)))
        moved[index] = len(nodes) - 1
        if _reads_both(graph, index, hidden):
            bias = graph.nodes[node.args[1]]
            # The sum keeps its name, if it has one, and takes the second bias in.
            nodes[-1] = replace(nodes[-1], name=None)
            nodes.append(replace(bias, attrs=(("beside", "hh"),), owner=bias.owner))
            nodes.append(Node(Op.ADD, (len(nodes) - 2, len(nodes) - 1), node.width, node.name))
            moved[index] = len(nodes) - 1
    return cell_from_graph(
        replace(
            graph,
            nodes=tuple(nodes),
            inputs=tuple(moved[k] for k in graph.inputs),
            states=tuple(StateSlot(s.name, moved[s.leaf], moved[s.next]) for s in graph.states),
            outputs=tuple(moved[k] for k in graph.outputs),
        )
    )


def _reads_both(graph: Graph, index: int, hidden: int) -> bool:
    """Tell whether a node completes an affine that reads the input and the hidden state."""
    node = graph.nodes[index]
    if node.op is not Op.ADD or not graph.nodes[node.args[1]].attr("affine"):
        return False
    vectors, at = [], node.args[0]
    while graph.nodes[at].op is Op.ADD:
        vectors.append(graph.nodes[graph.nodes[at].args[1]])
        at = graph.nodes[at].args[0]
    vectors.append(graph.nodes[at])
    operands = {unmasked(graph, v.args[0]) for v in vectors if v.op is Op.LINEAR}
    return {graph.inputs[0], hidden} <= operands
