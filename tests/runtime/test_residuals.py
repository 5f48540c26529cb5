"""What a training pass keeps, counted by step and row, against what nn.LSTM keeps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cellwright.nn import GRU, LSTM, RNN, Recurrent
from cellwright.runtime import native
from tests.cases import CELLS, options
from tests.nn.examples import flat, inputs_for

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
I, H, B = 16, 64, 4
# Vectors of H numbers, beside the input and the output, that the adjoint of a cell reads at each
# step: its gates, the states before the step, and what a nonlinearity made of a state.
VECTORS = {
    "rnn": 1,
    "rnn-relu": 1,
    "irnn": 1,
    "indrnn": 1,
    "lstm-1997": 5,
    "lstm-1997-paper": 5,
    "lstm": 7,
    "lstm-projected": 6.5,
    "peephole": 7,
    "nig": 6,
    "nfg": 6,
    "nog": 5,
    "niaf": 8,  # g is no output of a nonlinearity: c.next, of which o's peephole reads, is kept
    "noaf": 6,
    "np": 7,
    "cifg": 6,
    "fgr": 10,  # three gates before the step and after it
    "coupled": 6,
    "janet": 4,
    "ea-lstm": 7,
    "slstm": 10,
    "gru": 5,
    "gru-cho": 4,
    "mgu": 3,
    "ligru": 3,
    "mut1": 6,
    "mut2": 4,
    "mut3": 5,
    "clockwork": 3,
    "layernorm-lstm": 15,
    "layernorm-gru": 11,
    "depth-gated": 8,
    "depth-gated-lowest": 9,
    "grid": 11,
    "grid-priority": 11,
}


def inputs_of(layer: Any, steps: int) -> list[Tensor]:
    """Draw what a layer of ours or of torch's reads, [T, B, width] each."""
    ours = isinstance(layer, Recurrent)
    return flat(inputs_for(layer, steps, B)) if ours else [torch.randn(steps, B, I)]


def kept(layer: Any, steps: int) -> int:
    """Count the bytes that autograd holds for a layer, but for input, output and parameters."""
    inputs = [x.requires_grad_() for x in inputs_of(layer, steps)]
    seen: dict[int, tuple[int, Tensor]] = {}  # the tensors too: nothing may take their place

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes(), t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        output, _ = layer(tuple(inputs) if len(inputs) > 1 else inputs[0])
    for known in (*inputs, *flat(output), *layer.parameters()):
        seen.pop(known.untyped_storage().data_ptr(), None)
    return sum(size for size, _ in seen.values())


def vectors(layer: Any) -> float:
    """Return how many vectors of H float32 a layer keeps for each step and row."""
    return (kept(layer, 72) - kept(layer, 8)) / (64 * B * H * 4)


@pytest.mark.parametrize("name", CELLS)
def test_no_more_is_kept_than_the_adjoint_reads(name):
    layer = Recurrent(name, I, H, **options(name, H))
    assert vectors(layer) <= VECTORS[name]


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_no_more_is_kept_than_nn_lstm_keeps(kind):
    """nn.LSTM keeps a workspace of oneDNN; torch's other layers keep what each operation keeps."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch is built without oneDNN")
    theirs = getattr(nn, kind.__name__)(I, H)
    assert vectors(kind(I, H)) <= min(vectors(theirs), vectors(nn.LSTM(I, H)))
