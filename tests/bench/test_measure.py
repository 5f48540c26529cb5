"""Measuring: turns, medians, and a wish to stop; the peak is reached by real multiply-adds."""

import gc

import pytest
import torch

from cellwright.bench.measure import LEAST, MOST, Pace, Stop, Stopped, Timing, interleaved
from cellwright.bench.peak import UNROLL, Peak
from cellwright.runtime import native
from cellwright.runtime.listing import DTYPES


def test_runs_take_turns_and_change_places():
    order = []
    timings = interleaved([lambda: order.append("a"), lambda: order.append("b")], Pace(4))
    assert [t.count for t in timings] == [4, 4]
    assert "".join(order[-8:]) in ("abbaabba", "baabbaab")
    assert order.count("a") == order.count("b") == 6  # twice to warm up


def test_a_sample_is_the_mean_of_its_calls():
    calls = []
    (timing,) = interleaved([lambda: calls.append(0)], Pace(3), calls=5)
    assert len(calls) == 5 * 5 and timing.count == 3


def test_time_decides_where_no_number_is_given():
    (few,) = interleaved([lambda: None], Pace(None, seconds=0.0))
    assert few.count == LEAST
    (many,) = interleaved([lambda: None], Pace(None, seconds=60.0))
    assert many.count == MOST


def test_a_timing_sums_up():
    found = Timing.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.median, found.quartiles, found.extremes) == (3.0, (2.0, 4.0), (1.0, 5.0))
    assert Timing.of([7.0]).median == 7.0
    assert found.to_dict() == {
        "median_ms": 3e3,
        "quartiles_ms": [2e3, 4e3],
        "extremes_ms": [1e3, 5e3],
        "count": 5,
    }


def test_a_wish_to_stop_is_heeded_before_the_next_run():
    stop, ran = Stop(), []

    def first():
        ran.append(0)
        stop.set()

    with pytest.raises(Stopped):
        interleaved([first, lambda: ran.append(1)], Pace(3), stop)
    assert ran == [0]
    assert gc.isenabled()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 2])
def test_the_peak_computes_what_it_counts(dtype, count):
    machine = native.machine(DTYPES[dtype])
    chains = machine.rows * machine.vectors
    peak = Peak(dtype, count)
    assert peak.flops % (2 * machine.lanes * chains * UNROLL * count) == 0
    peak.results.fill_(torch.nan)
    peak()
    # c = c / 2 + 1 / 2 tends to 1 in every lane of every chain of every thread.
    assert torch.equal(peak.results, torch.full((count, machine.lanes), chains, dtype=dtype))
    assert peak.best(3) > 0
