"""What a training pass keeps, counted by step and row, against what nn.LSTM keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cellwright.nn import GRU, LSTM, RNN, Recurrent
from cellwright.runtime import native
from tests.cases import CELLS

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
I, H, B = 16, 64, 4
# Vectors of H numbers, beside the input and the output, that the adjoint of a cell reads at each
# step: its gates, the states before the step, and what a nonlinearity made of a state.
VECTORS = {
    "rnn": 1,
    "rnn-relu": 1,
    "lstm-1997": 5,
    "lstm": 7,
    "lstm-projected": 6.5,
    "peephole": 7,
    "coupled": 6,
    "gru": 5,
    "gru-cho": 4,
    "mut1": 6,
    "clockwork": 3,
    "layernorm-lstm": 15,
}


def kept(layer: Any, steps: int) -> int:
    """Count the bytes that autograd holds for a layer, but for input, output and parameters."""
    x = torch.randn(steps, B, I, requires_grad=True)
    seen: dict[int, tuple[int, Tensor]] = {}  # the tensors too: nothing may take their place

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes(), t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        output, _ = layer(x)
    for known in (x, output, *layer.parameters()):
        seen.pop(known.untyped_storage().data_ptr(), None)
    return sum(size for size, _ in seen.values())


def vectors(layer: Any) -> float:
    """Return how many vectors of H float32 a layer keeps for each step and row."""
    return (kept(layer, 72) - kept(layer, 8)) / (64 * B * H * 4)


@pytest.mark.parametrize("name", CELLS)
def test_no_more_is_kept_than_the_adjoint_reads(name):
    layer = Recurrent(name, I, H, proj_size=H // 2 if name == "lstm-projected" else 0)
    assert vectors(layer) <= VECTORS[name]


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_no_more_is_kept_than_nn_lstm_keeps(kind):
    """nn.LSTM keeps a workspace of oneDNN; torch's other layers keep what each operation keeps."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch is built without oneDNN")
    theirs = getattr(nn, kind.__name__)(I, H)
    assert vectors(kind(I, H)) <= min(vectors(theirs), vectors(nn.LSTM(I, H)))
