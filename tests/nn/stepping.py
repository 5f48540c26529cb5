"""A cell's equations worked out one step at a time, straight from its graph."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from cellwright.compiler import Low, Param
from cellwright.compiler.layout import layout
from cellwright.language.graph import Graph
from cellwright.language.ops import LEAVES, Op
from cellwright.nn import Recurrent
from cellwright.runtime.trail import Named, named_values

POINTWISE: dict[Op, Callable[..., Tensor]] = {
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.DIV: torch.div,
    Op.NEG: torch.neg,
    Op.ABS: torch.abs,
    Op.SIGMOID: torch.sigmoid,
    Op.TANH: torch.tanh,
    Op.RELU: torch.relu,
    Op.EXP: torch.exp,
    Op.LOG: torch.log,
    Op.MAXIMUM: torch.maximum,
    Op.MINIMUM: torch.minimum,
    Op.LESS: torch.lt,
    Op.LESS_EQUAL: torch.le,
    Op.WHERE: torch.where,
}


def modules_of(width: int, modules: int) -> Tensor:
    """The module of each unit."""
    return torch.tensor([((unit + 1) * modules - 1) // width for unit in range(width)])


def matrix(param: Param, weight: Tensor, rows: slice) -> Tensor:
    """The rows of one equation, the blocks that its matrix must not have left out."""
    own = weight[rows]
    if param.mask is None:
        return own
    below = modules_of(own.shape[0], param.modules)[:, None]
    read = modules_of(own.shape[1], param.modules)
    kept = below <= read if param.mask is Low.UPPER_BLOCKS else below == read
    return own * kept


class Stepping:
    """The values of every node of a layer's cell at one step after another, [B, width] each."""

    def __init__(self, layer: Recurrent, k: int = 0, reverse: bool = False) -> None:
        made, held = layer._layers[k], layer._layers[k].suffixes[int(reverse)]
        self.graph: Graph = made.plan.cell.graph
        self.sizes = made.sizes
        params, self.places = layout(self.graph, made.sizes, layer.bias)
        names = made.names[int(reverse)]
        assert held
        self.params = {p.name: (p, getattr(layer, n)) for p, n in zip(params, names, strict=True)}

    def rows(self, index: int, kind: str) -> Tensor:
        place = self.places[index, kind]
        param, weight = self.params[place.param]
        return matrix(param, weight, slice(place.start, place.stop))

    def step(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        change: Mapping[int, Callable[[Tensor], Tensor]],
    ) -> list[Tensor]:
        """Every node's value at a step; some are changed as soon as they are made."""
        graph = self.graph
        values: list[Tensor] = []
        known = dict(zip(graph.inputs, inputs, strict=True))
        known |= dict(zip((s.leaf for s in graph.states), states, strict=True))
        for index, node in enumerate(graph.nodes):
            args = [values[arg] for arg in node.args]
            width = node.width.resolve(self.sizes) if node.width else 0
            if index in known:
                made = known[index]
            elif node.op in POINTWISE:
                made = POINTWISE[node.op](*args)
            elif node.op is Op.CONSTANT:
                made = torch.tensor(node.attr("value"), dtype=inputs[0].dtype)
            elif node.op is Op.MODULES:
                numbers = torch.tensor(node.attr("values"), dtype=inputs[0].dtype)
                made = numbers[modules_of(width, len(numbers))]
            elif node.op is Op.LINEAR:
                fits = (index, "weight") not in self.places
                made = args[0] if fits else args[0] @ self.rows(index, "weight").T
            elif node.op is Op.DIAGONAL:
                made = args[0] * self.rows(index, "weight")
            elif node.op is Op.BIAS:
                made = self.rows(index, "bias")
            elif node.op is Op.LAYER_NORM:
                gain, shift = self.rows(index, "gain"), self.rows(index, "shift")
                made = layer_norm(args[0], (width,), gain, shift)
            elif node.op is Op.PART:
                part = node.attr("index")
                assert isinstance(part, int)
                made = args[0][..., part * width : (part + 1) * width]
            else:
                assert node.op is Op.CONCAT
                made = torch.cat(args, -1)
            values.append(change[index](made) if index in change else made)
        return values

    def over_time(
        self,
        inputs: Sequence[Tensor],
        states: Sequence[Tensor],
        patches: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType({}),
    ) -> dict[str, list[Tensor]]:
        """All that can be named, at every step: inputs [T, B, width], states [B, width]."""
        known = named_values(self.graph)
        found: dict[str, list[Tensor]] = {name: [] for name in known}
        carried = {name for name in patches if self.is_carried(known[name])}
        nodes = {known[name].node: patches[name] for name in patches if name not in carried}
        names = self.graph.state_names
        for t in range(len(inputs[0])):
            change = {node: functools.partial(_at, fn, t) for node, fn in nodes.items()}
            values = self.step([x[t] for x in inputs], states, change)
            after = [
                values[slot.next].expand_as(s)
                for slot, s in zip(self.graph.states, states, strict=True)
            ]
            after = [
                patches[name](s, t) if name in carried else s
                for name, s in zip(names, after, strict=True)
            ]
            for name, seen in known.items():
                if seen.state and seen.kind != "before":
                    found[name].append(after[names.index(seen.state)])
                else:
                    found[name].append(values[seen.node].expand(inputs[0].shape[1], -1))
            states = after
        return found

    def is_carried(self, seen: Named) -> bool:
        """Tell whether a state only takes over what is something else's value."""
        if seen.state is None or seen.kind == "before":
            return False
        owners = [slot.name for slot in self.graph.states if slot.next == seen.node]
        return self.graph.nodes[seen.node].op in LEAVES or owners[0] != seen.state


def _at(fn: Callable[[Tensor, int], Tensor], t: int, value: Tensor) -> Tensor:
    return fn(value, t)
