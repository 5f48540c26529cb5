"""Stage: products, then norms, then pointwise work, each as early as it can be."""

import pytest

from cellwright.compiler.program import NORMS, PRODUCTS
from cellwright.compiler.stage import stage
from cellwright.language import Op
from tests.cases import CELLS, lowered
from tests.compiler.small import op, product, program


def test_a_product_of_a_gate_begins_a_stage():
    after = stage(
        program(
            product("u", "h", "U", 0, 4),
            op("r", Op.SIGMOID, "u"),
            op("m", Op.MUL, "r", "h"),
            product("v", "m", "W", 0, 4),
            op("y", Op.TANH, "v"),
        )
    )
    assert [[i.name for i in s] for s in after.stages] == [["u", "r", "m"], ["v", "y"]]


def test_work_moves_up_to_where_its_arguments_are():
    after = stage(
        program(
            product("u", "h", "U", 0, 4),
            op("r", Op.SIGMOID, "u"),
            product("v", "r", "W", 0, 4),
            op("early", Op.EXP, "h"),
            op("y", Op.ADD, "v", "early"),
        )
    )
    assert [i.name for i in after.stages[0].pointwise] == ["r", "early"]


STAGES = dict.fromkeys(("rnn", "lstm", "peephole", "coupled", "gru"), 1) | {
    "gru-cho": 2,
    "mut1": 2,
    "lstm-projected": 2,
    "layernorm-lstm": 2,
}


@pytest.mark.parametrize("name", CELLS)
def test_stages_of_the_catalogue(name):
    made = lowered(name)
    reads_its_own = any(i.op in PRODUCTS | NORMS for s in made.stages[1:] for i in s)
    assert len(made.stages) == 1 or reads_its_own, "a stage begins with a product or a norm"
    if name in STAGES:
        assert len(made.stages) == STAGES[name]
    for part in made.stages:
        assert all(i.op in PRODUCTS for i in part.products)
        assert all(i.op in NORMS for i in part.norms)
        assert not any(i.op in PRODUCTS | NORMS for i in part.pointwise)
