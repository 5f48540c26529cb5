"""The registered operator: on both paths the reference's numbers, the adjoint as its gradient."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, affine, maximum, sigmoid, tanh
from cellwright.runtime import Plan, plan, sequence
from cellwright.runtime.operator import sequence_training
from tests.cases import CELLS, GRADIENT_TOLERANCE, MASKS, Values, assert_close, draw, run, widths
from tests.compiler.adjoint import cotangents

PATHS = ("reference", "auto")


def arguments(
    made: Plan, backend: str, values: Values, reset: bool = False, lengths: bool = False, chunk=0
) -> tuple[Any, ...]:
    masks = list(values.masks)
    groups = (values.inputs, values.states, values.params, values.starts)
    first = masks.pop(0) if reset else None
    return (made.key, backend, chunk, *map(list, groups), first, masks.pop(0) if lengths else None)


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


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", [*CELLS, *OWN])
def test_operator_is_the_reference(name, masks, backend, chunk):
    reset, lengths = MASKS[masks]
    made = plan({**CATALOGUE, **OWN}[name], widths(4, 7))
    ours = draw(made.program, 5, 3, reset=reset, lengths=lengths).tracked()
    theirs = draw(made.program, 5, 3, reset=reset, lengths=lengths).tracked()
    found = sequence(*arguments(made, backend, ours, reset, lengths, chunk))
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


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("operator", [sequence, sequence_training])
@pytest.mark.parametrize("name", ["lstm", "clockwork", "bare"])
def test_nothing_comes_back_that_shares_memory(name, operator, backend, chunk):
    made = plan({**CATALOGUE, **OWN}[name], widths(4, 7))
    values = draw(made.program, 3, 2)
    found = operator(*arguments(made, backend, values, chunk=chunk))
    homes = [t.untyped_storage().data_ptr() for t in (*found, *values.tensors)]
    assert len(set(homes)) == len(homes)


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("masks", ["no mask", "both"])
def test_torch_accepts_the_operator(masks, backend, chunk):
    reset, lengths = MASKS[masks]
    made = plan(CATALOGUE["gru"], widths(2, 3))
    values = draw(made.program, 3, 2, reset=reset, lengths=lengths).tracked()
    given = arguments(made, backend, values, reset, lengths, chunk)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(sequence, given, test_utils=tests)


@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_what_is_kept_is_what_the_shape_rule_says(dtype, backend):
    """Machine code keeps other things than torch operations do; the dtype says which."""
    made = plan(CATALOGUE["lstm"], widths(4, 7))
    values = draw(made.program, 3, 2, dtype=dtype)
    given = arguments(made, backend, values)
    kept = sequence_training(*given)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = sequence_training(*given)
    assert [t.shape for t in kept] == [t.shape for t in fake]
    assert len(kept) == (10 if backend == "auto" and not dtype.is_complex else 9)
