"""Machine code asked for by name: where it cannot run it is refused, and nothing is silent."""

from typing import Any

import pytest
import torch
from torch.func import grad, jvp, vmap

from cellwright.nn import GRU, LSTM, LSTMCell
from cellwright.runtime import native, say_once, use_backend
from tests.nn.examples import B, H, I, T, flat, gradients

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
close = torch.testing.assert_close
# The first use of forward mode in a process makes torch 2.13 warn of itself.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
X = torch.linspace(-1, 1, T * B * I).reshape(T, B, I)
TRANSFORMED = {
    "vmap": lambda run: vmap(run)(torch.stack((X, 2 * X))),
    "grad": lambda run: grad(lambda x: run(x).sum())(X),
    "jvp": lambda run: jvp(run, (X,), (X,))[1],
}


@forward_mode
@pytest.mark.parametrize("what", TRANSFORMED)
@pytest.mark.parametrize("kind", [GRU, LSTMCell])
def test_transforms_are_refused(kind, what, caplog):
    layer = kind(I, H)

    def run(x: torch.Tensor) -> Any:
        return layer(x if kind is GRU else x[0])[0]

    refusal = rf"'llvm' cannot run {kind.__name__[:4].rstrip('C')}: torch.func's transforms"
    with use_backend("llvm"), pytest.raises(RuntimeError, match=refusal):
        TRANSFORMED[what](run)
    found = TRANSFORMED[what](run)
    with use_backend("reference"):
        close(found, TRANSFORMED[what](run))


def test_auto_says_once_that_transforms_run_elsewhere(caplog: pytest.LogCaptureFixture):
    say_once.cache_clear()
    layer = GRU(I, H)
    for _ in range(2):
        vmap(lambda x: layer(x)[0])(X[None])
    (said,) = [record.getMessage() for record in caplog.records]
    assert "GRU runs on the reference path" in said and "torch.func's transforms" in said


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_a_step_in_a_graph_is_one_operator(ran):
    cell = LSTMCell(I, H, backend="llvm")
    compiled = torch.compile(cell, backend="aot_eager", fullgraph=True)
    leaves = [X[0].clone().requires_grad_(), *cell.parameters()]
    found = flat(compiled(leaves[0]))
    slopes = gradients(found, leaves)
    assert len(ran) == 2  # forward and adjoint
    with use_backend("reference"):
        wanted = flat(cell(leaves[0]))
    close(found, wanted, rtol=1e-5, atol=1e-6)
    close(slopes, gradients(wanted, leaves), rtol=1e-5, atol=1e-6)
    torch.compile(LSTMCell(I, H), backend="aot_eager", fullgraph=True)(leaves[0])
    assert len(ran) == 2  # torch operations


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_transforms_in_a_graph_are_refused():
    layer = GRU(I, H, backend="llvm")
    compiled = torch.compile(lambda x: vmap(lambda v: layer(v)[0])(x), backend="aot_eager")
    with pytest.raises(RuntimeError, match="'llvm' cannot run GRU: torch.func's transforms"):
        compiled(X[None])


def test_a_second_derivative_is_the_references_by_design(ran):
    """The forward pass is machine code; a gradient that has one itself is torch operations."""
    layer = LSTM(I, H, backend="llvm", dtype=torch.float64)
    x = X.double().requires_grad_()
    output = layer(x)[0]
    assert len(ran) == 1
    (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    found = torch.autograd.grad(slope.square().sum(), [x, *layer.parameters()])
    assert len(ran) == 1
    with use_backend("reference"):
        (slope,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
        wanted = torch.autograd.grad(slope.square().sum(), [x, *layer.parameters()])
    close(found, wanted)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace_records_torch_operations_and_says_so(caplog):
    say_once.cache_clear()
    layer = LSTM(I, H, bidirectional=True)
    traced: Any = torch.jit.trace(layer, (X,))
    assert "aten::tanh" in {node.kind() for node in traced.inlined_graph.nodes()}
    (said,) = [record.getMessage() for record in caplog.records]
    assert "LSTM runs on the reference path" in said and "torch.jit.trace" in said
    close(flat(traced(2 * X)), flat(layer(2 * X)), rtol=1e-5, atol=1e-6)
    with use_backend("llvm"), pytest.raises(RuntimeError, match=r"cannot run LSTM: torch.jit.tr"):
        torch.jit.trace(layer, (X,))
