"""Lines that can be checked by hand: a value's right-hand side as signs and places for numbers.

f ⊙ c + i ⊙ g becomes [f, " · ", c, " + ", i, " · ", g], where a name stands for the node whose
number goes there. A function takes one number, sigmoid(a), and what it takes has a line before it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cellwright.language.graph import Graph, Node
from cellwright.language.ops import LEAVES, Op
from cellwright.targets.formulas import digits

Token = str | int  # a sign, or the node whose number stands there
SUM, PRODUCT, ATOM = range(3)  # how tightly signs bind


@dataclass(frozen=True)
class Piece:
    """A part of a line, and how tightly it binds."""

    tokens: tuple[Token, ...]
    binds: int = ATOM

    def within(self, binds: int) -> tuple[Token, ...]:
        """The tokens, in parentheses if they bind more loosely than `binds`."""
        return self.tokens if self.binds >= binds else ("(", *self.tokens, ")")


@dataclass(frozen=True)
class Line:
    """A value that is computed by itself: its right-hand side, and its terms where it is a sum.

    A term is a sign, 1 or -1, and a node. `kind` is `arithmetic`, where the tokens are all there
    is to it, or the operation whose working is more than signs: linear, layer_norm, part, concat.
    """

    node: int
    tokens: tuple[Token, ...]
    terms: tuple[tuple[int, int], ...]
    kind: str


Write = Callable[[Node, Callable[[int], Piece]], Piece]


def _infix(sign: str, binds: int, right: int) -> Write:
    def write(node: Node, arg: Callable[[int], Piece]) -> Piece:
        a, b = node.args
        return Piece((*arg(a).within(binds), sign, *arg(b).within(right)), binds)

    return write


def _function(name: str) -> Write:
    """A function's arguments are numbers: what makes them has lines of its own."""

    def write(node: Node, arg: Callable[[int], Piece]) -> Piece:
        tokens: list[Token] = [f"{name}("]
        for k in node.args:
            tokens += [k, ", "]
        return Piece((*tokens[:-1], ")"))

    return write


def _constant(node: Node, arg: Callable[[int], Piece]) -> Piece:
    value = node.attr("value")
    assert isinstance(value, float)
    mantissa, power = digits(value)
    text = mantissa.replace("-", "−") + ("" if power is None else f"e{power}")
    return Piece((text,), ATOM if value >= 0 else SUM)


def _negated(node: Node, arg: Callable[[int], Piece]) -> Piece:
    return Piece(("−", *arg(node.args[0]).within(ATOM)), SUM)


def _where(node: Node, arg: Callable[[int], Piece]) -> Piece:
    condition, yes, no = node.args
    return Piece((yes, " if ", *arg(condition).tokens, ", else ", no))


def _alone(node: Node, arg: Callable[[int], Piece]) -> Piece:
    raise AssertionError(f"{node.op} stands in a line as its number")


LINES: dict[Op, Write] = {
    **dict.fromkeys((Op.INPUT, Op.STATE, Op.MODULES), _alone),
    **dict.fromkeys((Op.LINEAR, Op.DIAGONAL, Op.BIAS, Op.LAYER_NORM), _alone),
    **dict.fromkeys((Op.PART, Op.CONCAT), _alone),
    Op.CONSTANT: _constant,
    Op.ADD: _infix(" + ", SUM, SUM),
    Op.SUB: _infix(" − ", SUM, PRODUCT),
    Op.MUL: _infix(" · ", PRODUCT, ATOM),
    Op.DIV: _infix(" / ", PRODUCT, ATOM),
    Op.NEG: _negated,
    Op.ABS: _function("abs"),
    Op.SIGMOID: _function("σ"),
    Op.TANH: _function("tanh"),
    Op.RELU: _function("relu"),
    Op.EXP: _function("exp"),
    Op.LOG: _function("log"),
    Op.MAXIMUM: _function("max"),
    Op.MINIMUM: _function("min"),
    Op.LESS: _infix(" < ", SUM, SUM),
    Op.LESS_EQUAL: _infix(" ≤ ", SUM, SUM),
    Op.WHERE: _where,
}
ARITHMETIC = (Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.NEG, Op.LESS, Op.LESS_EQUAL, Op.CONSTANT)
ALONE = frozenset(op for op, write in LINES.items() if write is _alone)


def lines(graph: Graph) -> dict[int, Line]:
    """Return the line of every node that is more than a leaf, by its node."""
    return {k: _line(graph, k) for k, node in enumerate(graph.nodes) if node.op not in LEAVES}


def _line(graph: Graph, index: int) -> Line:
    node = graph.nodes[index]
    if node.op in ALONE:
        kind = str(node.op) if node.op is not Op.BIAS else "weight"
        return Line(index, tuple(node.args), (), kind)

    def arg(k: int) -> Piece:
        inner = graph.nodes[k]
        inline = inner.op in ARITHMETIC and not inner.name
        return LINES[inner.op](inner, arg) if inline else Piece((k,))

    terms = tuple(_terms(graph, index, 1)) if node.op in (Op.ADD, Op.SUB) else ()
    plain = all(_is_number(graph, k) for _, k in terms)
    return Line(index, LINES[node.op](node, arg).tokens, () if plain else terms, "arithmetic")


def _terms(graph: Graph, index: int, sign: int) -> Iterator[tuple[int, int]]:
    """Split a sum as it is written into its summands."""
    node = graph.nodes[index]
    for position, k in enumerate(node.args):
        own = -sign if node.op is Op.SUB and position else sign
        inner = graph.nodes[k]
        if inner.op in (Op.ADD, Op.SUB) and not inner.name and own == 1:
            yield from _terms(graph, k, own)
        else:
            yield own, k


def _is_number(graph: Graph, index: int) -> bool:
    node = graph.nodes[index]
    return bool(node.name) or node.op in LEAVES or node.op not in ARITHMETIC


def has_own_line(graph: Graph, index: int) -> bool:
    """Whether a value that stands in a line is worked out above it.

    A named value is worked out where its name is, a product with a matrix stands as its number.
    """
    node = graph.nodes[index]
    return not node.name and node.op not in LEAVES and node.op not in (Op.LINEAR, Op.BIAS)
