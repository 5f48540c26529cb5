"""The same numbers as torch.nn's layers, values and gradients, for every combination of options."""

import copy

import pytest
import torch
from benchmarks.parity import FORMS, KINDS, Combination, combinations, compare
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import cellwright.nn
from tests.nn.examples import TORCH_LIKE, B, H, I, T

# Relative to the largest magnitude of each tensor.
PARITY = {torch.float32: 1e-6, torch.float64: 1e-12}

# torch's own remark about the speed of its projected LSTM.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


@pytest.mark.parametrize("dtype", PARITY, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_torchs(kind, form, dtype):
    cases = [c for c in combinations() if (c.kind, c.form, c.dtype) == (kind, form, dtype)]
    assert len(cases) == (64 if kind == "LSTM" else 32)
    for case in cases:
        for difference in compare(case):
            assert difference.relative <= PARITY[dtype], case


def test_the_combinations_are_all_there():
    cases = list(combinations())
    assert len(cases) == len(set(cases)) == 1280


def test_parity_would_see_a_wrong_gate(monkeypatch):
    case = Combination("LSTM", 1, True, False, False, 0, "batched", True, torch.float64)
    load = cellwright.nn.LSTM.load_state_dict

    def swap_gates(self, state, *args, **kwargs):
        state = {k: v.roll(H, 0) for k, v in state.items()}
        return load(self, state, *args, **kwargs)

    monkeypatch.setattr(cellwright.nn.LSTM, "load_state_dict", swap_gates)
    assert min(d.relative for d in compare(case)) > 1e-3


@pytest.mark.parametrize("packed", [False, True], ids=["tensor", "packed"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", TORCH_LIKE)
def test_dropout_draws_what_torch_draws(name, bidirectional, batch_first, packed):
    """With one seed: the units between layers fall in the same order, packed batches too."""
    options = {"dropout": 0.5, "bidirectional": bidirectional, "batch_first": batch_first}
    theirs = getattr(nn, name)(I, H, 3, **options)
    ours = getattr(cellwright.nn, name)(I, H, 3, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(*((B, T) if batch_first else (T, B)), I)
    if packed:
        x = pack_padded_sequence(x, torch.tensor([2, 5, 3]), batch_first, enforce_sorted=False)
    found = []
    for layer in (ours, theirs):
        torch.manual_seed(3)
        y, _ = layer(x)
        found.append(y.data if packed else y)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0], ours.eval()(x)[0].data if packed else ours.eval()(x)[0])


@pytest.mark.parametrize("name", TORCH_LIKE)
def test_training_ends_at_the_same_weights(name):
    theirs = getattr(nn, name)(I, H, 2, bidirectional=True, dtype=torch.float64)
    ours = getattr(cellwright.nn, name)(I, H, 2, bidirectional=True, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(T, B, I, dtype=torch.float64)
    for layer in (ours, theirs):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            layer(x)[0].square().sum().backward()
            optimizer.step()
    for key, weight in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], weight, rtol=1e-9, atol=1e-9)
        assert not torch.equal(weight, before[key])
