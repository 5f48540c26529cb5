"""Simplify: constants folded, identities and dead values dropped, equal things computed once."""

import math

import pytest

from cellwright.compiler import Low
from cellwright.compiler.simplify import FOLD, NEUTRAL, simplify
from cellwright.language import Op
from cellwright.language.ops import COMPARISONS, POINTWISE
from tests.compiler.small import H, cut, number, op, ops, program


def test_folds_everything_pointwise_but_choices():
    assert set(FOLD) == POINTWISE - COMPARISONS - {Op.WHERE}
    assert set(NEUTRAL) <= set(FOLD)


@pytest.mark.parametrize(
    ("what", "numbers", "value"),
    [
        (Op.ADD, (2, 3), 5),
        (Op.SUB, (2, 3), -1),
        (Op.MUL, (2, 3), 6),
        (Op.DIV, (3, 2), 1.5),
        (Op.NEG, (2,), -2),
        (Op.ABS, (-2,), 2),
        (Op.SIGMOID, (0,), 0.5),
        (Op.TANH, (1,), math.tanh(1)),
        (Op.RELU, (-1,), 0),
        (Op.EXP, (1,), math.e),
        (Op.LOG, (2,), math.log(2)),
        (Op.MAXIMUM, (2, 3), 3),
        (Op.MINIMUM, (2, 3), 2),
    ],
    ids=str,
)
def test_folds_numbers(what, numbers, value):
    given = [number(f"k{n}", float(v)) for n, v in enumerate(numbers)]
    folded = op("c", what, *(k.name for k in given), width=0)
    found = simplify(program(*given, folded, op("y", Op.MUL, "h", "c")))
    constants = [i.attr("value") for i in found.body if i.op is Op.CONSTANT]
    assert constants == [pytest.approx(value, abs=1e-15)]


@pytest.mark.parametrize(("what", "numbers"), [(Op.LOG, (0.0,)), (Op.DIV, (1.0, 0.0))])
def test_leaves_what_is_not_finite_alone(what, numbers):
    given = [number(f"k{n}", v) for n, v in enumerate(numbers)]
    before = program(
        *given, op("c", what, *(k.name for k in given), width=0), op("y", Op.MUL, "h", "c")
    )
    assert ops(simplify(before)) == ops(before)


@pytest.mark.parametrize(
    ("what", "args"),
    [
        (Op.ADD, ("h", "zero")),
        (Op.ADD, ("zero", "h")),
        (Op.SUB, ("h", "zero")),
        (Op.MUL, ("h", "one")),
        (Op.MUL, ("one", "h")),
        (Op.DIV, ("h", "one")),
    ],
)
def test_drops_what_changes_nothing(what, args):
    before = program(
        number("zero", 0.0), number("one", 1.0), op("a", what, *args), op("y", Op.TANH, "a")
    )
    assert ops(simplify(before)) == ["tanh"]


@pytest.mark.parametrize(
    ("what", "args"), [(Op.SUB, ("zero", "h")), (Op.DIV, ("one", "h")), (Op.MUL, ("h", "zero"))]
)
def test_keeps_what_changes_something(what, args):
    before = program(
        number("zero", 0.0), number("one", 1.0), op("a", what, *args), op("y", Op.TANH, "a")
    )
    assert str(what) in ops(simplify(before))


def test_computes_equal_things_once():
    before = program(
        op("d", Op.TANH, "h"), op("e", Op.TANH, "h"), op("y", Op.ADD, "d", "e"), names={"e": "e"}
    )
    after = simplify(before)
    assert ops(after) == ["tanh", "add"]
    assert after.names == {"e": "d"}


def test_drops_dead_values_and_keeps_traces():
    before = program(op("dead", Op.EXP, "h"), op("seen", Op.ABS, "h"), op("y", Op.TANH, "h"))
    assert ops(simplify(before)) == ["tanh"]
    traced = program(*before.body, names={"seen": "seen"})
    assert ops(simplify(traced)) == ["abs", "tanh"]


def test_joins_slices_that_are_put_together_again():
    halves = (cut("p", "h", 0, 2), cut("q", "h", 2, H))
    before = program(*halves, op("j", Op.CONCAT, "p", "q"), op("y", Op.TANH, "j"))
    assert ops(simplify(before)) == ["tanh"]
    turned = program(*halves, op("j", Op.CONCAT, "q", "p"), op("y", Op.TANH, "j"))
    assert "concat" in ops(simplify(turned))


def test_zeros_are_neutral_only_at_the_full_width():
    zeros = op("z", Low.ZEROS)
    assert ops(simplify(program(zeros, op("a", Op.ADD, "h", "z"), op("y", Op.TANH, "a")))) == [
        "tanh"
    ]
    wide = program(
        zeros, number("two", 2.0), op("a", Op.ADD, "z", "two"), op("y", Op.MUL, "h", "a")
    )
    # The sum of the vector and the number is a vector: it does not become the number.
    assert ops(simplify(wide)) == ["modules", "mul"]
