"""Build: from a cell's graph to a Program with every operation of a step in one list."""

from collections.abc import Mapping

from cellwright.compiler.layout import Place, check_sizes, layout
from cellwright.compiler.program import (
    SCALAR,
    Carry,
    Instr,
    Low,
    Param,
    Port,
    Program,
    Stage,
    verify,
)
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import Op

EPSILON = 1e-5  # of layer_norm, as in torch


def build(graph: Graph, sizes: Mapping[str, int], with_bias: bool = True) -> Program:
    """Resolve widths and turn the words with weights into products, slices and norms.

    before:  i = sigmoid(affine(x, h))
    after:   t1 = product(x, weight_ih[0:H]);  t2 = product(h, weight_hh[0:H])
             t3 = slice(bias_ih, 0, H);  i = sigmoid(t1 + t2 + t3)
    """
    check_sizes(graph, sizes)
    params, places = layout(graph, sizes, with_bias)
    builder = _Builder(graph, sizes, params, places)
    for index in range(len(graph.nodes)):
        builder.add(index)
    value = builder.value
    program = Program(
        name=graph.cell,
        inputs=tuple(Port(value[k], builder.width(k)) for k in graph.inputs),
        states=tuple(
            Carry(value[s.leaf], builder.width(s.leaf), value[s.next]) for s in graph.states
        ),
        params=params,
        once=tuple(builder.once),
        stages=(Stage(pointwise=tuple(builder.instrs)),),
        outputs=tuple((graph.nodes[k].name or value[k], value[k]) for k in graph.outputs),
        names={n.name: value[k] for k, n in enumerate(graph.nodes) if n.name},
    )
    return verify(program)


class _Builder:
    def __init__(
        self,
        graph: Graph,
        sizes: Mapping[str, int],
        params: tuple[Param, ...],
        places: dict[tuple[int, str], Place],
    ) -> None:
        self.graph = graph
        self.sizes = sizes
        self.places = places
        self.params = {p.name: p for p in params}
        self.instrs: list[Instr] = []
        self.once: list[Instr] = []
        self.value: dict[int, str] = {}
        self.taken = set(self.params)
        self.last: dict[str, int] = {}  # the number of a stem's latest name: all up to it are taken
        self.masked: dict[str, str] = {}

    def width(self, index: int) -> int:
        width = self.graph.nodes[index].width
        return SCALAR if width is None else width.resolve(self.sizes)

    def add(self, index: int) -> None:
        node = self.graph.nodes[index]
        if node.op in (Op.INPUT, Op.STATE):
            self.value[index] = self._name(node.name)
        elif node.op in (Op.LINEAR, Op.BIAS, Op.DIAGONAL, Op.LAYER_NORM):
            self.value[index] = self._weighted(index, node)
        else:
            self.value[index] = self._plain(index, node)

    def _name(self, wanted: str | None) -> str:
        stem = wanted.replace(".", "_") if wanted else "t"
        n = self.last.get(stem, 1)
        name = stem if wanted else f"{stem}{n}"
        while name in self.taken:
            n += 1
            name = f"{stem}{n}" if wanted is None else f"{stem}_{n}"
        self.taken.add(name)
        self.last[stem] = n
        return name

    def _emit(
        self,
        name: str | None,
        op: Op | Low,
        args: tuple[str, ...],
        width: int,
        **attrs: int | float | tuple[float, ...],
    ) -> str:
        instr = Instr(self._name(name), op, args, width, tuple(sorted(attrs.items())))
        self.instrs.append(instr)
        return instr.name

    def _plain(self, index: int, node: Node) -> str:
        args = tuple(self.value[arg] for arg in node.args)
        width = self.width(index)
        if node.op is Op.PART:
            part = node.attr("index")
            assert isinstance(part, int)
            start = part * width
            return self._emit(node.name, Low.SLICE, args, width, start=start, stop=start + width)
        attrs = {key: value for key, value in node.attrs if not isinstance(value, str)}
        return self._emit(node.name, node.op, args, width, **attrs)

    def _weighted(self, index: int, node: Node) -> str:
        width = self.width(index)
        if node.op is Op.BIAS:
            place = self.places.get((index, "bias"))
            if place is None:  # a layer without biases
                return self._emit(node.name, Low.ZEROS, (), width)
            return self._rows(node.name, place)
        operand = self.value[node.args[0]]
        if node.op is Op.LAYER_NORM:
            gain = self._rows(None, self.places[index, "gain"])
            shift = self._rows(None, self.places[index, "shift"])
            args = (operand, gain, shift)
            return self._emit(node.name, Op.LAYER_NORM, args, width, eps=EPSILON)
        if (index, "weight") not in self.places:  # what fits needs no matrix
            return operand
        place = self.places[index, "weight"]
        if node.op is Op.DIAGONAL:
            return self._emit(node.name, Op.MUL, (operand, self._rows(None, place)), width)
        weight = self._matrix(place, node)
        return self._emit(
            node.name, Low.PRODUCT, (operand, weight), width, start=place.start, stop=place.stop
        )

    def _rows(self, name: str | None, place: Place) -> str:
        width = place.stop - place.start
        return self._emit(
            name, Low.SLICE, (place.param,), width, start=place.start, stop=place.stop
        )

    def _matrix(self, place: Place, node: Node) -> str:
        """Name the matrix of a product, its forbidden blocks masked to zero where it has any."""
        param = self.params[place.param]
        if param.mask is None:
            return place.param
        if len({block.stop - block.start for block in param.blocks}) > 1:
            raise CellError(
                f"{self.graph.cell}.{node.owner}: matrices of blocks that read the same vector "
                "and differ in width; name one, as in linear(v, ..., name='mine')"
            )
        if place.param not in self.masked:
            attrs = (("modules", param.modules), ("parts", len(param.blocks)))
            name = self._name(f"{place.param}_masked")
            self.once.append(Instr(name, param.mask, (place.param,), param.columns, attrs))
            self.masked[place.param] = name
        return self.masked[place.param]
