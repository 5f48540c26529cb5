"""A graph interpreted node by node in numpy: no passes, no program, no torch."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cellwright.compiler.layout import layout
from cellwright.language import Graph, Node, Op

Array = np.ndarray

POINT: dict[Op, Callable[..., Array]] = {
    Op.ADD: np.add,
    Op.SUB: np.subtract,
    Op.MUL: np.multiply,
    Op.DIV: np.divide,
    Op.NEG: np.negative,
    Op.ABS: np.abs,
    Op.SIGMOID: lambda v: 1 / (1 + np.exp(-v)),
    Op.TANH: np.tanh,
    Op.RELU: lambda v: np.maximum(v, 0),
    Op.EXP: np.exp,
    Op.LOG: np.log,
    Op.MAXIMUM: np.maximum,
    Op.MINIMUM: np.minimum,
    Op.LESS: np.less,
    Op.LESS_EQUAL: np.less_equal,
    Op.WHERE: np.where,
}


def modules_of(width: int, count: int) -> Array:
    """The module of each unit, module k beginning at floor(k * width / count)."""
    return np.array(
        [max(k for k in range(count) if k * width // count <= unit) for unit in range(width)]
    )


class Interpreter:
    """One step of a graph, with weights that lie where `layout` says."""

    def __init__(
        self,
        graph: Graph,
        sizes: Mapping[str, int],
        params: Sequence[Array],
        with_bias: bool = True,
    ) -> None:
        self.graph = graph
        self.sizes = sizes
        laid_out, self.places = layout(graph, sizes, with_bias)
        self.params = dict(zip((p.name for p in laid_out), params, strict=True))

    def width(self, node: Node) -> int:
        assert node.width is not None
        return node.width.resolve(self.sizes)

    def rows(self, index: int, kind: str) -> Array:
        place = self.places[index, kind]
        return self.params[place.param][place.start : place.stop]

    def node(self, index: int, node: Node, args: list[Array]) -> Array:
        if node.op in POINT:
            return POINT[node.op](*args)
        match node.op:
            case Op.CONSTANT:
                return np.array(node.attr("value"), dtype=np.float64)
            case Op.MODULES:
                values = np.array(node.attr("values"))
                return values[modules_of(self.width(node), len(values))]
            case Op.LINEAR if (index, "weight") not in self.places:
                assert node.attr("fit") and args[0].shape[-1] == self.width(node)
                return args[0]
            case Op.LINEAR:
                weight = self.rows(index, "weight")
                for kind, may_hold in (("upper_blocks", np.less_equal), ("blocks", np.equal)):
                    count = node.attr(kind)
                    if isinstance(count, int):
                        row, column = (modules_of(n, count) for n in weight.shape)
                        weight = weight * may_hold(row[:, None], column)
                return args[0] @ weight.T
            case Op.DIAGONAL:
                return args[0] * self.rows(index, "weight")
            case Op.BIAS:
                if (index, "bias") not in self.places:
                    return np.zeros(self.width(node))
                return self.rows(index, "bias")
            case Op.LAYER_NORM:
                v = args[0]
                centred = v - v.mean(-1, keepdims=True)
                variance = (centred**2).mean(-1, keepdims=True)
                normal = centred / np.sqrt(variance + 1e-5)
                return normal * self.rows(index, "gain") + self.rows(index, "shift")
            case Op.PART:
                part = node.attr("index")
                assert isinstance(part, int)
                width = self.width(node)
                return args[0][..., part * width : (part + 1) * width]
            case Op.CONCAT:
                batch = next(a.shape[0] for a in self.leaves)
                return np.concatenate([np.broadcast_to(a, (batch, a.shape[-1])) for a in args], -1)
        raise AssertionError(f"no meaning for {node.op}")

    def step(
        self, inputs: Sequence[Array], states: Sequence[Array]
    ) -> tuple[list[Array], list[Array]]:
        """Return the outputs and the states after a step, each [B, width]."""
        graph = self.graph
        self.leaves = [*inputs, *states]
        given = dict(zip(graph.inputs, inputs, strict=True))
        given |= dict(zip((s.leaf for s in graph.states), states, strict=True))
        value: list[Array] = []
        for index, node in enumerate(graph.nodes):
            known = given.get(index)
            args = [value[arg] for arg in node.args]
            value.append(self.node(index, node, args) if known is None else known)
        batch = self.leaves[0].shape[0]

        def whole(index: int, like: Node) -> Array:
            return np.broadcast_to(value[index], (batch, self.width(like)))

        outputs = [whole(k, graph.nodes[k]) for k in graph.outputs]
        return outputs, [whole(s.next, graph.nodes[s.leaf]) for s in graph.states]

    def run(
        self,
        inputs: Sequence[Array],
        states: Sequence[Array],
        starts: Sequence[Array] = (),
        reset: Array | None = None,
        valid: Array | None = None,
    ) -> tuple[list[Array], list[Array]]:
        """Run whole sequences [T, B, width], a row's episodes and end where masks say."""
        made: list[list[Array]] = []
        held = list(states)
        for t in range(inputs[0].shape[0]):
            if reset is not None:
                fresh = zip(starts, held, strict=True)
                held = [np.where(reset[t][:, None], start, s) for start, s in fresh]
            outputs, after = self.step([x[t] for x in inputs], held)
            if valid is not None:
                alive = valid[t][:, None]
                outputs = [np.where(alive, y, 0) for y in outputs]
                after = [np.where(alive, n, s) for n, s in zip(after, held, strict=True)]
            made.append(outputs)
            held = after
        return [np.stack(ys) for ys in zip(*made, strict=True)], held
