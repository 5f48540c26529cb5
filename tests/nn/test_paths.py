"""Which path a layer takes: machine code in eager code, in graphs, under autocast, in one step."""

import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from cellwright.language import Cell, Input, State, linear, stacked, tanh
from cellwright.nn import GRU, LSTM, GRUCell, LSTMCell, Recurrent, RecurrentCell, RNNCell
from cellwright.runtime import native, use_backend
from tests.nn.examples import ALL_CELLS, OWN, B, H, I, P, T, build, flat, gradients, inputs_for

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
close = torch.testing.assert_close
HALF = (torch.bfloat16, torch.float16)


def results(layer: nn.Module, run: Any, *given: Any, **options: Any) -> list[torch.Tensor]:
    """Outputs, final states, and gradients of inputs and parameters."""
    x = [v.detach().requires_grad_() for v in flat(given[0])]
    made = flat(run(x[0] if len(x) == 1 else tuple(x), *given[1:], **options))
    return [*made, *gradients(made, [*x, *layer.parameters()])]


# -- graphs ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_compiled_layer_is_machine_code(name, ran, fresh_compiler):
    layer = build(name, dtype=torch.float32)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = inputs_for(layer, T, B)
    found = results(layer, compiled, x)
    passes = len(ran)
    wanted = results(layer, layer, x)
    assert passes == 2 and ran[:passes] == ran[passes:]  # forward and adjoint, as in eager code
    for a, b in zip(found, wanted, strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        close(flat(compiled(x)), flat(layer(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
def test_inductor_runs_machine_code(ran, fresh_compiler):
    layer = Recurrent("gru", I, H, 2)
    compiled = torch.compile(layer, fullgraph=True)
    found = results(layer, compiled, torch.ones(T, B, I))
    assert len(ran) == 4
    for a, b in zip(found, results(layer, layer, torch.ones(T, B, I)), strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["by the layer", "by the block"])
def test_a_compiled_layer_keeps_to_the_backend(chosen, ran, fresh_compiler):
    layer = LSTM(I, H, backend="reference" if chosen == "by the layer" else "auto")
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    x = torch.randn(T, B, I)
    with use_backend("reference"):
        found = results(layer, compiled, x)
        assert not ran
        close(found, results(layer, layer, x), rtol=1e-5, atol=1e-6)
    if chosen == "by the block":
        again = results(layer, compiled, x)
        assert not ran  # the graph recorded the choice when it was traced
        close(again, found)


@pytest.mark.slow
def test_a_backend_asked_for_by_name_raises_in_a_graph(fresh_compiler):
    layer = LSTM(I, H, dtype=torch.complex64, backend="llvm")
    x = torch.randn(T, B, I, dtype=torch.complex64)
    for run in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
        with (
            torch.no_grad(),
            pytest.raises(RuntimeError, match=r"'llvm' cannot run LSTM: .*complex"),
        ):
            run(x)


def test_auto_says_once_that_it_runs_elsewhere(caplog: pytest.LogCaptureFixture):
    layer = Recurrent("lstm-1997", I, H, dtype=torch.complex64)
    for _ in range(2):
        layer(torch.randn(T, B, I, dtype=torch.complex64))
    (record,) = caplog.records
    assert "LSTM1997 runs on the reference path" in record.getMessage()
    assert "complex64" in record.getMessage()


SCRIPT = """
import sys, torch
import cellwright
from cellwright.runtime.fast import FastProgram
ran, call = [], FastProgram.__call__
FastProgram.__call__ = lambda self, *args: ran.append(self.program.name) or call(self, *args)
program, cases = torch.export.load(sys.argv[1]).module(), torch.load(sys.argv[2])
for case in cases:
    torch.testing.assert_close(program(*case["given"]), case["wanted"], rtol=1e-5, atol=1e-6)
trained = len(ran)
with torch.no_grad():
    program(*cases[0]["given"])
program(*cases[0]["given"])[0].sum().backward()
print(trained, len(ran) - trained, all(p.grad is not None for p in program.parameters()))
"""


@pytest.mark.slow
def test_an_exported_layer_is_machine_code_elsewhere(tmp_path):
    """For any length and batch, with a gradient or without, where only cellwright is imported."""
    layer = GRU(I, H, 2)
    free = {0: Dim("time", min=2, max=99), 1: Dim("batch", min=2, max=99)}
    program = export(layer, (torch.randn(T, B, I),), dynamic_shapes={"input": free})
    cases = []
    for steps, rows in ((T, B), (13, 2), (2, 7)):
        x = torch.randn(steps, rows, I)
        wanted = layer(x)
        cases.append({"given": (x,), "wanted": tuple(v.detach() for v in wanted)})
    torch.export.save(program, tmp_path / "layer.pt2")
    torch.save(cases, tmp_path / "cases.pt")
    files = [str(tmp_path / "layer.pt2"), str(tmp_path / "cases.pt")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], capture_output=True, text=True, check=False
    )
    # Two layers: three cases; then one without a gradient, one forwards and back.
    assert done.stdout == "6 6 True\n", done.stderr


# -- narrower numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", ALL_CELLS)
def test_half_precision_is_computed_in_float32(name, dtype, ran):
    layer = build(name, dtype=dtype)
    exact = build(name, dtype=torch.float32)
    exact.load_state_dict(layer.state_dict())
    x = inputs_for(layer, T, B)
    wide = tuple(v.float() for v in x) if isinstance(x, tuple) else x.float()
    found, wanted = results(layer, layer, x), results(exact, exact, wide)
    assert len(ran) == 4
    assert all(v.dtype == dtype for v in found)
    values = len(flat(layer(x)))
    for a, b in zip(found[:values], wanted[:values], strict=True):
        close(a, b.to(dtype), rtol=0, atol=0)  # rounded once, at the end


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_is_machine_code(dtype, ran):
    """In and out as nn.LSTM on a CPU: what comes out has autocast's dtype."""
    layer: Any = LSTM(I, H, 2, bidirectional=True)
    x = torch.randn(T, B, I, requires_grad=True)
    exact, _ = layer(x)
    ran.clear()
    with torch.autocast("cpu", dtype):
        for given in (x, x.to(dtype)):
            found = flat(layer(given))
            assert all(v.dtype == dtype for v in found)
            close(found[0].float(), exact, rtol=0.02, atol=0.01)
        if dtype is torch.bfloat16:
            assert all(v.dtype == dtype for v in flat(nn.LSTM(I, H)(x)))
    assert len(ran) == 2 * 4  # two layers, two directions
    found[0].float().sum().backward()
    assert len(ran) == 3 * 4
    assert layer.weight_hh_l0.grad.dtype == torch.float32


def test_autocast_on_the_reference_path_computes_in_its_dtype(ran):
    layer = GRU(I, H, backend="reference")
    with torch.autocast("cpu", torch.bfloat16):
        found = flat(layer(torch.randn(T, B, I)))
    assert all(v.dtype == torch.bfloat16 for v in found) and not ran


# -- one step -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_cell_is_machine_code(name, ran):
    layer = build(name, dtype=torch.float32)
    cell = RecurrentCell(
        OWN.get(name, name), layer.input_size, H, widths=layer.widths, proj_size=layer.proj_size
    )
    x = inputs_for(layer, B)
    found = results(cell, cell.step, x)
    assert len(ran) == 2
    with use_backend("reference"):
        wanted = results(cell, cell.step, x)
    assert len(ran) == 2
    for a, b in zip(found, wanted, strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, RNNCell])
def test_a_cell_has_a_backend(kind, ran):
    x = torch.randn(B, I)
    kind(I, H)(x)
    assert len(ran) == 1
    kind(I, H, backend="reference")(x)
    assert len(ran) == 1
    with pytest.raises(RuntimeError, match="'llvm' cannot run .*complex"):
        kind(I, H, dtype=torch.complex64, backend="llvm")(x.to(torch.complex64))
    with pytest.raises(ValueError, match="backend is one of auto"):
        kind(I, H, backend="quick")


def test_a_cell_in_bfloat16_and_its_mistakes():
    cell = GRUCell(I, H, dtype=torch.bfloat16)
    assert cell(torch.zeros(B, I, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match=r"float32, the weights are torch.bfloat16; convert one"):
        cell(torch.zeros(B, I))
    with torch.autocast("cpu", torch.bfloat16):
        assert cell(torch.zeros(B, I)).dtype == torch.bfloat16


def test_token_ids_are_told_from_a_wrong_precision():
    ids = torch.zeros(3, 2, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"token ids go through an nn.Embedding first"):
        Recurrent("lstm", 4, 4)(ids)
    with pytest.raises(RuntimeError, match=r"token ids go through an nn.Embedding first"):
        LSTMCell(4, 4)(ids[0])


def test_a_stack_is_explained_by_its_own_name():
    mixed = Recurrent(stacked("lstm", "gru"), 4, 4).explain()
    assert mixed.startswith("stacked(lstm, gru): ")
    assert Recurrent("lstm", 4, 4, 2).explain().startswith("LSTM: ")


@pytest.mark.parametrize("batch", [(), (1,), (B,)])
def test_a_step_of_a_layer_is_machine_code(batch, ran):
    layer = Recurrent("lstm-projected", I, H, 2, proj_size=P)
    x = torch.randn(T, *batch, I)
    wanted = layer(x)
    ran.clear()
    state, outputs = None, []
    for x_t in x:
        y, state = layer.step(x_t, state)
        outputs.append(y)
    assert len(ran) == 2 * T
    close(torch.stack(outputs), wanted[0], rtol=1e-5, atol=1e-6)
    close(state, wanted[1], rtol=1e-5, atol=1e-6)


# -- what is changed in place ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["rnn", "rnn-relu"])
def test_an_output_changed_in_place_is_noticed(name):
    """Their adjoint reads the output: torch must see that it is no longer what it was."""
    layer = Recurrent(name, I, H)
    output, _ = layer(torch.randn(T, B, I))
    with torch.no_grad():
        output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_only_a_learned_start_wants_a_gradient():
    layer = LSTM(I, H, learn_start=True)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name.startswith("start"))
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2] = True
    zero = torch.zeros(1, B, H)
    layer(torch.randn(T, B, I), (zero, zero), reset=reset)[0].sum().backward()
    starts = [p for name, p in layer.named_parameters() if name.startswith("start")]
    assert all(p.grad is not None and p.grad.any() for p in starts)


class Still(Cell):
    """Its state stays as it is, so nothing is left to do from step to step."""

    x, h = Input(), State()

    h.next = h
    y = tanh(linear(x))
    outputs = y


def test_a_cell_with_nothing_to_do_in_its_loop():
    layer = Recurrent(Still, I, H)
    x, h = torch.randn(T, B, I, requires_grad=True), torch.randn(1, B, H)
    made = []
    for way in ("reference", "llvm"):
        with use_backend(way):
            output, state = layer(x, h)
        (gradient,) = torch.autograd.grad(output.square().sum(), x)
        made.append((output, state, gradient))
    torch.testing.assert_close(*made)
    assert torch.equal(made[0][1], h)
