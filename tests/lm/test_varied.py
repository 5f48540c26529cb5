"""Windows of varied lengths: every token once, lengths as drawn, the same after a resume."""

import statistics

import numpy as np
import pytest
import torch

from cellwright.lm import Step, train
from cellwright.lm.corpus import Windows
from cellwright.lm.engine import Engine
from cellwright.lm.varied import VariedWindows
from tests.lm.small import small_config


def varied(tokens=200_001, batch=4, steps=70, seed=1, epoch=1):
    return VariedWindows(Windows(np.arange(tokens), batch, steps), seed, epoch)


def lengths(windows):
    return [x.shape[1] for x, _ in windows.from_window(0)]


def test_every_token_is_read_once_and_in_order():
    windows = varied(tokens=4003, batch=4)
    pieces = [*windows.from_window(0)]
    assert len(pieces) == len(windows)
    x, y = (torch.cat(side, dim=1) for side in zip(*pieces, strict=True))
    assert torch.equal(x, torch.arange(4000).view(4, 1000))
    assert torch.equal(y, x + 1)
    assert windows.scored == 4000


def test_the_lengths_are_drawn_as_in_the_paper():
    drawn = lengths(varied())[:-1]
    near, half = [n for n in drawn if n > 52], [n for n in drawn if n <= 52]
    assert len(half) / len(drawn) == pytest.approx(0.05, abs=0.03)
    assert statistics.mean(near) == pytest.approx(69.5, abs=1)  # int() cuts off the fraction
    assert statistics.stdev(near) == pytest.approx(5, abs=1)
    assert statistics.mean(half) == pytest.approx(34.5, abs=3)
    assert min(lengths(varied(steps=10, tokens=20_001))[:-1]) == 5


def test_the_cuts_follow_from_the_seed_and_the_epoch():
    assert lengths(varied()) == lengths(varied())
    assert lengths(varied()) != lengths(varied(epoch=2)) != lengths(varied(seed=2))
    before = torch.get_rng_state()
    varied()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pass_goes_on_in_its_middle():
    whole = [*varied(tokens=4003).from_window(0)]
    rest = [*varied(tokens=4003).from_window(5)]
    assert len(rest) == len(whole) - 5
    for (x, y), (again, target) in zip(whole[5:], rest, strict=True):
        assert torch.equal(x, again) and torch.equal(y, target)


def test_each_windows_rate_is_in_proportion_to_its_length(tmp_path, monkeypatch):
    """Merity's program: a step's rate is lr * length / steps; what is told is lr."""
    seen, events, step = [], [], Engine.step

    def spy(self, x, *rest):
        seen.append((x.shape[1], self.optimizer.param_groups[0]["lr"]))
        return step(self, x, *rest)

    monkeypatch.setattr(Engine, "step", spy)
    config = small_config(
        tmp_path, epochs=1, vary_steps=True, reduction="mean", optimizer="sgd", lr=2.0
    )
    train(config, tmp_path / "run", on_event=events.append)
    assert len({length for length, _ in seen}) > 3
    assert [rate for _, rate in seen] == pytest.approx([2.0 * n / 13 for n, _ in seen])
    assert {event.lr for event in events if isinstance(event, Step)} == {2.0}
