"""Transforms that change what a cell gives out: from a cell to a cell."""

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.graph import Node, read
from cellwright.language.ops import Op
from cellwright.language.rewriting import Rewriting
from cellwright.language.stack import layerwise
from cellwright.language.width import HIDDEN, PROJ


@layerwise
def projected(cell: type[Cell]) -> type[Cell]:
    """Make the hidden state a narrower projection of itself (Sak, Senior & Beaufays 2014).

    before:  h.next = o * tanh(c.next)
    after:   h_wide = o * tanh(c.next);  h.next = W h_wide, `proj` wide
    The hidden state is the first; only matrices may read it. CellError where something else does
    (a GRU mixes it with its new value, unit by unit), and where it is projected already.
    """
    graph = cell.graph
    hidden = graph.states[0]
    if PROJ.symbols[0] in graph.symbols or graph.nodes[hidden.leaf].width != HIDDEN:
        raise CellError(f"projected({cell.__name__}): {hidden.name} is not `hidden` wide")
    for index in graph.users(hidden.leaf):
        if graph.nodes[index].op is not Op.LINEAR:
            raise CellError(
                f"projected({cell.__name__}): {hidden.name} is read unit by unit, so it cannot "
                "become narrower; only cells whose matrices alone read it can be projected (before "
                "zoneout or dropout, not after)"
            )
    needed = read(graph, outputs=False)
    beyond = [k for k in graph.users(hidden.next) if k not in needed]
    if any(graph.nodes[k].op is not Op.LINEAR for k in beyond):
        raise CellError(
            f"projected({cell.__name__}): its output is made of the whole {hidden.name}; project "
            "before residual, not after"
        )
    made = Rewriting(cell)
    for index, node in enumerate(graph.nodes):
        if index == hidden.leaf:
            made.copy(index, width=PROJ)
        elif index == hidden.next and node.name == f"{hidden.name}.next":
            made.copy(index, name=made.name(f"{hidden.name}_wide", beside=node.name))
        else:
            made.copy(index)
    name = f"{hidden.name}.next"
    tag = f"{hidden.name}r"
    narrow = made.op(Op.LINEAR, made.at[hidden.next], name=name, width=PROJ, tag=tag)
    outputs = tuple(narrow if k == hidden.next else made.at[k] for k in graph.outputs)
    said = "With a projected hidden state (Sak, Senior & Beaufays 2014)."
    return made.cell(said, nexts={hidden.name: narrow}, outputs=outputs)


@layerwise
def residual(cell: type[Cell]) -> type[Cell]:
    """Add the input to the output; the states stay as they are.

    before:  outputs = h.next
    after:   y = h.next + x;  outputs = y
    Where the input has another width, a matrix of its own takes it there. The first input goes
    to the first output, for a cell with several of them.
    """
    graph = cell.graph
    made = Rewriting(cell)
    for index in range(len(graph.nodes)):
        made.copy(index)
    shown = made.at[graph.outputs[0]]
    width = graph.nodes[graph.outputs[0]].width
    name = made.name("y", beside=graph.nodes[graph.outputs[0]].name)
    fitted = made.append(
        Node(Op.LINEAR, (made.at[graph.inputs[0]],), width, owner=name, attrs=(("fit", 1),))
    )
    total = made.op(Op.ADD, shown, fitted, name=name)
    outputs = (total, *(made.at[k] for k in graph.outputs[1:]))
    return made.cell("With a residual connection from x to y.", outputs=outputs)
