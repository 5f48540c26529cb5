"""Symbols: how a cell's values and operations are written in a picture, and how wide they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.entities import name2codepoint

from cellwright.language.graph import Graph, Node
from cellwright.language.ops import Op
from cellwright.targets.formulas import GREEK, digits

FUNCTIONS = {
    Op.SIGMOID: "σ",
    Op.TANH: "tanh",
    Op.RELU: "relu",
    Op.EXP: "exp",
    Op.LOG: "log",
    Op.LAYER_NORM: "LN",
    Op.LINEAR: "W",
}
NARROW = frozenset("ijlt.,:;|()[] -'!")
WIDE = frozenset("mwMWÆŒ")
SMALL = 0.72  # the size of a subscript, of the text's


@dataclass(frozen=True)
class Symbol:
    """A name as it is set: `c` with the subscript `t-1`."""

    stem: str
    sub: str = ""

    def width(self, size: float) -> float:
        """Return at least how much room the symbol takes, in the unit of `size`."""
        return width(self.stem, size) + width(self.sub, size * SMALL)


def width(text: str, size: float) -> float:
    """Return at least how much room a text takes in a common font of that size."""
    parts = {0.42: NARROW, 0.98: WIDE}
    factors = (next((f for f, signs in parts.items() if s in signs), 0.66) for s in text)
    return size * sum(factors)


def changing(graph: Graph) -> frozenset[int]:
    """Return the values that differ from step to step."""
    found: set[int] = set()
    for index, node in enumerate(graph.nodes):
        begins = node.op is Op.STATE or (
            node.op is Op.INPUT and node.attr("per") != "sequence"
        )  # a mask of a whole sequence is one for all its steps
        if begins or found.intersection(node.args):
            found.add(index)
    return frozenset(found)


def symbol(name: str, step: str) -> Symbol:
    """Return the sign of a name at a step: `i_d` at t is i with d, t below it."""
    stem, *rest = name.removesuffix(".next").split("_")
    sub = ",".join([*rest, step.replace("-", "−")] if step else rest)
    return Symbol(chr(name2codepoint[stem]) if stem in GREEK else stem, sub)


def signs(graph: Graph, step: str = "t") -> dict[int, Symbol]:
    """Return the sign of every named value of a step; a state's is that before the step."""
    moves = changing(graph)
    before = {"t-1": "t-2", "t": "t-1", "t+1": "t"}[step]
    found = {}
    for index, node in enumerate(graph.nodes):
        if node.name:
            when = before if node.op is Op.STATE else step if index in moves else ""
            found[index] = symbol(node.name, when)
    return found


def number(value: float) -> str:
    """Write a number: 0.5, -2, 1e-9, with a minus as long as a plus."""
    mantissa, power = digits(value)
    text = mantissa if power is None else f"{mantissa}e{power}"
    return text.replace("-", "−")


@dataclass(frozen=True)
class Link:
    """One operation of a chain on one value; `value` is the number that it takes, if any."""

    op: Op
    value: float | None = None
    first: bool = False  # the number stands first: 1 - v


def composed(chain: Sequence[Link], innermost: str = "·") -> str:
    """Write a chain of operations, the first applied first: σ, then 1 - it, is `1 − σ`."""
    text = innermost
    for link in chain:
        text = _applied(link, text)
    if innermost == "·" and len(chain) == 1:
        text = text.replace("·", "").strip()  # `1 −`, `× 4`, `+ 1`
    return text


def _applied(link: Link, text: str) -> str:
    if link.value is None:
        return _function(link.op, text)
    value = number(link.value)
    if link.op is Op.MUL:
        return f"× {value}" if text == "·" else f"{value} {_wrapped(text)}"
    sign = {Op.ADD: "+", Op.SUB: "−", Op.DIV: "÷", Op.LESS: "<", Op.LESS_EQUAL: "≤"}.get(link.op)
    if sign is None:
        return f"{'max' if link.op is Op.MAXIMUM else 'min'}({text}, {value})"
    if not link.first:
        return f"{_wrapped(text) if link.op is Op.DIV else text} {sign} {value}"
    mirrored = {"<": ">", "≤": "≥"}
    if sign in mirrored:
        return f"{text} {mirrored[sign]} {value}"
    return f"{text} + {value}" if sign == "+" else f"{value} {sign} {_wrapped(text)}"


def _function(op: Op, text: str) -> str:
    if op is Op.NEG:
        return f"−{_wrapped(text)}"
    if op is Op.ABS:
        return f"|{text}|"
    name = FUNCTIONS[op]
    if text == "·":
        return name
    return f"{name} {text}" if _plain(text) else f"{name}({text})"


def _plain(text: str) -> bool:
    return all(part.isalnum() for part in text.split())


def _wrapped(text: str) -> str:
    call = re.fullmatch(r"\w+\([^()]*\)", text)
    return text if call or _plain(text) or text == "·" else f"({text})"


def link_of(graph: Graph, node: Node) -> tuple[Link, int] | None:
    """Return a node as an operation on one value, and that value; None if it takes several."""
    if len(node.args) == 1 and node.op in FUNCTIONS.keys() - {Op.LINEAR, Op.LAYER_NORM}:
        return Link(node.op), node.args[0]
    if node.op in (Op.NEG, Op.ABS):
        return Link(node.op), node.args[0]
    if len(node.args) == 2 and node.op is not Op.CONCAT:
        for place, other in ((0, 1), (1, 0)):
            constant = graph.nodes[node.args[place]]
            if constant.op is Op.CONSTANT and not constant.name:
                value = constant.attr("value")
                assert isinstance(value, float)
                return Link(node.op, value, first=place == 0), node.args[other]
    return None
