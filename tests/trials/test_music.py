"""Comparing cells on music: equal sizes, the chosen rate, going on, tables and plots."""

import dataclasses
import json
import re
import statistics
from xml.etree import ElementTree

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.language.errors import SettingError
from cellwright.lm import RunError, StopRequest, Warned, lock
from cellwright.tasks.music import MusicError, made_up
from cellwright.tasks.music_model import MusicModel
from cellwright.tasks.music_training import Recipe
from cellwright.trials import published
from cellwright.trials.music import MusicComparison, Trying, compare_music
from cellwright.trials.records import MusicRow
from cellwright.trials.report import HEADS, markdown, summaries

MUSIC = made_up(0, (8, 3, 3))
RECIPE = Recipe(epochs=3, batch=4)
SETTINGS = {"rates": (3e-3, 1e-2), "seeds": (0, 5), "budget": 3000, "recipe": RECIPE, "threads": 1}
CELLS = ("lstm", "gru", "clockwork")
ORDER = [(cell, lr, seed) for cell in CELLS for lr, seed in ((3e-3, 0), (1e-2, 0), (1e-2, 5))]


def called(out, music=MUSIC, cells=CELLS, **changes):
    return compare_music(music, cells, out, **{**SETTINGS, **changes})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("music") / "out"
    events = []
    return called(out, on_event=events.append), out, events


def keys(comparison: MusicComparison):
    return [(row.cell, row.lr, row.seed) for row in comparison.rows]


def without_seconds(comparison: MusicComparison):
    rows = tuple(dataclasses.replace(row, seconds=0.0) for row in comparison.rows)
    return dataclasses.replace(comparison, rows=rows)


def test_every_cell_has_its_size_and_its_best_rate_every_seed(compared):
    comparison, _, events = compared
    assert keys(comparison) == ORDER  # three epochs: the greater rate is further
    assert not comparison.stopped
    for row in comparison.rows:
        assert MusicModel(CATALOGUE[row.cell], row.hidden).parameter_count == row.parameters
        assert row.difference == row.parameters - 3000
        assert abs(row.difference) < 0.05 * 3000
        assert row.epochs == 3
        assert row.valid_nats == min(row.curve)
    trying = [event for event in events if isinstance(event, Trying)]
    assert [(t.trial.index, t.trial.count) for t in trying] == [(k, 9) for k in range(1, 10)]
    assert [event for event in events if isinstance(event, MusicRow)] == list(comparison.rows)


def test_the_rate_is_chosen_on_validation_at_the_first_seed(compared):
    comparison, _, _ = compared
    for name, rows in comparison.chosen().items():
        first = [row for row in comparison.rows if row.cell == name and row.seed == 0]
        assert {row.lr for row in rows} == {min(first, key=lambda row: row.valid_nats).lr}
        assert [row.seed for row in rows] == [0, 5]


def test_the_file_holds_everything(compared):
    comparison, out, _ = compared
    values = json.loads((out / "compare.json").read_text())
    assert values == json.loads(json.dumps(comparison.to_dict()))
    assert values["kind"] == "music"
    assert not values["stopped"]


def test_calling_again_trains_nothing(compared):
    comparison, out, _ = compared
    svg, events = (out / "compare.svg").read_bytes(), []
    assert called(out, on_event=events.append) == comparison
    assert events == []
    assert (out / "compare.svg").read_bytes() == svg


def test_the_table_holds_means_and_deviations(compared):
    comparison, out, _ = compared
    table = (out / "compare.md").read_text()
    assert table == markdown(comparison)
    assert table.splitlines()[0] == f"| {' | '.join(HEADS)} |"
    assert "*" not in table  # there is nothing published on this music
    cells = [line.split("|")[1].strip() for line in table.splitlines()[2:5]]
    assert cells == [summary.cell for summary in summaries(comparison)]
    for summary in summaries(comparison):
        rows = comparison.chosen()[summary.cell]
        tests = [row.test_nats for row in rows]
        line = next(line for line in table.splitlines() if line.startswith(f"| {summary.cell} |"))
        assert f"| {statistics.mean(tests):.3f} | {statistics.stdev(tests):.3f} | 2 |" in line


def test_the_plot_names_every_cell(compared):
    _, out, _ = compared
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    svg = (out / "compare.svg").read_text()
    ElementTree.fromstring(svg)
    texts = re.findall(r"<!-- (.*?) -->", svg)
    for text in ("lstm (", "gru (", "clockwork (", "nats for each step", "3,000 parameters"):
        assert any(text in found for found in texts), text


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_stopped_comparison_goes_on_and_ends_the_same(compared, tmp_path, after):
    stop, done = StopRequest(), []

    def watch(event):
        if isinstance(event, MusicRow):
            done.append(event)
        if len(done) == after:
            stop.set()

    part = called(tmp_path / "out", on_event=watch, stop=stop)
    assert part.stopped
    assert keys(part) == ORDER[:after]
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == ({"compare.json", "run.lock"} if after else set())
    whole, events = called(tmp_path / "out", on_event=done.append), done[after:]
    assert sum(isinstance(event, MusicRow) for event in events) == 9 - after
    expected = dataclasses.replace(compared[0], out=tmp_path / "out")
    assert without_seconds(whole) == without_seconds(expected)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"rates": (3e-3,)}, "rates"),
        ({"seeds": (0,)}, "seeds"),
        ({"budget": 2000}, "budget"),
        ({"recipe": Recipe(epochs=4, batch=4)}, "epochs"),
        ({"music": made_up(1, (8, 3, 3))}, "music"),
        ({"cells": ("lstm",)}, "cells"),
    ],
)
def test_another_comparison_is_refused(compared, changes, named):
    before = (compared[1] / "compare.json").read_bytes()
    with pytest.raises(RunError, match=rf"other settings \({named}\)"):
        called(compared[1], **changes)
    assert (compared[1] / "compare.json").read_bytes() == before


def test_a_damaged_row_is_told_by_its_place(compared, tmp_path):
    values = json.loads((compared[1] / "compare.json").read_text())
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "compare.json"
    for change, said in (
        ({"valid_nats": "low"}, r"rows\[1\]: valid_nats: expected a number, got 'low'"),
        ({"curve": []}, r"rows\[1\]: curve: expected a list of losses, got \[\]"),
        ({"seed": -1}, r"rows\[1\]: seed: expected a whole number"),
        ({"more": 1}, r"rows\[1\]: expected .* got a field 'more'"),
    ):
        rows = [values["rows"][0], {**values["rows"][1], **change}]
        path.write_text(json.dumps({**values, "rows": rows}))
        with pytest.raises(RunError, match=said):
            called(tmp_path / "out")
    path.write_text(json.dumps({**values, "rows": 7}))
    with pytest.raises(RunError, match=r"compare\.json: rows: expected a list, got 7"):
        called(tmp_path / "out")


def test_two_processes_do_not_write_in_one_directory(tmp_path):
    (tmp_path / "out").mkdir()
    with (
        lock.acquire(tmp_path / "out"),
        pytest.raises(RunError, match="another training"),
    ):
        called(tmp_path / "out")


def test_the_whole_catalogue_says_what_it_leaves_out(tmp_path):
    stop = StopRequest()
    stop.set()
    comparison = called(tmp_path / "out", cells=None, stop=stop)
    assert set(comparison.left_out) == {"ea-lstm", "depth-gated"}
    assert list(comparison.asked["cells"]) == list(CATALOGUE)
    with pytest.raises(MusicError, match="ea-lstm: it reads s beside the music"):
        called(tmp_path / "other", cells=("lstm", "ea-lstm"))
    assert not (tmp_path / "other").exists()


def test_a_size_far_from_the_budget_is_told(tmp_path):
    events, settings = [], {"rates": (1e-2,), "seeds": (0,), "recipe": Recipe(epochs=1)}
    called(tmp_path / "out", cells=("grid",), budget=600, on_event=events.append, **settings)
    assert [type(event) for event in events] == [Warned, Trying, MusicRow]
    assert events[0].text.startswith("grid: the nearest size, hidden 1, has 984 parameters: +384")


def test_threads_are_as_before(compared, tmp_path):
    before = torch.get_num_threads()
    called(tmp_path / "out", cells=("rnn",), threads=before + 1, rates=(1e-2,), seeds=(0,))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rates": (0.0,)}, "rates: expected numbers above 0"),
        ({"rates": (float("nan"),)}, "rates: expected numbers above 0"),
        ({"rates": ()}, "at least one"),
        ({"seeds": (-1,)}, "seeds: expected whole numbers"),
        ({"seeds": (True,)}, "seeds: expected whole numbers"),
        ({"budget": 0}, "budget: expected a number of parameters"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(tmp_path, changes, said):
    with pytest.raises(SettingError, match=said):
        called(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_published_figures_stand_beside_their_own_music_only(compared, tmp_path, monkeypatch):
    assert published.figures_for(MUSIC) == ()
    monkeypatch.setattr(published, "_CHORALES", MUSIC.digest)
    comparison = called(tmp_path / "out", cells=("rnn",), rates=(1e-2,), seeds=(0,))
    table = (tmp_path / "out" / "compare.md").read_text()
    assert comparison.published == published.FIGURES
    for figure in published.FIGURES:
        assert f"| *{figure.cell}, {figure.source}* |" in table
    order = [float(n) for n in re.findall(r"\| \*?([\d.]+)\*? \| +\| +[\d ]*\|", table)]
    assert len(order) == 8
    assert order == sorted(order)
    assert "Chung et al. 2014" in (tmp_path / "out" / "compare.svg").read_text()


def test_what_broke_down_is_named_below_the_table(compared):
    comparison, _, _ = compared
    rows = tuple(
        dataclasses.replace(row, broke_down=row.cell == "gru" and row.seed == 5)
        for row in comparison.rows
    )
    said = markdown(dataclasses.replace(comparison, rows=rows, left_out={"odd": "it is odd"}))
    assert "A training of gru broke down and ended early." in said
    assert "Left out: odd: it is odd." in said
    assert "Equal for all: " in said and "without a better validation." in said
