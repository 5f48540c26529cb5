"""Formulas say what the cell computes: read back, they give the graph's own numbers."""

import math
import random
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from cellwright.cells import CATALOGUE
from cellwright.language import (
    Cell,
    Expr,
    Input,
    Op,
    State,
    affine,
    bias,
    diagonal,
    linear,
    maximum,
    minimum,
    relu,
    sigmoid,
    tanh,
    where,
)
from cellwright.language.graph import Graph
from cellwright.language.masks import expected
from cellwright.language.ops import PARAMETRIC
from cellwright.language.regularise import zoneout
from cellwright.targets.equations import PLAIN, TEXT, rows
from cellwright.targets.formulas import Name, Notation, When, lines
from cellwright.targets.latex import LATEX
from cellwright.targets.latex import NOTATION as AS_LATEX
from cellwright.targets.mathml import MATHML, mathml
from cellwright.targets.mathml import NOTATION as AS_MATHML
from cellwright.targets.spoken import NOTATION as AS_SPOKEN
from cellwright.targets.spoken import SPOKEN
from tests.targets.reading import (
    FUNCTIONS,
    MODULES,
    latex_tokens,
    mathml_rows,
    mathml_tokens,
    read,
    text_tokens,
)

POINTWISE: dict[Op, Callable[..., float]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.DIV: lambda a, b: a / b,
    Op.NEG: lambda a: -a,
    Op.ABS: lambda a: abs(a),
    Op.SIGMOID: FUNCTIONS["σ"],
    Op.TANH: math.tanh,
    Op.RELU: FUNCTIONS["ReLU"],
    Op.EXP: math.exp,
    Op.LOG: math.log,
    Op.MAXIMUM: max,
    Op.MINIMUM: min,
    Op.LESS: lambda a, b: a < b,
    Op.LESS_EQUAL: lambda a, b: a <= b,
    Op.WHERE: lambda c, a, b: a if c else b,
    Op.LAYER_NORM: FUNCTIONS["LN"],
}
HELD = (Op.LINEAR, Op.DIAGONAL, Op.BIAS)


def computed(graph: Graph, weights: list[float], rng: random.Random) -> list[float]:
    """The value of each node, every vector being one number wide."""
    values: list[float] = []
    left = iter(weights)
    for node in graph.nodes:
        args = [values[k] for k in node.args]
        if node.op in (Op.INPUT, Op.STATE):
            values.append(rng.uniform(0.2, 2.0))
        elif node.op is Op.CONSTANT:
            values.append(float(node.attr("value")))  # type: ignore[arg-type]
        elif node.op is Op.MODULES:
            values.append(MODULES)
        elif node.op is Op.LINEAR and node.attr("fit"):
            values.append(args[0])
        elif node.op in HELD:
            values.append(math.prod([next(left), *args]))
        elif node.op is Op.PART:
            values.append(args[0] + int(node.attr("index")))  # type: ignore[call-overload]
        else:
            values.append(float(POINTWISE[node.op](*args)))
    return values


def equations_of(graph: Graph, notation: Notation, tokens: Callable) -> list:
    return [
        (tokens(line.left), None if "one for each" in line.right else tokens(line.right))
        for line in lines(graph, notation)
    ]


def as_mathml(text: str):
    return mathml_tokens(list(ET.fromstring(f'<r xmlns="{MATHML_SPACE}">{text}</r>')))


MATHML_SPACE = "http://www.w3.org/1998/Math/MathML"
NOTATIONS = {
    "text": (PLAIN, text_tokens),
    "latex": (AS_LATEX, latex_tokens),
    "mathml": (AS_MATHML, as_mathml),
}


def check(cell: type[Cell], notation: Notation, tokens: Callable, seed: int = 0) -> None:
    """Compare what the formulas say with what the graph computes, value by value."""
    graph, rng = cell.graph, random.Random(seed)
    held = [n for n in graph.nodes if n.op in HELD and not n.attr("fit")]
    weights = [rng.uniform(-1.5, 1.5) for _ in held]
    want = computed(graph, weights, rng)
    given, after = {}, {}

    def symbol(name: Name) -> str:
        return tokens(notation.named(name))[0].value

    for node, value in zip(graph.nodes, want, strict=True):
        if node.op is Op.STATE:
            given[symbol(Name(node.name or "", When.BEFORE, state=True))] = value
        elif node.op is Op.INPUT:
            given[symbol(Name(node.name or "", When.NOW))] = value
        elif node.name and not node.name.endswith(".next"):
            fixed = node.op in (Op.MODULES, Op.CONSTANT, Op.BIAS)
            after[symbol(Name(node.name, When.FIXED if fixed else When.NOW))] = value
    for state in graph.states:
        after[symbol(Name(state.name, When.NOW, state=True))] = want[state.next]
    found, count = read(equations_of(graph, notation, tokens), given, weights)
    assert count == len(held), "two weights have one name, or one has two"
    assert {k: found[k] for k in after} == pytest.approx(after, rel=1e-6)


def test_tables_cover_every_operation():
    for table in (TEXT, LATEX, MATHML, SPOKEN):
        assert set(table) == set(Op)
    assert set(POINTWISE) | set(HELD) | PARAMETRIC | {
        Op.INPUT, Op.STATE, Op.CONSTANT, Op.MODULES, Op.PART, Op.CONCAT,
    } == set(Op)  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogues_formulas_say_what_the_cells_compute(name, notation):
    check(CATALOGUE[name], *NOTATIONS[notation])


def drawn(seed: int) -> type[Cell]:
    """A cell of random arithmetic, deep enough that precedence matters everywhere."""
    rng = random.Random(seed)

    def expression(leaves: list[Expr], depth: int) -> Expr:
        if depth == 0 or rng.random() < 0.1:
            return rng.choice(leaves)
        a = expression(leaves, depth - 1)
        kind = rng.randrange(12)
        if kind < 5:
            b = expression(leaves, depth - 1)
            return [a + b, a - b, a * b, a / b, maximum(a, b)][kind]
        number = rng.choice([1.0, 2.0, -0.5, 1.5e-7, -3.0, 0.25, 1.23456789])
        if kind < 8:
            return [a * number, number - a, a + number][kind - 5]
        if kind == 8:
            condition = rng.choice([a < 0.5, a >= 0.25, a < leaves[0]])
            return where(condition, expression(leaves, depth - 1), rng.choice(leaves))
        return [-a, minimum(tanh(a), relu(a)), a - (-leaves[0])][kind - 9]

    class Drawn(Cell):
        x, h, c_old = Input("hidden"), State(), State()
        alpha = affine(x, h) * 0.5 + diagonal(h)
        b_new = 0.1 + expression([x, h, c_old, alpha], 5)
        q = bias()
        k = expression([x, b_new, sigmoid(alpha), q], 4) - q * alpha + linear(h * x)
        h.next = expression([k, alpha, h, c_old], 4) + k + b_new
        c_old.next = tanh(h.next) - expression([h.next, c_old], 3)

    return Drawn


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("seed", range(40))
def test_drawn_formulas_say_what_the_cells_compute(seed, notation):
    check(drawn(seed), *NOTATIONS[notation], seed=seed)


def test_the_element_holds_the_equations_of_the_notation():
    for cell in CATALOGUE.values():
        if not any(node.op is Op.MODULES for node in cell.graph.nodes):
            assert mathml_rows(mathml(cell)) == equations_of(cell.graph, AS_MATHML, as_mathml)


def test_a_wrong_parenthesis_is_found():
    class Small(Cell):
        x, h = Input("hidden"), State()
        h.next = x - (h - x)

    wrong = Notation(AS_LATEX.table, AS_LATEX.named, lambda text: text, AS_LATEX.stacked)
    with pytest.raises(AssertionError):
        check(Small, wrong, latex_tokens)


@pytest.mark.parametrize("notation", [PLAIN, AS_LATEX, AS_MATHML, AS_SPOKEN])
def test_an_equation_bears_its_name(notation):
    for cell in CATALOGUE.values():
        found = [name for line in lines(cell.graph, notation) for name in line.names]
        leaves = (Op.INPUT, Op.STATE)
        named = {n.name.removesuffix(".next") for n in cell.graph.nodes
                 if n.name and n.op not in leaves}  # fmt: skip
        assert set(found) == named and len(found) == len(named)


def test_rows_are_the_plain_lines():
    assert [line.left for line in rows(CATALOGUE["gru"].graph)] == ["r", "z", "n", "h[t]"]


@pytest.mark.parametrize("notation", [PLAIN, AS_LATEX, AS_MATHML, AS_SPOKEN])
def test_a_mask_at_its_mean_is_a_number(notation):
    graph = expected(zoneout(CATALOGUE["lstm"], 0.1).graph)
    (said,) = (line.right for line in lines(graph, notation) if line.names == ("h",))
    assert said.count("0.9") == 2 and "block" not in said
