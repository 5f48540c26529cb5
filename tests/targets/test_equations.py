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
    concat,
    fit,
    hidden,
    layer_norm,
    linear,
    minimum,
    modules,
    relu,
    split,
    tanh,
    where,
)
from cellwright.language.regularise import recurrent_dropout, zoneout
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
    assert "a = W_ah^diag h[t-1] + W_up^tri h[t-1] + fit(x)" in text
    for words in (
        "W^tri: 2 x 2 blocks, those below the diagonal are 0",
        "W^diag: 2 x 2 blocks, those off the diagonal are 0",
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
    assert rows["d"] == "x / (h[t-1] / x) ⊙ (-h[t-1])"


def test_numbers_are_exact_and_stand_before_their_factor():
    class Numbers(Cell):
        x, h = Input("hidden"), State()
        a = x * 1.23456789 + h * (-2) - 2 * (3 * x) + 1e-9
        b = 4 * linear(x) - 0.5 * (x * h) + (x + h) * 2
        h.next = a + b

    text = equations(Numbers)
    assert "a = 1.23456789 x + (-2 h[t-1]) - 2 (3 x) + 1e-9" in text
    assert "b = 4 W_bx x - 0.5 x ⊙ h[t-1] + 2 (x + h[t-1])" in text


def test_two_weights_never_have_one_name():
    class Names(Cell):
        ab, a, b, c = Input("hidden"), Input("hidden"), State(), State()
        bc = tanh(linear(a) + linear(a) + bias() + bias())
        abb = tanh(linear(c) + linear(ab))
        b.next = tanh(linear(bc) + linear(b * c) + abb)
        c.next = b

    text = equations(Names)
    assert "bc = tanh(W_bc,a a + W_bc,a' a + b_bc + b_bc')" in text
    assert "b[t] = tanh(W_b,bc bc + W_bbc (b[t-1] ⊙ c[t-1]) + abb)" in text


def test_the_parts_of_a_vector_share_a_line():
    class Parted(Cell):
        x, h = Input("hidden"), State()
        z = linear(x, 4 * hidden)
        p, q, r, s = split(z, 4)
        u = split(linear(h, 2 * hidden), 2)[0]
        h.next = tanh(p + q + r + s + u + concat_half(x, h))

    text = equations(Parted)
    assert "[p; q; r; s] = z" in text
    assert "u = part 1 of 2 of (W_uh h[t-1])" in text
    assert "LN([x; h[t-1]])" in text


def concat_half(x: Expr, h: Expr) -> Expr:
    return linear(layer_norm(concat(x, h)))


def test_a_counter_is_explained_and_nothing_else_is_taken_for_one():
    said = "From a start of 0, age[t-1] = (t - 1) mod period, t counted from 1."
    assert said in " ".join(equations(CATALOGUE["clockwork"]).split())

    class Longer(Cell):
        x, h, age = Input("hidden"), State(), State()
        period = modules(1, 2)
        h.next = where(age < 1, tanh(linear(h) + x), h)
        age.next = where(age + 2 < period, age + 1, 0)

    assert "mod" not in equations(Longer)


def test_masks_are_explained():
    dropped = " ".join(equations(recurrent_dropout(CATALOGUE["rnn"], 0.25)).split())
    assert "a random mask, 0 with probability 0.25, for a sequence." in dropped
    assert "x: input at step t." in dropped
    zoned = " ".join(equations(zoneout(CATALOGUE["rnn"], 0.1)).split())
    assert "a random mask, 0 with probability 0.1, for every step." in zoned
