"""Masks that a layer draws: what they compute, by hand; from one seed the same on every path."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cellwright import (
    Cell,
    Input,
    State,
    affine,
    layer_normed,
    projected,
    recurrent_dropout,
    residual,
    tanh,
    use_backend,
    weight_dropped,
    zoneout,
)
from cellwright.cells import CATALOGUE
from cellwright.language.errors import CellError
from cellwright.nn import Recurrent, RecurrentCell
from cellwright.nn.masks import draw, drop_weights
from tests.cases import CELLS, options

T, B, I, H = 6, 3, 4, 16  # eight modules of clockwork, four heads of slstm
LSTM, GRU = CATALOGUE["lstm"], CATALOGUE["gru"]
Array = np.ndarray
TRANSFORMS: dict[str, Callable[[type[Cell]], type[Cell]]] = {
    "zoneout": lambda cell: zoneout(cell, 0.3),
    "recurrent dropout": lambda cell: recurrent_dropout(cell, 0.3),
    "dropout by step": lambda cell: recurrent_dropout(cell, 0.3, per="step"),
    "weight dropped": lambda cell: weight_dropped(cell, 0.4),
    "layer normed": layer_normed,
    "projected": projected,
    "residual": residual,
}


def sigma(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def lstm_step(w: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """The gates of an LSTM without its states' update: i * g, f, o."""

    def a(gate: str) -> Array:
        return x @ w[f"{gate}.x"].T + h @ w[f"{gate}.h"].T + w[f"{gate}.bias"]

    return sigma(a("i")) * np.tanh(a("g")), sigma(a("f")), sigma(a("o"))


def prepared(cell: type[Cell], seed: int = 1) -> tuple[Any, dict[str, Array], Tensor]:
    torch.manual_seed(seed)
    layer: Any = Recurrent(cell, I, H, dtype=torch.float64)
    weights = {k: v.numpy().copy() for k, v in layer.blocks().items()}
    return layer, weights, torch.randn(T, B, I, dtype=torch.float64)


def drawn(cell: type[Cell], count: int) -> list[Array]:
    """Draw the masks that a layer draws next."""
    state = torch.get_rng_state()
    made = draw(cell.graph, [H] * count, torch.empty(T, B, I, dtype=torch.float64))
    torch.set_rng_state(state)
    return [m.numpy() for m in made]


def test_zoneout_is_equation_5_of_the_paper():
    cell = zoneout(LSTM, {"h": 0.25, "c": 0.5})
    layer, w, x = prepared(cell)
    keep_c, keep_h = (1 - m for m in drawn(cell, 2))  # the paper's d is 1 where a unit keeps
    assert set(np.unique(keep_c)) == {0.0, 1.0}
    assert 0.35 < keep_c.mean() < 0.65 and 0.1 < keep_h.mean() < 0.4
    found, _ = layer(x)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        write, f, o = lstm_step(w, x[t].numpy(), h, c)
        new = f * c + write
        h = keep_h[t] * h + (1 - keep_h[t]) * o * np.tanh(new)
        c = keep_c[t] * c + (1 - keep_c[t]) * new
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)


def test_zoneout_evaluates_with_the_expectation():
    layer, w, x = prepared(zoneout(LSTM, {"h": 0.25, "c": 0.5}))
    found, _ = layer.eval()(x)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        write, f, o = lstm_step(w, x[t].numpy(), h, c)
        new = f * c + write
        h = 0.25 * h + 0.75 * o * np.tanh(new)
        c = 0.5 * c + 0.5 * new
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)


def test_zoneout_of_states_that_share_a_value():
    class Two(Cell):
        x, h, g = Input(), State(), State()
        n = tanh(affine(x, h, g))
        h.next = n
        g.next = n

    layer, w, x = prepared(zoneout(Two, {"h": 0.5, "g": 0.25}))
    found, (h_end, g_end) = layer.eval()(x)
    h, g = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        n = np.tanh(x[t].numpy() @ w["n.x"].T + h @ w["n.h"].T + g @ w["n.g"].T + w["n.bias"])
        h, g = 0.5 * h + 0.5 * n, 0.25 * g + 0.75 * n
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(h_end[0].detach(), h, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(g_end[0].detach(), g, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_and_residual_in_either_order(training: bool):
    one: Any = Recurrent(zoneout(residual(LSTM), 0.3), I, H, dtype=torch.float64)
    other: Any = Recurrent(residual(zoneout(LSTM, 0.3)), I, H, dtype=torch.float64)
    other.load_state_dict(one.state_dict())
    x = torch.randn(T, B, I, dtype=torch.float64)
    found = []
    for layer in (one.train(training), other.train(training)):
        torch.manual_seed(2)
        found.append(layer(x)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_zoneout_is_exact_where_a_unit_keeps_or_takes():
    layer: Any = Recurrent(zoneout(CATALOGUE["irnn"], 0.5), 1, H)
    with torch.no_grad():
        for block in layer.blocks().values():
            block.zero_()
        layer.blocks()["h.x"].fill_(1.0)
    torch.manual_seed(0)
    found, _ = layer(torch.tensor([1e8, 0.125]).view(2, 1, 1))
    assert set(found[1].flatten().tolist()) <= {0.0, 0.125, 1e8}


def test_dropout_of_the_state_is_gals_one_mask():
    cell = recurrent_dropout(LSTM, 0.4)
    layer, w, x = prepared(cell)
    (mask,) = drawn(cell, 1)
    assert (mask == mask[0]).all()
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.6])
    found, _ = layer(x)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        write, f, o = lstm_step(w, x[t].numpy(), h * mask[t], c)
        c = f * c + write
        h = o * np.tanh(c)
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)


def test_dropout_of_the_candidate_is_semeniutas():
    cell = recurrent_dropout(LSTM, 0.4, on="g")
    layer, w, x = prepared(cell)
    (mask,) = drawn(cell, 1)
    assert not (mask == mask[0]).all()
    found, _ = layer(x)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        write, f, o = lstm_step(w, x[t].numpy(), h, c)
        c = f * c + write * mask[t]
        h = o * np.tanh(c)
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)


def test_dropped_weights_are_those_of_the_recurrent_matrix_alone():
    layer, w, x = prepared(weight_dropped(LSTM, 0.5))
    params = layer._plans[0].program.params
    state = torch.get_rng_state()
    dropped_weights = drop_weights(params, tuple(layer.parameters()))
    held = dict(zip((p.name for p in params), dropped_weights, strict=True))
    torch.set_rng_state(state)
    assert torch.equal(held["weight_ih"], layer.weight_ih_l0)
    dropped = held["weight_hh"].detach().numpy()
    assert 0.4 < (dropped == 0).mean() < 0.6
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * layer.weight_hh_l0.detach().numpy()[kept])
    for k, gate in enumerate("ifgo"):
        w[f"{gate}.h"] = dropped[k * H : (k + 1) * H]
    found, _ = layer(x)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        write, f, o = lstm_step(w, x[t].numpy(), h, c)
        c = f * c + write
        h = o * np.tanh(c)
        np.testing.assert_allclose(found[t].detach(), h, rtol=1e-12, atol=1e-12)
    found.sum().backward()
    assert bool((layer.weight_hh_l0.grad.numpy()[~kept] == 0).all())


def test_a_normed_lstm_is_the_catalogues():
    made: Any = Recurrent(layer_normed(LSTM), I, H, dtype=torch.float64)
    paper: Any = Recurrent("layernorm-lstm", I, H, dtype=torch.float64)
    order = "fiog"  # the catalogue's; the LSTM's is ifgo
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
        mine, its = made.blocks(), paper.blocks()
        its["z.x"].copy_(torch.cat([mine[f"{gate}.x"] for gate in order]))
        its["z.h"].copy_(torch.cat([mine[f"{gate}.h"] for gate in order]))
        for gate in order:
            its[f"{gate}.bias"].copy_(mine[f"{gate}.bias"])
        sort = torch.cat([torch.arange(H) + "ifgo".index(gate) * H for gate in order])
        for kind in ("gain", "shift"):
            its[f"z.{kind}"].copy_(mine[f"norm_x.{kind}"][sort])
            its[f"z.{kind}_h"].copy_(mine[f"norm_h.{kind}"][sort])
            its[f"h.{kind}"].copy_(mine[f"norm_c.{kind}"])
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.testing.assert_close(made(x)[0], paper(x)[0], rtol=1e-11, atol=1e-12)
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in paper.parameters())


def test_a_projected_lstm_is_the_catalogues():
    made: Any = Recurrent(projected(LSTM), I, H, proj_size=5, dtype=torch.float64)
    paper: Any = Recurrent("lstm-projected", I, H, proj_size=5, dtype=torch.float64)
    paper.load_state_dict(made.state_dict())
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.testing.assert_close(made(x)[0], paper(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [I, H])
def test_residual_adds_the_input_to_the_output_alone(width: int):
    made: Any = Recurrent(residual(GRU), width, H, dtype=torch.float64)
    plain: Any = Recurrent(GRU, width, H, dtype=torch.float64)
    with torch.no_grad():
        for key, block in plain.blocks().items():
            block.copy_(made.blocks()[key])
    x = torch.randn(T, B, width, dtype=torch.float64)
    added = x if width == H else x @ made.blocks()["y.x"].T
    (found, last), (h, wanted) = made(x), plain(x)
    torch.testing.assert_close(found, h + added, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, wanted, rtol=1e-12, atol=1e-12)


def every() -> Iterator[Any]:
    for word, transform in TRANSFORMS.items():
        for name in CELLS:
            try:
                yield pytest.param(transform(CATALOGUE[name]), name, id=f"{word}-{name}")
            except CellError:
                continue  # tests/language says which are refused, and why


def run_both_ways(
    layer: Any, given: Any, way: str, **masks: Any
) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(7)
    with use_backend(way):
        output, state = layer(given, **masks)
    output = output if isinstance(output, tuple) else (output,)
    state = state if isinstance(state, tuple) else (state,)
    made = [*output, *state]
    loss = sum((y * (k + 1)).square().sum() for k, y in enumerate(made))
    assert isinstance(loss, Tensor)
    return made, list(torch.autograd.grad(loss, list(layer.parameters()), allow_unused=True))


@pytest.mark.slow
@pytest.mark.parametrize("cell,name", list(every()))
def test_every_transform_of_every_cell_on_both_paths(cell: type[Cell], name: str):
    sizes = options(name, H)
    if "proj" in cell.graph.symbols:
        sizes["proj_size"] = 5
    layer: Any = Recurrent(cell, I, H, dtype=torch.float64, **sizes)
    ports = layer._plans[0].program.inputs
    given: Any = [torch.randn(T, B, p.width, dtype=torch.float64) for p in ports]
    given = tuple(given) if len(given) > 1 else given[0]
    reset = torch.rand(T, B) < 0.3
    for masks in ({}, {"reset": reset}, {"lengths": [T, 0, 4]}):
        fast, fast_grads = run_both_ways(layer, given, "llvm", **masks)
        slow, slow_grads = run_both_ways(layer, given, "reference", **masks)
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10)
        for a, b in zip(fast_grads, slow_grads, strict=True):
            if a is not None or b is not None:
                torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_torchs_functions_are_no_words_of_the_language():
    with pytest.raises(CellError, match=r"torch's sigmoid takes tensors; .* words of cellwright"):

        class Slip(Cell):
            x, h = Input(), State()
            h.next = torch.sigmoid(affine(x, h))  # type: ignore[arg-type]


def test_masks_follow_the_seed():
    layer, _, x = prepared(weight_dropped(zoneout(recurrent_dropout(LSTM, 0.2), 0.3), 0.4))
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append(layer(x)[0])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_stacked_and_bidirectional_layers_draw_their_own():
    layer: Any = Recurrent(
        recurrent_dropout(LSTM, 0.5), H, H, num_layers=2, bidirectional=True, dropout=0.5
    )
    torch.manual_seed(0)
    found, _ = layer(torch.zeros(T, B, H))
    assert found.shape == (T, B, 2 * H)
    layer.eval()
    assert torch.equal(layer(torch.zeros(T, B, H))[0], layer(torch.zeros(T, B, H))[0])


def test_in_a_compiled_graph_masks_are_drawn_anew():
    layer: Any = Recurrent(zoneout(GRU, 0.5), I, H)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(T, B, I)
    first, second = compiled(x)[0], compiled(x)[0]
    assert not torch.equal(first, second)
    layer.eval()
    torch.testing.assert_close(compiled(x)[0], layer(x)[0])


def test_a_mask_for_a_sequence_is_not_for_a_step():
    for cell in (recurrent_dropout(LSTM, 0.5), weight_dropped(LSTM, 0.5)):
        layer: Any = Recurrent(cell, I, H)
        with pytest.raises(RuntimeError, match=r"once for a whole sequence.*call eval\(\) first"):
            layer.step(torch.randn(B, I))
        alone: Any = RecurrentCell(cell, I, H)
        with pytest.raises(RuntimeError, match=r"once for a whole sequence.*call eval\(\) first"):
            alone(torch.randn(B, I))
        plain: Any = RecurrentCell(LSTM, I, H)
        plain.load_state_dict(alone.state_dict())
        x = torch.randn(B, I)
        torch.testing.assert_close(alone.eval()(x), plain(x))


def test_a_cell_draws_the_masks_of_its_step():
    alone: Any = RecurrentCell(zoneout(GRU, 0.5), I, H)
    x, h = torch.randn(B, I), torch.randn(B, H)
    kept = alone(x, h) == h
    assert 0.2 < kept.float().mean() < 0.8
    mean = alone.eval()(x, h)
    plain: Any = RecurrentCell(GRU, I, H)
    plain.load_state_dict(alone.state_dict())
    torch.testing.assert_close(mean, 0.5 * h + 0.5 * plain(x, h))


def test_a_layer_shows_what_it_draws():
    shown = repr(Recurrent(weight_dropped(zoneout(LSTM, {"c": 0.5}), 0.25), I, H))
    assert "mask_c=0.5" in shown and "weight_drop=0.25" in shown
