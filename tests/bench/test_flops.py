"""FLOPs: counted by hand from the papers' equations."""

import pytest
import torch

from cellwright.bench import Shape, parse, subjects
from cellwright.bench.errors import BenchError
from cellwright.bench.flops import flops
from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.runtime import plan
from tests.cases import widths

# Products of each cell, as (rows, depth) for I inputs, H units and a projection of P.
BY_HAND = {
    "rnn": lambda I, H, P: [(H, I + H)],
    "lstm": lambda I, H, P: [(4 * H, I + H)],
    "peephole": lambda I, H, P: [(4 * H, I + H)],
    "lstm-projected": lambda I, H, P: [(4 * H, I + P), (P, H)],
    "coupled": lambda I, H, P: [(3 * H, I + H)],
    "gru": lambda I, H, P: [(3 * H, I + H)],
    "gru-cho": lambda I, H, P: [(3 * H, I + H)],
}


@pytest.mark.parametrize("cell", BY_HAND)
@pytest.mark.parametrize("sizes", [(3, 5), (64, 33)], ids=str)
def test_the_count_is_the_papers(cell, sizes):
    known = widths(*sizes)
    wanted = BY_HAND[cell](known["input"], known["hidden"], known["proj"])
    found = flops(lower(CATALOGUE[cell].graph, known))
    assert found == sum(2 * rows * depth for rows, depth in wanted)


def test_a_call_of_an_lstm():
    T, B, I, H = 35, 20, 650, 650
    (lstm,) = subjects("lstm")
    assert Shape(T, B, H).rows * flops(lstm.plan(H).program) == 2 * T * B * 4 * H * (I + H)


def test_products_in_a_wide_and_in_a_narrow_program_are_the_same():
    """The reference multiplies all gates at once, machine code one after another."""
    made = plan(CATALOGUE["lstm"], {"input": 7, "hidden": 9})
    assert flops(made.program) == flops(made.narrow()) == 2 * 4 * 9 * (7 + 9)


def test_a_count_of_parameters_is_a_count_of_flops():
    """Every weight of a cell without norms and peepholes takes part in one multiply-add a row."""
    for name in ("rnn", "lstm", "gru"):
        theirs = getattr(torch.nn, name.upper())(11, 13)
        weights = sum(p.numel() for n, p in theirs.named_parameters() if n.startswith("weight"))
        assert flops(lower(CATALOGUE[name].graph, widths(11, 13))) == 2 * weights


@pytest.mark.parametrize("text", ["", "3x4", "3x4x5x6", "0x1x1", "3x-1x4", "axbxc", "3x4x5,,"])
def test_a_bad_shape_is_named(text):
    with pytest.raises(BenchError, match="100x16x128"):
        parse(text)


def test_shapes_are_read():
    assert parse("100x16x128, 1x1x1,100x16x128") == (Shape(100, 16, 128), Shape(1, 1, 1))
    assert len(parse("all")) == 10
    assert [str(shape) for shape in parse("37x5x77")] == ["37x5x77"]


def test_all_cells_are_those_whose_sizes_a_benchmark_can_choose():
    named = [subject.name for subject in subjects("all")]
    assert set(CATALOGUE) - set(named) == {"ea-lstm"}
    with pytest.raises(BenchError, match="EALSTM: has widths besides .*: static"):
        subjects("ea-lstm")
