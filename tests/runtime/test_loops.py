"""How a loop's work is laid out and divided changes nothing of what it computes."""

from typing import Any

import pytest
import torch

from cellwright.nn import Recurrent
from cellwright.runtime import fast, loops, native, threads
from cellwright.runtime.loops import FastLoop, areas
from cellwright.runtime.steps import FEW, ROWS, FastStep
from cellwright.targets.llvm import panels
from cellwright.targets.llvm.needs import Packing
from tests.cases import CELLS, TOLERANCE, assert_close, options
from tests.nn.examples import flat, inputs_for

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
DTYPES = [torch.float32, torch.float64]


def results(layer: Recurrent, given: Any, **masks: torch.Tensor) -> list[torch.Tensor]:
    """Outputs, final states and every gradient, under random cotangents that are the same."""
    leaves = [x.detach().requires_grad_() for x in flat(given)]  # no copy: they lie as given
    made = flat(layer(tuple(leaves) if len(leaves) > 1 else leaves[0], **masks))
    generator = torch.Generator().manual_seed(1)
    loss = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in made)
    assert isinstance(loss, torch.Tensor)
    return [*made, *torch.autograd.grad(loss, [*leaves, *layer.parameters()])]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note among how many threads units were divided."""
    seen: list[int] = []
    run = threads.share_units

    def noted(*args) -> None:
        seen.append(args[-1])
        run(*args)

    monkeypatch.setattr(threads, "share_units", noted)
    return seen


@pytest.mark.parametrize("masks", ["none", "reset", "lengths", "both"])
@pytest.mark.parametrize("name", CELLS)
def test_units_divided_among_threads_give_the_same_bits(name, masks, shared, monkeypatch):
    if not threads.can_share_units():
        pytest.skip("no OpenMP library of torch's own to be found here")
    torch.set_num_threads(3)
    steps, batch = 6, 3
    layer = Recurrent(name, 10, 70, **options(name, 70))
    x = inputs_for(layer, steps, batch)
    given = {}
    if masks in ("reset", "both"):
        given["reset"] = torch.rand(steps, batch) < 0.3
    if masks in ("lengths", "both"):
        given["lengths"] = torch.tensor([steps, 1, 4])
    monkeypatch.setattr(FastLoop, "_sharing_units", lambda *_: 1)
    # Nor are the rows divided: a group of fewer rows rounds in another order.
    monkeypatch.setattr(loops, "WORTH_A_THREAD", 1 << 60)
    alone = results(layer, x, **given)
    assert not shared
    monkeypatch.setattr(FastLoop, "_sharing_units", lambda *_: 3)
    together = results(layer, x, **given)
    assert set(shared) == {3}
    for found, wanted in zip(together, alone, strict=True):
        assert torch.equal(found, wanted)


def test_a_small_batch_divides_the_units_and_a_large_one_the_rows(shared):
    if not threads.can_share_units():
        pytest.skip("no OpenMP library of torch's own to be found here")
    torch.set_num_threads(2)
    layer = Recurrent("lstm", 8, 128)
    with torch.no_grad():
        layer(torch.randn(60, 1, 8))
        assert shared == [2]
        layer(torch.randn(60, 16, 8))
        assert shared == [2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("size", [(1, 1, 3, 7), (4, 4, 64, 64), (16, 1, 33, 40)], ids=str)
def test_a_step_reads_the_weights_as_they_lie(name, size, dtype, monkeypatch):
    steps, batch, inputs, hidden = size
    layer = Recurrent(name, inputs, hidden, dtype=dtype, **options(name, hidden))
    x = inputs_for(layer, steps, batch)
    taken: list[int] = []
    run = FastStep.__call__

    def noted(self: FastStep, *args):
        taken.append(1)
        return run(self, *args)

    monkeypatch.setattr(FastStep, "__call__", noted)
    with torch.no_grad():
        made = flat(layer(x))
        assert taken
        monkeypatch.setattr(FastStep, "fits", staticmethod(lambda *_: False))
        wanted = flat(layer(x))
    assert len(taken) == 1
    for found, want in zip(made, wanted, strict=True):
        assert_close(found, want, TOLERANCE[dtype], name)


def test_a_weight_changed_in_place_is_seen_by_the_next_step():
    """Also through .data, which tells autograd nothing: no packed copy is kept between calls."""
    layer = Recurrent("lstm", 4, 32)
    x = torch.randn(1, 1, 4)
    with torch.no_grad():
        before = layer(x)[0]
        for p in layer.parameters():
            p.data.mul_(0.5)
        after = layer(x)[0]
    assert not torch.equal(before, after)


def test_few_rows_are_few():
    assert FastStep.fits(1, 1) and FastStep.fits(FEW, 1) and FastStep.fits(FEW // ROWS, ROWS)
    assert not FastStep.fits(FEW + 1, 1) and not FastStep.fits(1, ROWS + 1)
    assert not FastStep.fits(0, 1) and not FastStep.fits(1, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("width", [1, 7, 16, 33, 100])
def test_panels_hold_the_weights_that_the_kernel_reads(width, transposed, dtype):
    machine = native.machine("float" if dtype == torch.float32 else "double")
    lanes, depth, offsets = machine.lanes, 19, (0, 2 * width)
    start, count = 3, 3 * width
    shape = (start + depth, count) if transposed else (start + count, depth)
    weight = torch.randn(shape, dtype=dtype)
    stop = start + (depth if transposed else count)
    vectors = min(2, max(1, width // lanes))
    p = Packing("u", "w", transposed, start, stop, depth, width, offsets, vectors, lanes)
    target = torch.full((panels.packed_size(p),), torch.nan, dtype=dtype)
    rows = list(panels.panels(p, machine.vectors))
    table = torch.tensor([[0, int(transposed), *panel, depth] for panel in rows])
    code = native.compiled(panels.emit(machine))
    pointers = [table.data_ptr(), weight.data_ptr(), target.data_ptr()]
    threads.share(code, pointers, [weight.stride(0)], (0, len(rows)), len(rows))
    turned = weight[start:] if transposed else weight[start:].t()  # [depth, units]
    seen = 0
    for panel in rows:
        unit = panel.column if transposed else panel.row - start
        for k in range(depth):
            at = panel.target + k * panel.apart
            wanted = turned[k, unit : unit + panel.units]
            assert torch.equal(target[at : at + panel.units], wanted)
        seen += panel.units
    assert seen == len(offsets) * width


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 7), (5, 4, 128), (2, 3, 300), (0, 2, 5)])
def test_total_is_the_sum_over_time_and_batch(shape, dtype):
    values = torch.randn(shape, dtype=dtype)
    assert_close(fast.total(values), values.sum((0, 1)), TOLERANCE[dtype])


def test_areas_do_not_overlap_and_begin_on_a_line_of_the_cache():
    like = torch.empty(0)
    kept, begins = areas(like, [3, 0, 17, 64])
    assert all((a - begins[0]) % 64 == 0 for a in begins)
    assert begins[1] - begins[0] >= 3 * 4 and begins[3] - begins[2] >= 17 * 4
    assert isinstance(kept, torch.Tensor) and kept.numel() * 4 >= begins[3] - begins[0] + 64 * 4


@pytest.mark.parametrize("masks", ["none", "both"])
@pytest.mark.parametrize("name", CELLS)
def test_a_call_cut_into_pieces_gives_the_same_numbers(name, masks, monkeypatch):
    """The input's product for a few steps at a time, whose memory is used again."""
    steps, batch = 11, 5
    layer = Recurrent(name, 6, 40, dtype=torch.float64, **options(name, 40))
    x = inputs_for(layer, steps, batch)
    given = {}
    if masks == "both":
        given["reset"] = torch.rand(steps, batch) < 0.3
        given["lengths"] = torch.tensor([steps, 1, 4, 9, 10])
    wanted = results(layer, x, **given)
    runs: list[int] = []
    run = loops.Call.run

    def noted(self: loops.Call, first: int, count: int) -> None:
        runs.append(first)
        run(self, first, count)

    monkeypatch.setattr(loops.Call, "run", noted)
    monkeypatch.setattr(fast, "WORTH_CUTTING", 0)
    monkeypatch.setattr(fast, "PIECE", 3 * batch * 40 * 8)
    found = results(layer, x, **given)
    assert max(runs) > 0, "nothing was cut"
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, TOLERANCE[torch.float64], name)


@pytest.mark.parametrize("name", CELLS)
def test_a_batch_of_one_may_have_any_stride(name):
    """[1, T, I] turned to [T, 1, I] is dense, and its rows claim to lie T * I apart."""
    layer = Recurrent(name, 6, 40, **options(name, 40))
    turned = [x.transpose(0, 1) for x in flat(inputs_for(layer, 1, 30))]
    assert all(x.is_contiguous() and x.stride(1) == 30 * x.shape[2] for x in turned)
    plain = [x.clone() for x in turned]
    for found, wanted in zip(results(layer, turned), results(layer, plain), strict=True):
        assert torch.equal(found, wanted)
