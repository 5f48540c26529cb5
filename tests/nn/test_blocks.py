"""Weights by equation and operand; and torch's tools that put something in a weight's place."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize, prune

from cellwright.nn import GRU, LSTM, RNN, Recurrent
from tests.nn.examples import ALL_CELLS, B, H, I, T, build, inputs_for

GATES = ("i", "f", "g", "o")
KEYS = {
    "rnn": "h.x h.h h.bias",
    "lstm-1997": "i.x g.x o.x i.h g.h o.h i.bias g.bias o.bias",
    "lstm": "i.x f.x g.x o.x i.h f.h g.h o.h i.bias f.bias g.bias o.bias",
    "lstm-projected": "i.x f.x g.x o.x i.h f.h g.h o.h i.bias f.bias g.bias o.bias h.m",
    "peephole": "i.x f.x g.x o.x i.h f.h g.h o.h i.bias f.bias g.bias o.bias i.c f.c o.c.next",
    "coupled": "f.x g.x o.x f.h g.h o.h f.bias g.bias o.bias",
    "gru": "r.x z.x n.x r.h z.h n.h r.bias z.bias n.bias n.bias_h",
    "gru-cho": "r.x z.x n.x r.h z.h r.bias z.bias n.bias n.r*h",
    "mut1": "z.x r.x n.x r.h z.bias r.bias n.r*h n.bias",
    "mut2": "z.x r.x n.x z.h r.h z.bias n.bias n.r*h r.bias",
    "mut3": "z.x r.x n.x r.h z.bias r.bias n.bias z.tanh(h) n.r*h",
    "indrnn": "h.x h.h h.bias",
    "fgr": "i.x f.x g.x o.x i.h f.h g.h o.h i.bias f.bias g.bias o.bias"
    " i.i f.i o.i i.f f.f o.f i.o f.o o.o i.c f.c o.c.next",
    "ea-lstm": "f.x g.x o.x f.h g.h o.h f.bias g.bias o.bias i.s i.bias",
    "slstm": "li.x lf.x z.x o.x li.h lf.h z.h o.h li.bias lf.bias z.bias o.bias",
    "depth-gated": "i.x f.x g.x d.x o.x i.h f.h g.h o.h i.bias f.bias g.bias d.bias o.bias"
    " i.c f.c d.c d.below o.c.next",
    "clockwork": "n.x n.h n.bias",
    "layernorm-lstm": "z.x z.h z.gain z.gain_h h.gain z.shift z.shift_h h.shift"
    " f.bias i.bias o.bias g.bias",
}
KEYS["rnn-relu"] = KEYS["irnn"] = KEYS["rnn"]


@pytest.mark.parametrize("name", KEYS)
def test_keys_are_the_documented_ones(name):
    assert list(build(name).blocks()) == KEYS[name].split()


def test_the_drop_ins_have_torchs_second_bias():
    seconds = [f"{gate}.bias_h" for gate in GATES]
    assert list(LSTM(I, H).blocks()) == [*KEYS["lstm"].split(), *seconds]
    assert set(GRU(I, H).blocks()) == {*KEYS["gru"].split(), "r.bias_h", "z.bias_h"}
    assert list(RNN(I, H).blocks()) == [*KEYS["rnn"].split(), "h.bias_h"]


@pytest.mark.parametrize("name", ALL_CELLS)
def test_blocks_are_views_that_cover_every_weight_once(name):
    layer = build(name, bidirectional=True)
    for reverse in (False, True):
        suffix = "_l0_reverse" if reverse else "_l0"
        own = {k: p for k, p in layer.named_parameters() if k.endswith(suffix)}
        for number, view in enumerate(layer.blocks(reverse=reverse).values()):
            assert not view.requires_grad
            view.fill_(float(number))
        seen = torch.cat([p.detach().flatten() for p in own.values()])
        assert sum(v.numel() for v in layer.blocks(reverse=reverse).values()) == seen.numel()
        for number, view in enumerate(layer.blocks(reverse=reverse).values()):
            assert (seen == number).sum() == view.numel()


def test_blocks_of_each_layer_and_direction():
    layer = build("lstm", num_layers=2, bidirectional=True)
    layer.blocks(1, reverse=True)["f.bias"].fill_(7.0)
    full = {k for k, p in layer.named_parameters() if (p == 7.0).any()}
    assert full == {"bias_ih_l1_reverse"}
    assert layer.blocks(1)["i.x"].shape == (H, 2 * H)
    with pytest.raises(IndexError, match="layer 2 of 2"):
        layer.blocks(2)
    with pytest.raises(ValueError, match="needs a bidirectional layer"):
        build("lstm").blocks(reverse=True)


def test_setting_a_forget_bias_changes_what_the_gate_keeps():
    layer = build("lstm")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    layer.blocks()["f.bias"].fill_(2.0)
    c = torch.ones(1, B, H, dtype=torch.float64)
    _, (_, kept) = layer(inputs_for(layer, 1, B), (torch.zeros_like(c), c))
    torch.testing.assert_close(kept, torch.full_like(c, 2.0).sigmoid())


def test_blocks_are_empty_of_biases_without_biases():
    assert not any("bias" in key for key in build("gru", bias=False).blocks())


class Double(nn.Module):
    def forward(self, weight):
        return weight * 2


def test_a_parametrized_weight_is_used_and_cannot_be_written():
    layer: Any = LSTM(I, H)
    x = torch.randn(T, B, I)
    twice: Any = LSTM(I, H)
    twice.load_state_dict(layer.state_dict())
    with torch.no_grad():
        twice.weight_hh_l0.mul_(2)
    parametrize.register_parametrization(layer, "weight_hh_l0", Double())
    torch.testing.assert_close(layer(x), twice(x))
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original.grad.any()
    for change in (layer.blocks, layer.reset_parameters):
        with pytest.raises(RuntimeError, match="weight_hh_l0 is computed from other parameters"):
            change()
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x), twice(x))
    assert layer.blocks()["f.h"].shape == (H, H)


def test_weight_norm_and_spectral_norm():
    layer: Any = Recurrent("peephole", I, H)
    x = torch.randn(T, B, I)
    before = layer(x)[0]
    parametrizations.weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], before)
    parametrizations.spectral_norm(layer, "weight_ih_l0")
    layer(x)[0].sum().backward()
    assert layer.parametrizations.weight_hh_l0.original1.grad.any()


def test_pruning():
    layer = LSTM(I, H)
    prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5)
    by_hand = LSTM(I, H)
    weights = layer.state_dict()
    weights["weight_hh_l0"] = weights.pop("weight_hh_l0_orig") * weights.pop("weight_hh_l0_mask")
    by_hand.load_state_dict(weights)
    x = torch.randn(T, B, I)
    torch.testing.assert_close(layer(x), by_hand(x))


def test_a_tensor_in_the_place_of_a_weight():
    """What a weight-dropping wrapper does: the attribute is set before each call."""
    layer: Any = LSTM(I, H)
    weight = layer.weight_hh_l0
    del layer.weight_hh_l0
    layer.register_parameter("raw", weight)
    layer.weight_hh_l0 = nn.functional.dropout(layer.raw, 0.5)
    layer(torch.randn(T, B, I))[0].sum().backward()
    assert ((layer.raw.grad == 0) >= (layer.weight_hh_l0 == 0)).all() and layer.raw.grad.any()


def test_functional_call_takes_other_weights():
    layer, other = LSTM(I, H), LSTM(I, H)
    x = torch.randn(T, B, I)
    found = functional_call(layer, dict(other.named_parameters()), (x,))
    torch.testing.assert_close(found, other(x), rtol=0, atol=0)
    assert not torch.equal(found[0], layer(x)[0])
