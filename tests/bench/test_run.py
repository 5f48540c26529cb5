"""A whole run on tiny shapes: what it yields, and what it says to people and to programs."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from cellwright.bench import BenchError, Pace, Report, Shape, Table, Wish, bench, subjects
from cellwright.bench.cases import Case
from cellwright.bench.first import first_call
from cellwright.bench.measure import Stop, Stopped
from cellwright.bench.steps import one_step
from tests.bench.small import events, report, timing

SHAPES = (Shape(4, 2, 5), Shape(3, 1, 7))


@pytest.fixture(scope="module")
def made():
    found = Report()
    for event in bench(
        Wish(subjects("gru,lstm"), SHAPES, threads=1, pace=Pace(2), first_calls=False)
    ):
        found.add(event)
    return found


def test_every_cell_shape_and_kind_is_there(made):
    wanted = itertools.product(("gru", "lstm"), SHAPES, ("inference", "training"))
    assert [(c.cell, c.shape, c.kind) for c in made.cases] == list(wanted)
    for case in made.cases:
        assert set(case.peers) == {"torch.nn", "loop"}
        assert case.of_lstm == 1 if case.cell == "lstm" else 0 < case.of_lstm < math.inf
        assert 0 < case.share == pytest.approx(case.flops / case.ours.median / case.peak)
    gru, lstm = (next(c for c in made.cases if c.cell == name) for name in ("gru", "lstm"))
    assert gru.flops == 2 * 4 * 2 * 3 * 5 * (5 + 5)
    assert lstm.flops == 2 * 4 * 2 * 4 * 5 * (5 + 5)
    assert {c.kind: c.flops for c in made.cases if c.shape == SHAPES[0] and c.cell == "gru"} == {
        "inference": gru.flops,
        "training": 3 * gru.flops,
    }


def test_the_json_of_a_run(made):
    data = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    assert data["format"] == "cellwright-bench-1" and data["stopped"] is False
    assert data["machine"]["threads"] == 1 and data["dtype"] == "float32"
    assert set(data["peak_gflops"]) == {"one_thread", "all_threads"}
    first = data["cases"][0]
    assert [first[key] for key in ("cell", "steps", "batch", "width")] == ["gru", 4, 2, 5]
    assert set(first["ours"]) == {"median_ms", "quartiles_ms", "extremes_ms", "count"}
    peer = first["peers"]["torch.nn"]
    assert peer["ratio"] == pytest.approx(peer["median_ms"] / first["ours"]["median_ms"])
    assert peer["value_difference"] < 1e-5 and peer["gradient_difference"] < 1e-4
    kinds = {(s["cell"], s["kind"], s["what"]) for s in data["summary"]}
    whats = ("torch.nn", "loop", "share of peak", "rate over LSTM")
    assert kinds == set(itertools.product(("gru", "lstm"), ("inference", "training"), whats))


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        list(bench(Wish(subjects("lstm"), SHAPES, threads=1, pace=Pace(1)), stop))
    assert torch.get_num_threads() == before


def test_a_step_of_every_cell_comes_after(made):
    ways = ("Recurrent.step", "RecurrentCell")
    assert [(s.cell, s.way) for s in made.steps] == [*itertools.product(("gru", "lstm"), ways)]
    assert made.firsts == []


def test_means_and_the_worst_shape():
    found = {(s.cell, s.kind, s.what): s for s in report().summaries()}
    loop = found["lstm", "training", "loop"]
    assert loop.mean == pytest.approx(math.sqrt(4 * 8)) and loop.worst == pytest.approx(4)
    assert loop.worst_shape == Shape(100, 1, 64)
    assert ("layernorm-lstm", "training", "torch.nn") not in found


def test_the_worst_of_all_rows_may_be_a_single_step():
    made = report()
    slow = replace(made.steps[1], peers={"torch.nn": timing(1e-5), "loop": timing(9e-5)})
    made.steps[1] = slow
    of = {w.peer: w for w in made.worst()}
    assert of["torch.nn"].ratio == pytest.approx(1 / 3)
    assert str(of["torch.nn"]) == "lstm, one step, RecurrentCell"
    assert str(of["loop"]) == "lstm, one step, Recurrent.step"  # 3, less than any shape's 4
    text = " ".join(" ".join(Table(["lstm"], ["torch.nn", "loop"], 80).ending(made)).split())
    assert "Worst: 0.33 x torch.nn (lstm, one step, RecurrentCell); 3.00 x loop" in text
    data = made.to_dict()["worst"]
    assert isinstance(data, list) and [row["place"] for row in data] == [
        "RecurrentCell",
        "Recurrent.step",
    ]


@pytest.mark.parametrize("window", [40, 80, 120])
def test_the_table_fits_a_window(window):
    table = Table(["lstm", "layernorm-lstm"], ["torch.nn", "loop"], window)
    lines = [line for event in events() for line in table.lines(event)] + table.ending(report())
    assert max(map(len, lines)) <= window
    text = " ".join(" ".join(lines).split())
    for part in ("AMD EPYC", "98 GFLOP/s on 1 thread, 190 on 2", "without JAX", "100x16x128"):
        assert part in text
    assert "0.80 x torch.nn (lstm, inference, 100x1x64)" in text
    head = [line for line in lines if line.startswith("cell ")]
    assert len(head) == (0 if window == 40 else 4)
    row = next(k for k, line in enumerate(lines) if line.startswith("layernorm-lstm"))
    if window == 40:
        assert lines[row] == "layernorm-lstm 100x1x64 inference"
        assert lines[row + 1].startswith("  ms 100, x loop 9.00, GFLOP/s 20.00")
    else:
        assert lines[row].split() == [
            *("layernorm-lstm", "100x1x64", "inference", "100", "9.00", "20.00", "10", "0.90")
        ]


def test_a_busy_machine_is_said():
    steady, unsteady = report(), report()
    first = unsteady.cases[0]
    unsteady.cases[0] = replace(first, ours=replace(first.ours, quartiles=(0.1, 0.2)))
    for made, said in ((steady, False), (unsteady, True)):
        text = " ".join(Table(["lstm"], ["torch.nn", "loop"], 80).ending(made))
        assert ("busy: in 1 of 8 rows" in text) is said


def test_the_table_as_markdown():
    table = Table(["lstm", "layernorm-lstm"], ["torch.nn", "loop"], 100, markdown=True)
    lines = [line for event in events() for line in table.lines(event)]
    rows = [line for line in lines if line.startswith("|")]
    assert len({row.count("|") for row in rows if "TxBxH" in row or "100x" in row}) == 1
    assert "| lstm | 100x1x64 | inference | 100 | 0.80 | 4.00 | 20.00 | 10 | 0.90 |" in rows


def test_a_stop_ends_the_run():
    stop, found = Stop(), []
    with pytest.raises(Stopped):
        for event in bench(Wish(subjects("rnn"), SHAPES, threads=1, pace=Pace(1)), stop):
            found.append(event)
            if isinstance(event, Case):
                stop.set()
    assert [type(event).__name__ for event in found] == ["Heading", "Case", "Case"]


@pytest.mark.parametrize(
    ("words", "said"),
    [({"threads": 0}, "threads"), ({"threads": 10_000}, "threads"), ({"dtype": "half"}, "dtype")],
    ids=str,
)
def test_a_wish_that_cannot_be_met(words, said):
    with pytest.raises(BenchError, match=said):
        Wish(subjects("lstm"), **words)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn-relu", "lstm-projected", "peephole"])
def test_one_step_is_checked_and_timed(name):
    (subject,) = subjects(name)
    made = one_step(subject, torch.float32, (), Pace(2), Stop(), width=6)
    assert [step.way for step in made] == ["Recurrent.step", "RecurrentCell"]
    wanted = {"loop"} if name in ("lstm-projected", "peephole") else {"torch.nn", "loop"}
    assert all(set(step.peers) == wanted and step.ours.count == 2 for step in made)


def test_the_first_call_compiles_once():
    (subject,) = subjects("rnn")
    found = first_call(subject, torch.float32, Stop(), width=6)
    assert not found.again
    assert min(*found.compiled, *found.cached) > 0
    assert found.cached[0] < found.compiled[0]
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        first_call(subject, torch.float32, stop, width=6)
