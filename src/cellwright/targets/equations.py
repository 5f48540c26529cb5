"""Equations: a cell as plain text, the way a paper writes it.

    i  = σ(W_ix x + W_ih h + b_i)
    c' = f ⊙ c + i ⊙ g

A prime is the value after the step. ⊙ is the product unit by unit, W a matrix, b a bias vector,
p a peephole's vector; their indices are the equation and the vector that they act on.
"""

from cellwright.compiler.layout import operand_name
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import Op

LONGEST = 10_000  # characters of a part of an equation

# Binding strength: an argument weaker than its place gets parentheses.
COMPARE, SUM, TERM, ATOM = range(4)

POINT: dict[Op, tuple[str, int, tuple[int, ...]]] = {
    Op.ADD: ("{} + {}", SUM, (SUM, SUM)),
    Op.SUB: ("{} − {}", SUM, (SUM, TERM)),
    Op.MUL: ("{} ⊙ {}", TERM, (TERM, TERM)),
    Op.DIV: ("{} / {}", TERM, (TERM, ATOM)),
    Op.NEG: ("−{}", TERM, (ATOM,)),
    Op.ABS: ("|{}|", ATOM, (COMPARE,)),
    Op.SIGMOID: ("σ({})", ATOM, (COMPARE,)),
    Op.TANH: ("tanh({})", ATOM, (COMPARE,)),
    Op.RELU: ("max({}, 0)", ATOM, (COMPARE,)),
    Op.EXP: ("exp({})", ATOM, (COMPARE,)),
    Op.LOG: ("log({})", ATOM, (COMPARE,)),
    Op.MAXIMUM: ("max({}, {})", ATOM, (COMPARE, COMPARE)),
    Op.MINIMUM: ("min({}, {})", ATOM, (COMPARE, COMPARE)),
    Op.LESS: ("{} < {}", COMPARE, (SUM, SUM)),
    Op.LESS_EQUAL: ("{} ≤ {}", COMPARE, (SUM, SUM)),
    Op.WHERE: ("({1} if {0} else {2})", ATOM, (COMPARE, COMPARE, COMPARE)),
    Op.LINEAR: ("{} {}", TERM, (ATOM,)),
    Op.DIAGONAL: ("{} ⊙ {}", TERM, (ATOM,)),
    Op.LAYER_NORM: ("LN({})", ATOM, (COMPARE,)),
    Op.CONCAT: ("[{}]", ATOM, ()),
    Op.PART: ("{}[{} of {}]", ATOM, (ATOM,)),
}


def equations(graph: Graph) -> list[tuple[str, str]]:
    """Return a cell's equations as (left side, right side), in the order of the declaration."""
    return [
        (_side(name), _write(graph, index, graph.nodes[index])[0]) for name, index in _rows(graph)
    ]


def emit(graph: Graph) -> str:
    """Return the equations as lines, aligned at the equals sign."""
    rows = equations(graph)
    room = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:<{room}} = {right}" for left, right in rows)


def _rows(graph: Graph) -> list[tuple[str, int]]:
    """List every equation, with a row of its own for a state that takes a value named before."""
    rows = list(graph.equations)
    for state in graph.states:
        if graph.nodes[state.next].name != f"{state.name}.next":
            rows.append((f"{state.name}.next", state.next))
    return rows


def _side(name: str) -> str:
    return name.removesuffix(".next") + "'" * name.endswith(".next")


def _read(graph: Graph, index: int, strength: int) -> str:
    node = graph.nodes[index]
    if node.name and node.op is not Op.MODULES:
        return _side(node.name)
    text, own = _write(graph, index, node)
    if len(text) > LONGEST:
        raise CellError(f"{graph.cell}: an equation too long to write out; name some parts of it")
    return text if own >= strength else f"({text})"


def _write(graph: Graph, index: int, node: Node) -> tuple[str, int]:
    if node.op in (Op.INPUT, Op.STATE):
        return _side(node.name or ""), ATOM
    if node.op is Op.CONSTANT:
        value = node.attr("value")
        return f"{value:g}".replace("-", "−"), ATOM
    if node.op is Op.MODULES:
        values = node.attr("values")
        assert isinstance(values, tuple)
        return f"[{', '.join(f'{v:g}' for v in values)}]", ATOM
    owner = (node.owner or "").removesuffix(".next")
    if node.op is Op.BIAS:
        others = [n for n in graph.nodes if n.op is Op.BIAS and n.owner == node.owner]
        return f"b_{owner}{operand_name(graph, index) if len(others) > 1 else ''}", ATOM
    template, own, needs = POINT[node.op]
    if node.op is Op.CONCAT:
        return template.format(" ; ".join(_read(graph, a, COMPARE) for a in node.args)), own
    args = [_read(graph, arg, need) for arg, need in zip(node.args, needs, strict=True)]
    if node.op in (Op.LINEAR, Op.DIAGONAL):
        return template.format(_weight(graph, node, owner), args[0]), own
    if node.op is Op.PART:
        part, parts = node.attr("index"), node.attr("of")
        assert isinstance(part, int)
        return template.format(args[0], part + 1, parts), own
    return template.format(*args), own


def _weight(graph: Graph, node: Node, owner: str) -> str:
    """Name a weight after its equation and its vector: W_ix, p_ic."""
    letter = "W" if node.op is Op.LINEAR else "p"
    operand = graph.nodes[node.args[0]].name
    index = f"{owner}{operand.removesuffix('.next')}" if operand else owner
    plain = f"{letter}_{index}"
    blocks = node.attr("upper_blocks")
    return f"tri{blocks}({plain})" if blocks else plain
