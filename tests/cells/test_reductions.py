"""Cells that become one another: what one is when some of the other's weights are set."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.language import Cell, Op, cell_from_graph
from tests.cases import Values, assert_close, blocks, draw, fill, run, widths
from tests.cells.arithmetic import gates, module_of, sigmoid
from tests.cells.oracles import sequence
from tests.cells.oracles_later import slstm_as_it_is

I, H, T, B = 4, 9, 6, 3
SIZES = widths(I, H)
OPEN = 100.0  # as a bias: sigmoid(100) is 1 in float64, sigmoid(-100) nothing beside a number
Weights = dict[str, Tensor]


def drawn(name: str) -> tuple[Weights, Values]:
    """Draw a cell's weights, by equation and operand, and what it runs on."""
    program = lower(CATALOGUE[name].graph, SIZES)
    values = draw(program, T, B)
    return {key: w.clone() for key, w in blocks(program, values.params).items()}, values


def ran(
    cell: str | type[Cell],
    weights: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
) -> dict[str, Tensor]:
    """Run a cell with weights by equation and operand: its outputs and its final states."""
    graph = (CATALOGUE[cell] if isinstance(cell, str) else cell).graph
    program = lower(graph, SIZES)
    params = tuple(torch.full(p.shape, torch.nan, dtype=torch.float64) for p in program.params)
    fill(program, params, weights)
    outputs, final = run(program, Values(inputs, states, params))
    found = {name: y for (name, _), y in zip(program.outputs, outputs, strict=True)}
    return found | {f"last {c.name}": s for c, s in zip(program.states, final, strict=True)}


def assert_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Every value of the smaller cell is the larger one's of the same name."""
    assert wanted.keys() <= found.keys()
    for key, want in wanted.items():
        assert_close(found[key], want, 1e-12, key)


def zeroed(weights: Weights, *keys: str) -> Weights:
    return weights | {key: torch.zeros_like(weights[key]) for key in keys}


def test_a_peephole_lstm_without_peepholes_is_the_lstm():
    weights, values = drawn("peephole")
    weights = zeroed(weights, "i.c", "f.c", "o.c.next")
    given = values.inputs, values.states
    assert_same(ran("peephole", weights, *given), ran("lstm", weights, *given))


def test_np_is_the_lstm():
    weights, values = drawn("lstm")
    given = values.inputs, values.states
    assert_same(ran("np", weights, *given), ran("lstm", weights, *given))


def test_full_gate_recurrence_without_its_nine_matrices_is_the_peephole_lstm():
    weights, values = drawn("fgr")
    more = [f"{gate}.{seen}" for gate in "ifo" for seen in "ifo"]
    assert len(more) == 9 and all(weights[key].shape == (H, H) for key in more)
    found = ran("fgr", zeroed(weights, *more), values.inputs, values.states)
    assert_same(found, ran("peephole", weights, values.inputs, values.states[:2]))


def test_cifg_is_the_peephole_lstm_with_its_input_gate_tied():
    weights, values = drawn("cifg")
    tied = weights | {f"f.{k}": -weights[f"i.{k}"] for k in ("x", "h", "bias", "c")}
    given = values.inputs, values.states
    assert_same(ran("peephole", tied, *given), ran("cifg", weights, *given))


def test_coupled_is_cifg_without_peepholes_and_with_the_other_gate_learned():
    weights, values = drawn("cifg")
    weights = zeroed(weights, "i.c", "o.c.next")
    other = weights | {f"f.{k}": -weights[f"i.{k}"] for k in ("x", "h", "bias")}
    given = values.inputs, values.states
    assert_same(ran("cifg", weights, *given), ran("coupled", other, *given))


GATES = {"nig": ("i", OPEN), "nfg": ("f", OPEN), "nog": ("o", OPEN)}


@pytest.mark.parametrize("name", GATES)
def test_a_gate_that_is_left_out_is_one_that_is_open(name):
    gate, value = GATES[name]
    weights, values = drawn("peephole")
    shut = zeroed(weights, *(key for key in weights if key.startswith(f"{gate}.")))
    shut[f"{gate}.bias"] = torch.full_like(weights[f"{gate}.bias"], value)
    given = values.inputs, values.states
    assert_same(ran("peephole", shut, *given), ran(name, weights, *given))


def test_a_clockwork_network_of_one_period_is_a_simple_network_of_its_blocks():
    graph = CATALOGUE["clockwork"].graph
    nodes = tuple(
        replace(n, attrs=(("values", (1.0,) * 8),)) if n.op is Op.MODULES else n
        for n in graph.nodes
    )
    assert nodes != graph.nodes
    weights, values = drawn("clockwork")
    h, age = values.states
    found = ran(
        cell_from_graph(replace(graph, nodes=nodes)), weights, values.inputs,
        (h, torch.zeros_like(age)),
    )  # fmt: skip
    module = torch.from_numpy(module_of(H, 8))
    kept = torch.where(module[:, None] <= module, weights["n.h"], 0)
    assert not kept.equal(weights["n.h"])
    plain = {"h.x": weights["n.x"], "h.h": kept, "h.bias": weights["n.bias"]}
    assert_same(found, ran("rnn", plain, values.inputs, (h,)))


def chung(w, x, h, after: bool):
    """h = (1 - z) h + z n, the reset after the matrix or before it."""
    r, z = (sigmoid(a) for a in gates(w, "rz", x, h))
    if after:
        n = x @ w["n.x"].T + w["n.bias"] + r * (h @ w["n.h"].T + w["n.bias_h"])
    else:
        n = x @ w["n.x"].T + w["n.bias"] + (r * h) @ w["n.r*h"].T
    return ((1 - z) * h + z * np.tanh(n),)


@pytest.mark.parametrize(("name", "swapped"), [("gru", True), ("gru-cho", False)])
def test_negating_the_update_gates_weights_swaps_what_it_keeps(name, swapped):
    weights, values = drawn(name)
    negated = weights | {f"z.{k}": -weights[f"z.{k}"] for k in ("x", "h", "bias")}
    arrays = {key: w.numpy() for key, w in weights.items()}
    (x,), (h,) = values.inputs, values.states

    def step(w, x, h):
        return chung(w, x, h, after=name == "gru")

    (wanted,), _ = sequence(step, arrays, [x.numpy()], (h.numpy(),))
    right, wrong = (negated, weights) if swapped else (weights, negated)
    assert_close(ran(name, right, (x,), (h,))["h.next"], torch.from_numpy(wanted), 1e-12)
    off = ran(name, wrong, (x,), (h,))["h.next"] - torch.from_numpy(wanted)
    assert float(off.abs().max()) > 1e-3


def test_a_minimal_gated_unit_is_a_gru_with_one_gate_twice():
    weights, values = drawn("mgu")
    twice = {f"{g}.{k}": weights[f"f.{k}"] for g in "rz" for k in ("x", "h", "bias")}
    twice |= {"n.x": weights["n.x"], "n.r*h": weights["n.f*h"], "n.bias": weights["n.bias"]}
    given = values.inputs, values.states
    assert_same(ran("gru-cho", twice, *given), ran("mgu", weights, *given))


def test_independent_units_are_a_network_with_a_diagonal_matrix():
    weights, values = drawn("indrnn")
    full = weights | {"h.h": torch.diag(weights["h.h"])}
    given = values.inputs, values.states
    assert_same(ran("rnn-relu", full, *given), ran("indrnn", weights, *given))


def test_static_features_are_an_input_gates_bias():
    weights, values = drawn("ea-lstm")
    x, s = values.inputs
    features = s[0, 0]
    found = ran("ea-lstm", weights, (x, features.expand_as(s)), values.states)
    plain = dict(weights)
    plain["i.bias"] = weights["i.s"] @ features + weights["i.bias"]
    plain |= {"i.x": torch.zeros(H, I).double(), "i.h": torch.zeros(H, H).double()}
    assert_same(found, ran("lstm", plain, (x,), values.states))


def test_a_depth_gate_that_is_shut_leaves_the_peephole_lstm():
    weights, values = drawn("depth-gated")
    weights = zeroed(weights, "d.x", "d.c", "d.below")
    weights["d.bias"] = torch.full_like(weights["d.bias"], -OPEN)
    found = ran("depth-gated", weights, values.inputs, values.states)
    assert_same(found, ran("peephole", weights, values.inputs[:1], values.states))


def test_the_lowest_layer_takes_a_projection_for_the_memory_below():
    weights, values = drawn("depth-gated-lowest")
    below = values.inputs[0] @ weights["below.x"].T
    more = weights | {"d.below": torch.zeros(H).double()}
    found = ran("depth-gated", more, (*values.inputs, below), values.states)
    assert_same(found, ran("depth-gated-lowest", weights, values.inputs, values.states))


@pytest.mark.parametrize("name", ["grid", "grid-priority"])
def test_a_grid_with_its_depth_cut_is_the_lstm(name):
    """Where o is open, the paper's tanh(o c) is the usual o tanh(c)."""
    weights, values = drawn(name)
    weights = zeroed(weights, "o.x", "o.h")
    weights["o.bias"] = torch.full_like(weights["o.bias"], OPEN)
    found = ran(name, weights, values.inputs, values.states)
    wanted = ran("lstm", weights, values.inputs[:1], values.states)
    assert_same(found, {key: wanted[key] for key in ("last h", "last c")})


def test_a_grids_two_transforms_are_the_same_function():
    weights, values = drawn("grid")
    for key in ("x", "h", "bias"):
        weights |= {f"{gate}_d.{key}": weights[f"{gate}.{key}"] for gate in "ifgo"}
    x, below = (v[:1] for v in values.inputs)
    found = ran("grid", weights, (x, below), (values.states[0], below[0]))
    assert_close(found["y"][0], found["last h"], 1e-12)
    assert_close(found["m"][0], found["last c"], 1e-12)


def test_the_stabiliser_changes_nothing_but_the_size_of_numbers():
    """From nothing held, against exponentials as large as they are (Beck et al. 2024)."""
    weights, values = drawn("slstm")
    zeros = tuple(torch.zeros_like(s) for s in values.states[1:])
    found = ran("slstm", weights, values.inputs, (values.states[0], *zeros))
    arrays = {key: w.numpy() for key, w in weights.items()}
    start = (values.states[0].numpy(), *(z.numpy() for z in zeros[:2]))
    (wanted,), (_, c, n) = sequence(slstm_as_it_is, arrays, [values.inputs[0].numpy()], start)
    assert_close(found["h.next"], torch.from_numpy(wanted), 1e-12)
    scale = found["last m"].exp()
    assert_close(found["last c"] * scale, torch.from_numpy(c), 1e-12)
    assert_close(found["last n"] * scale, torch.from_numpy(n), 1e-12)


def test_exponential_gates_hold_where_exponentials_alone_do_not():
    weights, values = drawn("slstm")
    weights["li.bias"] = torch.full_like(weights["li.bias"], 5000.0)
    weights["lf.bias"] = torch.full_like(weights["lf.bias"], -5000.0)
    zeros = tuple(torch.zeros_like(s) for s in values.states)
    for given in (
        weights,
        weights | {"li.bias": weights["lf.bias"], "lf.bias": weights["li.bias"]},
    ):
        found = ran("slstm", given, values.inputs, zeros)
        assert all(bool(v.isfinite().all()) for v in found.values())
        assert float(found["h.next"].abs().max()) <= 1
