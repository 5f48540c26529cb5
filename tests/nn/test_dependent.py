"""Second derivatives where one argument is another, or is made of it: each place counts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from cellwright.nn import LSTM, LSTMCell, Recurrent
from cellwright.runtime import native, use_backend
from tests.nn.examples import B, H, I, T, flat

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
Made = tuple[list[Tensor], list[Tensor]]  # what was made, and what of


def draw(*shape: int) -> Tensor:
    source = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=source, dtype=torch.float64).requires_grad_()


def carried(**options: Any) -> Made:
    """Three windows of a sequence: the second begins where the first ended."""
    torch.manual_seed(0)
    layer = Recurrent("gru", I, H, dtype=torch.float64, **options)
    x, state, made = draw(T, B, I), None, []
    for window in (x, x[:2], x * x):
        output, state = layer(window, state)
        made.append(output)
    return made, [x, *layer.parameters()]


def state_of_input(**options: Any) -> Made:
    """The state that a layer begins with is made of its input, and the input of its weights."""
    torch.manual_seed(0)
    layer: Any = LSTM(I, I, dtype=torch.float64, **options)
    x = draw(T, B, I)
    h = torch.tanh(x[:1])
    made = flat(layer(x + layer.weight_hh_l0[0], (h, h * h)))
    return made, [x, *layer.parameters()]


def tied(**options: Any) -> Made:
    """Two layers, both directions and both matrices with one weight."""
    torch.manual_seed(0)
    layer = LSTM(H, H, 2, dtype=torch.float64, **options)
    weight, x = draw(4 * H, H), draw(T, B, H)
    names = [name for name, _ in layer.named_parameters() if name.startswith("weight")]
    tangled = {name: weight if k % 2 else weight.sin() for k, name in enumerate(names)}
    return flat(functional_call(layer, tangled, (x,))), [x, weight]


def one_state_twice(**options: Any) -> Made:
    """`cell(x, (s, s))`, step after step."""
    torch.manual_seed(0)
    backend = {k: v for k, v in options.items() if k == "backend"}
    cell = LSTMCell(I, H, dtype=torch.float64, **backend)
    x, s = draw(T, B, I), draw(B, H)
    h, c = cell(x[0], (s, s))
    h, c = cell(x[1], (h, h))
    return [h, c], [x, s, *cell.parameters()]


def second(case: Callable[..., Made], **options: Any) -> list[Tensor]:
    """Derivatives of a sum of squares of first derivatives, which differ from place to place."""
    made, leaves = case(**options)
    scale = [torch.linspace(0.5, 2, y.numel(), dtype=y.dtype).reshape(y.shape) for y in made]
    loss = sum(((y * y * s).sum() for y, s in zip(made, scale, strict=True)), torch.zeros(()))
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    penalty = sum((g.square().sum() for g in first), torch.zeros(()))
    return [*first, *torch.autograd.grad(penalty, leaves)]


@pytest.mark.parametrize("recompute", [False, 2])
@pytest.mark.parametrize("case", [carried, state_of_input, tied, one_state_twice])
def test_second_derivatives_of_dependent_arguments(case, recompute):
    with use_backend("reference"):
        wanted = second(case)
    found = second(case, backend="llvm", recompute=recompute)
    assert all(g.any() for g in wanted)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
