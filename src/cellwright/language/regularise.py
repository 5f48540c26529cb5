"""Transforms that act while a layer trains: from a cell to a cell with masks.

Each returns a cell of the same name, the same states and the same parameters, which a layer trains
with masks that it draws itself and evaluates with the masks at their means.
"""

from collections.abc import Mapping, Sequence

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.graph import PER, Graph, StateSlot, is_rate, read
from cellwright.language.masks import unmasked
from cellwright.language.ops import LEAVES, Op
from cellwright.language.rewriting import Rewriting
from cellwright.language.stack import layerwise


@layerwise
def zoneout(cell: type[Cell], rate: float | Mapping[str, float]) -> type[Cell]:
    """Let units keep their old value at random (Krueger et al. 2017, eq. 5).

    rate: the probability of keeping it, for all states or by state: `{"h": 0.05, "c": 0.5}`.
    before:  c.next = f * c + i * g
    after:   c_new = f * c + i * g;  c.next = mask_c * c_new + (1 - mask_c) * c
    Equations that a new state needs read the value before zoneout, as in the paper; the outputs,
    and what leads to them alone, read it after. In evaluation the mask is 1 - rate. CellError for
    a rate outside [0, 1) and for a state that the cell does not have.
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
    active = [s for s in cell.graph.states if rates.get(s.name, 0) > 0]
    return _zoned(cell, active, rates) if active else cell


def _zoned(cell: type[Cell], active: Sequence[StateSlot], rates: Mapping[str, float]) -> type[Cell]:
    graph, made = cell.graph, Rewriting(cell)
    needed = read(graph, outputs=False)  # by new states
    nexts: dict[str, int] = {}
    shown: dict[int, int] = {}  # what outputs see in place of a value
    for index, node in enumerate(graph.nodes):
        own = [s for s in active if s.next == index]
        if index not in needed:
            made.copy(index, args=tuple(shown.get(arg, made.at[arg]) for arg in node.args))
        elif own and node.name == f"{own[0].name}.next":
            # Parameters are still called after c.next.
            attrs = tuple(sorted({**dict(node.attrs), "spelled": node.name}.items()))
            name = made.name(f"{own[0].name}_new", beside=node.name)
            made.copy(index, name=name, attrs=attrs)
        else:
            made.copy(index)
        for state in own if node.op not in LEAVES else ():
            nexts[state.name] = _mixed(made, state, rates[state.name])
            shown.setdefault(index, nexts[state.name])
    for state in active:  # what takes an input or another state as it is
        if state.name not in nexts:
            nexts[state.name] = _mixed(made, state, rates[state.name])
    outputs = tuple(shown.get(k, made.at[k]) for k in graph.outputs)
    said = ", ".join(f"{s.name} {rates[s.name]:g}" for s in active)
    return made.cell(f"With zoneout: {said} (Krueger et al. 2017).", nexts=nexts, outputs=outputs)


def _mixed(made: Rewriting, state: StateSlot, rate: float) -> int:
    """Append a state's new value where the mask is 1 and its old one where it is 0."""
    width = made.graph.nodes[state.leaf].width
    mask = made.mask(state.name, rate, width, scaled=False, per="step")
    one = made.op(Op.CONSTANT, value=1.0)
    new = made.op(Op.MUL, made.at[state.next], mask)
    old = made.op(Op.MUL, made.at[state.leaf], made.op(Op.SUB, one, mask))
    name = f"{state.name}.next"
    stood = made.graph.nodes[state.next].name or name  # parameters of its readers keep their names
    return made.op(Op.ADD, new, old, name=name, spelled=stood)


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
    kept = [s.name for s in states.values() if s.next == equations.get(name)]
    if kept:
        raise CellError(
            f"recurrent_dropout({cell.__name__}): {name} is what the state {kept[0]} takes next; "
            f"on={kept[0]!r} drops what matrices read of it"
        )
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

    One draw holds for all steps of a forward pass; layers that are tied draw one each. Recurrent
    is a matrix that reads a state, or a product with one, as a GRU's reads r * h. CellError for a
    rate outside [0, 1) and for a cell without such a matrix.
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
