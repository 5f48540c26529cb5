"""The oracles have teeth: each slip of the pen in a declaration is told apart from the paper."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.cells.clockwork import PERIODS
from cellwright.compiler import Instr, lower
from cellwright.compiler.rewrite import sliced
from cellwright.language import (
    Cell,
    Input,
    Op,
    State,
    affine,
    bias,
    diagonal,
    fit,
    hidden,
    layer_norm,
    linear,
    modules,
    relu,
    sigmoid,
    split,
    tanh,
    where,
)
from cellwright.targets.torch_text import POINT
from tests.cases import Values, blocks, draw, fill, lowered, run, widths
from tests.cells.oracles import ORACLES, sequence
from tests.cells.test_truth import ready


def lstm_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h, c = Input(), State(), State()
        i = sigmoid(affine(x, h))
        f = tanh(affine(x, h)) if slip == "tanh for sigmoid" else sigmoid(affine(x, h))
        g = sigmoid(affine(x, h)) if slip == "sigmoid for tanh" else tanh(affine(x, h))
        o = sigmoid(affine(x, h))
        if slip == "i and f swapped":
            c.next = i * c + f * g
        elif slip == "f and o swapped":
            c.next = o * c + i * g
        elif slip == "no candidate gate":
            c.next = f * c + 0 * i + g
        elif slip == "minus":
            c.next = f * c - i * g
        else:
            c.next = f * c + i * g
        if slip == "output of the old c":
            h.next = o * tanh(c)
        elif slip == "no squashing":
            h.next = o * c.next
        elif slip == "f and o swapped":
            h.next = f * tanh(c.next)
        else:
            h.next = o * tanh(c.next)

    return Slip


def peephole_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h, c = Input(), State(), State()
        i = sigmoid(affine(x, h) + (0 if slip == "no peephole of i" else diagonal(c)))
        f = sigmoid(affine(x, h) + diagonal(c))
        g = tanh(affine(x, h))
        if slip == "the gate o sees the old c":
            o = sigmoid(affine(x, h) + diagonal(c))
            c.next = f * c + i * g
        else:
            c.next = f * c + i * g
            o = sigmoid(affine(x, h) + diagonal(c.next))
        h.next = o * tanh(c.next)

    return Slip


def gru_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h = Input(), State()
        r = sigmoid(affine(x, h))
        z = sigmoid(affine(x, h))
        if slip == "the bias outside the reset":
            n = tanh(linear(x) + r * linear(h) + bias())
        elif slip == "r for z":
            n = tanh(affine(x) + z * affine(h)) + 0 * r
        else:
            n = tanh(affine(x) + r * affine(h))
        h.next = z * n + (1 - z) * h if slip == "z and 1 - z" else (1 - z) * n + z * h

    return Slip


def gru_cho_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h = Input(), State()
        r = sigmoid(affine(x, h))
        z = sigmoid(affine(x, h))
        n = tanh(linear(x) + r * linear(h) + bias()) if slip else tanh(affine(x, r * h))
        h.next = (1 - z) * h + z * n

    return Slip


def coupled_with_the_other_gate() -> type[Cell]:
    class Slip(Cell):
        x, h, c = Input(), State(), State()
        f = sigmoid(affine(x, h))
        g = tanh(affine(x, h))
        o = sigmoid(affine(x, h))
        c.next = (1 - f) * c + f * g
        h.next = o * tanh(c.next)

    return Slip


def mut1_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h = Input(), State()
        z = sigmoid(affine(x))
        r = sigmoid(affine(x, h))
        p = fit(x)
        n = tanh(linear(r * h) + (p if slip == "no squashing" else tanh(p)) + bias())
        h.next = h * z + n * (1 - z) if slip == "z and 1 - z" else n * z + h * (1 - z)

    return Slip


def clockwork_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h, age = Input(), State(), State()
        period = modules(*(PERIODS[::-1] if slip == "slow and fast swapped" else PERIODS))
        blocks = None if slip == "a full matrix" else len(PERIODS)
        n = tanh(linear(x) + linear(h, upper_blocks=blocks) + bias())
        h.next = where(age < 1, n, h)
        age.next = where(age + 1 < period, age + 1, 1 if slip == "a step too few" else 0)

    return Slip


def layernorm_with(slip: str) -> type[Cell]:
    class Slip(Cell):
        x, h, c = Input(), State(), State()
        z = layer_norm(linear(x, 4 * hidden)) + layer_norm(linear(h, 4 * hidden))
        if slip == "gates in torch's order":
            zi, zf, zg, zo = split(z, 4)
        else:
            zf, zi, zo, zg = split(z, 4)
        f = sigmoid(zf + bias())
        i = sigmoid(zi + bias())
        o = sigmoid(zo + bias())
        g = tanh(zg + bias())
        c.next = f * c + i * g
        h.next = o * (layer_norm(c.next) if slip == "no squashing" else tanh(layer_norm(c.next)))

    return Slip


def rnn_with_relu() -> type[Cell]:
    class Slip(Cell):
        x, h = Input(), State()
        h.next = relu(affine(x, h))

    return Slip


def slips() -> Iterator[tuple[str, str, type[Cell]]]:
    lstm = ["tanh for sigmoid", "sigmoid for tanh", "i and f swapped", "f and o swapped"]
    lstm += ["no candidate gate", "minus", "output of the old c", "no squashing"]
    yield from (("lstm", slip, lstm_with(slip)) for slip in lstm)
    for slip in ("no peephole of i", "the gate o sees the old c"):
        yield "peephole", slip, peephole_with(slip)
    for slip in ("the bias outside the reset", "r for z", "z and 1 - z"):
        yield "gru", slip, gru_with(slip)
    yield "gru-cho", "reset after the matrix", gru_cho_with("after")
    yield "coupled", "the other gate", coupled_with_the_other_gate()
    for slip in ("no squashing", "z and 1 - z"):
        yield "mut1", slip, mut1_with(slip)
    for slip in ("slow and fast swapped", "a full matrix", "a step too few"):
        yield "clockwork", slip, clockwork_with(slip)
    for slip in ("gates in torch's order", "no squashing"):
        yield "layernorm-lstm", slip, layernorm_with(slip)
    yield "rnn", "relu for tanh", rnn_with_relu()


RENAMED = {"n.x": "p.x", "o.c.next": "o.c", "n.r*h": "n.h", "n.bias_h": "n.bias", "n.h": "n.r*h"}


def largest_difference(name: str, cell: type[Cell]) -> float:
    """Compare a declaration with the oracle of a name, on the same weights."""
    right = lowered(name, 4, 9)
    values = draw(right, 5, 2)
    states = ready(name, right, values).states
    weights = blocks(right, values.params)
    program = lower(cell.graph, widths(4, 9))
    params = tuple(torch.empty(p.shape, dtype=torch.float64) for p in program.params)
    known = {RENAMED[key]: w for key, w in weights.items() if key in RENAMED} | weights
    fill(program, params, known)
    outputs, _ = run(program, Values(values.inputs, states, params))
    numbers = {key: w.numpy() for key, w in weights.items()}
    start = tuple(s.numpy() for s in states)
    wanted, _ = sequence(ORACLES[name], numbers, [x.numpy() for x in values.inputs], start)
    pairs = zip(outputs, wanted, strict=True)
    return max(float(np.abs(y.numpy() - want).max()) for y, want in pairs)


def said(value: object) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "slip", "cell"), list(slips()), ids=said)
def test_slip_is_told_apart(name, slip, cell):
    assert largest_difference(name, cell) > 1e-3


# A slip in the target's own table: the text of one operation, and a cell that uses it.
WRONG_TEXT = {
    Op.SUB: ("gru", "{1} - {0}"),
    Op.MUL: ("lstm", "{} + {}"),
    Op.SIGMOID: ("lstm", "torch.tanh({})"),
    Op.TANH: ("rnn", "torch.sigmoid({})"),
    Op.RELU: ("rnn-relu", "torch.abs({})"),
    Op.WHERE: ("clockwork", "torch.where({0}, {2}, {1})"),
    Op.LESS: ("clockwork", "{1} < {0}"),
}


@pytest.mark.parametrize("op", WRONG_TEXT, ids=str)
def test_a_wrong_word_of_the_target_is_told_apart(op, monkeypatch):
    name, text = WRONG_TEXT[op]
    monkeypatch.setitem(POINT, op, (text, *POINT[op][1:]))
    assert largest_difference(name, CATALOGUE[name]) > 1e-3


def test_a_pass_that_cuts_in_the_wrong_place_is_told_apart(monkeypatch):
    """Let pack hand each gate its neighbour's rows."""

    def shifted(name: str, of: str, start: int, stop: int) -> Instr:
        if of != "bias_ih" and (start, stop) in ((0, 9), (9, 18)):
            start, stop = 9 - start, 27 - stop
        return sliced(name, of, start, stop)

    monkeypatch.setattr(sys.modules["cellwright.compiler.pack"], "sliced", shifted)
    assert largest_difference("lstm", CATALOGUE["lstm"]) > 1e-3


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        *((name, CATALOGUE[name]) for name in ORACLES),
        ("lstm", lstm_with("")),
        ("peephole", peephole_with("")),
        ("gru", gru_with("")),
        ("mut1", mut1_with("")),
        ("clockwork", clockwork_with("")),
        ("layernorm-lstm", layernorm_with("")),
    ],
    ids=said,
)
def test_without_a_slip_it_agrees(name, cell):
    assert largest_difference(name, cell) < 1e-12
