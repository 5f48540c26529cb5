"""Traces: every named value of every cell, on both paths, against the equations step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import cellwright
from cellwright import stacked, zoneout
from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, bias, linear, sigmoid, tanh, where
from cellwright.nn import LSTM, Recurrent
from cellwright.nn.trace import Trace
from cellwright.runtime.trail import TraceError, named_values
from tests.nn.examples import ALL_CELLS, B, T, build, flat, gradients, inputs_for, pick, start_for
from tests.nn.stepping import Stepping

close = torch.testing.assert_close
ALL = ("*", "*.pre", "*.prev")
PATHS = ("reference", "auto")
LENGTHS = [3, 0, 5]
every_cell = pytest.mark.parametrize("name", ALL_CELLS)
both_paths = pytest.mark.parametrize("backend", PATHS)
# Gradients are taken through all kinds of values: hoisted, folded, normed, of several inputs.
KINDS = ("lstm", "gru", "mut1", "ea-lstm", "slstm", "clockwork", "layernorm-gru", "two streams",
         "delay")  # fmt: skip


class Odd(Cell):
    """Values of unlike kinds: of parameters alone, a truth value, a number, two of one value."""

    x, h, k = Input(), State(), State()
    b = bias()
    z = 2 * sigmoid(linear(x) + linear(h) + b) - 1
    late = h < z
    n = tanh(where(late, h, z))
    k.next = 3.0
    h.next = n + 0 * k


def same(found: Trace, wanted: Trace, tolerance: float = 1e-12) -> None:
    assert found.names == wanted.names
    assert found.dims == wanted.dims
    for name in found:
        close(
            found[name], wanted[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: n + m
        )


@both_paths
@every_cell
def test_all_values_are_those_of_the_equations_step_by_step(name, backend):
    layer = build(name, backend=backend)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    found = layer.trace(x, hx, ALL)
    states = [s[0] for s in flat(hx)]
    wanted = Stepping(layer).over_time(flat(x), states)
    assert {n.removeprefix("layers.0.") for n in found} == wanted.keys()
    for key, values in wanted.items():
        value = found[f"layers.0.{key}"]
        close(value, torch.stack(values), rtol=1e-12, atol=1e-12, msg=lambda m, k=key: k + m)


@both_paths
def test_values_of_unlike_kinds(backend):
    layer = Recurrent(Odd, 4, 9, dtype=torch.float64, backend=backend)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    found = layer.trace(x, hx, ALL)
    wanted = Stepping(layer).over_time([x], [s[0] for s in hx])
    assert "layers.0.late" not in found.names
    for key, values in wanted.items():
        close(found[f"layers.0.{key}"], torch.stack(values), rtol=1e-12, atol=1e-12)


def test_machine_code_emits_them(ran):
    layer = build("lstm", 2)
    layer.trace(inputs_for(layer, T, B), names=ALL).detached()
    assert ran == ["LSTM", "LSTM"]


@every_cell
def test_both_paths_agree_with_masks_stacks_and_both_directions(name):
    layer = build(name, 2, bidirectional=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[1, 2] = True
    masks = {"lengths": LENGTHS, "reset": reset}
    fast = layer.trace(x, hx, ALL, **masks)
    with cellwright.use_backend("reference"):
        slow = layer.trace(x, hx, ALL, **masks)
    same(fast, slow)
    assert fast.lengths == (3, 0, 5)
    output, state = layer(x, hx, **masks)
    for a, b in zip(flat((fast.output, fast.state)), flat((output, state)), strict=True):
        close(a, b, rtol=1e-12, atol=1e-12)
    for k, length in enumerate(LENGTHS):
        assert not any(v[length:, k].any() for v in fast.values.values())


@pytest.mark.parametrize("name", KINDS)
def test_a_row_within_a_batch_is_the_row_alone(name):
    layer = build(name, 2, bidirectional=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    whole = layer.trace(x, hx, ALL, lengths=LENGTHS)
    alone = layer.trace(
        pick(pick(x, 1, slice(0, 1)), 0, slice(0, 3)), pick(hx, 1, slice(0, 1)), ALL
    )
    for key in whole:
        close(whole[key][:3, :1], alone[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_a_backward_direction_reads_from_the_end(name):
    layer = build(name, bidirectional=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    found = layer.trace(x, hx, ALL)
    wanted = Stepping(layer, 0, reverse=True).over_time(
        [v.flip(0) for v in flat(x)], [s[1] for s in flat(hx)]
    )
    for key, values in wanted.items():
        value = found[f"layers.0_reverse.{key}"]
        close(value, torch.stack(values).flip(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_traces_can_be_differentiated(name):
    layer = build(name)
    x = inputs_for(layer, T, B)
    leaves = [*(v.requires_grad_() for v in flat(x)), *layer.parameters()]
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[1, 2] = True
    found = {}
    for backend in PATHS:
        with cellwright.use_backend(backend):
            traced = layer.trace(x, names=ALL, lengths=LENGTHS, reset=reset)
            found[backend] = gradients([*traced.values.values(), *flat(traced.output)], leaves)
    for a, b in zip(found["auto"], found["reference"], strict=True):
        close(a, b, rtol=1e-10, atol=1e-10)
    assert any(g.abs().sum() > 0 for g in found["auto"])


def test_the_gradient_of_one_value_at_one_step_is_autograds():
    layer = build("lstm")
    x = torch.randn(T, B, 4, dtype=torch.float64, requires_grad=True)
    layer.trace(x, names="f.pre", time=2, units=3).tensor.sum().backward()
    found, x.grad = x.grad, None
    assert found is not None
    again = layer.trace(x, names=["f"])["f"]
    logit = torch.log(again / (1 - again))
    logit[2, :, 3].sum().backward()
    close(found, x.grad, rtol=1e-9, atol=1e-9)
    assert not found[3:].any() and found[:3].any()


@both_paths
def test_a_reset_comes_before_the_state_before_the_step(backend):
    layer = build("lstm", learn_start=True, backend=backend)
    layer.start_c_l0.data.normal_()
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[0, 1] = True
    found = layer.trace(x, hx, ["c.prev", "c"], reset=reset)
    before, after = found["c.prev"], found["c"]
    for t in range(T):
        for k in range(B):
            last = after[t - 1, k] if t else hx[1][0, k]
            close(before[t, k], layer.start_c_l0 if reset[t, k] else last, rtol=0, atol=0)
    (found,) = torch.autograd.grad(before[:, 0].sum(), layer.start_c_l0)
    assert found.abs().sum() > 0


def test_transforms_of_torch_func():
    layer = build("gru")
    x = torch.randn(B, T, 4, dtype=torch.float64)

    def at_the_end(one):
        return layer.trace(one, names="z.pre", time=-1, units=2).tensor

    found = torch.func.vmap(torch.func.grad(at_the_end))(x)
    again = x.clone().requires_grad_()
    layer.trace(again.transpose(0, 1), names="z.pre", time=-1, units=2).tensor.sum().backward()
    close(found, again.grad)


def test_states_are_those_of_single_steps():
    layer, state = build("peephole", 2), None
    x = inputs_for(layer, T, B)
    found = layer.trace(x, names=["h", "c", "h.prev", "c.prev"])
    for t in range(T):
        before, (_, state) = state, layer.step(x[t], state)
        for k in range(2):
            for place, key in enumerate("hc"):
                close(found[f"layers.{k}.{key}"][t], state[place][k])
                if before is not None:
                    close(found[f"layers.{k}.{key}.prev"][t], before[place][k])


def test_the_shape_of_what_is_given_is_the_shape_of_what_comes():
    layer = build("lstm", batch_first=True)
    x = torch.randn(B, T, 4, dtype=torch.float64)
    traced = layer.trace(x, names="f")
    assert traced.dims == ("batch", "time", "unit")
    assert traced["f"].shape == (B, T, 9)
    assert traced.output.shape == (B, T, 9)
    alone = layer.trace(x[1], names="f")
    assert alone.dims == ("time", "unit")
    assert alone.batch == ()
    close(alone["f"], traced["f"][1])


def test_a_packed_batch_comes_padded_in_the_callers_order():
    layer = build("lstm", 2, bidirectional=True)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    lengths = [3, 5, 1]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    found = layer.trace(packed, names=ALL)
    wanted = layer.trace(x, names=ALL, lengths=lengths)
    same(found, wanted)
    assert found.lengths == (3, 5, 1)
    close(found.output, wanted.output)


def test_steps_and_units_that_are_kept_are_those_of_the_whole():
    layer = build("lstm", 2)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    whole = layer.trace(x, names=["f", "c.prev"])
    part = layer.trace(x, names=["f", "c.prev"], time=[4, 0, -2], units=slice(2, 8, 3))
    assert part.time == (4, 0, 3)
    assert part.units["layers.1.f"] == (2, 5)
    for key in part:
        close(part[key], whole[key][[4, 0, 3]][..., [2, 5]])
        assert part[key].untyped_storage().nbytes() == part[key].numel() * 8
    ways = [(torch.tensor([4, 0, 3]), range(2, 6, 3)), (np.array([4, 0, 3]), np.array([2, 5]))]
    for time, units in ways:
        again = layer.trace(x, names=["f", "c.prev"], time=time, units=units)
        assert (again.time, again.units) == (part.time, part.units)
    assert layer.trace(x, names="f", units=torch.tensor([2])).dims == ("time", "batch", "unit")
    assert layer.trace(x, names="f", units=np.int64(2)).dims == ("time", "batch")
    one = layer.trace(x, names="layers.1.f", time=-1, units=4)
    assert (one.dims, one.time, one.units["layers.1.f"]) == (("batch",), (4,), (4,))
    close(one.tensor, whole["layers.1.f"][-1, :, 4])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_evaluation_training_and_no_grad(training, grad):
    layer = Recurrent(
        zoneout(CATALOGUE["lstm"], {"h": 0.3, "c": 0.1}), 4, 9, 2, dropout=0.4, dtype=torch.float64
    )
    layer.train(training)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    found = []
    with torch.set_grad_enabled(grad):
        for backend in PATHS:
            torch.manual_seed(7)
            with cellwright.use_backend(backend):
                found.append(layer.trace(x, names=ALL))
        torch.manual_seed(7)
        output, _ = layer(x)
    same(*found)
    close(found[0].output, output)
    assert found[0]["layers.1.f"].requires_grad == grad
    assert layer.training == training


@pytest.mark.parametrize("recompute", [True, 2])
def test_a_layer_that_computes_again_is_traced_alike(recompute):
    kept = build("gru")
    again = build("gru", recompute=recompute)
    again.load_state_dict(kept.state_dict())
    x = torch.randn(T, B, 4, dtype=torch.float64)
    one, two = kept.trace(x, names=ALL), again.trace(x, names=ALL)
    same(one, two)
    for traced in (one, two):
        traced["n.pre"].square().sum().backward()
    close(kept.weight_hh_l0.grad, again.weight_hh_l0.grad, rtol=1e-10, atol=1e-10)


def test_layers_of_different_cells_and_tied_ones():
    layer = Recurrent(stacked("lstm", "gru"), 4, [9, 5], dtype=torch.float64)
    found = layer.trace(torch.randn(T, B, 4, dtype=torch.float64), names=["h", "z", "c"])
    assert found.names == ("layers.0.c", "layers.0.h", "layers.1.z", "layers.1.h")
    assert found["layers.1.h"].shape == (T, B, 5)
    assert found.source == "LSTM, GRU (2 layers)"
    tied = Recurrent(stacked("gru", "gru", tied=True), 9, 9, dtype=torch.float64)
    found = tied.trace(x := torch.randn(T, B, 9, dtype=torch.float64), names="h")
    close(found["layers.1.h"], tied(x)[0])


def test_torchs_layer_with_both_biases():
    layer = LSTM(4, 9, dtype=torch.float64)
    traced = layer.trace(torch.randn(T, B, 4, dtype=torch.float64), names=["o", "o.pre"])
    close(torch.sigmoid(traced["o.pre"]), traced["o"])


def test_autocast_and_a_few_steps():
    layer = Recurrent("lstm", 4, 9)
    x = torch.randn(2, 1, 4)
    with torch.no_grad():
        few = layer.trace(x, names=ALL)
        close(few["f"], layer.trace(x.expand(2, 40, 4), names=ALL)["f"][:, :1])
    with torch.autocast("cpu", torch.bfloat16):
        half = layer.trace(x, names="f")
    assert half["f"].dtype == torch.bfloat16
    close(half["f"].float(), few["f"], rtol=1e-2, atol=1e-2)


# -- names --------------------------------------------------------------------------------


def test_patterns():
    layer = Recurrent("lstm", 4, 9, 2, bidirectional=True)
    x = torch.randn(2, 1, 4)

    def names(*patterns):
        return layer.trace(x, names=patterns).names

    four = tuple(f"layers.{k}.f" for k in ("0", "0_reverse", "1", "1_reverse"))
    assert names("f") == names("*.f") == names("layers.*.f") == names("f", "*.f") == four
    assert names("layers.1.c", "layers.1.c.next") == ("layers.1.c",)
    assert names("layers.?.f") == ("layers.0.f", "layers.1.f")
    assert names("layers.0*.f.pre") == ("layers.0.f.pre", "layers.0_reverse.f.pre")
    assert names("layers.0.h.next") == ("layers.0.h",)
    every = [n for n in layer.trace_names if n.startswith("layers.1.")]
    assert [n for n in every if "." not in n[9:]] == list(names("layers.1.*"))
    assert set(layer.trace(x).names) == {
        n for n in layer.trace_names if not n.endswith(("pre", "prev"))
    }


def test_a_preactivation_is_never_taken_for_its_activation():
    for name, cell in CATALOGUE.items():
        known = named_values(cell.graph)
        for key, seen in known.items():
            if seen.kind == "preactivation":
                assert known[key.removesuffix(".pre")].node != seen.node, name
    paper = Recurrent("lstm-1997-paper", 4, 9)
    traced = paper.trace(torch.randn(3, 2, 4), names=["g", "g.pre"])
    close(4 * torch.sigmoid(traced["g.pre"]) - 2, traced["g"])
    assert "layers.0.g" not in traced.bent  # it is not between 0 and 1


def test_a_name_that_is_not_there_says_the_nearest():
    layer = Recurrent(Odd, 4, 9)
    x = torch.randn(2, 1, 4)
    wrong = {
        "layers.0.nn": r"Odd: no value is named 'layers.0.nn'; did you mean layers\.0\.n",
        "qqqqq": r"known: x, h\.prev, .*, h, k$",
        "k.pre": r"k has no pre: no squashing function makes it",
        "late": r"late is a truth value",
        "layers.1.n": r"no value is named 'layers.1.n'; did you mean",
    }
    for pattern, said in wrong.items():
        with pytest.raises(TraceError, match=said):
            layer.trace(x, names=[pattern])
    refused: list[tuple[Any, str]] = [((), "none given"), ((3,), "names are texts")]
    for names, said in refused:
        with pytest.raises(TraceError, match=said):
            layer.trace(x, names=names)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"time": 5}, "time: expected 0 to 1, got 5"),
        ({"units": [0, 9]}, r"unit of layers\.0\.n: expected 0 to 8, got 9"),
        ({"units": [1, 1]}, "each once"),
        ({"units": []}, "one or more numbers"),
        ({"time": "1"}, "expected a number, a list of numbers or a slice"),
        ({"time": slice(3, 1)}, "nothing in slice"),
        ({"time": slice(None, None, -1)}, "going up"),
        ({"time": True}, "expected a number"),
    ],
)
def test_a_step_or_unit_that_is_not_there(choices, said):
    layer = Recurrent(Odd, 4, 9)
    with pytest.raises(TraceError, match=said):
        layer.trace(torch.randn(2, 1, 4), names="n", **choices)


def test_what_forward_refuses_is_refused():
    layer = Recurrent("lstm", 4, 9)
    with pytest.raises(RuntimeError, match="must have 4 features"):
        layer.trace(torch.randn(2, 1, 5))
    packed = pack_padded_sequence(torch.randn(2, 1, 4), [2])
    with pytest.raises(ValueError, match="has its own lengths"):
        layer.trace(packed, lengths=[2])
