"""Layers that read more of the layer below than its h: what goes up is what comes in."""

from typing import Any

import pytest
import torch

from cellwright.language import CellError
from cellwright.nn import Recurrent

T, B, I, H = 5, 3, 4, 7


def doubles(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("name", ["depth-gated", "grid", "grid-priority"])
def test_two_layers_are_one_on_the_outputs_of_the_other(name: str):
    both: Any = Recurrent(name, I, H, num_layers=2, dtype=torch.float64)
    layers: list[Any] = [Recurrent(name, width, H, dtype=torch.float64) for width in (I, H)]
    for k, layer in enumerate(layers):
        layer.load_state_dict(
            {
                key.replace("_l1", "_l0"): w
                for key, w in both.state_dict().items()
                if f"_l{k}" in key
            }
        )
    given = doubles(T, B, I), doubles(T, B, H)
    found, _ = both(given)
    between, _ = layers[0](given)
    wanted, _ = layers[1](between)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not torch.equal(found[1], between[1])


def test_the_lowest_layer_makes_what_a_depth_gated_layer_reads():
    lowest: Any = Recurrent("depth-gated-lowest", I, H, dtype=torch.float64)
    above: Any = Recurrent("depth-gated", H, H, num_layers=2, dtype=torch.float64)
    x = doubles(T, B, I).requires_grad_()
    below, (_, memory) = lowest(x)
    torch.testing.assert_close(below[1][-1], memory[0])
    (h, _), _ = above(below)
    (gradient,) = torch.autograd.grad(h.square().sum(), x)
    assert h.shape == (T, B, H) and gradient.isfinite().all() and bool(gradient.any())


def test_what_cannot_be_stacked_is_refused_by_name():
    with pytest.raises(CellError, match="DepthGatedLowest: 1 inputs but 2 outputs"):
        Recurrent("depth-gated-lowest", I, H, num_layers=2)
    with pytest.raises(CellError, match="EALSTM: 2 inputs but 1 outputs"):
        Recurrent("ea-lstm", I, H, num_layers=2, widths={"static": 3})
    with pytest.raises(CellError, match="Grid"):
        Recurrent("grid", I, H, num_layers=2, bidirectional=True)
