"""Saturated, infinite, missing and tiny numbers: what machine code makes of them."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.cases import CELLS
from tests.engine.agree import DTYPES, LLVM, REFERENCE, Case, Numbers, numbers, outcome, planned

cells = pytest.mark.parametrize("name", CELLS)
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
CASE = Case(7, 3)
GROUPS = ("inputs", "states", "params", "cotangents")
SMOOTH = tuple(name for name in CELLS if name != "rnn-relu")


def scaled(given: Numbers, **factors: float) -> Numbers:
    """Multiply groups of numbers: inputs, states, params, cotangents."""
    changed = {k: tuple(t * by for t in getattr(given, k)) for k, by in factors.items()}
    return replace(given, **changed)


def hundreds(x: Tensor) -> Tensor:
    return torch.where(x < 0, -100.0, 100.0).to(x.dtype)


@pytest.mark.parametrize("weights", [1.0, 40.0])
@dtypes
@cells
def test_saturated(name: str, dtype: torch.dtype, weights: float):
    """Inputs of 100 and preactivations of 10,000: gates stand at their ends, nothing is NaN."""
    made = planned(name, 7, 33)
    given = scaled(numbers(made, CASE), params=weights)
    given = replace(given, inputs=tuple(hundreds(x) for x in given.inputs)).to(dtype)
    found = outcome(made, given, LLVM)
    wanted = outcome(made, given.to(torch.float64), REFERENCE)
    assert found.keys() == wanted.keys()
    for key, want in wanted.items():
        assert found[key].isfinite().all(), key
        if dtype is torch.float64:  # a float's rounding, 10,000 times as large, can move a gate
            scale = want.abs().max().clamp(min=1)
            assert float((found[key] - want).abs().max() / scale) < 1e-8, key


def spoilt(given: Numbers, group: str, bad: float) -> Numbers:
    """Put one bad number into the first tensor of a group."""
    first, *rest = getattr(given, group)
    first = first.clone()
    first.view(-1)[first.numel() // 2 + 1] = bad
    return replace(given, **{group: (first, *rest)})


def assert_alike(name: str, group: str, bad: float, dtype: torch.dtype) -> None:
    """Fail where one result is NaN or infinite and the other is not, or finite numbers differ."""
    made = planned(name, 7, 33)
    given = spoilt(numbers(made, CASE), group, bad).to(dtype)
    found = outcome(made, given, LLVM)
    wanted = outcome(made, given.to(torch.float64), REFERENCE)
    for key, want in wanted.items():
        got, what = found[key].double(), (name, group, bad, key)
        assert torch.equal(got.isnan(), want.isnan()), what
        ends = want.isinf()
        assert torch.equal(got[ends], want[ends]), what
        rest = want.isfinite()
        off = (got - want)[rest].abs()
        scale = want[rest].abs().max().clamp(min=1) if bool(rest.any()) else 1
        assert bool((off <= 1e-5 * scale).all()), what


@pytest.mark.parametrize("group", GROUPS)
@dtypes
@pytest.mark.parametrize("name", SMOOTH)
def test_nan_is_where_the_reference_has_it(name: str, group: str, dtype: torch.dtype):
    assert_alike(name, group, float("nan"), dtype)


@dtypes
def test_infinity_does_what_it_does_in_the_reference(dtype: torch.dtype):
    for name, group, sign in itertools.product(SMOOTH, GROUPS, (1, -1)):
        assert_alike(name, group, sign * float("inf"), dtype)


@dtypes
def test_nan_and_infinity_through_relu(dtype: torch.dtype):
    for group, bad in itertools.product(GROUPS, ("nan", "inf", "-inf")):
        assert_alike("rnn-relu", group, float(bad), dtype)


@dtypes
@pytest.mark.parametrize("name", ["rnn", "rnn-relu", "lstm", "gru", "gru-cho", "coupled"])
def test_denormals_are_kept(name: str, dtype: torch.dtype):
    """Numbers below the smallest normal one come through, to a few units of the last place."""
    made = planned(name, 7, 33, with_bias=False)
    tiny = torch.finfo(dtype).tiny
    small = scaled(numbers(made, CASE), inputs=tiny / 64, states=tiny / 64, cotangents=tiny / 64)
    given = small.to(dtype)
    found = outcome(made, given, LLVM)
    wanted = outcome(made, given.to(torch.float64), REFERENCE)
    unit = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for key, want in wanted.items():
        got = found[key].double()
        assert bool(((got - want).abs() <= 200 * unit).all()), key
        if key.startswith(("output", "final")):
            assert 0 < got.abs().max() < tiny, key
