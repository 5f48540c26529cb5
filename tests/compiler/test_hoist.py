"""Hoist: what no state feeds leaves the loop."""

import pytest

from cellwright.compiler.hoist import hoist
from cellwright.language import Op
from tests.cases import CELLS, lowered
from tests.compiler.small import cut, op, product, program


def test_splits_a_step_by_what_feeds_it():
    before = program(
        cut("bias", "b", 0, 4),
        op("twice", Op.ADD, "bias", "bias"),
        product("wx", "x", "W", 0, 4),
        op("seen", Op.ADD, "wx", "twice"),
        product("uh", "h", "U", 0, 4),
        op("a", Op.ADD, "seen", "uh"),
        op("y", Op.TANH, "a"),
    )
    after = hoist(before)
    assert [i.name for i in after.once] == ["bias", "twice"]
    assert [i.name for i in after.hoisted] == ["wx", "seen"]
    assert [i.name for i in after.body] == ["uh", "a", "y"]


@pytest.mark.parametrize("name", CELLS)
def test_nothing_in_the_loop_could_be_outside_of_it(name):
    made = lowered(name)
    moving = {c.name for c in made.states}
    for instr in made.body:
        assert moving.intersection(instr.args), instr
        moving.add(instr.name)
    assert not moving & {arg for i in made.hoisted for arg in i.args}
