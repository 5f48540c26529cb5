"""A cell's equations as MathML Core, which browsers show by themselves: one entry per operation.

<msub><mi>f</mi><mi>t</mi></msub><mo>=</mo><mi>σ</mi>...
"""

import html
import re
import unicodedata
from collections.abc import Sequence

from cellwright.language.cell import Cell
from cellwright.language.ops import Op
from cellwright.targets.formulas import (
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
from cellwright.targets.spoken import spoken

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
APPLY, BESIDE, COMMA = "<mo>&#x2061;</mo>", "<mo>&#x2062;</mo>", '<mo separator="true">,</mo>'
MINUS = '<mo form="prefix">−</mo>'
THIN = '<mspace width="0.17em"/>'
TALL = ("<mfrac>", "<mtable")
STEP = {
    When.BEFORE: ('<mrow><mi>t</mi><mo lspace="0" rspace="0">−</mo><mn>1</mn></mrow>',),
    When.NOW: ("<mi>t</mi>",),
    When.FIXED: (),
}
# Chromium aligns the boxes of mathematics by its own value alone; others take the first.
RIGHT, LEFT = (f"text-align:{s};text-align:-webkit-{s};padding:.25em 0" for s in ("right", "left"))


def _letter(word: str) -> str:
    """Write one word of a name; browsers set one letter slanted and a word upright."""
    if word in GREEK:
        size = "SMALL" if word[0].islower() else "CAPITAL"
        return f"<mi>{unicodedata.lookup(f'GREEK {size} LETTER {word.upper()}')}</mi>"
    return f"<mi>{html.escape(word)}</mi>"


def _symbol(stem: str, indices: Sequence[str] = ()) -> str:
    """Write a name with its indices: `i_d` at t is i with d, t below."""
    base, *below = stem.split("_")
    if "" in (base, *below):  # a__b: no index is empty
        base, below = stem, []
    return _with(_letter(base), [*map(_letter, below), *indices])


def _with(base: str, below: Sequence[str], comma: str = COMMA, above: str = "") -> str:
    """Write a base with indices below it and a mark above."""
    under = below[0] if len(below) == 1 else f"<mrow>{comma.join(below)}</mrow>"
    if above:
        return f"<msubsup>{base}{under}{above}</msubsup>"
    return f"<msub>{base}{under}</msub>" if below else base


def _weight(letter: str, at: Place) -> str:
    kind = at.kind()
    primes = f'<mo lspace="0" rspace="0">{"′" * at.mark}</mo>'
    base = f"<mrow><mi>{letter}</mi>{primes}</mrow>" if at.mark else f"<mi>{letter}</mi>"
    # The space keeps the word off a letter that leans to the right.
    above = f"<mrow>{THIN}<mi>{kind[0]}</mi></mrow>" if kind else ""
    comma = COMMA if joined(at.label) else ""
    return _with(base, [_symbol(part) for part in at.label], comma, above)


def _fenced(text: str, left: str = "(", right: str = ")") -> str:
    """Put signs around a text; they grow with what is taller than a line alone."""
    still = "" if any(word in text for word in TALL) else ' stretchy="false"'
    return f"<mrow><mo{still}>{left}</mo>{text}<mo{still}>{right}</mo></mrow>"


def _function(name: str) -> Entry:
    return lambda at: Written(
        f"<mi>{name}</mi>{APPLY}{_fenced(COMMA.join(a.text for a in at.args))}"
    )


def _linear(at: Place) -> Written:
    if at.node.attr("fit"):
        return _function("fit")(at)
    operand = at.arg(0, UNARY)
    space = THIN if re.match(rf"<mi>\w\w+</mi>{APPLY}", operand) else ""
    return Written(f"{_weight('W', at)}{BESIDE}{space}{operand}", PRODUCT)


def _number(value: float) -> str:
    mantissa, power = digits(value)
    sign, size = (MINUS, mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    text = f"{sign}<mn>{size}</mn>"
    if power is None:
        return text
    raised = f"{MINUS}<mn>{-power}</mn>" if power < 0 else f"<mn>{power}</mn>"
    return f"{text}<mo>×</mo><msup><mn>10</mn><mrow>{raised}</mrow></msup>"


def _several(numbers: list[str]) -> str:
    return f"{_fenced(COMMA.join(numbers))}<mtext>, one for each block of units</mtext>"


def _part(at: Place) -> Written:
    index, of = at.node.attr("index"), at.node.attr("of")
    assert isinstance(index, int)
    which = f"<mrow><mn>{index + 1}</mn><mo>/</mo><mn>{of}</mn></mrow>"
    return Written(f"<msub><mi>part</mi>{which}</msub>{APPLY}{_fenced(at.args[0].text)}")


def _where(at: Place) -> Written:
    condition, a, b = (arg.text for arg in at.args)
    cases = _table([(a, f"<mtext>if&#xA0;</mtext>{condition}"), (b, "<mtext>otherwise</mtext>")])
    return Written(f"<mrow><mo>{{</mo>{cases}</mrow>", CHOICE)


def _table(cells: Sequence[tuple[str, str]]) -> str:
    style = f"{LEFT};padding-right:1em"
    rows = (
        f'<mtr><mtd style="{style}">{a}</mtd><mtd style="{LEFT}">{b}</mtd></mtr>' for a, b in cells
    )
    return f"<mtable>{''.join(rows)}</mtable>"


def _named(name: Name) -> str:
    return _symbol(name.stem, STEP[name.when])


def _leaf(at: Place) -> Written:
    assert at.name is not None
    return Written(_named(at.name))


def _stacked(texts: Sequence[str]) -> str:
    return _fenced('<mo separator="true">;</mo>'.join(texts), "[", "]")


def _bars(at: Place) -> Written:
    return Written(_fenced(at.args[0].text, "|", "|"))


MATHML: dict[Op, Entry] = {
    Op.INPUT: _leaf,
    Op.STATE: _leaf,
    Op.CONSTANT: constant(_number),
    Op.MODULES: modules(_number, _several),
    Op.LINEAR: _linear,
    Op.DIAGONAL: lambda at: Written(f"{_weight('p', at)}<mo>⊙</mo>{at.arg(0, UNARY)}", PRODUCT),
    Op.BIAS: lambda at: Written(_weight("b", at)),
    Op.LAYER_NORM: _function("LN"),
    Op.PART: _part,
    Op.CONCAT: lambda at: Written(_stacked([a.text for a in at.args])),
    Op.ADD: infix("<mo>+</mo>", SUM, SUM),
    Op.SUB: infix("<mo>−</mo>", SUM, PRODUCT),
    Op.MUL: times("<mo>⊙</mo>", f"{BESIDE}{THIN}"),
    Op.DIV: lambda at: Written(
        f"<mfrac><mrow>{at.args[0].text}</mrow><mrow>{at.args[1].text}</mrow></mfrac>"
    ),
    Op.NEG: negated(MINUS),
    Op.ABS: _bars,
    Op.SIGMOID: _function("σ"),
    Op.TANH: _function("tanh"),
    Op.RELU: _function("ReLU"),
    Op.EXP: _function("exp"),
    Op.LOG: _function("log"),
    Op.MAXIMUM: _function("max"),
    Op.MINIMUM: _function("min"),
    Op.LESS: compared("<mo>&lt;</mo>", "<mo>&gt;</mo>"),
    Op.LESS_EQUAL: compared("<mo>≤</mo>", "<mo>≥</mo>"),
    Op.WHERE: _where,
}
NOTATION = Notation(MATHML, _named, _fenced, _stacked)


def mathml(cell: type[Cell]) -> str:
    """Return the equations as one <math> element, with their reading as its alternative text.

    Each equation is a row of a table that is aligned at the sign of equality; the element stands
    alone in an HTML page, which needs no style and no script.
    """
    graph = cell.graph
    rows = [
        f'<mtr><mtd style="{RIGHT}">{line.left}</mtd>'
        f'<mtd style="{LEFT}"><mrow><mo>=</mo>{line.right}</mrow></mtd></mtr>'
        for line in lines(graph, NOTATION)
    ]
    opening = (
        f'<math xmlns="{NAMESPACE}" display="block" alttext="{html.escape(spoken(graph))}">\n'
        '<mtable displaystyle="true">'
    )
    return "\n".join([opening, *rows, "</mtable>\n</math>"])
