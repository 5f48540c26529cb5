"""Pack: one product for all rows that multiply the same vector."""

import pytest

from cellwright.cells import CATALOGUE
from cellwright.compiler import Low, lower
from cellwright.compiler.build import build
from cellwright.compiler.pack import pack
from cellwright.compiler.program import BLOCK_MASKS, Instr, Program
from cellwright.compiler.simplify import simplify
from cellwright.language import Cell, Input, Op, State, affine, diagonal, sigmoid, tanh
from tests.cases import CELLS, lowered, widths
from tests.compiler.small import H, cut, op, product, program


def products(instrs: tuple[Instr, ...]) -> list[Instr]:
    return [i for i in instrs if i.op is Low.PRODUCT]


def two_gates() -> Program:
    body = []
    for name, start in (("i", 0), ("f", H)):
        stop = start + H
        body += [
            product(f"{name}x", "x", "W", start, stop),
            product(f"{name}h", "h", "U", start, stop),
            cut(f"{name}b", "b", start, stop),
            op(f"{name}1", Op.ADD, f"{name}x", f"{name}h"),
            op(f"{name}a", Op.ADD, f"{name}1", f"{name}b"),
            op(name, Op.SIGMOID, f"{name}a"),
        ]
    return program(*body, op("y", Op.MUL, "i", "f"), rows=2 * H)


def test_joins_two_gates():
    before, after = two_gates(), pack(two_gates())
    assert len(products(before.body)) == 4
    found = products(after.body)
    assert sorted(p.args[:2] for p in found) == [("h", "U"), ("x", "W")]
    assert all(p.rows == (0, 2 * H) for p in found)
    (of_x,) = (p for p in found if p.args[0] == "x")
    assert len(of_x.args) == 3, "the bias rides on the input's product"
    cuts = {i.name: i.rows for i in after.body if i.op is Low.SLICE}
    assert cuts["ia"] == (0, H)
    assert cuts["fa"] == (H, 2 * H)


def test_a_value_between_stays_where_it_is():
    """A gate that adds something of its own gets its slice first, then the addition."""

    class Between(Cell):
        x, h, c = Input(), State(), State()
        i = sigmoid(affine(x, h) + diagonal(c))
        f = sigmoid(affine(x, h) + diagonal(c))
        c.next = f * c + i
        h.next = tanh(c.next)

    made = pack(simplify(build(Between.graph, widths())))
    assert sorted(p.args[0] for p in products(made.body)) == ["h", "x"]


def test_gates_that_read_different_vectors_keep_their_own():
    made = lowered("gru-cho")
    assert sorted(p.args[0] for p in products(made.body)) != []
    of_h = [p for p in products(made.body) if p.args[0] == "h"]
    assert [p.width for p in of_h] == [10]


# Recurrent products in a step: one for each vector that changes within the sequence.
RECURRENT = dict.fromkeys(("rnn", "lstm", "peephole", "coupled", "gru"), 1) | {
    "lstm-projected": 2,
    "gru-cho": 2,
    "mut1": 2,
}


@pytest.mark.parametrize("name", CELLS)
def test_one_product_for_each_vector_of_a_step(name):
    made = lowered(name)
    inside = products(made.body)
    if name in RECURRENT:
        assert len(inside) == RECURRENT[name]
    assert len({p.args[0] for p in inside}) == len(inside)
    before = products(made.hoisted)
    read = [p.args[0] for p in before]
    assert "x" in read
    assert len(set(read)) == len(read), "one product over each input, before the loop"
    assert set(read) <= {port.name for port in made.inputs}


@pytest.mark.parametrize("name", CELLS)
def test_every_row_of_every_matrix_is_read_once(name):
    made = lower(CATALOGUE[name].graph, widths(3, 6))
    masked = {i.name: i.args[0] for i in made.once if i.op in BLOCK_MASKS}
    for param in made.params:
        if param.columns:
            rows = sorted(
                p.rows
                for p in products(made.instrs)
                if masked.get(p.args[1], p.args[1]) == param.name
            )
            assert [r for pair in rows for r in pair] == [0, param.rows]
