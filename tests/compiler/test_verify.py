"""Verify: every rule of a Program has a broken one that it refuses."""

from dataclasses import replace

import pytest

from cellwright.compiler import Low, Program, ProgramError, verify
from cellwright.compiler.program import Carry, Port, Stage
from cellwright.language import Op
from tests.cases import CELLS, lowered
from tests.compiler.small import H, cut, number, op, product, program

Y = op("y", Op.TANH, "h")


def in_phase(phase: str, *instrs) -> Program:
    """A good program with more instructions in one phase."""
    return replace(program(Y), **{phase: instrs})


BROKEN = {
    "an op of another phase": (
        program(op("o", Low.OUTER, "h", "h"), Y),
        "o[4] = outer(h, h): not an operation of this phase",
    ),
    "reads what comes later": (
        program(op("y", Op.TANH, "later"), op("later", Op.TANH, "h")),
        "reads later before it is computed",
    ),
    "reads nothing that exists": (program(op("y", Op.TANH, "q")), "reads q before"),
    "a step's value before the loop": (
        in_phase("hoisted", op("s", Op.TANH, "h")),
        "hoisted.s[4] = tanh(h): reads h before",
    ),
    "an input before everything": (in_phase("once", op("s", Op.TANH, "x")), "reads x before"),
    "the same name twice": (program(op("y", Op.ABS, "h"), Y), "assigned twice: y"),
    "a value named like an input": (program(op("x", Op.ABS, "h"), Y), "assigned twice: x"),
    "a value named like a parameter": (program(op("W", Op.ABS, "h"), Y), "assigned twice: W"),
    "widths that do not agree": (
        program(cut("s", "h", 0, 2), op("y", Op.ADD, "h", "s")),
        "widths [2, 4] do not agree",
    ),
    "a result of another width": (program(op("y", Op.TANH, "h", width=3)), "do not agree"),
    "too few arguments": (program(op("y", Op.ADD, "h")), "do not agree"),
    "parts that do not add up": (
        program(op("j", Op.CONCAT, "h", "x", width=7), Y),
        "parts of widths [4, 4]",
    ),
    "a number among parts": (
        program(number("k", 1.0), op("j", Op.CONCAT, "h", "k"), Y),
        "parts of widths [4, 0]",
    ),
    "a slice past the end": (program(cut("s", "h", 2, 6), Y), "out of range"),
    "an empty slice": (program(cut("s", "h", 2, 2), Y), "out of range"),
    "a slice of another width": (
        program(op("s", Low.SLICE, "h", width=3, start=0, stop=2), Y),
        "out of range",
    ),
    "a product of another width": (
        program(op("p", Low.PRODUCT, "h", "W", width=3, start=0, stop=4), Y),
        "out of range",
    ),
    "a product with a narrow vector": (
        program(cut("s", "h", 0, 2), product("p", "s", "W", 0, 4), Y),
        "the matrix has 4 columns",
    ),
    "a transposed product of another width": (
        program(op("p", Low.PRODUCT_T, "h", "W", width=3, start=0, stop=4), Y),
        "the matrix has 4 columns",
    ),
    "a state without a next value": (program(Y, after="gone", outputs=()), "no next of its width"),
    "a next value of another width": (
        program(Y, states=(Carry("h", H, "y"), Carry("c", 3, "y"))),
        "state c has no next of its width",
    ),
    "an output that is not computed": (program(Y, outputs=(("q", "q"),)), "output q = q"),
    "an output that is a number": (
        program(number("k", 1.0), Y, outputs=(("k", "k"),)),
        "output k = k is not a vector",
    ),
    "a result that is not computed": (program(Y, results=(("q", "q"),)), "result q = q"),
}


@pytest.mark.parametrize("slip", BROKEN)
def test_refuses(slip):
    broken, words = BROKEN[slip]
    with pytest.raises(ProgramError) as error:
        verify(broken)
    assert words in str(error.value)
    assert str(error.value).startswith("Small")


def test_lets_a_good_program_through():
    good = program(Y)
    assert verify(good) is good
    plain = replace(good, inputs=(*good.inputs, Port("u", 2)), stages=(Stage(), *good.stages))
    assert verify(plain) is plain


@pytest.mark.parametrize("name", CELLS)
def test_a_program_that_lost_an_instruction_is_refused(name):
    good = lowered(name)
    for index, part in enumerate(good.stages):
        for place in range(len(part.pointwise)):
            left = replace(part, pointwise=part.pointwise[:place] + part.pointwise[place + 1 :])
            stages = (*good.stages[:index], left, *good.stages[index + 1 :])
            with pytest.raises(ProgramError):
                verify(replace(good, stages=stages))


def test_a_program_can_be_read():
    text = str(lowered("lstm"))
    for line in ("program LSTM", "  input x[3]", "  state c[5] -> c_next", "before the loop:"):
        assert line in text
    assert "emit h.next = h_next" in text
