"""Units of any text: what the model loses without one, and what may be said of it."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from cellwright.inspect.units import text as text_module
from cellwright.inspect.units.probes import Probed
from cellwright.inspect.units.read import Column, Unit
from cellwright.inspect.units.states import read_states, tokens
from cellwright.inspect.units.text import (
    FEWEST,
    Effect,
    Stretches,
    _effect,
    _finding,
    _unmeasured,
    find_in_text,
)
from cellwright.lm import LanguageModel, ModelShape
from tests.inspect.latch import UNIT, latch, quoted
from tests.inspect.readers import reader


def probed(**changes) -> Probed:
    facts = {
        "feature": "in quotes", "share": 0.3, "layer": 0, "state": "c", "unit": 7, "auc": 0.9,
        "high": True, "shuffled": (0.6, 0.55), "untrained": 0.7, "token": 0.6,
    }  # fmt: skip
    return Probed(**(facts | changes))  # type: ignore[arg-type]


def test_a_needed_unit_is_found_and_told():
    report = find_in_text(latch(), quoted(6000), drawn=10, shuffles=20)
    found = {f.probed.feature: f for f in report.findings}["in quotes"]
    assert found.place == Unit(0, UNIT)
    assert found.matched == ""
    assert found.effect is not None and found.effect.needed
    assert found.effect.where > 0.2 > 0.01 > abs(found.effect.elsewhere)
    assert found.verdict.startswith(f"unit 0:2 {found.probed.state} remembers it. The model")
    chosen = {f.place for f in report.findings}
    assert set(report.drawn) == {Unit(0, k) for k in range(6)} - chosen  # all others there are
    assert report.columns == 12
    assert json.loads(json.dumps(report.to_dict()))["level"] == "char"


@pytest.mark.parametrize("place", [Unit(0, 3), Unit(1, 5)])
def test_the_effect_is_that_of_a_copy_without_the_unit(place):
    """The copy's weights are set to zero by hand; every stretch follows the whole model's text."""
    model, text = reader("lstm"), "the bed is not/a cod\nabcde " * 30
    read = tokens(model, text)
    states = read_states(model, read.ids)
    stretches = Stretches.of(read, states)
    without = copy.deepcopy(model)
    weights, low = dict(without.named_parameters()), float(place.layer != 0)
    with torch.no_grad():
        weights["recurrent.weight_hh_l0"][:, 3] *= low
        weights["recurrent.weight_ih_l1"][:, 3] *= low
        weights["recurrent.weight_hh_l1"][:, 5] *= 1 - low
        weights["decoder.weight"][:, 5] *= 1 - low
    held = torch.tensor([piece in "abc" for piece in read.pieces])
    rises, where, elsewhere = [], [], []
    for row in stretches.at:
        first, end = int(row[0]), int(row[-1]) + 1
        assert first >= len(read) // 2
        ids = torch.tensor([read.ids])
        with torch.no_grad():
            state = model(ids[:, :first])[1]
            losses = [
                cross_entropy(each(ids[:, first:end], state)[0][0], ids[0, first + 1 : end + 1],
                              reduction="none")
                for each in (model, without)
            ]  # fmt: skip
        rises.append(losses[1] - losses[0])
        where.append(rises[-1][held[first:end]])
        elsewhere.append(rises[-1][~held[first:end]])
    whole = stretches.losses(model)
    rise = stretches.losses(without) - whole
    torch.testing.assert_close(rise, torch.stack(rises).double(), rtol=1e-4, atol=1e-5)
    made = _effect(rise, [], stretches.labels(held.numpy()))
    assert made.where == pytest.approx(float(torch.cat(where).mean()), abs=1e-5)
    assert made.elsewhere == pytest.approx(float(torch.cat(elsewhere).mean()), abs=1e-5)


def test_find_in_text_ablates_as_that_copy_would():
    model, text = latch(), quoted(3000)
    report = find_in_text(model, text, drawn=10, shuffles=10)
    found = {f.probed.feature: f for f in report.findings}["in quotes"]
    read = tokens(model, text)
    stretches = Stretches.of(read, read_states(model, read.ids))
    without = copy.deepcopy(model)
    with torch.no_grad():
        dict(without.named_parameters())["recurrent.weight_hh_l0"][:, UNIT] = 0
        without.decoder.weight[:, UNIT] = 0
    rise = stretches.losses(without) - stretches.losses(model)
    inside, held = False, []
    for piece in text:
        inside = piece == "“" or (inside and piece != "”")
        held.append(inside)
    assert found.effect is not None
    wanted = rise[stretches.labels(np.array(held))].mean()
    assert found.effect.where == pytest.approx(float(wanted), abs=1e-5)


def test_the_error_takes_a_stretch_as_one_sample():
    torch.manual_seed(0)
    held = torch.ones(20, 50, dtype=torch.bool)
    alike = torch.randn(20, 1).expand(20, 50).double()  # each stretch says one thing
    made = _effect(alike, [], held)
    assert made.error == pytest.approx(float(alike[:, 0].std()) / 20**0.5)
    alone = _effect(torch.randn(20, 50).double(), [], held)
    assert alone.error == pytest.approx(1 / 1000**0.5, rel=0.4)


def test_needed_is_beyond_the_controls_and_beyond_the_error():
    assert Effect(0.4, 0.0, 100, 0.1, (0.3, -0.2)).needed
    assert not Effect(0.4, 0.0, 100, 0.1, (0.41,)).needed
    assert not Effect(0.4, 0.0, 100, 0.15, (0.1,)).needed
    assert not Effect(-0.1, 0.0, 100, 0.0, ()).needed


@pytest.mark.parametrize(
    ("changes", "matched"),
    [
        ({}, ""),
        ({"auc": 0.59}, "luck"),
        ({"token": 0.89}, "token"),
        ({"untrained": 0.95}, "untrained"),
        ({"token": 0.95, "untrained": 0.95}, "token"),
        ({"token": 0.8, "errors": (0.034, 0.0)}, "token"),
        ({"untrained": 0.8, "errors": (0.0, 0.034)}, "untrained"),
        ({"token": 0.8, "untrained": 0.8, "errors": (0.03, 0.03)}, ""),
        ({"errors": (math.inf, math.inf)}, "token"),
    ],
)
def test_what_is_matched_is_not_claimed(changes, matched):
    found = _finding(probed(**changes), Effect(0.4, 0.0, 100, 0.1, ()))
    assert found.matched == matched
    assert ("needs it" in found.verdict) == (not matched)


def test_a_short_text_is_measured_without_ablation():
    report = find_in_text(reader("gru"), "abc", drawn=10, shuffles=10)
    assert report.findings == ()
    assert report.ablated == 0


def test_fewer_than_five_stretches_tell_no_error():
    held = torch.zeros(20, 50, dtype=torch.bool)
    held[3, 5:40] = True  # in one stretch the error would be 0, and any rise beyond it
    assert _unmeasured(held).startswith("it holds in 1 of the 20 stretches")
    held[: FEWEST - 1, 0] = True
    assert _unmeasured(held)
    held[FEWEST, 0] = True
    assert not _unmeasured(held)
    assert _effect(torch.randn(20, 50), [], held).stretches == FEWEST


@pytest.mark.parametrize("many", [FEWEST, 10, 20])
def test_of_units_that_nothing_needs_few_seem_needed(many):
    """As often as a normal number is beyond three errors: 0.00135; the errors are estimates."""
    generator = torch.Generator().manual_seed(many)
    needed = 0
    for _ in range(3000):
        held = torch.zeros(20, 30, dtype=torch.bool)
        for row in range(many):
            held[row, : int(torch.randint(5, 30, (1,), generator=generator))] = True
        stretch = torch.randn(20, 1, generator=generator)
        rise = stretch + torch.randn(20, 30, generator=generator)
        needed += _effect(rise.double(), [], held).needed
    assert needed <= 14  # 4 expected


def test_what_is_held_in_too_few_stretches_is_not_called_needed(monkeypatch):
    monkeypatch.setattr(text_module, "FEWEST", 21)
    report = find_in_text(latch(), quoted(6000), drawn=4, shuffles=20)
    assert report.findings
    assert all(found.effect is None for found in report.findings)
    found = {f.probed.feature: f for f in report.findings}["in quotes"]
    assert found.unmeasured.startswith("it holds in 1")
    assert found.verdict.endswith("not measured: " + found.unmeasured + ".")


def test_a_state_that_cannot_be_ablated_has_no_effect_but_a_reason():
    report = find_in_text(reader("fgr"), quoted(2000), drawn=4, shuffles=4)
    refused = [found for found in report.findings if found.probed.state in "cif"]
    assert refused
    assert report.loss > 0
    for found in refused:
        assert found.effect is None
        assert found.unmeasured.startswith("FGR: no unit of layer")
    assert all(found.effect for found in report.findings if found not in refused)


def test_controls_are_units_of_the_same_kind_of_state():
    """o of FGR is read by its gates too: other units of o are its controls, not of h."""
    model = reader("fgr")
    drawn = text_module._others(model, {Column("o", Unit(0, 2)), Column("h", Unit(1, 3))}, 3, 0)
    assert set(drawn) == {(0, "o"), (1, "h")}
    assert all(c.state == state for (_, state), each in drawn.items() for c in each)
    assert Column("o", Unit(0, 2)) not in drawn[0, "o"]
    lstm = text_module._others(reader("lstm"), {Column("c", Unit(0, 2))}, 3, 0)
    assert set(lstm) == {(0, "h")}


def test_logits_of_many_words_are_held_a_part_at_a_time(monkeypatch):
    torch.manual_seed(0)
    model = LanguageModel(ModelShape(vocab=50, hidden=6, embed=5), "gru").eval()
    ids = torch.randint(50, (3, 41))
    stretches = Stretches(ids[:, :-1], ids[:, 1:], None, torch.zeros(0))
    logits = model(ids[:, :-1])[0].detach()
    wanted = cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    sizes = []
    model.decoder.register_forward_hook(lambda _, __, out: sizes.append(out.numel()))
    monkeypatch.setattr(text_module, "MOST_LOGITS", 700)
    torch.testing.assert_close(stretches.losses(model), wanted.double(), rtol=1e-5, atol=1e-6)
    assert max(sizes) == 700
