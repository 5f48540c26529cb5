"""The cells that torch.nn has too compute what torch.nn computes, values and gradients."""

import pytest
import torch
from torch import nn

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.language.transform import with_split_biases
from tests.cases import GRADIENT_TOLERANCE, TOLERANCE, Values, assert_close, run, widths

LAYERS = {
    "rnn": lambda i, h, p: nn.RNN(i, h, dtype=torch.float64),
    "rnn-relu": lambda i, h, p: nn.RNN(i, h, nonlinearity="relu", dtype=torch.float64),
    "lstm": lambda i, h, p: nn.LSTM(i, h, dtype=torch.float64),
    "gru": lambda i, h, p: nn.GRU(i, h, dtype=torch.float64),
    "lstm-projected": lambda i, h, p: nn.LSTM(i, h, proj_size=p, dtype=torch.float64),
}


@pytest.mark.parametrize("size", [(1, 1, 1, 2), (4, 3, 5, 7), (3, 1, 4, 33)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_torch_agrees(name, size):
    steps, batch, inputs, hidden = size
    sizes = widths(inputs, hidden)
    layer = LAYERS[name](inputs, hidden, sizes["proj"])
    program = lower(with_split_biases(CATALOGUE[name]).graph, sizes)
    assert [p.name + "_l0" for p in program.params] == [n for n, _ in layer.named_parameters()]
    assert [p.shape for p in program.params] == [tuple(w.shape) for w in layer.parameters()]
    values = Values(
        inputs=(torch.randn(steps, batch, inputs, dtype=torch.float64),),
        states=tuple(torch.randn(batch, c.width, dtype=torch.float64) for c in program.states),
        params=tuple(w.detach() for w in layer.parameters()),
    ).tracked()
    (output,), final = run(program, values)
    hx = [s.detach().unsqueeze(0).requires_grad_() for s in values.states]
    x = values.inputs[0].detach().requires_grad_()
    want, wanted = layer(x, tuple(hx) if len(hx) > 1 else hx[0])
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    for found, right in zip((output, *final), (want, *(s[0] for s in wanted)), strict=True):
        assert_close(found, right, TOLERANCE[torch.float64], name)
    weights = [torch.randn_like(t) for t in (output, *final)]
    ours = torch.autograd.grad((output, *final), values.tensors, weights)
    theirs = torch.autograd.grad(
        (want, *wanted),
        (x, *hx, *layer.parameters()),
        [weights[0], *(w[None] for w in weights[1:])],
    )
    for found, right in zip(ours, theirs, strict=True):
        assert_close(found, right.reshape(found.shape), GRADIENT_TOLERANCE[torch.float64], name)
