"""A cell's equations as a person writes them: one table, one entry for each operation.

i = σ(W_ix x + W_ih h[t-1] + b_i)
c[t] = f ⊙ c[t-1] + i ⊙ g
"""

import inspect
import textwrap
from collections.abc import Sequence

from cellwright.language.cell import Cell
from cellwright.language.graph import Graph
from cellwright.language.ops import Op
from cellwright.targets.formulas import (
    ATOM,
    CHOICE,
    PRODUCT,
    SUM,
    UNARY,
    Entry,
    Line,
    Name,
    Notation,
    Place,
    When,
    Written,
    applied,
    compared,
    constant,
    counters,
    digits,
    infix,
    joined,
    lines,
    modules,
    negated,
    sides,
    times,
)

WIDTH = 78  # of a paragraph, in characters


def _label(at: Place) -> str:
    return joined(at.label).join(at.label) + "'" * at.mark


def _linear(at: Place) -> Written:
    if at.node.attr("fit"):
        return Written(f"fit({at.args[0].text})")
    kind = at.kind()
    suffix = f"^{kind[0]}" if kind else ""
    return Written(f"W_{_label(at)}{suffix} {at.arg(0, UNARY)}", PRODUCT)


def _number(value: float) -> str:
    mantissa, power = digits(value)
    return mantissa if power is None else f"{mantissa}e{power}"


def _several(numbers: list[str]) -> str:
    return f"({', '.join(numbers)}), one for each block of units"


def _part(at: Place) -> Written:
    index, of = at.node.attr("index"), at.node.attr("of")
    assert isinstance(index, int)
    return Written(f"part {index + 1} of {of} of {at.arg(0, ATOM)}", CHOICE)


def _where(at: Place) -> Written:
    condition, a, b = at.args[0].text, at.arg(1, SUM, leads=True), at.arg(2, SUM, leads=True)
    return Written(f"{a} if {condition} else {b}", CHOICE)


def _named(name: Name) -> str:
    steps = {When.BEFORE: "[t-1]", When.NOW: "[t]", When.FIXED: ""}
    return f"{name.stem}{steps[name.when]}" if name.state else name.stem


def _stacked(texts: Sequence[str]) -> str:
    return f"[{'; '.join(texts)}]"


def _leaf(at: Place) -> Written:
    assert at.name is not None
    return Written(_named(at.name))


TEXT: dict[Op, Entry] = {
    Op.INPUT: _leaf,
    Op.STATE: _leaf,
    Op.CONSTANT: constant(_number),
    Op.MODULES: modules(_number, _several),
    Op.LINEAR: _linear,
    Op.DIAGONAL: lambda at: Written(f"p_{_label(at)} ⊙ {at.arg(0, UNARY)}", PRODUCT),
    Op.BIAS: lambda at: Written(f"b_{_label(at)}"),
    Op.LAYER_NORM: applied("LN("),
    Op.PART: _part,
    Op.CONCAT: applied("[", "; ", "]"),
    Op.ADD: infix(" + ", SUM, SUM),
    Op.SUB: infix(" - ", SUM, PRODUCT),
    Op.MUL: times(" ⊙ ", " "),
    Op.DIV: infix(" / ", PRODUCT, UNARY),
    Op.NEG: negated("-"),
    Op.ABS: applied("|", after="|"),
    Op.SIGMOID: applied("σ("),
    Op.TANH: applied("tanh("),
    Op.RELU: applied("relu("),
    Op.EXP: applied("exp("),
    Op.LOG: applied("log("),
    Op.MAXIMUM: applied("max("),
    Op.MINIMUM: applied("min("),
    Op.LESS: compared(" < ", " > "),
    Op.LESS_EQUAL: compared(" ≤ ", " ≥ "),
    Op.WHERE: _where,
}
PLAIN = Notation(TEXT, _named, lambda text: f"({text})", _stacked)


def rows(graph: Graph) -> list[Line]:
    """Return the cell's equations, each as its two sides."""
    return lines(graph, PLAIN)


def equations(cell: type[Cell]) -> str:
    """The cell's name and description, its equations, and what the letters mean."""
    graph = cell.graph
    page = [graph.cell]
    for paragraph in inspect.cleandoc(cell.__doc__ or "").split("\n\n"):
        page += textwrap.wrap(" ".join(paragraph.split()), WIDTH)
    found = rows(graph)
    width = max(len(row.left) for row in found)
    page += ["", *(f"  {row.left:>{width}} = {row.right}" for row in found)]
    page += ["", *textwrap.wrap(" ".join(legend(graph)), WIDTH)]
    return "\n".join(page)


SIGNS = {
    Op.LINEAR: "W: matrix",
    Op.BIAS: "b: bias",
    Op.DIAGONAL: "p: peephole, a vector",
    Op.SIGMOID: "σ: logistic sigmoid",
    Op.MUL: "⊙: element by element",
    Op.LAYER_NORM: "LN: layer normalisation, each with a gain and a shift of its own",
}


def legend(graph: Graph) -> list[str]:
    """Return what the signs in these equations mean, and no others, sentence by sentence."""
    masks = [n for n in (graph.nodes[k] for k in graph.inputs) if n.attr("rate") is not None]
    drawn = [n.name for n in masks]
    inputs = ", ".join(name for name in graph.input_names if name not in drawn)
    states = ", ".join(graph.state_names)
    outputs = ", ".join(_after(graph, k) for k in graph.outputs)
    found = {node.op for node in graph.nodes}
    made = [f"{inputs}: input at step t.", f"{states}: carried from step to step."]
    made.append(f"The layer's output is {outputs}.")
    signs = [text for op, text in SIGNS.items() if op in found]
    made += [f"{'; '.join(signs)}."] if signs else []
    return made + notes(graph)


def _after(graph: Graph, index: int) -> str:
    name = graph.nodes[index].name or ""
    return f"{name.removesuffix('.next')}[t]" if name.endswith(".next") else name


def notes(graph: Graph) -> list[str]:
    """Return what the equations alone do not say: blocks, starts, counters, masks."""
    made = []
    for key, kind, which in (
        ("upper_blocks", "tri", "below"),
        ("blocks", "diag", "off"),
    ):
        counts = sorted({n for node in graph.nodes if isinstance(n := node.attr(key), int) and n})
        if counts:
            several = " or ".join(f"{n} x {n}" for n in counts)
            made.append(f"W^{kind}: {several} blocks, those {which} the diagonal are 0.")
    if any(node.attr("fit") for node in graph.nodes):
        made.append("fit(v): v itself where the widths agree, else W v.")
    for node, text in zip(graph.nodes, sides(graph, PLAIN), strict=True):
        start, rate = node.attr("start"), node.attr("rate")
        if start is not None:
            value = _number(start) if isinstance(start, float) else f"the {start}"
            made.append(f"{text.split()[0]} starts as {value}.")
        if isinstance(rate, float):
            per = "a sequence" if node.attr("per") == "sequence" else "every step"
            made.append(f"{text}: a random mask, 0 with probability {rate:g}, for {per}.")
    for state, bound in counters(graph):
        made.append(f"From a start of 0, {state}[t-1] = (t - 1) mod {bound}, t counted from 1.")
    return made
