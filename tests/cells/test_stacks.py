"""Layers that read more of the layer below than its h: what goes up is what comes in."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cellwright.cells import CATALOGUE
from cellwright.language import CellError, bidirectional, stacked, zoneout
from cellwright.language.masks import masks
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


def test_a_depth_gated_stack_begins_with_its_lowest_layer():
    cell = stacked("depth-gated-lowest", "depth-gated", "depth-gated")
    whole: Any = Recurrent(cell, I, H, dtype=torch.float64)
    lowest: Any = Recurrent("depth-gated-lowest", I, H, dtype=torch.float64)
    above: Any = Recurrent("depth-gated", H, H, num_layers=2, dtype=torch.float64)
    held = whole.state_dict()
    lowest.load_state_dict({k: w for k, w in held.items() if k.endswith("_l0")})
    up = {"_l1": "_l0", "_l2": "_l1"}
    above.load_state_dict({k[:-3] + up[k[-3:]]: w for k, w in held.items() if k[-3:] in up})
    x = doubles(T, B, I)
    found, (h, c) = whole(x)
    wanted, (top, memory) = above(lowest(x)[0])
    for a, b in zip((*found, h[1:], c[1:]), (*wanted, top, memory), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_static_features_reach_every_layer():
    whole: Any = Recurrent("ea-lstm", I, H, num_layers=2, widths={"static": 3}, dtype=torch.float64)
    upper: Any = Recurrent("ea-lstm", H, H, widths={"static": 3}, dtype=torch.float64)
    lower: Any = Recurrent("ea-lstm", I, H, widths={"static": 3}, dtype=torch.float64)
    held = whole.state_dict()
    lower.load_state_dict({k: w for k, w in held.items() if k.endswith("_l0")})
    upper.load_state_dict({k[:-1] + "0": w for k, w in held.items() if k.endswith("_l1")})
    x, static = doubles(T, B, I), doubles(B, 3).expand(T, -1, -1)
    wanted, _ = upper((lower((x, static))[0], static))
    torch.testing.assert_close(whole((x, static))[0], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["grid", "grid-priority"])
def test_tied_layers_share_their_weights(name: str):
    tied: Any = Recurrent(stacked(name, name, tied=True), H, H, dtype=torch.float64)
    loose: Any = Recurrent(name, H, H, num_layers=2, dtype=torch.float64)
    own = tied.state_dict()
    assert all(k.endswith("_l0") for k in own)
    loose.load_state_dict({k: own[k[:-1] + "0"] for k in loose.state_dict()})
    given = doubles(T, B, H), doubles(T, B, H)
    for a, b in zip(tied(given)[0], loose(given)[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    tied(given)[0][0].sum().backward()
    loose(given)[0][0].sum().backward()
    for k, w in tied.named_parameters():
        both = getattr(loose, k).grad + getattr(loose, k[:-1] + "1").grad
        torch.testing.assert_close(w.grad, both, rtol=1e-10, atol=1e-12)


CELLS = stacked("lstm", bidirectional("gru"), "rnn")


def test_layers_of_different_cells_and_widths():
    whole: Any = Recurrent(CELLS, I, [6, 5, 3], dtype=torch.float64, batch_first=True)
    parts: list[Any] = [
        Recurrent(name, width, hidden, bidirectional=both, dtype=torch.float64, batch_first=True)
        for name, width, hidden, both in (
            ("lstm", I, 6, False),
            ("gru", 6, 5, True),
            ("rnn", 10, 3, False),
        )
    ]
    for k, part in enumerate(parts):
        held = {key: w for key, w in whole.state_dict().items() if f"_l{k}" in key}
        part.load_state_dict({key.replace(f"_l{k}", "_l0"): w for key, w in held.items()})
    x = doubles(B, T, I)
    start = (
        (doubles(1, B, 6), doubles(1, B, 6)),
        doubles(2, B, 5),
        doubles(1, B, 3),
    )
    reset = torch.rand(B, T) < 0.3
    y = x
    finals, paths = [], []
    for part, own in zip(parts, start, strict=True):
        y, final, path = part(y, own, reset=reset, return_states=True)
        finals.append(final)
        paths.append(path)
    found, state, path = whole(x, start, reset=reset, return_states=True)
    close: Any = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(found, y, **close)
    torch.testing.assert_close(state, tuple(finals), **close)
    torch.testing.assert_close(path, tuple(paths), **close)
    again, _ = whole(x, state)
    assert again.shape == found.shape and not torch.equal(again, found)


def test_a_stack_of_one_cell_has_the_states_of_torch():
    plain: Any = Recurrent("lstm", I, H, num_layers=2, bidirectional=True)
    made: Any = Recurrent(bidirectional(stacked("lstm", "lstm")), I, H)
    made.load_state_dict(plain.state_dict())
    x = torch.randn(T, B, I)
    found, wanted = made(x), plain(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert wanted[1][0].shape == (4, B, H)
    assert repr(made) == repr(plain)


def test_unbatched_packed_and_learned_starts_of_a_mixed_stack():
    layer: Any = Recurrent(CELLS, I, [6, 5, 3], learn_start=True, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("start_"):
                parameter.normal_()
    x = doubles(T, 2, I)
    whole, state = layer(x)
    alone, own = layer(x[:, 0])
    torch.testing.assert_close(alone, whole[:, 0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own[2], state[2][:, 0], rtol=1e-12, atol=1e-12)
    packed = pack_padded_sequence(x, [2, T], enforce_sorted=False)
    short, ends = layer(packed)
    cut, end = layer(x, lengths=[2, T])
    torch.testing.assert_close(pad_packed_sequence(short)[0], cut, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ends, end, rtol=1e-12, atol=1e-12)


def test_states_of_a_mixed_stack_are_checked_by_layer():
    layer: Any = Recurrent(stacked("lstm", "gru"), I, [6, 5])
    x = torch.randn(T, B, I)
    with pytest.raises(RuntimeError, match="a state for each of 2 layers, got 3"):
        layer(x, (torch.zeros(1, B, 6),) * 3)
    with pytest.raises(RuntimeError, match=r"hx holds the states \(h, c\), got 1 tensor"):
        layer(x, (torch.zeros(1, B, 6), torch.zeros(1, B, 5)))
    with pytest.raises(RuntimeError, match="cannot step"):
        Recurrent(CELLS, I, H).step(torch.randn(B, I))
    one = layer.step(x[0])
    both, state = layer(x[:1])
    torch.testing.assert_close(one[0], both[0])
    torch.testing.assert_close(layer.step(x[1], state)[0], layer(x[:2])[0][1])


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}])
def test_what_cannot_be_stacked_is_refused_by_name(options: Any):
    with pytest.raises(CellError, match=r"DepthGated.below: 2 inputs but 1 outputs below"):
        Recurrent(stacked("lstm", "depth-gated"), I, H, **options)
    with pytest.raises(CellError, match="Grid"):
        Recurrent("grid", I, H, num_layers=2, bidirectional=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: stacked(), "at least one cell"),
        (lambda: stacked("lstm", cast(Any, 3)), "takes cells, got 3"),
        (lambda: stacked("lstm", "gru", tied=True), "are of one cell"),
        (lambda: stacked(stacked("lstm", "lstm", tied=True), "gru"), "a tied stack"),
        (lambda: zoneout(stacked("lstm"), 0.1), "zoneout takes a Cell class, got 'lstm'"),
    ],
)
def test_stacks_check_themselves(wrong: Callable[[], object], said: str):
    with pytest.raises(CellError, match=said):
        wrong()


def test_a_transform_of_a_stack_is_one_of_each_layer():
    made = zoneout(stacked(CATALOGUE["lstm"], bidirectional(CATALOGUE["gru"])), 0.2)
    cells = [cell for cell in made.cells if not isinstance(cell, str)]
    assert [len(masks(cell.graph)) for cell in cells] == [2, 1]
    assert made.both_ways == (False, True)
