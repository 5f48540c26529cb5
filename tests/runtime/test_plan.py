"""Plans: compiled once, made again from their key, shown in tracebacks."""

import json
import linecache
import pickle
import traceback

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import verify
from cellwright.language import (
    Cell,
    CellError,
    Input,
    State,
    affine,
    cell_from_json,
    cell_to_json,
    tanh,
)
from cellwright.runtime import plan, plan_of
from tests.cases import CELLS, draw, run, widths


@pytest.mark.parametrize("name", CELLS)
def test_a_plan_is_what_its_key_says(name):
    made = plan(CATALOGUE[name], widths())
    assert plan_of(made.key) is made
    assert plan(CATALOGUE[name], widths()) is made
    assert plan(cell_from_json(cell_to_json(CATALOGUE[name])), widths()) is made
    assert pickle.loads(pickle.dumps(made)) is made
    verify(made.program)
    verify(made.adjoint.forward)
    verify(made.adjoint.backward)


def test_other_sizes_and_no_bias_are_other_plans():
    lstm = CATALOGUE["lstm"]
    made = plan(lstm, {"input": 3, "hidden": 5})
    assert plan(lstm, {"input": 3, "hidden": 6}) is not made
    assert plan(lstm, {"input": 3, "hidden": 5}, with_bias=False) is not made
    assert plan(lstm, {"input": 3, "hidden": 5, "unused": 9}) is made


def test_a_missing_size_is_named():
    with pytest.raises(CellError, match="ProjectedLSTM: width 'proj' needs a size"):
        plan(CATALOGUE["lstm-projected"], {"input": 3, "hidden": 5})


@pytest.mark.parametrize("name", CELLS)
def test_a_plan_runs_what_the_reference_says(name):
    made = plan(CATALOGUE[name], widths())
    for (reset, lengths), loop in made.loops.items():
        values = draw(made.program, reset=reset, lengths=lengths)
        found, final = loop(*values.tensors, *values.masks)
        wanted, ends = run(made.program, values, reset=reset, lengths=lengths)
        pairs = zip((*found, *final), (*wanted, *ends), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_plan_that_emits_its_states():
    made = plan(CATALOGUE["lstm"], widths()).emitting_states()
    assert made.emitted == 1
    assert made.trail == (0, 1)
    assert plan_of(made.key) is made
    values = draw(made.program)
    outputs, final = made.loops[False, False](*values.tensors)
    for at, state in zip(made.trail, final, strict=True):
        assert torch.equal(outputs[at][-1], state)


def test_states_that_share_a_value_are_emitted_once():
    class Shared(Cell):
        x, h, c, d = Input(), State(), State(), State()
        h.next = tanh(affine(x, h, c, d))
        c.next = h
        d.next = h.next

    made = plan(Shared, widths()).emitting_states()
    values = draw(made.program)
    outputs, final = made.loops[False, False](*values.tensors)
    assert len(made.trail) == 3
    for at, state in zip(made.trail, final, strict=True):
        assert torch.equal(outputs[at][-1], state)


def test_a_traceback_shows_the_emitted_line():
    made = plan(CATALOGUE["gru"], widths())
    values = draw(made.program)
    wrong = (values.inputs[0][..., :1], *values.states, *values.params)
    with pytest.raises(RuntimeError) as error:
        made.loops[False, False](*wrong)
    assert "F.linear(x, weight_ih, bias_ih)" in "".join(
        traceback.format_tb(error.value.__traceback__)
    )
    assert any(name.startswith("<cellwright GRU") for name in linecache.cache)


def test_a_key_is_plain_json():
    key = json.loads(plan(CATALOGUE["rnn"], widths()).key)
    assert set(key) == {"cell", "sizes", "bias"}
    assert key["sizes"] == {"hidden": 5, "input": 3}
