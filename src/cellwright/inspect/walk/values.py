"""The numbers of a walk: a cell's graph computed node by node in float64, and a model's text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellwright.compiler.build import EPSILON
from cellwright.compiler.layout import layout
from cellwright.inspect.errors import InspectError
from cellwright.language.graph import Graph, Node
from cellwright.language.masks import expected
from cellwright.language.ops import Op

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

Array = NDArray[np.float64]
Weights = Mapping[str, Array]  # of one node: weight, bias, gain, shift


@dataclass(frozen=True)
class LayerWeights:
    """A layer as its cell's graph, masks at their means: every node's width and weights."""

    graph: Graph
    widths: tuple[int, ...]  # 1 where a number fits any width
    weights: Mapping[int, Weights]


@dataclass(frozen=True)
class Reading:
    """A model's numbers on a text: for each layer every node's value, [T, width]; logits [T, V].

    `pieces` are the tokens as the text has them; joined, they are the text where `exact`.
    """

    pieces: tuple[str, ...]
    exact: bool
    ids: tuple[int, ...]
    layers: tuple[LayerWeights, ...]
    values: tuple[tuple[Array, ...], ...]
    logits: Array

    @property
    def steps(self) -> int:
        return len(self.ids)

    def log_probabilities(self) -> Array:
        """Natural logarithms of p(token | what came before and here), [T, V]."""
        top = self.logits.max(axis=1, keepdims=True)
        return self.logits - top - np.log(np.exp(self.logits - top).sum(axis=1, keepdims=True))


def _sigmoid(v: Array) -> Array:
    low = np.exp(-np.abs(v))  # never above 1
    return np.where(v >= 0, 1.0, low) / (1.0 + low)


def _normed(v: Array, weights: Weights) -> Array:
    centred = v - v.mean()
    return centred / np.sqrt((centred**2).mean() + EPSILON) * weights["gain"] + weights["shift"]


@dataclass(frozen=True)
class At:
    """A node with its width, its weights and the values of its arguments."""

    node: Node
    width: int
    weights: Weights
    args: Sequence[Array]


def _linear(at: At) -> Array:
    (v,) = at.args
    return at.weights["weight"] @ v if at.weights else v  # what fits has no matrix


def _modules(at: At) -> Array:
    values = at.node.attr("values")
    assert isinstance(values, tuple)
    unit = np.arange(1, at.width + 1)
    return np.asarray(values)[(unit * len(values) - 1) // at.width]


def _part(at: At) -> Array:
    index = at.node.attr("index")
    assert isinstance(index, int)
    return at.args[0][index * at.width : (index + 1) * at.width]


def _unreachable(at: At) -> Array:
    raise AssertionError(f"{at.node.op} is given, not computed")


def _of(function: Callable[..., Array]) -> Callable[[At], Array]:
    return lambda at: function(*at.args)


NUMBERS: dict[Op, Callable[[At], Array]] = {
    Op.INPUT: _unreachable,
    Op.STATE: _unreachable,
    Op.CONSTANT: lambda at: np.asarray([at.node.attr("value")], dtype=np.float64),
    Op.MODULES: _modules,
    Op.LINEAR: _linear,
    Op.DIAGONAL: lambda at: at.weights["weight"] * at.args[0],
    Op.BIAS: lambda at: at.weights["bias"] if at.weights else np.zeros(at.width),
    Op.LAYER_NORM: lambda at: _normed(at.args[0], at.weights),
    Op.PART: _part,
    Op.CONCAT: lambda at: np.concatenate(at.args),
    Op.ADD: _of(np.add),
    Op.SUB: _of(np.subtract),
    Op.MUL: _of(np.multiply),
    Op.DIV: _of(np.divide),
    Op.NEG: _of(np.negative),
    Op.ABS: _of(np.abs),
    Op.SIGMOID: _of(_sigmoid),
    Op.TANH: _of(np.tanh),
    Op.RELU: lambda at: np.maximum(at.args[0], 0.0),
    Op.EXP: _of(np.exp),
    Op.LOG: _of(np.log),
    Op.MAXIMUM: _of(np.maximum),
    Op.MINIMUM: _of(np.minimum),
    Op.LESS: _of(np.less),
    Op.LESS_EQUAL: _of(np.less_equal),
    Op.WHERE: _of(np.where),
}


def run(layer: LayerWeights, inputs: Array) -> tuple[Array, ...]:
    """Run a layer from states of zero over [T, width] inputs; every node's value, [T, width]."""
    graph = layer.graph
    state = [np.zeros(layer.widths[slot.leaf]) for slot in graph.states]
    made: list[list[Array]] = [[] for _ in graph.nodes]
    with np.errstate(all="ignore"):  # what overflows here overflows in the model as well
        for x in inputs:
            values: list[Array] = []
            for k, node in enumerate(graph.nodes):
                if node.op is Op.INPUT:
                    values.append(x)
                elif node.op is Op.STATE:
                    at = next(n for n, slot in enumerate(graph.states) if slot.leaf == k)
                    values.append(state[at])
                else:
                    args = [values[arg] for arg in node.args]
                    at_node = At(node, layer.widths[k], layer.weights.get(k, {}), args)
                    values.append(NUMBERS[node.op](at_node))
            state = [_wide(values[s.next], layer.widths[s.leaf]) for s in graph.states]
            for k, value in enumerate(values):
                made[k].append(_wide(np.asarray(value, dtype=np.float64), layer.widths[k]))
    return tuple(np.stack(steps) for steps in made)


def _wide(value: Array, width: int) -> Array:
    return np.broadcast_to(value, (width,))


def layers_of(model: "LanguageModel") -> tuple[LayerWeights, ...]:
    """Return a model's layers with the weights of each node, blocks of zeros in their places."""
    from cellwright.nn.parameters import attribute, kept

    recurrent, found = model.recurrent, []
    for layer in recurrent._layers:
        graph = expected(layer.cell.graph)
        params, places = layout(graph, layer.sizes, recurrent.bias)
        by_name = {param.name: param for param in params}
        weights: dict[int, dict[str, Array]] = {}
        for (index, kind), place in places.items():
            param = by_name[place.param]
            whole = getattr(recurrent, attribute(param, layer.suffixes[0])).detach()
            if param.mask is not None:
                whole = whole * kept(param, whole)
            rows = whole[place.start : place.stop].double().cpu().numpy()
            weights.setdefault(index, {})[kind] = rows
        widths = tuple(n.width.resolve(layer.sizes) if n.width else 1 for n in graph.nodes)
        found.append(LayerWeights(with_means(graph), widths, weights))
    return tuple(found)


def with_means(graph: Graph) -> Graph:
    """Write the mean of a mask as the number that it is: 0.8 c, not one number for all units."""

    def plain(node: Node) -> Node:
        values = node.attr("values")
        if node.op is not Op.MODULES or node.name or not isinstance(values, tuple):
            return node
        return Node(Op.CONSTANT, attrs=(("value", values[0]),)) if len(values) == 1 else node

    return replace(graph, nodes=tuple(map(plain, graph.nodes)))


def read(model: "LanguageModel", text: str) -> Reading:
    """Let a model read a text from states of zero, and keep every number of it.

    Characters and words that the model has never seen are read as `<unk>`.
    Errors: InspectError for a text without tokens, or where the numbers overflow.
    """
    pieces, exact, ids = tokens_of(model, text)
    layers = layers_of(model)
    x = model.embedding.weight.detach().double().cpu().numpy()[list(ids)]
    values = []
    for layer in layers:
        made = run(layer, x)
        values.append(made)
        x = made[layer.graph.outputs[0]]
    weight = model.decoder.weight.detach().double().cpu().numpy()
    bias = model.decoder.bias.detach().double().cpu().numpy()
    with np.errstate(all="ignore"):
        logits = x @ weight.T + bias
    if not np.isfinite(logits).all():
        at = int(np.argmin(np.isfinite(logits).all(axis=1)))
        raise InspectError(
            f"token {at}: the model's logits are not numbers from there on; it overflows, or its "
            "weights are not finite: train it with a smaller --lr or --clip"
        )
    return Reading(pieces, exact, ids, layers, tuple(values), logits)


def tokens_of(model: "LanguageModel", text: str) -> tuple[tuple[str, ...], bool, tuple[int, ...]]:
    """Split a text into a model's tokens: as the text has them, whether exactly so, and ids."""
    tokenizer = model.tokenizer
    assert tokenizer is not None  # a model from a run has one
    ids = tuple(tokenizer.encode(text))
    if not ids:
        raise InspectError("text: expected one token at least, got none; give some words to read")
    if tokenizer.level == "char":
        return tuple(text), True, ids
    if tokenizer.level == "bpe":
        stream = tokenizer.decode_stream()
        return tuple(stream.feed(k) for k in ids), True, ids
    words = tuple(word for line in _with_ends(text) for word in line)
    if len(words) != len(ids):  # a control character that the two split at differently
        words = tuple(tokenizer.token(k) for k in ids)
    return words, False, ids


def token_name(model: "LanguageModel", token_id: int) -> str:
    """A token as a reader knows it: of byte pairs the text, not the vocabulary's marks."""
    assert model.tokenizer is not None
    if model.tokenizer.level == "bpe":
        return model.tokenizer.decode([token_id])
    return model.tokenizer.token(token_id)


def _with_ends(text: str) -> list[list[str]]:
    """Split a text into words, line by line; the end of a line is a word of its own."""
    found = [line.split() for line in text.split("\n")]
    return [[*line, "\n"] for line in found[:-1]] + [found[-1]]
