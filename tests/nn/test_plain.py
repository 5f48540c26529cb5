"""Tensors that are more than memory: fake, traced, subclassed, negated, zeros without memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from cellwright.nn import GRU, LSTM, LSTMCell, Recurrent
from cellwright.runtime import native, say_once, sequence, use_backend
from tests.nn.examples import B, H, I, T, flat, gradients

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
close = torch.testing.assert_close
OURS = torch.ops.cellwright.sequence.default
KEEPING = torch.ops.cellwright.sequence_training.default


class Named(Tensor):
    """A subclass that adds nothing."""


class Wrapped(Tensor):
    """A tensor that has no memory of its own: another tensor holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Any:
        """Return a tensor that looks like another."""
        like = {"dtype": inner.dtype, "device": inner.device, "requires_grad": inner.requires_grad}
        made: Any = Tensor._make_wrapper_subclass(cls, inner.shape, **like)
        made.inner = inner.detach()
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def opened(v: Any) -> Any:
            return v.inner if isinstance(v, Wrapped) else v

        found = func(*tree_map(opened, args), **tree_map(opened, kwargs or {}))
        return tree_map(lambda v: Wrapped(v) if isinstance(v, Tensor) else v, found)

    def __repr__(self) -> str:  # type: ignore[override]
        return "Wrapped"


class Seen(TorchDispatchMode):
    """Notes which operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations.append(func)
        return func(*args, **(kwargs or {}))


def reference(layer: Any, *given: Any) -> list[Tensor]:
    with use_backend("reference"):
        return flat(layer(*given))


def unwrapped(t: Any) -> Tensor:
    assert type(t) in (Wrapped, Named)
    return t.inner if type(t) is Wrapped else t.as_subclass(Tensor)


# -- fake tensors, and modes that see every operation ---------------------------------------


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("backend", ["auto", "llvm"])
def test_fake_tensors_have_shapes_and_no_memory(backend, track, ran):
    with FakeTensorMode(), torch.set_grad_enabled(track):
        layer: Any = LSTM(I, H, 2, bidirectional=True, backend=backend)
        output, (h, c) = layer(torch.randn(T, B, I))
        if track:
            output.sum().backward()
            assert layer.weight_hh_l1.grad.shape == (4 * H, H)
        step = LSTMCell(I, H, backend=backend)(torch.randn(B, I))
    assert output.shape == (T, B, 2 * H) and h.shape == c.shape == (4, B, H)
    assert step[0].shape == (B, H)
    assert not ran


def test_fake_tensors_outside_of_their_mode(ran):
    mode = FakeTensorMode()
    with mode:
        layer = GRU(I, H, recompute=True)
    output, _ = layer(mode.from_tensor(torch.randn(T, B, I)))
    assert type(output).__name__ == "FakeTensor" and output.shape == (T, B, H) and not ran


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("track", [True, False])
def test_make_fx_records_one_operator(mode, track):
    layer = LSTM(I, H)
    x = torch.randn(T, B, I)
    with torch.set_grad_enabled(track):
        traced = make_fx(lambda x: layer(x)[0], tracing_mode=mode, _allow_non_fake_inputs=True)(x)
    targets = [node.target for node in traced.graph.nodes]
    assert (KEEPING if track else OURS) in targets and torch.ops.aten.tanh.default not in targets
    another = torch.randn(T, B, I)
    close(traced(another), reference(layer, another)[0], rtol=1e-5, atol=1e-6)


def test_make_fx_before_dispatch():
    layer = GRU(I, H)
    x = torch.randn(T, B, I)
    traced = make_fx(lambda x: layer(x)[0], pre_dispatch=True)(x)
    close(traced(2 * x), reference(layer, 2 * x)[0], rtol=1e-5, atol=1e-6)


def test_make_fx_of_a_step_records_torch_operations():
    cell = LSTMCell(I, H)
    x = torch.randn(B, I)
    traced = make_fx(lambda x: cell(x)[0])(x)
    assert OURS not in [node.target for node in traced.graph.nodes]
    close(traced(2 * x), reference(cell, 2 * x)[0], rtol=1e-5, atol=1e-6)


def test_a_mode_sees_the_layer_and_its_adjoint(ran):
    layer, x = LSTM(I, H), torch.randn(T, B, I)
    with Seen() as forward:
        output, _ = layer(x)
    assert KEEPING in forward.operations and len(ran) == 1
    close(output, reference(layer, x)[0], rtol=1e-5, atol=1e-6)
    output, _ = layer(x)
    wanted = gradients([output], list(layer.parameters()), again=True)
    with Seen() as backward:
        found = gradients([output], list(layer.parameters()))
    assert torch.ops.cellwright.sequence_vjp.default in backward.operations
    close(found, wanted, rtol=0, atol=0)


# -- subclasses -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Named, Wrapped])
def test_subclasses_get_torch_operations(kind, ran, caplog):
    say_once.cache_clear()
    layer, x = LSTM(I, H), torch.randn(T, B, I)
    made = kind(x) if kind is Wrapped else x.as_subclass(Named)
    found = [unwrapped(t) for t in flat(layer(made))]
    assert not ran and f"a {kind.__name__}, a subclass of torch.Tensor" in caplog.text
    close(found, reference(layer, x), rtol=1e-5, atol=1e-6)
    with use_backend("llvm"), pytest.raises(RuntimeError, match=f"run LSTM: a {kind.__name__}"):
        layer(made)


@pytest.mark.parametrize("what", ["a weight", "a state", "a step's state", "a reset"])
def test_a_subclass_among_plain_tensors(what, ran):
    layer: Any = LSTMCell(I, H) if "step" in what else LSTM(I, H)
    x = torch.randn(B, I) if "step" in what else torch.randn(T, B, I)
    state = torch.randn(B, H) if "step" in what else torch.randn(1, B, H)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[1] = True
    masks = {"reset": reset} if what == "a reset" else {}
    with use_backend("reference"):
        wanted = flat(layer(x, (state, state), **masks))
    masks = {"reset": Wrapped(reset)} if masks else {}
    if what == "a weight":
        name = "weight_hh_l0"
        setattr(layer, name, nn.Parameter(Wrapped(getattr(layer, name).detach())))
    first = Wrapped(state) if "state" in what else state
    found = [unwrapped(t) for t in flat(layer(x, (first, state), **masks))]
    close(found, wanted, rtol=1e-5, atol=1e-6)
    assert not ran


# -- marks on plain tensors -----------------------------------------------------------------


def negated(t: Tensor) -> Tensor:
    """Return the same numbers as torch keeps the imaginary part of a conjugate: negated."""
    made = torch.complex(torch.zeros_like(t), -t).conj().imag
    assert made.is_neg()
    return made


@pytest.mark.parametrize("backend", ["auto", "llvm"])
def test_negative_bits_are_resolved(backend, ran):
    layer: Any = LSTM(I, H, backend=backend, dtype=torch.float64)
    x, h = (torch.randn(*shape, dtype=torch.float64) for shape in ((T, B, I), (1, B, H)))
    leaves = [x.requires_grad_(), h.requires_grad_()]
    wanted = reference(layer, x, (h, h))
    found = flat(layer(negated(x), (negated(h), negated(h))))
    close(found, wanted)
    close(gradients(found, leaves), gradients(wanted, leaves))
    assert len(ran) == 2
    weight = layer.weight_hh_l0.detach().clone()
    layer.weight_hh_l0 = nn.Parameter(torch.ops.aten._neg_view(-weight))
    assert layer.weight_hh_l0.is_neg()
    close(flat(layer(x, (h, h))), wanted)
    cell = LSTMCell(I, H, backend=backend, dtype=torch.float64)
    close(flat(cell(negated(x[0]))), reference(cell, x[0]))


@pytest.mark.parametrize("backend", ["auto", "llvm"])
def test_zeros_without_memory_are_made(backend, ran):
    layer = GRU(I, H, backend=backend)
    none = torch.ops.aten._efficientzerotensor([T, B, I]).requires_grad_()
    zeros = torch.zeros(T, B, I, requires_grad=True)
    found, wanted = flat(layer(none)), flat(layer(zeros))
    close(found, wanted, rtol=0, atol=0)
    close(gradients(found, [none]), gradients(wanted, [zeros]), rtol=0, atol=0)
    assert len(ran) == 4


@pytest.mark.parametrize("backend", ["auto", "llvm"])
@pytest.mark.parametrize("recompute", [False, 2])
def test_cotangents_are_read_as_what_they_mean(recompute, backend, ran):
    layer = LSTM(I, H, backend=backend, recompute=recompute)
    x = torch.randn(T, B, I, requires_grad=True)
    output, (h, _) = layer(x)
    ct = torch.randn(T, B, H)
    pull = {"inputs": [x, *layer.parameters()], "retain_graph": True}
    wanted = torch.autograd.grad([output, h], grad_outputs=[ct, torch.zeros_like(h)], **pull)
    none = torch.ops.aten._efficientzerotensor(h.shape)
    ran.clear()
    found = torch.autograd.grad([output, h], grad_outputs=[negated(ct), none], **pull)
    assert ran
    close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("recompute", [False, 2])
def test_cotangents_that_are_no_memory(recompute):
    """A subclass, and vmap's: one for each row of a Jacobian."""
    layer = LSTM(I, H, recompute=recompute, dtype=torch.float64)
    x = torch.randn(T, B, I, requires_grad=True, dtype=torch.float64)
    output, _ = layer(x)
    ct = torch.randn(4, T, B, H, dtype=torch.float64)
    wanted = [torch.autograd.grad(output, x, row, retain_graph=True)[0] for row in ct]
    (found,) = torch.autograd.grad(output, x, ct, is_grads_batched=True, retain_graph=True)
    close(found, torch.stack(wanted))
    (found,) = torch.autograd.grad(output, x, Wrapped(ct[0]), retain_graph=True)
    close(unwrapped(found), wanted[0])
    insisting = LSTM(I, H, backend="llvm", dtype=torch.float64)(x)[0]
    for given, options in ((ct, {"is_grads_batched": True}), (Wrapped(ct[0]), {})):
        with pytest.raises(RuntimeError, match=r"'llvm' cannot run LSTM: backward\(\) with"):
            torch.autograd.grad(insisting, x, given, retain_graph=True, **options)


def test_weights_converted_between_forward_and_backward_are_noticed():
    """Their memory is not what the adjoint would read it as."""
    layer = LSTM(I, H)
    output, _ = layer(torch.randn(T, B, I))
    layer.double()
    with pytest.raises(RuntimeError, match="dtype"):
        output.sum().backward()


# The first use of forward mode in a process makes torch 2.13 warn of itself.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_what_a_graph_runs_is_checked_too():
    """An exported layer has no layer before it that looks at dtypes."""
    layer = Recurrent("gru", I, H)
    made, weights = layer._plans[0], list(layer.parameters())
    h = torch.zeros(B, H, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    for given in ((x, h, weights), (x.float(), h, weights)):
        with torch.no_grad(), pytest.raises(RuntimeError, match=r"cannot run GRU: .*float64"):
            sequence(made.key, "auto", 0, [given[0]], [given[1]], given[2], [], None, None)
    good = [w.double() for w in weights]
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(RuntimeError, match="no forward-mode derivative"):
            sequence(made.key, "auto", 0, [dual], [h], good, [], None, None)
