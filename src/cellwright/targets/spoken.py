"""A cell's equations as they are read aloud: one table, one entry for each operation.

f at t equals sigmoid of, open parenthesis, W f x times x at t plus b f, close parenthesis
"""

from collections.abc import Sequence

from cellwright.language.graph import Graph
from cellwright.language.ops import Op
from cellwright.targets.formulas import (
    ATOM,
    CHOICE,
    PRODUCT,
    SUM,
    UNARY,
    Entry,
    Name,
    Notation,
    Place,
    When,
    Written,
    compared,
    constant,
    digits,
    infix,
    lines,
    modules,
    negated,
    times,
)

STEP = {When.BEFORE: " at t minus 1", When.NOW: " at t", When.FIXED: ""}
PRIMES = ("", " prime", " double prime", " triple prime")


def _parentheses(text: str) -> str:
    return f"open parenthesis, {text}, close parenthesis"


def _words(stem: str) -> str:
    return " ".join(stem.replace("_", " ").split())


def _named(name: Name) -> str:
    return f"{_words(name.stem)}{STEP[name.when]}"


def _weight(letter: str, at: Place) -> str:
    label = " ".join(map(_words, at.label))
    prime = PRIMES[at.mark] if at.mark < len(PRIMES) else f" with {at.mark} primes"
    return f"{letter} {label}{prime}"


def _leaf(at: Place) -> Written:
    assert at.name is not None
    return Written(_named(at.name))


def _function(name: str) -> Entry:
    """`tanh of c at t`; parentheses are said where more than a name stands in them."""

    def write(at: Place) -> Written:
        first = at.args[0]
        if len(at.args) == 1 and first.binds == ATOM and "," not in first.text:
            return Written(f"{name} of {first.text}", UNARY)
        return Written(f"{name} of {_parentheses(' and '.join(a.text for a in at.args))}")

    return write


def _linear(at: Place) -> Written:
    if at.node.attr("fit"):
        return _function("fit")(at)
    kinds = {"tri": "block-triangular ", "diag": "block-diagonal "}
    kind = at.kind()
    matrix = f"{kinds[kind[0]] if kind else ''}{_weight('W', at)}"
    return Written(f"{matrix} times {at.arg(0, UNARY)}", PRODUCT)


def _number(value: float) -> str:
    mantissa, power = digits(value)
    said = mantissa if power is None else f"{mantissa} times 10 to the power {power}"
    return said.replace("-", "minus ")


def _several(numbers: list[str]) -> str:
    return f"{', '.join(numbers)}, one for each block of units"


def _part(at: Place) -> Written:
    index, of = at.node.attr("index"), at.node.attr("of")
    assert isinstance(index, int)
    return Written(f"part {index + 1} of {of} of {at.arg(0, UNARY)}", UNARY)


def _where(at: Place) -> Written:
    condition, a, b = (arg.text for arg in at.args)
    return Written(f"{a}, if {condition}, otherwise {b}", CHOICE)


def _stacked(texts: Sequence[str]) -> str:
    return f"the vectors {' and '.join(texts)}, end to end"


SPOKEN: dict[Op, Entry] = {
    Op.INPUT: _leaf,
    Op.STATE: _leaf,
    Op.CONSTANT: constant(_number),
    Op.MODULES: modules(_number, _several),
    Op.LINEAR: _linear,
    Op.DIAGONAL: lambda at: Written(f"{_weight('p', at)} times {at.arg(0, UNARY)}", PRODUCT),
    Op.BIAS: lambda at: Written(_weight("b", at)),
    Op.LAYER_NORM: _function("layer norm"),
    Op.PART: _part,
    Op.CONCAT: lambda at: Written(_stacked([a.text for a in at.args]), CHOICE),
    Op.ADD: infix(" plus ", SUM, SUM),
    Op.SUB: infix(" minus ", SUM, PRODUCT),
    Op.MUL: times(" times ", " times "),
    Op.DIV: infix(" divided by ", PRODUCT, UNARY),
    Op.NEG: negated("minus "),
    Op.ABS: _function("absolute value"),
    Op.SIGMOID: _function("sigmoid"),
    Op.TANH: _function("hyperbolic tangent"),
    Op.RELU: _function("rectified"),
    Op.EXP: _function("exponential"),
    Op.LOG: _function("logarithm"),
    Op.MAXIMUM: _function("maximum"),
    Op.MINIMUM: _function("minimum"),
    Op.LESS: compared(" is less than ", " is more than "),
    Op.LESS_EQUAL: compared(" is at most ", " is at least "),
    Op.WHERE: _where,
}
NOTATION = Notation(SPOKEN, _named, _parentheses, _stacked)


def spoken(graph: Graph) -> str:
    """Return the equations as sentences."""
    return " ".join(f"{line.left} equals {line.right}." for line in lines(graph, NOTATION))
