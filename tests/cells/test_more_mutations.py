"""The later oracles have teeth too: one cell is not taken for another, nor a slip for the paper."""

import itertools
from collections.abc import Callable

import pytest

from cellwright.cells import CATALOGUE
from cellwright.cells.exponential import HEADS
from cellwright.language import (
    Cell,
    Expr,
    Input,
    State,
    affine,
    bias,
    diagonal,
    exp,
    hidden,
    linear,
    maximum,
    sigmoid,
    tanh,
    where,
)
from tests.cases import blocks, draw, lowered
from tests.cells.test_mutations import largest_difference, said

# By other names, or from other starts; MUT2 where its raw x is a projection.
SAME = [{"rnn-relu", "irnn"}, {"lstm", "np"}, {"gru-cho", "mut2"}]


def alike() -> list[tuple[str, str]]:
    """List cells whose weights have the same names and shapes: each could stand for the other."""
    kinds: dict[str, tuple[object, ...]] = {}
    for name in CATALOGUE:
        program = lowered(name, 4, 9)
        weights = blocks(program, draw(program).params)
        ports = [p.width for p in program.inputs], [c.name for c in program.states]
        kinds[name] = (*ports, len(program.outputs), {k: w.shape for k, w in weights.items()})
    return [
        (a, b)
        for a, b in itertools.combinations(CATALOGUE, 2)
        if kinds[a] == kinds[b] and {a, b} not in SAME
    ]


@pytest.mark.parametrize(("name", "other"), alike())
def test_a_cell_is_not_taken_for_another(name, other):
    assert largest_difference(name, CATALOGUE[other]) > 1e-3
    assert largest_difference(other, CATALOGUE[name]) > 1e-3


def test_some_cells_could_be_taken_for_others():
    assert ("peephole", "noaf") in alike() and ("lstm-1997", "lstm-1997-paper") in alike()
    assert all(tuple(sorted(pair, key=list(CATALOGUE).index)) not in alike() for pair in SAME)


def slstm_with(slip: str) -> type[Cell]:
    def seen(x: Expr, h: Expr) -> Expr:
        recurrent = linear(h) if slip == "a full matrix" else linear(h, blocks=HEADS)
        return linear(x) + recurrent + bias()

    class Slip(Cell):
        x, h, c, n, m = Input(), State(), State(), State(), State()
        li = seen(x, h)
        lf = seen(x, h)
        z = tanh(seen(x, h))
        o = sigmoid(seen(x, h))
        held = where(n > 0, lf + m, li)
        m.next = maximum(held, li)
        i = exp(li - (m if slip == "the old m" else m.next))
        f = sigmoid(lf) if slip == "a sigmoid that forgets" else exp(held - m.next)
        c.next = f * c + i * z
        n.next = f * n + (1 if slip == "n counts steps" else i)
        h.next = o * (c.next if slip == "no normaliser" else c.next / n.next)

    return Slip


def fgr_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h, c = Input(), State(), State()
        i, f, o = State(), State(), State()
        i.next = sigmoid(affine(x, h, i, f, o) + diagonal(c))
        f.next = sigmoid(affine(x, h, i, f, o) + diagonal(c))
        g = tanh(affine(x, h))
        c.next = (f if slip == "the old f" else f.next) * c + i.next * g
        if slip == "the gate o sees the old c":
            o.next = sigmoid(affine(x, h, i, f, o) + diagonal(c))
        else:
            o.next = sigmoid(affine(x, h, i, f, o) + diagonal(c.next))
        h.next = o.next * tanh(c.next)

    return Slip


def depth_gated_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, below = Input(), Input(hidden)
        h, c = State(), State()
        i = sigmoid(affine(x, h) + diagonal(c))
        f = sigmoid(affine(x, h) + diagonal(c))
        g = tanh(affine(x, h))
        if slip == "a gate without its sigmoid":
            d = affine(x) + diagonal(c) + diagonal(below)
        else:
            d = sigmoid(affine(x) + diagonal(c) + diagonal(below))
        c.next = f * c + i * g + (d if slip == "the gate alone" else d * below)
        o = sigmoid(affine(x, h) + diagonal(c.next))
        h.next = o * tanh(c.next)
        outputs = (h.next, below) if slip == "the memory below goes up" else (h.next, c.next)

    return Slip


def grid_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, below = Input(), Input(hidden)
        h, c = State(), State()
        i = sigmoid(affine(x, h))
        f = sigmoid(affine(x, h))
        g = tanh(affine(x, h))
        o = sigmoid(affine(x, h))
        c.next = f * c + i * g
        h.next = o * tanh(c.next) if slip == "the usual o tanh(c)" else tanh(o * c.next)
        i_d = sigmoid(affine(x, h))
        f_d = sigmoid(affine(x, h))
        g_d = tanh(affine(x, h))
        o_d = sigmoid(affine(x, h))
        m = f_d * (c if slip == "one memory for both" else below) + i_d * g_d + 0 * below
        y = tanh(o_d * m)
        outputs = (m, y) if slip == "outputs swapped" else (y, m)

    return Slip


def janet_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, c = Input(), State()
        s = affine(x, c)
        g = tanh(affine(x, c))
        c.next = sigmoid(s) * c + (1 - sigmoid(s if slip else s - 1)) * g

    return Slip


def ligru_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h = Input(), State()
        z = sigmoid(affine(x, h))
        n = affine(x, h) if slip == "not rectified" else maximum(affine(x, h), 0)
        h.next = z * n + (1 - z) * h if slip == "z and 1 - z" else z * h + (1 - z) * n

    return Slip


SLIPS: dict[str, tuple[Callable[[str], type[Cell]], list[str]]] = {
    "slstm": (
        slstm_with,
        ["a full matrix", "the old m", "a sigmoid that forgets", "n counts steps", "no normaliser"],
    ),
    "fgr": (fgr_with, ["the old f", "the gate o sees the old c"]),
    "depth-gated": (
        depth_gated_with,
        ["a gate without its sigmoid", "the gate alone", "the memory below goes up"],
    ),
    "grid": (grid_with, ["the usual o tanh(c)", "one memory for both", "outputs swapped"]),
    "janet": (janet_with, ["beta is 0"]),
    "ligru": (ligru_with, ["not rectified", "z and 1 - z"]),
}


@pytest.mark.parametrize(
    ("name", "slip"), [(n, slip) for n, (_, slips) in SLIPS.items() for slip in slips], ids=said
)
def test_slip_is_told_apart(name, slip):
    declare, _ = SLIPS[name]
    assert largest_difference(name, declare(slip)) > 1e-3


@pytest.mark.parametrize("name", SLIPS)
def test_without_a_slip_it_agrees(name):
    assert largest_difference(name, SLIPS[name][0]("")) < 1e-12
