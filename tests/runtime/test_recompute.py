"""Recomputing: the same gradients from the states at every so many steps, in far less memory."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cellwright.nn import GRU, LSTM, RNN, Recurrent
from cellwright.runtime import native, use_backend
from tests.nn.examples import ALL_CELLS, B, H, I, build, flat, gradients, inputs_for, start_for

close = torch.testing.assert_close
STEPS = 11
PATHS = [
    "reference",
    pytest.param(
        "llvm", marks=pytest.mark.skipif(native.missing() is not None, reason="no machine code")
    ),
]


def twice(name: str, recompute: bool | int, **options: Any) -> tuple[Recurrent, Recurrent]:
    """The same layer without and with recomputing."""
    plain = build(name, **options)
    again = build(name, recompute=recompute, **options)
    again.load_state_dict(plain.state_dict())
    return plain, again


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("recompute", [True, 1, 4, 99])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_the_same_values_and_gradients(name, recompute, path):
    """Two layers, both directions, rows of any length, resets, every state asked for."""
    layers = twice(name, recompute, num_layers=2, bidirectional=True, learn_start=True)
    x, hx = inputs_for(layers[0], STEPS, B), start_for(layers[0], B)
    reset = torch.rand(STEPS, B) < 0.2
    options = {"lengths": torch.tensor([STEPS, 0, 6]), "reset": reset, "return_states": True}
    made = []
    for layer in layers:
        leaves = [*(v.requires_grad_() for v in [*flat(x), *flat(hx)]), *layer.parameters()]
        with use_backend(path):
            values = flat(layer(x, hx, **options))
            made.append((values, gradients(values, leaves)))
    for a, b in zip(made[1][0], made[0][0], strict=True):
        close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(made[1][1], made[0][1], strict=True):
        close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_a_sum_over_time_is_the_same_to_the_bit(path):
    """A weight's gradient adds up chunk by chunk; the rest is the very same arithmetic."""
    plain, again = twice("lstm", 4, dtype=torch.float32)
    made = []
    for layer in (plain, again):
        # Rows that do not fill a tile, of 3 or 6 rows, are computed in another order.
        x = torch.ones(STEPS, 6, I, requires_grad=True)
        with use_backend(path):
            output, state = layer(x)
            (output.square().sum() + state[1].sum()).backward()
        made.append((output, *state, x.grad))
    same = [torch.equal(a, b) for a, b in zip(*made, strict=True)]
    assert path == "reference" or all(same), same
    for a, b in zip(*made, strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)


def kept(layer: Any, *shape: int) -> int:
    """Count the numbers that a training pass keeps beside input, output and parameters."""
    x = torch.randn(*shape, I, requires_grad=True)
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes() // t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        output, _ = layer(x)
    for known in (x, output, *layer.parameters()):
        seen.pop(known.untyped_storage().data_ptr(), None)
    output.sum().backward()
    return sum(seen.values())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "states", "whole"), [("lstm", 2, 6), ("gru", 1, 4)])
def test_it_keeps_the_states_of_every_sixtyfourth_step(name, states, whole, path):
    plain, again = twice(name, True, dtype=torch.float32)
    steps, rows = 4096, 2
    with use_backend(path if path == "llvm" else "auto"):
        most, least = kept(plain, 256, rows) * steps // 256, kept(again, steps, rows)
    chunks = math.isqrt(steps)
    assert chunks * states * rows * H <= least <= (chunks + 2) * states * rows * H
    assert most >= whole * steps * rows * H
    assert least < most // 100


@pytest.mark.parametrize("path", PATHS)
def test_second_derivatives_go_through_the_reference(path):
    layer = Recurrent("gru", 2, 3, dtype=torch.float64, recompute=2, backend=path)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [True, 4])
def test_a_compiled_layer_recomputes(recompute):
    """For any length: where it is not known, True takes chunks of 64 steps."""
    torch._dynamo.reset()
    plain, again = twice("lstm", recompute, num_layers=2)
    compiled = torch.compile(again, backend="aot_eager", fullgraph=True, dynamic=True)
    for steps in (130, 131, 3):
        x = torch.randn(steps, B, I, dtype=torch.float64)
        found, wanted = flat(compiled(x)), flat(plain(x))
        close(found, wanted, rtol=1e-12, atol=1e-12)
        mine = gradients(found, list(again.parameters()))
        close(mine, gradients(wanted, list(plain.parameters())), rtol=1e-10, atol=1e-12)
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
def test_a_layer_says_that_it_recomputes(kind):
    assert "recompute" not in kind(I, H).explain() + repr(kind(I, H))
    layer = kind(I, H, recompute=True)
    assert "keeps the states every about sqrt(T) steps" in layer.explain()
    assert "recompute=True" in repr(layer)
    assert "keeps the states every 7 steps" in kind(I, H, recompute=7).explain()


@pytest.mark.parametrize("wrong", [0, -1, -64])
def test_a_length_of_no_steps_is_refused(wrong):
    with pytest.raises(ValueError, match=f"recompute is .* number of steps from 1, got {wrong}"):
        LSTM(I, H, recompute=wrong)


@pytest.mark.parametrize("wrong", ["sqrt", 2.0, None, "True"])
def test_what_is_no_length_is_refused(wrong):
    with pytest.raises(TypeError, match=f"recompute is .*, got {type(wrong).__name__}"):
        GRU(I, H, recompute=wrong)


def test_where_it_cannot_work_it_says_so():
    layer = GRU(I, H, recompute=True)
    with pytest.raises(RuntimeError, match="recompute is for backward"):
        torch.func.grad(lambda x: layer(x)[0].sum())(torch.randn(3, B, I))
    odd = GRU(I, H, recompute=True, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="recompute is for real numbers, got torch.complex64"):
        odd(torch.randn(3, B, I, dtype=torch.complex64))
