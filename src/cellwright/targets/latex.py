r"""A cell's equations as LaTeX, for a paper or a notebook: one table, one entry for each operation.

f_t &= \sigma(W_{fx} x_t + W_{fh} h_{t-1} + b_f) \\
c_t &= f_t \odot c_{t-1} + i_t \odot g_t
"""

import inspect
import textwrap
from collections.abc import Sequence

from cellwright.language.cell import Cell
from cellwright.language.graph import Graph
from cellwright.language.ops import Op
from cellwright.targets.equations import WIDTH, legend
from cellwright.targets.formulas import (
    ATOM,
    CHOICE,
    GREEK,
    PRODUCT,
    SUM,
    UNARY,
    Entry,
    Name,
    Notation,
    Place,
    When,
    Written,
    applied,
    compared,
    constant,
    digits,
    infix,
    joined,
    lines,
    modules,
    negated,
    times,
)

STEP = {When.BEFORE: ("t-1",), When.NOW: ("t",), When.FIXED: ()}
TALL = (r"\frac", r"\begin{cases}")


def _letter(word: str) -> str:
    """Write one word of a name: a letter, a Greek letter, or a word set upright."""
    if len(word) == 1:
        return word
    return rf"\{word}" if word in GREEK else rf"\mathrm{{{word}}}"


def _symbol(stem: str, indices: Sequence[str] = ()) -> str:
    """Write a name with its indices: `i_d` at t is i_{d,t}."""
    base, *below = stem.split("_")
    if "" in (base, *below):  # a__b: no index is empty
        escaped = stem.replace("_", r"\_")
        return _indexed(rf"\mathrm{{{escaped}}}", indices)
    return _indexed(_letter(base), [*map(_letter, below), *indices])


def _indexed(base: str, indices: Sequence[str]) -> str:
    text = ",".join(indices)
    if not text:
        return base
    return f"{base}_{text}" if len(text) == 1 else f"{base}_{{{text}}}"


def _weight(letter: str, at: Place) -> str:
    """Write a weight: W_{fx}, W'_{fx} for the second of its kind, W^{diag}_{zh} for blocks."""
    label = joined(at.label).join(_symbol(part) for part in at.label)
    below = f"_{label}" if len(label) == 1 else f"_{{{label}}}"
    kind = at.kind()
    above = rf"^{{\mathrm{{{kind[0]}}}}}" if kind else ""
    primes = "'" * at.mark
    return f"{letter}{primes}{above}{below}"


def _parentheses(text: str) -> str:
    if any(word in text for word in TALL):
        return rf"\left({text}\right)"
    return f"({text})"


def _function(name: str) -> Entry:
    return lambda at: Written(f"{name}{_parentheses(', '.join(a.text for a in at.args))}")


def _linear(at: Place) -> Written:
    if at.node.attr("fit"):
        return Written(rf"\operatorname{{fit}}{_parentheses(at.args[0].text)}")
    return Written(f"{_weight('W', at)} {at.arg(0, UNARY)}", PRODUCT)


def _number(value: float) -> str:
    mantissa, power = digits(value)
    return mantissa if power is None else rf"{mantissa} \times 10^{{{power}}}"


def _several(numbers: list[str]) -> str:
    return rf"({', '.join(numbers)}) \text{{, one for each block of units}}"


def _part(at: Place) -> Written:
    index, of = at.node.attr("index"), at.node.attr("of")
    assert isinstance(index, int)
    return Written(rf"\operatorname{{part}}_{{{index + 1}/{of}}}{_parentheses(at.args[0].text)}")


def _where(at: Place) -> Written:
    condition, a, b = (arg.text for arg in at.args)
    cases = rf"{a} & \text{{if }} {condition} \\ {b} & \text{{otherwise}}"
    return Written(rf"\begin{{cases}} {cases} \end{{cases}}", CHOICE)


def _named(name: Name) -> str:
    return _symbol(name.stem, STEP[name.when])


def _leaf(at: Place) -> Written:
    assert at.name is not None
    return Written(_named(at.name))


def _stacked(texts: Sequence[str]) -> str:
    return f"[{'; '.join(texts)}]"


LATEX: dict[Op, Entry] = {
    Op.INPUT: _leaf,
    Op.STATE: _leaf,
    Op.CONSTANT: constant(_number),
    Op.MODULES: modules(_number, _several),
    Op.LINEAR: _linear,
    Op.DIAGONAL: lambda at: Written(rf"{_weight('p', at)} \odot {at.arg(0, UNARY)}", PRODUCT),
    Op.BIAS: lambda at: Written(_weight("b", at)),
    Op.LAYER_NORM: _function(r"\operatorname{LN}"),
    Op.PART: _part,
    Op.CONCAT: applied("[", "; ", "]"),
    Op.ADD: infix(" + ", SUM, SUM),
    Op.SUB: infix(" - ", SUM, PRODUCT),
    Op.MUL: times(r" \odot ", r" \, "),
    Op.DIV: lambda at: Written(rf"\frac{{{at.args[0].text}}}{{{at.args[1].text}}}", ATOM),
    Op.NEG: negated("-"),
    Op.ABS: applied(r"\left\lvert ", after=r" \right\rvert"),
    Op.SIGMOID: _function(r"\sigma"),
    Op.TANH: _function(r"\tanh"),
    Op.RELU: _function(r"\operatorname{ReLU}"),
    Op.EXP: _function(r"\exp"),
    Op.LOG: _function(r"\log"),
    Op.MAXIMUM: _function(r"\max"),
    Op.MINIMUM: _function(r"\min"),
    Op.LESS: compared(" < ", " > "),
    Op.LESS_EQUAL: compared(r" \le ", r" \ge "),
    Op.WHERE: _where,
}
NOTATION = Notation(LATEX, _named, _parentheses, _stacked)


def aligned(graph: Graph) -> str:
    """Return the equations as amsmath's `aligned`, for use inside mathematics."""
    rows = [f"  {line.left} &= {line.right}" for line in lines(graph, NOTATION)]
    return "\n".join([r"\begin{aligned}", " \\\\\n".join(rows), r"\end{aligned}"])


def latex(cell: type[Cell]) -> str:
    r"""Return the equations as a display for a document, below comments that say what they mean.

    The document needs amsmath: `\usepackage{amsmath}`.
    """
    graph = cell.graph
    summary = inspect.cleandoc(cell.__doc__ or "").split("\n\n")[0]
    said = [f"{graph.cell}.", *summary.split(), *legend(graph), "Needs amsmath."]
    comments = textwrap.wrap(" ".join(said), WIDTH - 2)
    return "\n".join([*(f"% {line}" for line in comments), r"\[", aligned(graph), r"\]"])
