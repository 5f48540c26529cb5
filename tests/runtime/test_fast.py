"""Machine code against the float64 reference: every cell, both dtypes, odd sizes, all masks."""

import dataclasses
import itertools
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cellwright.cells import CATALOGUE
from cellwright.compiler import Program, lower, vjp
from cellwright.nn import Recurrent
from cellwright.runtime import fast, native, threads, use_backend
from cellwright.runtime.fast import FastProgram
from tests.cases import (
    CELLS,
    GRADIENT_TOLERANCE,
    MASKS,
    TOLERANCE,
    Values,
    draw,
    options,
    run,
    widths,
)
from tests.compiler.drawn import SIZES, Source, sources
from tests.nn.examples import flat, inputs_for

# hidden, input, batch, steps: no vector full, one unit, a tile and a bit, several blocks
SHAPES = ((33, 7, 13, 5), (1, 1, 1, 3), (7, 3, 2, 1), (130, 5, 7, 3))
pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))


@pytest.fixture(autouse=True)
def more_threads(monkeypatch: pytest.MonkeyPatch):
    """Two threads, however small the work, so that ranges of rows are in play."""
    monkeypatch.setattr(fast, "WORTH_A_THREAD", 0)
    torch.set_num_threads(2)


def program(name: str, hidden: int, inputs: int) -> Program:
    return lower(CATALOGUE[name].graph, widths(inputs, hidden), wide=False)


def cast(values: Values, dtype: torch.dtype) -> Values:
    def to(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.to(dtype) for t in tensors)

    return dataclasses.replace(
        values,
        inputs=to(values.inputs),
        states=to(values.states),
        params=to(values.params),
        starts=to(values.starts),
    )


def call(made: FastProgram, v: Values, reset: bool, lengths: bool) -> list[Tensor]:
    masks = list(v.masks)
    first = masks.pop(0) if reset else None
    valid = masks.pop(0) if lengths else None
    outputs, ends = made(v.inputs, v.states, v.params, v.starts, first, valid)
    return [*outputs, *ends]


def assert_close(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        scale = b.abs().max().clamp(min=1) if b.numel() else 1
        torch.testing.assert_close(a.double() / scale, b / scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_machine_code_is_the_reference(name: str, dtype: torch.dtype):
    shapes = SHAPES if dtype is torch.float32 else SHAPES[:2]
    for hidden, inputs, batch, steps in shapes:
        adjoint = vjp(program(name, hidden, inputs))
        sides = ((adjoint.forward, TOLERANCE[dtype]), (adjoint.backward, GRADIENT_TOLERANCE[dtype]))
        for side, tolerance in sides:
            made = FastProgram(side, dtype)
            for reset, lengths in MASKS.values():
                v = cast(draw(side, steps, batch, reset=reset, lengths=lengths), dtype)
                if side.reverse:  # cotangents are zero past a row's end; a reset has no values
                    v = dataclasses.replace(v, starts=())
                    if lengths:
                        ended = v.masks[-1][..., None]
                        zeroed = tuple(
                            torch.where(ended, x, 0) if port.name in adjoint.cotangents else x
                            for port, x in zip(side.inputs, v.inputs, strict=True)
                        )
                        v = dataclasses.replace(v, inputs=zeroed)
                outputs, ends = run(side, cast(v, torch.float64), reset=reset, lengths=lengths)
                kept = len(side.outputs) + len(side.results)
                found = call(made, v, reset, lengths)
                residuals = len(side.residuals)
                wanted = [*outputs[:kept], *ends]
                assert_close([*found[:kept], *found[kept + residuals :]], wanted, tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_extremes_saturate(name: str):
    layer = Recurrent(name, 5, 9, **options(name, 9))
    inputs = [torch.full_like(x, 100.0) for x in flat(inputs_for(layer, 4, 3))]
    for x in inputs:
        x[1::2] = -100.0
        x.requires_grad_()
    with use_backend("llvm"):
        output, _ = layer(tuple(inputs) if len(inputs) > 1 else inputs[0])
        torch.stack([y.sum() for y in flat(output)]).sum().backward()
    assert all(y.isfinite().all() for y in flat(output)) or name == "rnn-relu"
    assert all(x.grad is not None and x.grad.isfinite().all() for x in inputs)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn-relu", "layernorm-lstm"])
def test_nan_and_infinity_stay_where_the_reference_has_them(name: str, bad: float):
    layer = Recurrent(name, 5, 9)
    x = torch.randn(4, 3, 5)
    x[1, 1, 2] = bad
    with torch.no_grad(), use_backend("reference"):
        wanted = layer(x)[0]
    with torch.no_grad(), use_backend("llvm"):
        found = layer(x)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_no_buffer_is_written_or_read_outside(monkeypatch: pytest.MonkeyPatch):
    """Every buffer lies between NaNs, which must stay and must not get in."""
    guarded: list[Tensor] = []

    def between_guards(like: Tensor, *shape: int) -> Tensor:
        size = torch.Size(shape).numel()
        whole = like.new_full((size + 128,), float("nan"))
        guarded.append(whole)
        return whole[64 : size + 64].view(shape)

    monkeypatch.setattr(fast, "empty", between_guards)
    for name, (hidden, inputs, batch, steps) in itertools.product(CELLS, SHAPES[:2]):
        adjoint = vjp(program(name, hidden, inputs))
        for side in (adjoint.forward, adjoint.backward):
            v = draw(side, steps, batch, dtype=torch.float32)
            inside = []
            for x in v.inputs:
                inside.append(between_guards(x, *x.shape))
                inside[-1].copy_(x)
            v = dataclasses.replace(v, inputs=tuple(inside))
            assert all(
                t.isfinite().all() for t in call(FastProgram(side, torch.float32), v, False, False)
            )
    assert len(guarded) > 100
    for whole in guarded:
        assert whole[:64].isnan().all() and whole[-64:].isnan().all()


@pytest.mark.slow
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(sources(), st.sampled_from(sorted(MASKS)))
def test_random_cells(source: Source, masks: str):
    reset, lengths = MASKS[masks]
    made = lower(source.cell.graph, SIZES, wide=False)
    v = draw(made, 4, 3, reset=reset, lengths=lengths, scale=0.4)
    outputs, ends = run(made, v, reset=reset, lengths=lengths)
    wanted = [*outputs, *ends]
    if all((t.abs() < 1e4).all() for t in wanted):
        found = call(FastProgram(made, torch.float64), v, reset, lengths)
        assert_close(found, wanted, 1e-10)


@pytest.mark.parametrize("name", ["lstm", "gru-cho", "clockwork", "layernorm-lstm"])
def test_first_and_second_derivatives(name: str):
    layer = Recurrent(name, 2, 3, dtype=torch.float64, backend="llvm")
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    first = next(layer.parameters())

    def function(x: Tensor, w: Tensor) -> Tensor:
        return layer(x)[0]

    assert torch.autograd.gradcheck(function, (x, first))
    assert torch.autograd.gradgradcheck(function, (x, first))


def test_the_same_number_of_threads_gives_the_same_bits():
    layer = Recurrent("lstm", 16, 32, backend="llvm")
    x = torch.randn(6, 5, 16)
    results = []
    for count in (1, 2, 3, 3, 2, 1):
        torch.set_num_threads(count)
        layer.zero_grad()
        output, _ = layer(x)
        output.square().sum().backward()
        results.append(
            [output.detach(), *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]
        )
    for one, again in zip(results[:3], results[:2:-1], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert_close(results[0], [t.double() for t in results[2]], 1e-5)


@pytest.mark.parametrize("team", ["torch's", "our own"])
def test_many_python_threads_at_once(team: str, monkeypatch: pytest.MonkeyPatch):
    if team == "our own":
        monkeypatch.setattr(threads, "_team", lambda: None)
    layer = Recurrent("peephole", 8, 24, backend="llvm")
    inputs = [torch.randn(5, 4, 8) for _ in range(8)]
    with torch.no_grad():
        alone = [layer(x)[0] for x in inputs]
        barrier = threading.Barrier(8)

        def work(k: int) -> bool:
            barrier.wait()
            return all(torch.equal(layer(inputs[k])[0], alone[k]) for _ in range(50))

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


def _in_child(layer: Recurrent, x: Tensor, wanted: Tensor) -> None:
    with torch.no_grad():
        raise SystemExit(0 if torch.equal(layer(x)[0], wanted) else 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_threads_of_its_own():
    layer, x = Recurrent("lstm", 8, 16, backend="llvm"), torch.randn(5, 4, 8)
    with torch.no_grad():
        wanted = layer(x)[0]
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(layer, x, wanted))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_a_path_asked_for_by_name_says_why_it_cannot_serve():
    layer = Recurrent("lstm", 3, 4, dtype=torch.complex64, backend="llvm")
    with pytest.raises(RuntimeError, match=r"backend='llvm' cannot run LSTM: .*complex64"):
        layer(torch.zeros(2, 1, 3, dtype=torch.complex64))


def test_auto_says_once_that_it_runs_elsewhere(caplog: pytest.LogCaptureFixture):
    layer = Recurrent("gru-cho", 3, 4, dtype=torch.complex64)
    x = torch.zeros(2, 1, 3, dtype=torch.complex64)
    layer(x)
    layer(x)
    (record,) = caplog.records
    assert "GRUCho runs on the reference path" in record.getMessage()
    assert "complex64" in record.getMessage()


def test_the_backend_can_be_chosen_for_a_block(monkeypatch: pytest.MonkeyPatch):
    layer = Recurrent("lstm", 3, 4)
    assert "llvm path" in layer.explain()
    with use_backend("reference"):
        assert "reference path" in layer.explain()
    monkeypatch.setenv("CELLWRIGHT_BACKEND", "reference")
    assert "reference path" in layer.explain()
    with pytest.raises(ValueError, match="backend is one of"), use_backend("fast"):
        pass
