"""How weights start: what a cell's words say of it, in layers and in single cells."""

from typing import Any

import pytest
import torch

from cellwright.language import (
    Cell,
    Input,
    State,
    bias,
    cell_from_json,
    cell_to_json,
    linear,
    relu,
    tanh,
)
from cellwright.nn import Recurrent, RecurrentCell
from cellwright.targets.equations import equations
from tests.nn.examples import B, H, I, T


class Started(Cell):
    """One gate of several starts in its own way (2026)."""

    x, h = Input(), State()
    f = linear(x) + linear(h) + bias(start=1)
    g = linear(x, start=0.5) + linear(h, start="identity") + bias()
    k = linear(h, blocks=3, start="identity", name="kh") + bias(start=-2)
    h.next = tanh(f * g + k)


@pytest.mark.parametrize("made", [Recurrent, RecurrentCell])
@pytest.mark.parametrize("cell", [Started, cell_from_json(cell_to_json(Started))])
def test_each_equations_weights_start_as_it_says(made: Any, cell: type[Cell]):
    layer = made(cell, I, H)
    for _ in range(2):
        found = layer.blocks()
        assert found["f.bias"].eq(1).all() and found["k.bias"].eq(-2).all()
        assert found["g.x"].eq(0.5).all()
        assert torch.equal(found["g.h"], torch.eye(H))
        assert torch.equal(found["k.h"], torch.eye(H))
        for key in ("f.x", "f.h", "g.bias"):
            assert len(found[key].unique()) > 1
        for parameter in layer.parameters():
            parameter.data.fill_(torch.nan)
        layer.reset_parameters()


def test_every_layer_and_direction_starts_so():
    layer = Recurrent("irnn", I, H, num_layers=2, bidirectional=True, learn_start=True)
    for k in range(2):
        for reverse in (False, True):
            found = layer.blocks(k, reverse)
            assert torch.equal(found["h.h"], torch.eye(H))
            assert not found["h.bias"].any()
            assert len(found["h.x"].unique()) > 1


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_a_rectified_network_starts_as_the_identity_on_positive_states(backend: str):
    layer = Recurrent("irnn", I, H, backend=backend)
    h = torch.rand(1, B, H)
    output, final = layer(torch.zeros(T, B, I), h)
    assert torch.equal(output, h.expand(T, B, H))
    assert torch.equal(final, h)


def test_without_biases_nothing_is_amiss():
    layer = Recurrent("irnn", I, H, bias=False)
    assert list(layer.blocks()) == ["h.x", "h.h"]
    assert torch.equal(layer.blocks()["h.h"], torch.eye(H))


def test_the_equations_say_how_weights_start():
    text = " ".join(equations(Started).split())
    assert "W_gx starts as 0.5. W_gh starts as the identity" in text
    assert "b_f starts as 1" in text and "b_k starts as -2" in text
    assert "W_kh^diag starts as the identity" in text


def test_a_start_does_not_change_what_is_computed():
    class Plain(Cell):
        x, h = Input(), State()
        h.next = relu(linear(x) + linear(h) + bias())

    layer, plain = Recurrent("irnn", I, H), Recurrent(Plain, I, H)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, I)
    assert torch.equal(layer(x)[0], plain(x)[0])
