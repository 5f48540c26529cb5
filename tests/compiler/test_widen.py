"""Widen: one function over neighbouring slices."""

from cellwright.compiler import Low, Program
from cellwright.compiler.widen import UNARY, widen
from cellwright.language import Op
from cellwright.language.ops import ARITY, POINTWISE
from tests.cases import lowered
from tests.compiler.small import H, cut, op, ops, program


def sliced(*parts: tuple[str, Op, int, int]) -> Program:
    wide = op("w", Op.CONCAT, "h", "h", "h", width=3 * H)
    body = [wide]
    for name, what, start, stop in parts:
        body += [cut(f"{name}0", "w", start, stop), op(name, what, f"{name}0", width=stop - start)]
    return program(*body, op("y", Op.MUL, parts[0][0], parts[-1][0]))


def test_knows_every_function_of_one_value():
    assert {o for o in POINTWISE if ARITY[o] == 1} == UNARY


def test_joins_neighbours():
    after = widen(sliced(("i", Op.SIGMOID, 0, H), ("f", Op.SIGMOID, H, 2 * H)))
    assert ops(after).count("sigmoid") == 1
    (applied,) = (i for i in after.body if i.op is Op.SIGMOID)
    assert applied.width == 2 * H
    cuts = {i.name: i.rows for i in after.body if i.op is Low.SLICE}
    assert cuts["i"] == (0, H)
    assert cuts["f"] == (H, 2 * H)


def test_leaves_different_functions_and_gaps_apart():
    after = widen(sliced(("i", Op.SIGMOID, 0, H), ("g", Op.TANH, H, 2 * H)))
    assert sorted(o for o in ops(after) if o in ("sigmoid", "tanh")) == ["sigmoid", "tanh"]
    gap = widen(sliced(("i", Op.TANH, 0, H), ("k", Op.TANH, 2 * H, 3 * H)))
    assert ops(gap).count("tanh") == 2


def test_an_lstm_has_two_sigmoids_and_two_tanhs():
    made = [str(i.op) for i in lowered("lstm").instrs]
    assert made.count("sigmoid") == 2  # i and f together; o lies past g
    assert made.count("tanh") == 2
