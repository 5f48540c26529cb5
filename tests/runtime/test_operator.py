"""The registered operator: the same numbers as the reference, the adjoint as its gradient."""

import pytest
import torch
from torch import Tensor

from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, affine, maximum, sigmoid, tanh
from cellwright.runtime import Plan, plan, sequence
from tests.cases import CELLS, GRADIENT_TOLERANCE, MASKS, Values, assert_close, draw, run, widths
from tests.compiler.adjoint import cotangents


def call(made: Plan, values: Values, reset: bool, lengths: bool) -> tuple[Tensor, ...]:
    """The operator's outputs and final states, residuals left out."""
    masks = list(values.masks)
    found = sequence(
        made.key,
        values.inputs,
        values.states,
        values.params,
        values.starts,
        masks.pop(0) if reset else None,
        masks.pop(0) if lengths else None,
    )
    return (*found[: made.emitted], *found[-len(values.states) :])


class Bare(Cell):
    """A cell that hands its input and its old state on, and keeps a state that never moves."""

    x, h, k = Input("hidden"), State(), State()
    h.next = x
    k.next = k
    outputs = x, h


class Wide(Cell):
    """Two inputs, two outputs, ties, and a value that only parameters decide."""

    x, u, h, c = Input(), Input("hidden"), State(), State("proj")
    m = maximum(u, h) + sigmoid(affine(x, c))
    c.next = affine(m, c, width="proj")
    h.next = tanh(m)
    outputs = m, c.next


OWN = {"bare": Bare, "wide": Wide}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", [*CELLS, *OWN])
def test_operator_is_the_reference(name, masks):
    reset, lengths = MASKS[masks]
    made = plan({**CATALOGUE, **OWN}[name], widths(4, 7))
    ours = draw(made.program, 5, 3, reset=reset, lengths=lengths).tracked()
    theirs = draw(made.program, 5, 3, reset=reset, lengths=lengths).tracked()
    found = call(made, ours, reset, lengths)
    outputs, final = run(made.program, theirs, reset=reset, lengths=lengths)
    wanted = (*outputs, *final)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, 1e-12, name)
    given = cotangents(wanted)
    mine = torch.autograd.grad(found, ours.tensors, given, allow_unused=True)
    torchs = torch.autograd.grad(wanted, theirs.tensors, given, allow_unused=True)
    for a, b, like in zip(mine, torchs, ours.tensors, strict=True):
        a = torch.zeros_like(like) if a is None else a
        b = torch.zeros_like(like) if b is None else b
        assert_close(a, b, GRADIENT_TOLERANCE[torch.float64], f"{name}, {masks}")


@pytest.mark.parametrize("name", ["lstm", "clockwork", "bare"])
def test_nothing_comes_back_that_shares_memory(name):
    made = plan({**CATALOGUE, **OWN}[name], widths(4, 7))
    values = draw(made.program, 3, 2)
    found = sequence(made.key, values.inputs, values.states, values.params, [], None, None)
    homes = [t.untyped_storage().data_ptr() for t in (*found, *values.tensors)]
    assert len(set(homes)) == len(homes)


@pytest.mark.parametrize("masks", ["no mask", "both"])
def test_torch_accepts_the_operator(masks):
    reset, lengths = MASKS[masks]
    made = plan(CATALOGUE["gru"], widths(2, 3))
    values = draw(made.program, 3, 2, reset=reset, lengths=lengths).tracked()
    masks_given = list(values.masks)
    arguments = (
        made.key,
        list(values.inputs),
        list(values.states),
        list(values.params),
        list(values.starts),
        masks_given.pop(0) if reset else None,
        masks_given.pop(0) if lengths else None,
    )
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(sequence, arguments, test_utils=tests)
