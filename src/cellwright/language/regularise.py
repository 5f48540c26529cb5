"""Transforms that act while a layer trains: from a cell to a cell with masks.

Each returns a cell of the same name, the same states and the same parameters, which a layer trains
with masks that it draws itself and evaluates with the masks at their means.
"""

from collections.abc import Mapping

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.graph import PER, Graph, StateSlot, is_rate
from cellwright.language.masks import unmasked
from cellwright.language.ops import Op
from cellwright.language.rewriting import Rewriting
from cellwright.language.stack import layerwise


@layerwise
def zoneout(cell: type[Cell], rate: float | Mapping[str, float]) -> type[Cell]:
    """Let units keep their old value at random (Krueger et al. 2017, eq. 5).

    rate: the probability of keeping it, for all states or by state: `{"h": 0.05, "c": 0.5}`.
    before:  c.next = f * c + i * g
    after:   c_new = f * c + i * g;  c.next = c + mask_c * (c_new - c)
    The step's other equations read the new value, as in the paper. In evaluation the mask is
    1 - rate. CellError for a rate outside [0, 1) and for a state that the cell does not have.
    """
    names = cell.graph.state_names
    rates = dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(names, rate)
    unknown = [name for name in rates if name not in names]
    if unknown:
        raise CellError(
            f"zoneout({cell.__name__}): has no state {unknown[0]}; it has {', '.join(names)}"
        )
    for value in rates.values():
        _check_rate("zoneout", cell, value)
    active = {s.next: s for s in cell.graph.states if rates.get(s.name, 0) > 0}
    if not active:
        return cell
    made = Rewriting(cell)
    for index, node in enumerate(cell.graph.nodes):
        state = active.get(index)
        if state is not None and node.name == f"{state.name}.next":
            made.copy(index, name=made.name(f"{state.name}_new", beside=node.name))
        elif node.op in (Op.LINEAR, Op.DIAGONAL) and node.args[0] in active:
            # The parameter is still called after c.next, which is the paper's name for it.
            attrs = {"tag": f"{active[node.args[0]].name}_next_h", **dict(node.attrs)}
            made.copy(index, attrs=tuple(sorted(attrs.items())))
        else:
            made.copy(index)
    nexts = {}
    for index, state in active.items():
        width = cell.graph.nodes[state.leaf].width
        mask = made.mask(state.name, rates[state.name], width, scaled=False, per="step")
        old, new = made.at[state.leaf], made.at[index]
        change = made.op(Op.MUL, mask, made.op(Op.SUB, new, old))
        nexts[state.name] = made.op(Op.ADD, old, change, name=f"{state.name}.next")
    shown = {k: nexts[s.name] for k, s in active.items()}
    outputs = tuple(shown.get(k, made.at[k]) for k in cell.graph.outputs)
    said = ", ".join(f"{s.name} {rates[s.name]:g}" for s in active.values())
    return made.cell(f"With zoneout: {said} (Krueger et al. 2017).", nexts=nexts, outputs=outputs)


@layerwise
def recurrent_dropout(
    cell: type[Cell], rate: float, on: str | None = None, per: str | None = None
) -> type[Cell]:
    """Drop units of a value at random, scaled by 1 / (1 - rate) where they stay.

    on: a state, of which every matrix then reads the dropped values, with one mask for a whole
    sequence (Gal & Ghahramani 2016); or an equation, whose readers see it dropped, with a mask for
    every step: `on="g"`, an LSTM's candidate, is Semeniuta et al. 2016. The first state unless
    given. per: "sequence" or "step", where it should be the other.
    before:  f = sigmoid(affine(x, h))
    after:   f = sigmoid(affine(x, h * mask_h))
    CellError for a rate outside [0, 1), a name that the cell does not have, and a state that no
    matrix reads.
    """
    graph = cell.graph
    _check_rate("recurrent_dropout", cell, rate)
    name = graph.state_names[0] if on is None else on
    states = {s.name: s for s in graph.states}
    equations = {n: k for n, k in graph.equations if not n.endswith(".next")}
    if name not in states and name not in equations:
        raise CellError(
            f"recurrent_dropout({cell.__name__}): has no state or equation {name!r:.40}; it has "
            f"{', '.join([*states, *equations])}"
        )
    if per not in (None, *PER):
        raise CellError(f"recurrent_dropout: per is {' or '.join(PER)}, got {per!r:.40}")
    if rate == 0:
        return cell
    if name in states:
        readers = {graph.nodes[k].args[0] for k in matrices_reading(graph, (states[name],))}
        if not readers:
            raise CellError(
                f"recurrent_dropout({cell.__name__}): no matrix reads {name}, so there is nothing "
                "to drop; name another state or an equation with on="
            )
        return _dropped(cell, name, rate, per or "sequence", readers, {Op.LINEAR})
    return _dropped(cell, name, rate, per or "step", {equations[name]}, set(Op))


def _dropped(
    cell: type[Cell],
    name: str,
    rate: float,
    per: str,
    values: set[int],
    readers: set[Op],
) -> type[Cell]:
    """Lay one mask on values, as these operations read them."""
    graph = cell.graph
    made = Rewriting(cell)
    width = graph.nodes[min(values)].width
    mask: int | None = None
    dropped: dict[int, int] = {}
    for index, node in enumerate(graph.nodes):
        args = tuple(
            dropped[arg] if arg in dropped and node.op in readers else made.at[arg]
            for arg in node.args
        )
        made.copy(index, args=args)
        if index in values:
            if mask is None:
                mask = made.mask(name, rate, width, scaled=True, per=per)
            dropped[index] = made.op(Op.MUL, made.at[index], mask)
    said = f"With dropout of {name} at {rate:g}, a mask for every {per}."
    return made.cell(said)


@layerwise
def weight_dropped(cell: type[Cell], rate: float) -> type[Cell]:
    """Drop weights of the recurrent matrices at random (DropConnect; Merity et al. 2018).

    One draw holds for all steps of a forward pass. Recurrent is a matrix that reads a state, or a
    product with one, as a GRU's reads r * h. CellError for a rate outside [0, 1) and for a cell
    without such a matrix.
    """
    _check_rate("weight_dropped", cell, rate)
    chosen = matrices_reading(cell.graph, cell.graph.states)
    if not chosen:
        raise CellError(
            f"weight_dropped({cell.__name__}): no matrix reads a state, so there is nothing to drop"
        )
    if rate == 0:
        return cell
    made = Rewriting(cell)
    for index, node in enumerate(cell.graph.nodes):
        if index in chosen:
            kept = tuple(pair for pair in node.attrs if pair[0] != "drop")
            made.copy(index, attrs=tuple(sorted((*kept, ("drop", float(rate))))))
        else:
            made.copy(index)
    return made.cell(f"With recurrent weights dropped at {rate:g} (Merity et al. 2018).")


def matrices_reading(graph: Graph, states: tuple[StateSlot, ...]) -> set[int]:
    """Return the matrices that read one of the states before the step, or a product with one."""
    leaves = {s.leaf for s in states}

    def reads(index: int) -> bool:
        value = unmasked(graph, index)
        node = graph.nodes[value]
        return value in leaves or (node.op is Op.MUL and not leaves.isdisjoint(node.args))

    return {k for k, n in enumerate(graph.nodes) if n.op is Op.LINEAR and reads(n.args[0])}


def _check_rate(word: str, cell: type[Cell], rate: object) -> None:
    if not is_rate(rate):
        raise CellError(
            f"{word}({cell.__name__}): a rate is a probability, 0 or more and less than 1, got "
            f"{rate!r:.40}"
        )
