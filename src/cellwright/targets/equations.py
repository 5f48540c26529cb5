"""A cell's equations as a person writes them: one table, one entry for each operation.

i = σ(W_ix x + W_ih h[t-1] + b_i)
c[t] = f ⊙ c[t-1] + i ⊙ g
"""

import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import Op

LONGEST = 10_000  # characters of a right-hand side that a person could still want to see
# How tightly a text binds; an operand that binds more loosely than it must gets parentheses.
CHOICE, COMPARISON, SUM, PRODUCT, UNARY, ATOM = range(6)


@dataclass(frozen=True)
class Text:
    """An expression as text, and how tightly it binds."""

    text: str
    binds: int = ATOM

    def at_least(self, binds: int) -> str:
        """The text, in parentheses if it binds more loosely than `binds`."""
        return self.text if self.binds >= binds else f"({self.text})"


@dataclass(frozen=True)
class Place:
    """A node with the texts of its arguments, and the letters that name a matrix's operand."""

    node: Node
    args: tuple[Text, ...]
    operand: str = ""
    mark: str = ""  # ' for a second set of weights of the same name

    @property
    def weight(self) -> str:
        """Equation, operand and mark: what tells a matrix from the others."""
        return f"{self.owner}{self.operand}{self.mark}"

    @property
    def owner(self) -> str:
        """The equation that the node's weights belong to."""
        return _plain(self.node.owner or "")


def _infix(sign: str, binds: int, right: int) -> Callable[[Place], Text]:
    """`a sign b`; `right` is how tightly the right operand must bind."""

    def write(at: Place) -> Text:
        a, b = at.args
        return Text(f"{a.at_least(binds)} {sign} {b.at_least(right)}", binds)

    return write


def _applied(name: str) -> Callable[[Place], Text]:
    """`name(a, b)`."""
    return lambda at: Text(f"{name}({', '.join(a.text for a in at.args)})")


KINDS = (("upper", "upper_blocks"), ("blocks", "blocks"))  # how a matrix of blocks is marked


def _linear(at: Place) -> Text:
    if at.node.attr("fit"):
        return Text(f"fit({at.args[0].text})")
    name = f"{at.node.attr('tag')}{at.mark}" if at.node.attr("tag") else at.weight
    kinds = [kind for kind, key in KINDS if at.node.attr(key)]
    matrix = f"{kinds[0]}(W_{name})" if kinds else f"W_{name}"
    return Text(f"{matrix} {at.args[0].at_least(UNARY)}", PRODUCT)


def _diagonal(at: Place) -> Text:
    return Text(f"p_{at.weight} ⊙ {at.args[0].at_least(UNARY)}", PRODUCT)


def _constant(at: Place) -> Text:
    return Text(f"{at.node.attr('value'):g}")


def _modules(at: Place) -> Text:
    values = at.node.attr("values")
    assert isinstance(values, tuple)
    return Text(f"({', '.join(f'{v:g}' for v in values)}), one for each block of units")


def _part(at: Place) -> Text:
    index, of = at.node.attr("index"), at.node.attr("of")
    assert isinstance(index, int)
    return Text(f"part {index + 1} of {of} of {at.args[0].at_least(ATOM)}", CHOICE)


def _where(at: Place) -> Text:
    condition, a, b = at.args
    return Text(f"{a.at_least(SUM)} if {condition.text} else {b.at_least(SUM)}", CHOICE)


TEXT: dict[Op, Callable[[Place], Text]] = {
    Op.INPUT: lambda at: Text(at.node.name or ""),
    Op.STATE: lambda at: Text(f"{at.node.name}[t-1]"),
    Op.CONSTANT: _constant,
    Op.MODULES: _modules,
    Op.LINEAR: _linear,
    Op.DIAGONAL: _diagonal,
    Op.BIAS: lambda at: Text(f"b_{at.owner}{at.mark}"),
    Op.LAYER_NORM: _applied("layer_norm"),
    Op.PART: _part,
    Op.CONCAT: _applied("concat"),
    Op.ADD: _infix("+", SUM, SUM),
    Op.SUB: _infix("-", SUM, PRODUCT),
    Op.MUL: _infix("⊙", PRODUCT, PRODUCT),
    Op.DIV: _infix("/", PRODUCT, UNARY),
    Op.NEG: lambda at: Text(f"-{at.args[0].at_least(PRODUCT)}", UNARY),
    Op.ABS: lambda at: Text(f"|{at.args[0].text}|"),
    Op.SIGMOID: _applied("σ"),
    Op.TANH: _applied("tanh"),
    Op.RELU: _applied("relu"),
    Op.EXP: _applied("exp"),
    Op.LOG: _applied("log"),
    Op.MAXIMUM: _applied("max"),
    Op.MINIMUM: _applied("min"),
    Op.LESS: _infix("<", COMPARISON, SUM),
    Op.LESS_EQUAL: _infix("≤", COMPARISON, SUM),
    Op.WHERE: _where,
}


def equations(cell: type[Cell]) -> str:
    """The cell's name and description, its equations, and what the letters mean."""
    graph = cell.graph
    lines = [f"{graph.cell}"]
    if cell.__doc__:
        lines += textwrap.wrap(" ".join(inspect.cleandoc(cell.__doc__).split()), 78)
    lines.append("")
    written = _written(graph)
    rows = [
        (_at_t(node.name), text)
        for node, text in zip(graph.nodes, written, strict=True)
        if node.name and node.op not in (Op.INPUT, Op.STATE)
    ]
    named = {state.name: graph.nodes[state.next].name for state in graph.states}
    rows += [(f"{s}[t]", _at_t(n)) for s, n in named.items() if n and n != f"{s}.next"]
    width = max(len(name) for name, _ in rows)
    lines += [f"  {name:>{width}} = {text}" for name, text in rows]
    lines += ["", *textwrap.wrap(_legend(graph, written), 78)]
    return "\n".join(lines)


def _written(graph: Graph) -> list[str]:
    """The right-hand side of every node; a named value is written out once, then by its name."""
    sides: list[str] = []
    used: list[Text] = []
    letters: list[str] = []  # of what an operand is made: names a matrix after it
    seen: Counter[tuple[object, ...]] = Counter()
    for node in graph.nodes:
        operand = "".join(dict.fromkeys(letters[k] for k in node.args))
        mark = "'" * seen[node.op, node.owner, operand]
        seen[node.op, node.owner, operand] += 1
        text = TEXT[node.op](Place(node, tuple(used[k] for k in node.args), operand, mark))
        if len(text.text) > LONGEST:
            raise CellError(
                f"{graph.cell}: an equation too long to write out; name some parts of it"
            )
        sides.append(text.text)
        leaf = node.op in (Op.INPUT, Op.STATE)
        named = node.name is not None and not leaf
        used.append(Text(_at_t(node.name or "")) if named else text)
        letters.append(_plain(node.name) if node.name else operand)
    return sides


def _at_t(name: str) -> str:
    """`c.next` is the state after the step: c[t]."""
    return f"{name.removesuffix('.next')}[t]" if name.endswith(".next") else name


def _plain(name: str) -> str:
    return name.removesuffix(".next")


def _legend(graph: Graph, written: Sequence[str]) -> str:
    """What the signs in these equations mean, and no others; how weights start if not drawn."""
    found = {node.op for node in graph.nodes}
    inputs, states = ", ".join(graph.input_names), ", ".join(graph.state_names)
    parts = [f"{inputs}: input at step t. {states}: carried from step to step"]
    outputs = ", ".join(map(_at_t, graph.output_names))
    parts.append(f"The layer's output is {outputs}")
    signs = {
        Op.LINEAR: "W: matrix",
        Op.BIAS: "b: bias",
        Op.DIAGONAL: "p: peephole, a vector",
        Op.SIGMOID: "σ: logistic sigmoid",
        Op.MUL: "⊙: element by element",
    }
    parts.append("; ".join(text for op, text in signs.items() if op in found))
    if any(node.attr("upper_blocks") for node in graph.nodes):
        parts.append("upper(W): the blocks below the diagonal are 0")
    if any(node.attr("blocks") for node in graph.nodes):
        parts.append("blocks(W): the blocks off the diagonal are 0")
    if any(node.attr("fit") for node in graph.nodes):
        parts.append("fit(v): v itself where the widths agree, else W v")
    for node, text in zip(graph.nodes, written, strict=True):
        start = node.attr("start")
        if start is not None:
            value = f"{start:g}" if isinstance(start, float) else f"the {start}"
            parts.append(f"{text.split()[0]} starts as {value}")
    return ". ".join(parts) + "."
