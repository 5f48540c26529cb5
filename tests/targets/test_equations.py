"""Cells as plain-text equations."""

import pytest

from cellwright.cells import CATALOGUE
from cellwright.language import (
    Cell,
    CellError,
    Expr,
    Input,
    Op,
    State,
    affine,
    minimum,
    relu,
    tanh,
    where,
)
from cellwright.language.ops import LEAVES
from cellwright.targets import equations
from cellwright.targets.equations import POINT

LSTM = """\
i  = σ(W_ix x + W_ih h + b_i)
f  = σ(W_fx x + W_fh h + b_f)
g  = tanh(W_gx x + W_gh h + b_g)
o  = σ(W_ox x + W_oh h + b_o)
c' = f ⊙ c + i ⊙ g
h' = o ⊙ tanh(c')"""


def test_table_covers_every_operation():
    assert set(POINT) == set(Op) - LEAVES - {Op.BIAS}


def test_lstm_is_the_paper():
    assert equations.emit(CATALOGUE["lstm"].graph) == LSTM


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_equation_has_a_row(name):
    graph = CATALOGUE[name].graph
    rows = equations.equations(graph)
    assert [left for left, _ in rows][-1].endswith("'")
    named = [n for n, _ in graph.equations]
    assert len(rows) >= len(named)
    assert all(right for _, right in rows)


def test_what_would_take_a_library_to_write_is_refused():
    def doubled(v: Expr) -> Expr:
        for _ in range(100):
            v = v + v
        return v

    class Doubled(Cell):
        x, h = Input(), State()
        h.next = tanh(affine(x, h)) + doubled(h * 2)

    with pytest.raises(CellError, match="Doubled: an equation too long to write out"):
        equations.emit(Doubled.graph)


def test_parentheses_stand_where_they_must():
    class Odd(Cell):
        x, h = Input("hidden"), State()
        a = x - (h - 1) - (x + h)
        b = -(x + h) * (x - h) / (x * h)
        d = x / (h / x) * -h
        h.next = where(a < b, minimum(d, 2), relu(tanh(affine(x, h))))

    assert dict(equations.equations(Odd.graph)) == {
        "a": "x − (h − 1) − (x + h)",
        "b": "−(x + h) ⊙ (x − h) / (x ⊙ h)",
        "d": "x / (h / x) ⊙ −h",
        "h'": "(min(d, 2) if a < b else max(tanh(W_hx x + W_hh h + b_h), 0))",
    }
