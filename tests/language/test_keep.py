"""What a state is multiplied with on its direct way, against the equations by hand."""

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, affine, linear, sigmoid, tanh
from cellwright.language.keep import RULES, with_keeps
from cellwright.language.ops import POINTWISE
from cellwright.nn import Recurrent


class Leaky(Cell):
    """A state that keeps two thirds of itself, with a sign and a quotient on the way."""

    x, h = Input(), State()
    n = tanh(affine(x, h))
    h.next = -(-2 * h / 3) + n


class Twice(Cell):
    """A product of the state with something that has the state in it."""

    x, h = Input(), State()
    z = sigmoid(affine(x, h))
    m = z + h
    h.next = 0.1 * (h * m)


class Bent(Cell):
    """The state goes through tanh itself: nothing multiplies it."""

    x, h = Input(), State()
    h.next = tanh(h + linear(x))


def keep_of(cell: type[Cell], hidden: int = 5) -> tuple[Recurrent, torch.Tensor, dict]:
    """The layer of a cell with its keep as its last output, run over two steps."""
    made, keeps = with_keeps(cell)
    layer = Recurrent(made, 3, hidden, dtype=torch.float64)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    output, _, paths = layer(x, return_states=True)
    return layer, x, {"outputs": output, "paths": paths, "keeps": keeps}


@pytest.mark.parametrize(
    ("name", "state", "label"),
    [
        ("lstm", "c", "f"), ("peephole", "c", "f"), ("gru", "h", "z"), ("gru-cho", "h", "1 - z"),
        ("mgu", "h", "1 - f"), ("fgr", "c", "f"), ("slstm", "n", "f"), ("lstm-1997", "c", "1"),
    ],
)  # fmt: skip
def test_keeps_have_the_papers_names(name, state, label):
    assert {k.state: k.label for k in with_keeps(CATALOGUE[name])[1]}[state] == label


@pytest.mark.parametrize("name", ["rnn", "rnn-relu", "irnn", "indrnn"])
def test_cells_without_a_direct_way_have_none(name):
    assert with_keeps(CATALOGUE[name]) == (CATALOGUE[name], ())


def test_a_bent_way_is_no_keep():
    assert with_keeps(Bent) == (Bent, ())


def test_numbers_are_told_apart_from_values():
    (keep,) = with_keeps(Leaky)[1]
    assert keep.equation is None
    assert keep.constant == pytest.approx(2 / 3)


def test_the_keep_of_an_lstm_is_its_forget_gate():
    torch.manual_seed(0)
    layer, x, ran = keep_of(CATALOGUE["lstm"])
    blocks, h = layer.blocks(), ran["paths"]["h"][0]
    a = x[1] @ blocks["f.x"].T + h[0] @ blocks["f.h"].T + blocks["f.bias"]
    torch.testing.assert_close(ran["outputs"][1][1], torch.sigmoid(a))


def test_the_product_rule():
    torch.manual_seed(0)
    layer, x, ran = keep_of(Twice)
    blocks, h = layer.blocks(), ran["paths"]["h"][0]
    z = torch.sigmoid(x[1] @ blocks["z.x"].T + h[0] @ blocks["z.h"].T + blocks["z.bias"])
    torch.testing.assert_close(ran["outputs"][1][1], 0.1 * (z + 2 * h[0]))


def test_rules_are_for_pointwise_operations():
    assert set(RULES) < POINTWISE


def test_every_cell_of_the_catalogue_still_builds():
    for cell in CATALOGUE.values():
        made, keeps = with_keeps(cell)
        assert len(made.graph.outputs) == len(cell.graph.outputs) + sum(
            keep.equation is not None for keep in keeps
        )
