"""Inputs of ±100 saturate every cell and never make a NaN, forwards or backwards."""

import pytest
import torch

from cellwright.compiler import vjp
from tests.cases import CELLS, Values, draw, lowered, run

# Their output is a product of a gate and a tanh, or a tanh: never beyond 1.
BOUNDED = {"rnn", "lstm-1997", "lstm", "peephole", "coupled", "layernorm-lstm"}


def hundreds(program, dtype) -> Values:
    values = draw(program, 6, 3, dtype=dtype, scale=1.0)
    inputs = tuple(torch.where(x > 0, 100.0, -100.0).to(dtype) for x in values.inputs)
    states = tuple(torch.where(s > 0, 100.0, -100.0).to(dtype) for s in values.states)
    return Values(inputs, states, values.params)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_saturates(name, dtype):
    program = lowered(name, 4, 9)
    values = hundreds(program, dtype).tracked()
    outputs, final = run(program, values)
    assert all(bool(t.isfinite().all()) for t in (*outputs, *final))
    if name in BOUNDED:
        assert float(outputs[0].detach().abs().max()) <= 1
    cotangents = [torch.randn_like(t) for t in (*outputs, *final)]
    grads = torch.autograd.grad((*outputs, *final), values.tensors, cotangents)
    assert all(bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("name", CELLS)
def test_adjoint_saturates(name):
    program = lowered(name, 4, 9)
    values = hundreds(program, torch.float32)
    adjoint = vjp(program)
    emitted, final = run(adjoint.forward, values)
    count = len(program.outputs)
    known = dict(zip((p.name for p in program.inputs), values.inputs, strict=True))
    known |= dict(zip(adjoint.residuals, emitted[count:], strict=True))
    outputs = (torch.randn_like(y) for y in emitted[:count])
    known |= dict(zip(adjoint.cotangents, outputs, strict=True))
    read = tuple(known[p.name] for p in adjoint.backward.inputs)
    states = tuple(torch.randn_like(s) for s in final)
    grads, starts = run(adjoint.backward, Values(read, states, values.params))
    assert all(bool(g.isfinite().all()) for g in (*grads, *starts))
