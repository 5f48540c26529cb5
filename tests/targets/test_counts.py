"""Weights and FLOPs as functions of the widths."""

import pytest

from cellwright.bench.flops import flops as flops_of_program
from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.language import Cell, Input, State, concat, linear, tanh
from cellwright.language.ops import PARAMETRIC
from cellwright.nn.parameters import kept
from cellwright.targets.counts import PARAMETERS, PRODUCTS, flops, parameters

SIZES = [
    {"input": 3, "hidden": 8, "proj": 4, "static": 2},
    {"input": 8, "hidden": 8, "proj": 8, "static": 8},
    {"input": 1, "hidden": 16, "proj": 5, "static": 7},
]


def test_tables_cover_the_words_with_weights():
    assert set(PARAMETERS) == set(PRODUCTS) == PARAMETRIC


@pytest.mark.parametrize("sizes", SIZES, ids=lambda s: f"{s['input']}-{s['hidden']}")
@pytest.mark.parametrize("name", CATALOGUE)
def test_they_are_what_a_program_has(name, sizes):
    import torch

    graph = CATALOGUE[name].graph
    program = lower(graph, sizes)
    assert flops(graph).at(sizes) == flops_of_program(program)
    held = 0
    for param in program.params:
        whole = param.rows * max(1, param.columns)
        held += whole if param.mask is None else int(kept(param, torch.empty(0)).sum())
    assert parameters(graph).at(sizes) == held


@pytest.mark.parametrize(
    ("name", "weights", "products"),
    [
        ("lstm", "4H² + 4HI + 4H", "8H² + 8HI"),
        ("peephole", "4H² + 4HI + 7H", "8H² + 8HI"),
        ("lstm-projected", "4HI + 5HP + 4H", "8HI + 10HP"),
        ("ea-lstm", "3H² + 3HI + H·static + 4H", "6H² + 6HI + 2·H·static"),
        ("clockwork", "9H²/16 + HI + H", "2H² + 2HI"),
        ("slstm", "H² + 4HI + 4H", "8H² + 8HI"),
        ("indrnn", "HI + 2H", "2HI"),
        (
            "mut1",
            "2H² + 2HI + 3H, and HI more where I ≠ H",
            "4H² + 4HI, and 2HI more where I ≠ H",
        ),
    ],
)
def test_they_are_written_as_in_the_papers(name, weights, products):
    graph = CATALOGUE[name].graph
    assert (str(parameters(graph)), str(flops(graph))) == (weights, products)


def test_widths_that_are_numbers_and_sums():
    class Mixed(Cell):
        x, h = Input("input+7"), State(12)
        h.next = tanh(linear(concat(x, h), 12))

    assert str(parameters(Mixed.graph)) == "12I + 228"
    assert str(flops(Mixed.graph)) == "24I + 456"
