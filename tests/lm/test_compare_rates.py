"""Comparing on a text with several rates, with the whole catalogue, and with many cells."""

import re

import pytest

from cellwright import cells
from cellwright.lm import ConfigError, TrainingError, Warned, comparison
from cellwright.lm.comparison import compare
from tests.lm.small import small_config


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    config = small_config(folder, layers=1, hidden=6, epochs=1)
    made = compare(config, ["rnn", "gru"], folder / "out", seeds=(0, 1), rates=(1e-8, 1e-2))
    return config, folder / "out", made


def test_the_best_rate_at_the_first_seed_serves_the_others(compared):
    _, out, made = compared
    assert [(row.cell, row.lr, row.seed) for row in made.rows] == [
        (cell, lr, seed)
        for cell in ("rnn", "gru")
        for lr, seed in ((1e-8, 0), (1e-2, 0), (1e-2, 1))
    ]
    assert [(row.cell, row.lr) for row in made.chosen()] == [
        ("rnn", 1e-2), ("rnn", 1e-2), ("gru", 1e-2), ("gru", 1e-2),
    ]  # fmt: skip
    assert made.rows[1].run == out / "rnn-0.01-0"


def test_the_table_has_a_line_for_each_cell(compared):
    _, out, made = compared
    lines = (out / "compare.md").read_text().splitlines()
    assert len(lines) == 4
    best = min(made.chosen(), key=lambda row: row.valid_nats).cell
    assert lines[2].startswith(f"| {best} |")
    rows = [row for row in made.chosen() if row.cell == best]
    mean = sum(row.valid_nats for row in rows) / 2
    assert f"| 0.01 | {mean:.4f} |" in lines[2]


def test_calling_again_trains_nothing(compared):
    config, out, made = compared
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")}
    again = compare(config, ["rnn", "gru"], out, seeds=(0, 1), rates=(1e-8, 1e-2))
    assert again == made
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.safetensors")} == before


@pytest.mark.parametrize("rates", [(), (0.0,), (float("nan"),), (1e-2, -1.0)])
def test_rates_that_cannot_be_are_refused(tmp_path, rates):
    with pytest.raises(ConfigError, match="rates: expected at least one|lr: expected"):
        compare(small_config(tmp_path), ["rnn"], tmp_path / "out", rates=rates)
    assert not (tmp_path / "out").exists()


def breaking(monkeypatch, lr):
    """Let every training at `lr` break down."""
    real = comparison._train_entry

    def train(entry, on_event, stop):
        if entry.config.lr == lr:
            raise TrainingError("the loss is nan")
        return real(entry, on_event, stop)

    monkeypatch.setattr(comparison, "_train_entry", train)


def test_a_rate_that_breaks_down_is_told_and_not_chosen(tmp_path, monkeypatch):
    breaking(monkeypatch, 1e-2)
    config, events = small_config(tmp_path, layers=1, hidden=4, epochs=1), []
    made = compare(
        config, ["rnn"], tmp_path / "out", rates=(1e-2, 1e-3), seeds=(0, 1), on_event=events.append
    )
    assert [(row.lr, row.seed) for row in made.rows] == [(1e-3, 0), (1e-3, 1)]
    assert made.broke_down == ("rnn, rate 0.01, seed 0: the loss is nan",)
    assert [event.text for event in events if isinstance(event, Warned)] == [*made.broke_down]
    assert "Broke down: rnn, rate 0.01, seed 0" in (tmp_path / "out/compare.md").read_text()


def test_one_rate_that_breaks_down_ends_the_comparison(tmp_path, monkeypatch):
    config = small_config(tmp_path, layers=1, hidden=4, epochs=1)
    breaking(monkeypatch, config.lr)
    with pytest.raises(TrainingError, match="the loss is nan"):
        compare(config, ["rnn"], tmp_path / "out")


def test_a_comparison_of_which_nothing_is_left_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_train_entry", _break)
    config = small_config(tmp_path, layers=1, hidden=4, epochs=1)
    with pytest.raises(TrainingError, match="no training came to its end: rnn, rate 0.1, seed 3"):
        compare(config, ["rnn"], tmp_path / "out", rates=(0.1, 0.2))


def _break(entry, on_event, stop):
    raise TrainingError("the loss is nan")


def test_many_cells_are_drawn_as_dots(tmp_path, monkeypatch):
    """And of the whole catalogue, what a text cannot drive is left out with its reason."""
    names = ["rnn", "irnn", "indrnn", "gru", "mgu", "janet", "coupled", "ligru", "grid", "ea-lstm"]
    few = {name: cells.CATALOGUE[name] for name in names}
    monkeypatch.setattr(comparison.catalogue, "CATALOGUE", few)
    config = small_config(tmp_path, layers=1, hidden=4, epochs=1)
    made = compare(config, None, tmp_path / "out", seeds=(0, 1))
    assert list(dict.fromkeys(row.cell for row in made.rows)) == names[:8]
    assert set(made.left_out) == {"grid", "ea-lstm"}
    svg = (tmp_path / "out/compare.svg").read_text()
    texts = re.findall(r"<!-- (.*?) -->", svg)
    for name in names[:8]:
        assert any(text.startswith(f"{name} (") for text in texts), name
    assert any("a dot for each seed" in text for text in texts)
