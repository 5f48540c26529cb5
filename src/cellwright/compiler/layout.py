"""Layout: which packed parameters hold a cell's weights, and under which names.

Weights that multiply the same vector lie in one matrix, in the order of the equations: an LSTM's
`weight_ih` holds the rows of i, f, g, o, as torch's does. The name's first letter is the vector
(`i` for the input, `h` for the hidden state, `c` for a peephole's cell), the second the hidden
layer that it feeds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cellwright.compiler.program import Block, Low, Param
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.masks import unmasked
from cellwright.language.ops import PARAMETRIC, Op

SPELLING = {Op.ADD: "{}+{}", Op.SUB: "{}-{}", Op.MUL: "{}*{}", Op.DIV: "{}/{}", Op.NEG: "-{}"}


@dataclass(frozen=True)
class Place:
    """Where one word's weights lie: rows `start` to `stop` of the parameter `param`."""

    param: str
    start: int
    stop: int


def layout(
    graph: Graph, sizes: Mapping[str, int], with_bias: bool = True
) -> tuple[tuple[Param, ...], dict[tuple[int, str], Place]]:
    """Lay out a cell's weights.

    Returns the packed parameters and, for each node and kind of weight it has (`weight`, `bias`,
    `gain`, `shift`), its place in them.
    """
    wanted: dict[str, list[tuple[int, str, int]]] = {}  # parameter -> (node, kind, rows)
    shapes: dict[str, tuple[int, Low | None, int]] = {}  # parameter -> (columns, mask, modules)
    for index, node in enumerate(graph.nodes):
        for kind, param, rows, columns in _weights(graph, index, node, sizes):
            if kind == "bias" and not with_bias:
                continue
            shape = (columns, *_mask(node))
            while shapes.setdefault(param, shape) != shape:
                param += "_"  # the same vector through another kind of matrix
            wanted.setdefault(param, []).append((index, kind, rows))
    keys = _keys(graph, [(k, kind) for entries in wanted.values() for k, kind, _ in entries])
    params, places = [], {}
    for param, entries in wanted.items():
        at, blocks = 0, []
        for index, kind, rows in entries:
            places[index, kind] = Place(param, at, at + rows)
            begins, drop = (graph.nodes[index].attr(key) for key in ("start", "drop"))
            assert not isinstance(begins, tuple)
            rate = drop if isinstance(drop, float) else 0.0
            blocks.append(Block(keys[index, kind], at, at + rows, begins, rate))
            at += rows
        params.append(Param(param, at, shapes[param][0], tuple(blocks), *shapes[param][1:]))
    return tuple(sorted(params, key=_order)), places


FIRST = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _order(param: Param) -> tuple[int, bool]:
    """Torch's four in torch's order, then other matrices, then other vectors."""
    return (FIRST.index(param.name) if param.name in FIRST else len(FIRST), not param.columns)


def _mask(node: Node) -> tuple[Low | None, int]:
    """Say which blocks of a matrix stay zero, and into how many modules it falls."""
    for key, mask in (("upper_blocks", Low.UPPER_BLOCKS), ("blocks", Low.DIAGONAL_BLOCKS)):
        modules = node.attr(key)
        if isinstance(modules, int) and modules:
            return mask, modules
    return None, 0


def _weights(
    graph: Graph, index: int, node: Node, sizes: Mapping[str, int]
) -> list[tuple[str, str, int, int]]:
    """List (kind, parameter, rows, columns) of the weights that a node owns."""
    if node.op not in PARAMETRIC or node.width is None:
        return []
    rows = node.width.resolve(sizes)
    if node.op is Op.BIAS:
        return [("bias", f"bias{_bias_tag(graph, index, node)}", rows, 0)]
    operand = node.args[0]
    tag = node.attr("tag") or _tag(graph, operand)
    if node.op is Op.LAYER_NORM:
        return [("gain", "norm_gain", rows, 0), ("shift", "norm_shift", rows, 0)]
    if node.op is Op.DIAGONAL:
        return [("weight", f"weight_{tag}", rows, 0)]
    width = graph.nodes[operand].width
    assert width is not None
    columns = width.resolve(sizes)
    if node.attr("fit") and columns == rows:
        return []
    return [("weight", f"weight_{tag}", rows, columns)]


def _tag(graph: Graph, operand: int) -> str:
    """Name a vector in a parameter's name: `ih` for x, `hh` for h, `ch` for c; masks aside."""
    operand = unmasked(graph, operand)
    if operand == graph.inputs[0]:
        return "ih"
    name = re.sub(r"[^A-Za-z0-9]+", "_", spelling(graph, operand)).strip("_")
    # A state called i would take the input's letter.
    return f"{name}h" if len(name) == 1 and name != "i" else f"{name}_h"


def _bias_tag(graph: Graph, index: int, node: Node) -> str:
    """Name the bias of an affine after the first vector of that affine."""
    beside = node.attr("beside")
    if beside:
        return f"_{beside}"
    if not node.attr("affine"):
        return ""
    later = range(index + 1, len(graph.nodes))  # the sum that it is for comes soon
    at = next((k for k in later if index in graph.nodes[k].args), index)
    while graph.nodes[at].op is Op.ADD:
        at = graph.nodes[at].args[0]
    while graph.nodes[at].op in (Op.LAYER_NORM, Op.PART, Op.CONCAT):
        at = graph.nodes[at].args[0]
    first = graph.nodes[at]
    return f"_{first.attr('tag') or _tag(graph, first.args[0])}" if first.op is Op.LINEAR else ""


LONGEST = 40  # characters of a value's spelling; past that it is `etc`


def spelling(graph: Graph, index: int, depth: int = 0) -> str:
    """Name a value as its equation would: its own name, or the arithmetic that makes it."""
    node = graph.nodes[index]
    if node.name:
        return str(node.attr("spelled", node.name))
    if node.op is Op.CONSTANT:
        return f"{node.attr('value'):g}"
    if depth > 3 or len(node.args) > LONGEST:
        return "etc"
    args = [spelling(graph, arg, depth + 1) for arg in node.args]
    text = f"{node.op}({','.join(args)})" if args else str(node.op)
    if node.op in SPELLING:
        text = SPELLING[node.op].format(*args)
    return text if len(text) <= LONGEST else "etc"


def _keys(graph: Graph, weights: list[tuple[int, str]]) -> dict[tuple[int, str], str]:
    """Give each weight the key that `blocks()` shows: `f.x`, `f.h`, `f.bias`, `i.c`.

    Where one equation has two of a kind, the later ones say which vector they go with
    (`n.bias`, `n.bias_h`), and past that they are numbered.
    """
    keys: dict[tuple[int, str], str] = {}
    taken: set[str] = set()
    last: dict[str, int] = {}  # the latest number behind a key: all up to it are taken
    for index, kind in weights:
        node = graph.nodes[index]
        operand = operand_name(graph, index)
        candidates = [operand] if kind == "weight" else [kind, f"{kind}_{operand}"]
        equation = (node.owner or "").removesuffix(".next")
        choices = [f"{equation}.{c}" for c in candidates]
        stem = choices[-1]
        key = next((choice for choice in choices if choice not in taken), stem)
        while key in taken:
            last[stem] = last.get(stem, 1) + 1
            key = f"{stem}_{last[stem]}"
        taken.add(key)
        keys[index, kind] = key
    return keys


def operand_name(graph: Graph, index: int) -> str:
    """Name the vector that a weight acts on, or that a bias goes with."""
    node = graph.nodes[index]
    if node.args:
        inner = graph.nodes[node.args[0]]
        normed = node.op is Op.LAYER_NORM and inner.op is Op.LINEAR and not inner.name
        return spelling(graph, unmasked(graph, inner.args[0] if normed else node.args[0]))
    tag = _bias_tag(graph, index, node).lstrip("_")
    return graph.input_names[0] if tag == "ih" else tag[:-1].rstrip("_")


def check_sizes(graph: Graph, sizes: Mapping[str, int]) -> None:
    """Raise CellError where a width symbol has no usable size."""
    for symbol in graph.symbols:
        size = sizes.get(symbol)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise CellError(
                f"{graph.cell}: width {symbol!r} needs a size of 1 or more, got {size!r}"
            )
