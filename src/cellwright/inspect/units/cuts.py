"""Where others read a unit: the columns of matrices through which one place of a state acts.

A unit acts on other places through matrices alone; from value to value, unit by unit, it stays in
its own. So the columns that read it are found by following it through the cell's graph, and through
the layers above. Beside each value stands what it holds if the unit is 0: a column is the unit's
alone only where that is 0 too, as tanh(h), r * h and o * tanh(c) are. Where a matrix reads the unit
together with others' values, cutting its column would cut these as well, and is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from cellwright.compiler.layout import layout
from cellwright.compiler.simplify import FOLD
from cellwright.language.errors import CellwrightError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import POINTWISE, Op
from cellwright.lm import LanguageModel

Held = dict[int, float | None]  # by place in a value: what it holds where the unit is 0, if known
Sizes = Mapping[str, int]


class UnitsError(CellwrightError):
    """A model of which no unit can be looked at, or ablated, in this way."""


@dataclass(frozen=True)
class Cut:
    """All columns that read a unit: (layer, node of its graph, column), and the decoder's."""

    columns: tuple[tuple[int, int, int], ...]
    decoder: tuple[int, ...]


def cut(model: LanguageModel, layer: int, state: str, unit: int) -> Cut:
    """The columns through which alone a unit of a state is read by others.

    Its own next value is no other, and neither is what is computed of it in its own place: for a
    unit of an LSTM's c, these are c and h there. UnitsError where they are not the unit's alone.
    """
    layers, columns = model.recurrent._layers, []
    graph = layers[layer].plan.cell.graph
    slot = next(slot for slot in graph.states if slot.name == state)
    source: dict[int, Held] = {slot.leaf: {unit: 0.0}, slot.next: {unit: 0.0}}
    for k in range(layer, len(layers)):
        graph, sizes = layers[k].plan.cell.graph, layers[k].sizes
        values = _followed(graph, sizes, source)
        for index, place, number in _read(graph, sizes, values):
            if number != 0:
                reader = (graph.nodes[index].owner or "").removesuffix(".next")
                raise _refused(graph, state, layer, f"{reader} of layer {k}")
            columns.append((k, index, place))
        given = values.get(graph.outputs[0], {})
        if any(number != 0 for number in given.values()):
            raise _refused(graph, state, layer, f"the output of layer {k}")
        if not given:
            return Cut(tuple(columns), ())
        if k + 1 < len(layers):
            source = {layers[k + 1].plan.cell.graph.inputs[0]: dict.fromkeys(given, 0.0)}
    return Cut(tuple(columns), tuple(given))


def outgoing(model: LanguageModel, found: Cut) -> list[Tensor]:
    """Views of a cut's columns; writing to them changes the model."""
    made, recurrent = [], model.recurrent
    for k, layer in enumerate(recurrent._layers):
        params, places = layout(layer.plan.cell.graph, layer.sizes, recurrent.bias)
        keys = {(param.name, block.start): block.key for param in params for block in param.blocks}
        blocks = recurrent.blocks(k)
        for at, index, column in found.columns:
            if at == k:
                place = places[index, "weight"]
                made.append(blocks[keys[place.param, place.start]][:, column])
    return [*made, *(model.decoder.weight.detach()[:, column] for column in found.decoder)]


def _refused(graph: Graph, state: str, layer: int, reader: str) -> UnitsError:
    return UnitsError(
        f"{graph.cell}: no unit of layer {layer}'s {state} can be cut alone: in what {reader} "
        "reads, it is mixed with other values"
    )


def _followed(graph: Graph, sizes: Sizes, source: Mapping[int, Held]) -> dict[int, Held]:
    """Every value that the unit reaches unit by unit, with what it holds where the unit is 0."""
    leaves: dict[int, Held] = {}
    while True:
        values: dict[int, Held] = {}
        for index, node in enumerate(graph.nodes):
            made = {**leaves.get(index, {}), **_value(graph, sizes, node, values)}
            if made := {**made, **source.get(index, {})}:
                values[index] = made
        found = {s.leaf: values[s.next] for s in graph.states if s.next in values}
        if found == leaves:
            return values
        leaves = found


def _value(graph: Graph, sizes: Sizes, node: Node, values: Mapping[int, Held]) -> Held:
    """What the unit reaches of a node's value through its arguments."""
    given = [values.get(arg, {}) for arg in node.args]
    if not any(given):
        return {}
    if node.op is Op.CONCAT:
        starts = [0]
        for arg in node.args:
            starts.append(starts[-1] + _width(graph.nodes[arg], sizes))
        return {at + p: v for at, one in zip(starts, given, strict=False) for p, v in one.items()}
    if node.op is Op.PART:
        width, first = _width(node, sizes), node.attr("index")
        assert isinstance(first, int)
        moved = {p - first * width: v for p, v in given[0].items()}
        return {p: v for p, v in moved.items() if 0 <= p < width}
    if node.op is Op.LAYER_NORM:  # every unit's mean and size are in it
        return dict.fromkeys(range(_width(node, sizes)))
    if node.op is Op.LINEAR:
        return given[0] if _is_identity(graph, sizes, node) else {}
    if node.op is Op.DIAGONAL:
        return {p: 0.0 if v == 0 else None for p, v in given[0].items()}
    assert node.op in POINTWISE
    places = dict.fromkeys(p for one in given for p in one)
    return {p: _number(node.op, [*_numbers(graph, node, given, p)]) for p in places}


def _numbers(graph: Graph, node: Node, given: list[Held], place: int) -> Iterator[float | None]:
    for arg, held in zip(node.args, given, strict=True):
        value = graph.nodes[arg].attr("value") if graph.nodes[arg].op is Op.CONSTANT else None
        yield held.get(place, value if isinstance(value, int | float) else None)


def _width(node: Node, sizes: Sizes) -> int:
    assert node.width is not None
    return node.width.resolve(sizes)


def _is_identity(graph: Graph, sizes: Sizes, node: Node) -> bool:
    """Whether a matrix is none: it takes a vector to the width that it has."""
    return bool(node.attr("fit")) and _width(graph.nodes[node.args[0]], sizes) == _width(
        node, sizes
    )


def _read(
    graph: Graph, sizes: Sizes, values: Mapping[int, Held]
) -> Iterator[tuple[int, int, float | None]]:
    """Each matrix that reads the unit, in which column, and what that holds where the unit is 0."""
    for index, node in enumerate(graph.nodes):
        if node.op is Op.LINEAR and not _is_identity(graph, sizes, node):
            for place, number in values.get(node.args[0], {}).items():
                yield index, place, number


_KNOWN: Final[Mapping[Op, Callable[..., float]]] = FOLD | {
    Op.LESS: lambda a, b: float(a < b),
    Op.LESS_EQUAL: lambda a, b: float(a <= b),
}


def _number(op: Op, args: list[float | None]) -> float | None:
    """What an operation makes of numbers of which some are not known."""
    if op is Op.WHERE:
        condition, yes, no = args
        if condition is None:
            return yes if yes == no else None
        return yes if condition else no
    if (op is Op.MUL and 0 in args) or (op is Op.DIV and args[0] == 0 != args[1]):
        return 0.0
    numbers = [number for number in args if number is not None]
    if len(numbers) < len(args):
        return None
    try:
        return float(_KNOWN[op](*numbers))
    except (ArithmeticError, ValueError):  # no number, and none is claimed
        return None
