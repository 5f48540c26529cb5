"""Every cell of the catalogue computes its paper's equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import Program, lower
from tests.cases import TOLERANCE, Values, assert_close, blocks, draw, fill, run, widths
from tests.cells.oracles import ORACLES, STARTS, sequence

SIZES = [(1, 1, 1, 1), (3, 2, 4, 7), (4, 3, 7, 7), (5, 1, 1, 33), (1, 4, 9, 33)]  # T, B, I, H


def ready(name: str, program: Program, values: Values) -> Values:
    """Every state starts anywhere, but for those that cannot."""
    states = tuple(
        torch.full_like(s, STARTS[name, carry.name]) if (name, carry.name) in STARTS else s
        for carry, s in zip(program.states, values.states, strict=True)
    )
    return replace(values, states=states)


def expected(name: str, program: Program, values: Values):
    weights = {key: w.numpy() for key, w in blocks(program, values.params).items()}
    states = tuple(s.numpy() for s in values.states)
    outputs, final = sequence(ORACLES[name], weights, [x.numpy() for x in values.inputs], states)
    return [torch.from_numpy(y) for y in outputs], [torch.from_numpy(s) for s in final]


def test_every_cell_has_its_oracle():
    assert list(ORACLES) == list(CATALOGUE)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ORACLES)
def test_cell_is_its_paper(name, size):
    steps, batch, inputs, hidden = size
    program = lower(CATALOGUE[name].graph, widths(inputs, hidden))
    values = ready(name, program, draw(program, steps, batch))
    outputs, final = run(program, values)
    wanted, wanted_final = expected(name, program, values)
    for found, want in zip(outputs, wanted, strict=True):
        assert_close(found, want, TOLERANCE[torch.float64], name)
    for state, found, want in zip(program.states, final, wanted_final, strict=True):
        assert_close(found, want, TOLERANCE[torch.float64], f"{name}.{state.name}")


def test_clockwork_keeps_its_modules_periods_over_many_steps():
    program = lower(CATALOGUE["clockwork"].graph, widths(2, 19))
    values = ready("clockwork", program, draw(program, 150, 1))
    (output,), _ = run(program, values)
    (wanted,), _ = expected("clockwork", program, values)
    assert_close(output, wanted, TOLERANCE[torch.float64])
    moved = (output[1:] != output[:-1]).any(1)  # of the unit at step t + 1
    slowest = moved[:, -1].nonzero().flatten() + 1
    assert slowest.tolist() == [128]


@pytest.mark.parametrize("name", ORACLES)
def test_float32_is_near(name):
    program = lower(CATALOGUE[name].graph, widths(4, 33))
    values = ready(name, program, draw(program, 6, 3, dtype=torch.float32, scale=0.2))
    double = type(values)(
        *(
            tuple(t.double() for t in group)
            for group in (values.inputs, values.states, values.params)
        )
    )
    outputs, _ = run(program, values)
    wanted, _ = run(program, double)
    for found, want in zip(outputs, wanted, strict=True):
        assert_close(found, want.float(), TOLERANCE[torch.float32], name)


@pytest.mark.parametrize("name", ORACLES)
def test_blocks_are_views_that_cover_the_parameters(name):
    program = lower(CATALOGUE[name].graph, widths(4, 7))
    params = [torch.full(p.shape, np.nan) for p in program.params]
    fill(program, params, {k: torch.ones_like(v) for k, v in blocks(program, params).items()})
    assert all(bool((p == 1).all()) for p in params)
