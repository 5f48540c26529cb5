"""Rename: values carry the names of their equations, and no two the same."""

import pytest

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.compiler.rename import rename
from cellwright.language import Op
from tests.cases import CELLS, draw, lowered, run, widths
from tests.compiler.small import cut, op, product, program


def test_names_a_preactivation_after_its_gate():
    before = program(
        product("t1", "x", "W", 0, 4),
        product("t2", "h", "U", 0, 4),
        cut("t3", "b", 0, 4),
        op("t4", Op.ADD, "t1", "t2"),
        op("t5", Op.ADD, "t4", "t3"),
        op("q", Op.SIGMOID, "t5"),
        op("t6", Op.MUL, "q", "h"),
        after="t6",
        names={"i": "q", "h.next": "t6"},
    )
    after = rename(before)
    assert [i.name for i in after.body] == ["u_i", "u_i_2", "a_i", "a_i_2", "a_i_3", "i", "h_next"]
    assert after.names == {"i": "i", "h.next": "h_next"}
    assert after.states[0].next == "h_next"
    assert after.outputs == (("h.next", "h_next"),)


@pytest.mark.parametrize("name", CELLS)
def test_equations_keep_their_names(name):
    made = lowered(name)
    for equation, value in made.names.items():
        same = [other for other, v in made.names.items() if v == value]
        assert value in {other.replace(".", "_") for other in same}, equation


@pytest.mark.parametrize("name", CELLS)
def test_only_names_change(name):
    made = lowered(name)
    again = rename(made)
    assert [(i.op, i.width, i.attrs) for i in again.instrs] == [
        (i.op, i.width, i.attrs) for i in made.instrs
    ]
    values = draw(made)
    found, _ = run(again, values)
    wanted, _ = run(lower(CATALOGUE[name].graph, widths()), values)
    assert all(bool((a == b).all()) for a, b in zip(found, wanted, strict=True))
