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
    bias,
    fit,
    linear,
    minimum,
    relu,
    tanh,
    where,
)
from cellwright.targets.equations import TEXT, equations

LSTM = """\
     i = σ(W_ix x + W_ih h[t-1] + b_i)
     f = σ(W_fx x + W_fh h[t-1] + b_f)
     g = tanh(W_gx x + W_gh h[t-1] + b_g)
     o = σ(W_ox x + W_oh h[t-1] + b_o)
  c[t] = f ⊙ c[t-1] + i ⊙ g
  h[t] = o ⊙ tanh(c[t])"""


def test_table_covers_every_operation():
    assert set(TEXT) == set(Op)


def test_lstm_is_the_paper():
    assert LSTM in equations(CATALOGUE["lstm"])


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_equation_has_a_row(name):
    graph = CATALOGUE[name].graph
    text = equations(CATALOGUE[name])
    rows = [line for line in text.splitlines() if " = " in line]
    assert len(rows) >= len(graph.equations)
    for state in graph.state_names:
        assert any(row.strip().startswith(f"{state}[t] = ") for row in rows)


def test_a_state_that_takes_a_named_value_has_a_row():
    class Renamed(Cell):
        x, h = Input(), State()
        m = tanh(affine(x, h))
        h.next = m

    assert "h[t] = m" in equations(Renamed)


def test_what_would_take_a_library_to_write_is_refused():
    def doubled(v: Expr) -> Expr:
        for _ in range(100):
            v = v + v
        return v

    class Doubled(Cell):
        x, h = Input(), State()
        h.next = tanh(affine(x, h)) + doubled(h * 2)

    with pytest.raises(CellError, match="Doubled: an equation too long to write out"):
        equations(Doubled)


def test_matrices_of_a_kind_are_marked_and_explained():
    class Kinds(Cell):
        x, h = Input(), State()
        a = linear(h, blocks=2) + linear(h, upper_blocks=2, name="up") + fit(x)
        h.next = tanh(a + linear(x) + bias(start=-1.5))

    text = " ".join(equations(Kinds).split())
    assert "a = blocks(W_ah) h[t-1] + upper(W_up') h[t-1] + fit(x)" in text
    for words in (
        "upper(W): the blocks below the diagonal are 0",
        "blocks(W): the blocks off the diagonal are 0",
        "fit(v): v itself where the widths agree, else W v",
        "b_h starts as -1.5",
    ):
        assert words in text
        assert words not in " ".join(equations(CATALOGUE["lstm"]).split())


def test_parentheses_stand_where_they_must():
    class Odd(Cell):
        x, h = Input("hidden"), State()
        a = x - (h - 1) - (x + h)
        b = -(x + h) * (x - h) / (x * h)
        d = x / (h / x) * -h
        h.next = where(a < b, minimum(d, 2), relu(tanh(affine(x, h))))

    rows = dict(line.strip().split(" = ") for line in equations(Odd).splitlines() if " = " in line)
    assert rows["a"] == "x - (h[t-1] - 1) - (x + h[t-1])"
    assert rows["b"] == "-(x + h[t-1]) ⊙ (x - h[t-1]) / (x ⊙ h[t-1])"
    assert rows["d"] == "x / (h[t-1] / x) ⊙ -h[t-1]"
