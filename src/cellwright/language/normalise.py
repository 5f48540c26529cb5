"""Layer normalisation as a transform: from a cell to the cell with its projections normalised."""

from collections import defaultdict

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph
from cellwright.language.masks import masks, unmasked
from cellwright.language.ops import Op
from cellwright.language.rewriting import Rewriting
from cellwright.language.stack import layerwise

SQUASHING = frozenset({Op.SIGMOID, Op.TANH, Op.RELU, Op.EXP})
# What lies between a projection and the function that squashes it.
BETWEEN = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.NEG, Op.PART})

Group = tuple[int, ...]
Users = dict[int, list[int]]  # of a value


@layerwise
def layer_normed(cell: type[Cell]) -> type[Cell]:
    """Normalise what a cell's matrices make before it is squashed (Ba, Kiros & Hinton 2016).

    Equations that add projections of the same vectors are normalised together, the projections of
    each vector apart; so is a state's new value where it is squashed. Biases stay, outside. Of
    `LSTM` it makes `LayerNormLSTM`.
    before:  i = sigmoid(affine(x, h));  f = sigmoid(affine(x, h));  h.next = o * tanh(c.next)
    after:   norm_x = layer_norm(concat(W_i x, W_f x));  norm_h = the same of h
             i, f = sigmoid(of the parts + b);  h.next = o * tanh(layer_norm(c.next))
    CellError for a cell of which nothing is left to normalise, one whose matrices are of blocks,
    and one with zoneout, which comes after.
    """
    graph = cell.graph
    if any(not mask.scaled for mask in masks(graph)):
        raise CellError(f"layer_normed({cell.__name__}): comes before zoneout, not after")
    blocks = next((n for n in graph.nodes if n.attr("blocks") or n.attr("upper_blocks")), None)
    if blocks is not None:
        raise CellError(
            f"layer_normed({cell.__name__}): {blocks.owner} reads its state in blocks, which a "
            "norm over all units would join"
        )
    groups = _groups(graph)
    shown = _squashed_states(graph)
    if not groups and not shown:
        raise CellError(
            f"layer_normed({cell.__name__}): has no projection that is squashed and not "
            "normalised already"
        )
    made = Rewriting(cell)
    first = {group[0]: group for group in groups}
    grouped = {index for group in groups for index in group}
    for index, node in enumerate(graph.nodes):
        if index in first:
            _normalise(made, first[index])
        elif index in grouped:
            continue  # it went with the first of its group
        elif index in shown:
            state = shown[index]
            owner = made.name(f"norm_{state}", beside=f"{state}.next")
            normed = made.op(Op.LAYER_NORM, made.at[node.args[0]], name=owner)
            made.copy(index, args=(normed,))
        else:
            made.copy(index)
    return made.cell("With layer normalisation (Ba, Kiros & Hinton 2016).")


def _normalise(made: Rewriting, group: Group) -> None:
    """Append the projections of a group, their norm, and the part of it that each one reads."""
    graph = made.graph
    vector = graph.nodes[unmasked(graph, graph.nodes[group[0]].args[0])].name or "sum"
    own = [made.copy(index, name=None) for index in group]
    whole = own[0] if len(own) == 1 else made.op(Op.CONCAT, *own)
    beside = graph.nodes[group[0]].owner
    name = made.name(f"norm_{vector.replace('.', '_')}", beside=beside)
    normed = made.op(Op.LAYER_NORM, whole, name=name)
    for k, index in enumerate(group):
        name = graph.nodes[index].name
        if len(group) > 1:
            made.at[index] = made.op(Op.PART, normed, name=name, index=k, of=len(group))
        else:
            made.at[index] = normed


def _groups(graph: Graph) -> list[Group]:
    """Return the projections that are normalised together, in order, each of one vector."""
    users: Users = defaultdict(list)
    for index, node in enumerate(graph.nodes):
        for arg in node.args:
            users[arg].append(index)
    terms: dict[int, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.nodes):
        if node.op is Op.LINEAR and not node.attr("fit") and _is_squashed(graph, users, index):
            terms[_sum_with(graph, users, index)].append(index)
    found: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for projections in terms.values():
        read = tuple(graph.nodes[k].args[0] for k in projections)
        for k, vector in zip(projections, read, strict=True):
            found[tuple(sorted(read)), vector, graph.nodes[k].width].append(k)
    return sorted(tuple(group) for group in found.values())


def _sum_with(graph: Graph, users: Users, index: int) -> int:
    """Return the whole sum in which a value is a term."""
    while len(users[index]) == 1 and graph.nodes[users[index][0]].op is Op.ADD:
        index = users[index][0]
    return index


def _is_squashed(graph: Graph, users: Users, index: int) -> bool:
    """Tell whether a value reaches a squashing function before it is a state's new value."""
    nexts = {s.next for s in graph.states}
    front, seen = [index], {index}
    for at in front:
        if at in nexts:
            return False
        ops = [graph.nodes[user].op for user in users[at]]
        if not SQUASHING.isdisjoint(ops):
            return True
        further = [u for u, op in zip(users[at], ops, strict=True) if op in BETWEEN]
        front += [u for u in further if u not in seen]
        seen.update(further)
    return False


def _squashed_states(graph: Graph) -> dict[int, str]:
    """Return the operations that squash a state's new value, with the state."""
    nexts = {s.next: s.name for s in graph.states}
    return {
        k: nexts[n.args[0]]
        for k, n in enumerate(graph.nodes)
        if n.op in SQUASHING and n.args[0] in nexts
    }
