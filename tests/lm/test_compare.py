"""Comparing cells: equal sizes, equal tokens, and a plot that says so."""

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cellwright import cells
from cellwright.lm import (
    Comparing,
    ConfigError,
    CorpusError,
    LanguageModel,
    RunError,
    StopRequest,
    Warned,
    compare,
    read_run,
)
from cellwright.lm.sizing import count_parameters, nearest_hidden
from tests.lm.small import small_config


@pytest.mark.parametrize(
    "changes", [{}, {"layers": 1, "embed": None}, {"embed": None, "tie": True}]
)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "layernorm-lstm", "clockwork"])
def test_the_nearest_size_is_found(tmp_path, cell, changes):
    config = small_config(tmp_path, **changes)
    found = cells.find(cell)
    vocab, budget = 21, 3000
    counts = {}
    for hidden in range(1, 60):
        sized = small_config(tmp_path, hidden=hidden, **changes)
        counts[hidden] = count_parameters(sized, found, vocab)
    best = min((h for h in counts if counts[h]), key=lambda h: abs(counts[h] - budget))
    hidden, parameters = nearest_hidden(config, found, vocab, budget)
    assert parameters == counts[hidden]
    assert abs(parameters - budget) == abs(counts[best] - budget)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    config = small_config(folder, layers=1, hidden=12)
    events = []
    result = compare(config, ["lstm", "gru"], folder / "out", seeds=(0, 1), on_event=events.append)
    return config, folder / "out", result, events


def test_sizes_and_tokens_are_equal(compared):
    config, out, result, events = compared
    assert [(row.cell, row.seed) for row in result.rows] == [
        ("lstm", 0),
        ("lstm", 1),
        ("gru", 0),
        ("gru", 1),
    ]
    assert result.rows[0].hidden == 12
    assert result.rows[0].difference == 0
    assert result.rows[2].hidden > 12
    assert len({row.tokens for row in result.rows}) == 1
    for row in result.rows:
        model = LanguageModel.from_pretrained(row.run)
        assert model.parameter_count == row.parameters
        assert row.difference == row.parameters - result.budget
        assert abs(row.difference) < 0.05 * result.budget
        assert [point.epoch for point in row.curve] == [1, 2]
        assert row.valid_nats == min(point.nats for point in row.curve)
        assert row.valid_nats == read_run(row.run).position.best_nats
    assert not result.stopped
    comparing = [event for event in events if isinstance(event, Comparing)]
    assert [(e.index, e.count) for e in comparing] == [(k, 4) for k in (1, 2, 3, 4)]


def test_the_json_holds_the_rows(compared):
    _, out, result, _ = compared
    values = json.loads((out / "compare.json").read_text())
    assert values == json.loads(json.dumps(result.to_dict()))
    assert values["rows"][3]["curve"][1]["nats"] == result.rows[3].curve[1].nats


def test_the_plot_names_its_curves_and_how_it_was_made(compared):
    _, out, result, _ = compared
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    svg = (out / "compare.svg").read_text()
    ElementTree.fromstring(svg)
    texts = re.findall(r"<!-- (.*?) -->", svg)  # matplotlib notes what it draws as paths
    for text in (
        "lstm (12 units",
        "gru (",
        "bits per character (validation)",
        "Trained on text.txt",
    ):
        assert any(text in found for found in texts), text


def test_calling_again_trains_nothing(compared):
    config, out, result, _ = compared
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    svg = (out / "compare.svg").read_bytes()
    assert compare(config, ["lstm", "gru"], out, seeds=(0, 1)) == result
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")} == before
    assert (out / "compare.svg").read_bytes() == svg


def test_other_settings_do_not_mix(compared):
    config, out, _, _ = compared
    with pytest.raises(RunError, match="other settings"):
        compare(small_config(out.parent, layers=1, hidden=12, lr=0.5), ["lstm"], out, seeds=(0,))


def test_a_changed_text_is_noticed_by_its_content(tmp_path):
    """Not by its time: a text that was only touched is the same, one set back in time is not."""
    config = small_config(tmp_path, layers=1, hidden=5, epochs=1)
    first = compare(config, ["rnn"], tmp_path / "out")
    text = Path(config.files[0])
    os.utime(text)
    assert compare(config, ["rnn"], tmp_path / "out") == first
    text.write_text(text.read_text().replace("cat", "dog"))
    os.utime(text, (1, 1))
    with pytest.raises(RunError, match=r"rnn-3: its train text was another one, of the same name"):
        compare(config, ["rnn"], tmp_path / "out")


def test_a_comparison_that_fails_at_once_leaves_nothing(tmp_path):
    config = small_config(tmp_path, layers=1, batch=2000)
    with pytest.raises(CorpusError):
        compare(config, ["rnn"], tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_a_damaged_comparison_is_refused_in_one_line(tmp_path):
    config = small_config(tmp_path, layers=1, hidden=5, epochs=1)
    (tmp_path / "out").mkdir()
    for content in ("[]", '{"asked": 3}', '{"asked": {"training": []}}', "{", '{"version": 1}'):
        (tmp_path / "out" / "compare.json").write_text(content)
        with pytest.raises(RunError, match=r"compare\.json: ") as caught:
            compare(config, ["rnn"], tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert (tmp_path / "out" / "compare.json").read_text() == content


def test_a_stopped_comparison_goes_on(tmp_path):
    config = small_config(tmp_path, layers=1, hidden=6, epochs=1)
    stop = StopRequest()

    def on_event(event):
        if isinstance(event, Comparing) and event.index == 2:
            stop.set()

    first = compare(config, ["rnn", "gru"], tmp_path / "out", on_event=on_event, stop=stop)
    assert first.stopped
    assert [row.cell for row in first.rows] == ["rnn"]
    second = compare(config, ["rnn", "gru"], tmp_path / "out")
    assert not second.stopped
    assert [row.cell for row in second.rows] == ["rnn", "gru"]


def test_equal_width(tmp_path):
    config = small_config(tmp_path, layers=1, hidden=6, epochs=1)
    result = compare(config, ["rnn", "gru"], tmp_path / "out", equal="width")
    assert {row.hidden for row in result.rows} == {6}
    assert result.budget is None
    assert result.rows[0].parameters < result.rows[1].parameters


def test_a_budget_below_the_smallest_model_is_refused(tmp_path):
    config = small_config(tmp_path, layers=1, epochs=1, embed=None)
    with pytest.raises(ConfigError, match=r"^budget: .*, what lstm has at its smallest") as c:
        compare(config, ["rnn", "lstm"], tmp_path / "out", budget=10)
    assert not (tmp_path / "out").exists()
    least = int(re.findall(r"at least (\d+)", str(c.value))[0])
    result = compare(config, ["rnn", "lstm"], tmp_path / "out", budget=least)
    assert (result.rows[1].hidden, result.rows[1].parameters) == (1, least)


def test_sizes_far_from_the_first_cells_are_warned_of(tmp_path):
    config = small_config(tmp_path, layers=1, epochs=1, hidden=1, embed=None)
    events = []
    result = compare(config, ["rnn", "lstm"], tmp_path / "out", on_event=events.append)
    assert result.rows[1].hidden == 1
    warnings = [event.text for event in events if isinstance(event, Warned)]
    assert warnings[0].startswith("lstm: the smallest size, hidden 1, has")


def test_a_cell_of_ones_own_takes_part(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from cellwright.language import *\n\n\n"
        "class Leaky(Cell):\n"
        "    x, h = Input(), State()\n"
        "    n = tanh(affine(x, h))\n"
        "    h.next = 0.9 * h + 0.1 * n\n"
    )
    spec = f"{tmp_path / 'mine.py'}:Leaky"
    config = small_config(tmp_path, layers=1, epochs=1)
    result = compare(config, [spec], tmp_path / "out")
    assert result.rows[0].run == tmp_path / "out" / "leaky-3"
    (tmp_path / "mine.py").unlink()
    assert LanguageModel.from_pretrained(result.rows[0].run).cell.__name__ == "Leaky"


@pytest.mark.parametrize(
    ("changes", "arguments", "text"),
    [
        ({"epochs": None, "minutes": 1.0}, {}, "expected epochs, got minutes"),
        ({"valid": None}, {}, "expected a validation text"),
        ({}, {"equal": "speed"}, "equal: expected one of parameters, width"),
        ({}, {"equal": "width", "budget": 5}, "budget: "),
        ({}, {"budget": 0}, "budget: "),
        ({}, {"cells": []}, "at least one cell"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, changes, arguments, text):
    arguments = {"cells": ["lstm"], **arguments}
    with pytest.raises(ConfigError, match=text) as caught:
        compare(small_config(tmp_path, **changes), out=tmp_path / "out", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
