"""What explains a layer: the path, the machine code, whether it is there already; compiles none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cellwright
from cellwright.language import Cell, Input, State
from cellwright.nn import Recurrent, RecurrentCell
from cellwright.runtime import cache, native, threads
from cellwright.runtime.describe import Explanation, explained, said
from cellwright.runtime.routines import FEW_STEPS, IN_PROCESS, NOT_YET, ON_DISK, ROUTINES, Packed
from cellwright.runtime.steps import FEW, ROWS

needs_llvm = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def of(layer: Recurrent, backend: str = "auto") -> Explanation:
    places = [(f"layer {k}", made) for k, made in enumerate(layer._plans)]
    weights = tuple(w for group in layer.all_weights for w in group)
    return explained(layer.cell.__name__, backend, places, weights)


def codes(found: Explanation) -> list[str]:
    """Of inference, a few steps, the training pass and the adjoint."""
    assert [routine.what for routine in found.layers[0].routines] == list(ROUTINES)
    return [routine.code for routine in found.layers[0].routines]


@needs_llvm
def test_nothing_is_compiled_to_explain(folder: Path):
    layer = Recurrent("peephole", 3, 41)
    assert codes(of(layer)) == [NOT_YET] * len(ROUTINES)
    assert layer.explain() == layer.explain()
    assert not folder.exists()


@needs_llvm
def test_code_is_in_the_process_once_it_has_run():
    layer = Recurrent("mut1", 3, 43)
    x = torch.randn(3, 2, 3)
    with torch.no_grad():
        layer(x)
    assert codes(of(layer)) == [NOT_YET, IN_PROCESS, NOT_YET, NOT_YET]
    layer(x)[0].sum().backward()
    assert codes(of(layer)) == [NOT_YET, *[IN_PROCESS] * 3]
    with torch.no_grad():
        layer(x.repeat(6, 1, 1))
    assert codes(of(layer)) == [IN_PROCESS] * 4


@needs_llvm
def test_code_of_another_process_is_on_disk():
    program = (
        "import torch; from cellwright.nn import Recurrent; torch.set_num_threads(1)\n"
        "x = torch.randn(40, 8, 3, requires_grad=True)\n"
        "for cell in ('gru', 'mut1', 'layernorm-lstm'):\n"
        "    layer = Recurrent(cell, 3, 47)\n"
        "    layer(x)[0].sum().backward()\n"
        "    with torch.no_grad(): layer(x), layer(x[:1, :1])\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    for cell in ("gru", "mut1", "layernorm-lstm"):
        layer = Recurrent(cell, 3, 47)
        assert codes(of(layer)) == [ON_DISK] * 4
    cache.clear()
    assert codes(of(layer)) == [NOT_YET] * 4


@needs_llvm
def test_the_products_of_an_lstm():
    lanes = native.machine("float").lanes
    layer = Recurrent("lstm", 3, 4 * lanes)
    inference, few, training, adjoint = of(layer).layers[0].routines
    assert inference.before == (f"wx: weight_ih [{16 * lanes} x 3]",)
    assert inference.after == () and inference.stages == 1
    (product,) = inference.products
    assert isinstance(product, Packed)
    assert (product.weight, product.depth, product.units) == ("weight_hh", 4 * lanes, 4 * lanes)
    assert product.gates == 4 and product.panels == 16
    assert product.blocks * product.gates * product.vectors == product.panels
    assert training.products == inference.products
    assert few.products == (
        f"wx: weight_ih [{16 * lanes} x 3]",
        f"u: weight_hh [{16 * lanes} x {4 * lanes}]",
    )
    assert adjoint.stages == 2 and adjoint.before == ()
    assert any(f"gradient of weight_hh [{16 * lanes} x {4 * lanes}]" in s for s in adjoint.after)


@needs_llvm
def test_the_text_says_all_of_it(folder: Path):
    layer = Recurrent("lstm", 3, 8, num_layers=2, bidirectional=True)
    said = layer.explain()
    first, *rest = said.splitlines()
    machine = native.machine("float")
    assert first.startswith("LSTM: llvm path")
    assert native.processor()[0] in first and f"{machine.lanes} float32" in first
    assert f"{machine.rows} rows by {machine.vectors} vectors" in first
    assert f"up to {torch.get_num_threads()} of {threads.describe()}" in rest[0]
    assert str(folder) in rest[1]
    assert "layer 0 and layer 0 backwards: reads x[3]; carries h[8], c[8]" in rest
    assert "layer 1 and layer 1 backwards: reads x[16]; carries h[8], c[8]" in rest
    for what in ROUTINES:
        assert said.count(f"  {what}: ") == 2


@needs_llvm
def test_a_few_steps_have_a_path_of_their_own():
    """It says when they take it, and that is when they do."""
    layer = Recurrent("gru", 3, 51)
    line = next(s for s in layer.explain().splitlines() if FEW_STEPS in s)
    assert f"at most {ROWS} rows and {FEW} rows x steps" in line and "without a gradient" in line
    taken, others = [(1, ROWS), (FEW, 1)], [(1, ROWS + 1), (FEW + 1, 1)]
    with torch.no_grad():
        for steps, rows in taken:
            layer(torch.randn(steps, rows, 3))
        assert codes(of(layer))[:2] == [NOT_YET, IN_PROCESS]
    for steps, rows in others:
        layer = Recurrent("gru", 3, 52 + rows)
        with torch.no_grad():
            layer(torch.randn(steps, rows, 3))
        assert codes(of(layer))[:2] == [IN_PROCESS, NOT_YET]


@needs_llvm
def test_kernels_are_named_with_the_entries_that_keep_them(folder: Path):
    layer = Recurrent("lstm", 3, 53)
    layer(torch.randn(2, 2, 3))[0].sum().backward()
    with torch.no_grad():
        layer(torch.randn(1, 1, 3))
    kept = {path.stem[:8] for path in folder.iterdir()}
    inference, few, training, adjoint = of(layer).layers[0].routines
    # What packs weights serves every layer: an earlier test has compiled it for this process.
    ran = [o for o in (*few.objects, *training.objects) if o.where != "packing weights"]
    assert len(ran) == 3 and all(o.on_disk and o.name in kept for o in ran)
    where = {made.where: made.kernels for made in adjoint.objects}
    assert any(name.startswith("product_") for name in where["in the loop"])
    assert any(name.startswith("outer_") for name in where["sums of outer products"])
    assert any(name.startswith("direct_") for name in few.objects[0].kernels)
    text = layer.explain()
    assert all(f"object {made.name}, {made.where}: " in text for made in inference.objects)


@needs_llvm
def test_a_forked_process_says_that_its_threads_are_others(monkeypatch: pytest.MonkeyPatch):
    """As `threads` sees it: the process that may use torch's team is another one."""
    monkeypatch.setattr(threads, "TEAM_OF", None)
    assert threads.describe() == "a pool of Python threads"
    first, second, *_ = Recurrent("lstm", 3, 4).explain().splitlines()
    assert "OpenMP" not in first and f"up to {torch.get_num_threads()} of a pool" in first
    assert "never the units: this process was forked" in second


def test_a_single_step_is_explained_as_torch_operations_in_a_graph():
    cell = RecurrentCell("lstm", 3, 54)
    weights = tuple(cell.parameters())
    made = said("LSTM", cell.backend, [("cell", cell._plan)], weights, inline=True)
    path = "llvm" if native.missing() is None else "reference"
    first, *rest = made.splitlines()
    assert first.startswith(f"LSTM: {path} path") and first.endswith("traces, torch operations")
    assert any(line.startswith("cell: reads x[3]; carries h[54], c[54]") for line in rest)
    half = tuple(w.half() for w in weights)
    assert said("LSTM", "auto", [("cell", cell._plan)], half).endswith("in torch.float32")


def test_the_reference_says_why():
    layer = Recurrent("gru", 3, 5, dtype=torch.complex64, device="meta")
    found = of(layer)
    assert found.path == "reference" and "meta" in str(found.reason)
    assert found.headline.startswith("GRU: reference path")
    assert found.layers[0].routines == ()
    with cellwright.use_backend("reference"):
        assert "because it was asked for" in Recurrent("gru", 3, 5).explain()


def test_machine_code_that_must_and_cannot_serve_is_no_path():
    found = of(Recurrent("gru", 3, 5, device="meta"), "llvm")
    assert found.path == "none" and found.headline.startswith("GRU: no path")


def test_without_llvm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    reason = "the package llvmlite is not installed"
    monkeypatch.setattr("cellwright.runtime.compiled.missing", lambda: reason)
    assert reason in of(Recurrent("gru", 3, 5)).headline


def test_a_cell_without_weights():
    class Mean(Cell):
        x, h = Input(width="hidden"), State()
        h.next = 0.5 * x + 0.5 * h

    layer = Recurrent(Mean, 4, 4)
    found = of(layer)
    assert found.path == ("reference" if native.missing() else "llvm")
    assert "no product" in str(found) or found.path == "reference"
