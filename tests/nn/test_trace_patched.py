"""Patches: other values in the place of a layer's own, for every cell, against plain stepping."""

import logging

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import cellwright
from cellwright import stacked, zoneout
from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, fit, linear, tanh
from cellwright.nn import Recurrent
from cellwright.runtime.compiled import say_once
from cellwright.runtime.trail import TraceError, named_values
from tests.nn.examples import ALL_CELLS, B, T, build, flat, gradients, inputs_for, start_for
from tests.nn.stepping import Stepping

close = torch.testing.assert_close
ALL = ("*", "*.pre", "*.prev")
LENGTHS = [3, 0, 5]
every_cell = pytest.mark.parametrize("name", ALL_CELLS)


def changed(value, step):
    return 0.7 * value + 0.1 * (step + 1)


def unchanged(value, step):
    return value * 1


def one_of_each(layer) -> list[str]:
    """All names of a cell, one for each value."""
    known = named_values(layer._layers[0].plan.cell.graph)
    own, taken = [], set()
    for name, seen in sorted(known.items(), key=lambda item: item[1].kind == "preactivation"):
        key = (seen.node, seen.state if Stepping(layer).is_carried(seen) else None)
        if key not in taken:
            own.append(name)
            taken.add(key)
    return own


@every_cell
def test_every_value_can_be_replaced(name):
    layer = build(name)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    states = [s[0] for s in flat(hx)]
    names = one_of_each(layer)
    for patches in [dict.fromkeys(names, changed), *({n: changed} for n in names)]:
        wanted = Stepping(layer).over_time(flat(x), states, patches)
        with layer.patched(patches):
            found = layer.trace(x, hx, ALL)
            output = layer(x, hx)
        for a, b in zip(flat(output), flat((found.output, found.state)), strict=True):
            close(a, b)
        for key, values in wanted.items():
            value = found[f"layers.0.{key}"]
            close(value, torch.stack(values), rtol=1e-11, atol=1e-11)


@every_cell
def test_what_returns_the_value_changes_nothing(name):
    layer = build(name, 2, bidirectional=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[1, 2] = True
    leaves = list(layer.parameters())
    wanted = flat(layer(x, hx, lengths=LENGTHS, reset=reset, return_states=True))
    grads = gradients(wanted, leaves)
    names = [n for n in one_of_each(layer) if not n.endswith(".pre")]
    with layer.patched(dict.fromkeys(names, unchanged)):
        found = flat(layer(x, hx, lengths=LENGTHS, reset=reset, return_states=True))
        again = gradients(found, leaves)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, rtol=1e-11, atol=1e-11)
    for a, b in zip(again, grads, strict=True):
        close(a, b, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_the_changed_equations():
    layer = build("lstm")
    scale = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def run(w, factor):
        at = torch.func.functional_call(layer, {"weight_hh_l0": w}, (x,))
        del factor
        return at[0]

    x = torch.randn(T, B, 4, dtype=torch.float64)
    with layer.patched({"f": lambda v, t: v * scale, "g.pre": lambda v, t: v.sin()}):
        assert torch.autograd.gradcheck(
            run, (layer.weight_hh_l0.detach().requires_grad_(), scale), check_batched_grad=False
        )
        y = layer(x)[0]
    found = torch.autograd.grad(y.sum(), [scale, layer.weight_ih_l0])
    assert all(g.abs().sum() > 0 for g in found)
    step = 1e-6
    sums = []
    for moved in (0.3 + step, 0.3 - step):
        with layer.patched({"f": lambda v, t, m=moved: v * m, "g.pre": lambda v, t: v.sin()}):
            sums.append(layer(x)[0].sum())
    close(found[0], (sums[0] - sums[1]) / (2 * step), rtol=1e-6, atol=1e-6)


def test_ablation_of_a_unit_and_a_value_restored_at_a_step():
    layer = build("lstm", 2)
    clean, corrupt = torch.randn(2, T, 1, 4, dtype=torch.float64)
    corrupt[1:] = clean[1:]  # they differ in the first step alone
    kept = layer.trace(clean, names=["c", "h"])

    def without_unit_3(value, step):
        return value.index_fill(1, torch.tensor([3]), 0.0)

    with layer.patched({"layers.0.c": without_unit_3}):
        held = layer.trace(clean, names="layers.0.c")["c"]
    assert not held[..., 3].any() and held[..., 2].all()

    def restored(name, at):
        return lambda value, step: kept[name][step] if step == at else value

    wrong = layer(corrupt)[0]
    everything = {name: restored(name, 0) for name in kept}
    with layer.patched(everything):
        close(layer(corrupt)[0], layer(clean)[0])
    with layer.patched({"layers.0.c": restored("layers.0.c", 0)}):
        part = layer(corrupt)[0]
    distance = (part - layer(clean)[0]).norm()
    assert 0 < distance < (wrong - layer(clean)[0]).norm()


def test_blocks_add_up_and_end():
    layer = build("gru")
    x = torch.randn(T, B, 4, dtype=torch.float64)
    plain = layer(x)[0]
    with layer.patched({"z": lambda v, t: v * 0}) as same:
        assert same is layer
        with layer.patched({"z": lambda v, t: v + 1}):  # after the outer's
            both = layer.trace(x, names="z")["z"]
        close(both, torch.ones_like(both))
        assert not layer.trace(x, names="z")["z"].any()
    close(layer(x)[0], plain, rtol=0, atol=0)
    with pytest.raises(KeyError), layer.patched({"z": lambda v, t: {}["no"]}):
        layer(x)
    close(layer(x)[0], plain, rtol=0, atol=0)


def test_it_is_said_that_the_reference_runs(caplog, ran):
    layer = Recurrent("mgu", 4, 9, 2)
    x = torch.randn(T, B, 4)
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, "cellwright"), layer.patched({"layers.1.f": unchanged}):
        layer(x)
        assert "patched: layers.1.f" in layer.explain()
    assert ran == ["MGU"]  # the other layer is machine code as ever
    assert "MGU runs on the reference path" in caplog.text
    assert "patched" in caplog.text
    assert "patched" not in layer.explain()


def test_where_it_cannot_run_it_raises():
    x = torch.randn(T, B, 4)
    layer = Recurrent("gru", 4, 9, backend="llvm")
    with (
        layer.patched({"z": unchanged}),
        pytest.raises(RuntimeError, match="backend='llvm' cannot"),
    ):
        layer(x)
    layer = Recurrent("gru", 4, 9)
    with layer.patched({"z": unchanged}):
        with cellwright.use_backend("llvm"), pytest.raises(RuntimeError, match="cannot run GRU"):
            layer(x)
        layer(x)
    layer = Recurrent("gru", 4, 9, recompute=True)
    with layer.patched({"z": unchanged}), pytest.raises(RuntimeError, match="recompute=False"):
        layer(x)


@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_layer_is_never_patched_in_silence():
    layer = Recurrent("gru", 4, 9)
    run = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.randn(T, B, 4)
    plain = run(x)[0]
    with layer.patched({"z": unchanged}), pytest.raises(Exception, match="patched"):
        run(x)
    close(run(x)[0], plain)


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        ({"ff": unchanged}, "no value is named 'ff'; did you mean f"),
        ({"f": 3}, "f: expected a function"),
        ({}, "expected {'f': function}"),
        ([("f", unchanged)], "expected {'f': function}"),
    ],
)
def test_what_cannot_be_is_said_when_the_block_is_made(patches, said):
    with pytest.raises(TraceError, match=said):
        Recurrent("lstm", 4, 9).patched(patches)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v, t: None, "at step 0 gave NoneType; expected torch.float32"),
        (
            lambda v, t: v[:1],
            r"gave torch.float32 \[1, 9\] on cpu; expected torch.float32 \[3, 9\]",
        ),
        (lambda v, t: v.double(), "gave torch.float64"),
    ],
)
def test_a_function_must_give_what_fits(change, said):
    layer = Recurrent("lstm", 4, 9)
    with (
        layer.patched({"f": change}),
        pytest.raises(TraceError, match=f"LSTM: the function for f.*{said}"),
    ):
        layer(torch.randn(T, B, 4))


def test_two_names_of_one_value():
    class Fitted(Cell):
        x, h = Input(), State()
        v = fit(x)
        h.next = tanh(v + linear(h))

    layer = Recurrent(Fitted, 9, 9)
    with pytest.raises(TraceError, match=r"Fitted\.v is x here; replace x"):
        layer.patched({"v": unchanged})
    layer = Recurrent("layernorm-gru", 4, 9)
    with pytest.raises(TraceError, match="are one value; replace it once"):
        layer.patched({"az": unchanged, "z.pre": unchanged})
    x = torch.randn(T, B, 4)
    with layer.patched({"az": lambda v, t: v * 0}):  # both are seen to be what it is now
        found = layer.trace(x, names=["az", "z.pre", "z"])
    assert not found["az"].any() and not found["z.pre"].any()
    close(found["z"], torch.full_like(found["z"], 0.5))


def test_masks_packed_batches_single_steps_and_half_precision():
    layer = Recurrent(zoneout(CATALOGUE["lstm"], 0.3), 4, 9, dtype=torch.float64)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    wanted = []
    for patches in ({}, {"i": unchanged, "c": unchanged}):
        torch.manual_seed(3)
        with layer.patched(patches) if patches else torch.enable_grad():
            wanted.append(layer(x)[0])
    close(*wanted)
    packed = pack_padded_sequence(x, torch.tensor([3, 5, 1]), enforce_sorted=False)
    layer.eval()
    with layer.patched({"f": changed}):
        a, b = layer(packed)[0].data, layer(x, lengths=[3, 5, 1])[0]
        close(a, pack_padded_sequence(b, [3, 5, 1], enforce_sorted=False).data)
        y, _ = layer.step(x[0])
        close(y, layer(x[:1])[0][0])
    single = Recurrent("lstm", 4, 9)
    with single.patched({"f": unchanged}), torch.autocast("cpu", torch.bfloat16):
        assert single(x.float())[0].dtype == torch.bfloat16


def test_the_backward_direction_counts_from_the_end_of_each_row():
    layer = Recurrent(stacked("gru"), 4, 9, bidirectional=True, dtype=torch.float64)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    seen = []
    with layer.patched({"layers.0_reverse.x": lambda v, t: seen.append((t, v)) or v}):
        layer(x, lengths=[3, 5, 1])
    assert [t for t, _ in seen] == list(range(T))
    close(seen[0][1], torch.stack([x[2, 0], x[4, 1], x[0, 2]]))
