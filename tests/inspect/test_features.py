"""Features of any text, and probes for them: where they hold, and how luck is told from skill."""

import math
import random

import numpy as np
import pytest
import torch

from cellwright.inspect.errors import InspectError
from cellwright.inspect.units.features import (
    FEWEST,
    STRETCHES,
    _aucs_of,
    _errors,
    _shifted,
    centred_ranks,
    probe,
    probe_text,
    too_few,
)
from cellwright.inspect.units.features_text import FEATURES, joined, labels
from cellwright.inspect.units.probes import auc, ranks
from cellwright.inspect.units.states import columns, read_states, tokens
from cellwright.lm import LanguageModel
from tests.inspect.latch import UNIT, latch, quoted
from tests.inspect.readers import READERS, reader

# Below each character of a text: x where the feature holds.
MARKED = [
    ("in quotes", 'he "is it" so', "   xxxxxx    "),
    ("in quotes", "a “b” «c» d", "  xx  xx   "),
    ("in quotes", 'a "b\n\nc" d', "          "),  # an empty line: neither sign closes the other
    ("in brackets", "a (b [c) d] e", "     xxxxx   "),
    ("in brackets", "a (b [c] d) e", "  xxxxxxxx   "),
    ("in brackets", "a (b\n\nc) d", "          "),
    ("in braces", "{a\n\n{b}}", "xxxxxxx "),
    ("in a comment", "a; // b\nc;\n#d\n", "   xxxx    xx "),
    ("in a number", "a 1,200.5. b2", "  xxxxxxx   x"),
    ("at a word's first letter", "don't stop 5", "x     x     "),
    ("inside a word", "don't stop 5", " xxxx  xxx  "),
    ("past a word's letter 5", "remember it", "     xxx   "),
    ("in a capitalised word", "The KING to Ann", " xx          xx"),
    ("in a word of capitals", "The KING I to", "     xxx     "),
    ("after a line's comma", "a, b\nc", " xxxx "),
    ("in a question", "I do. Do I? Ha", "     xxxxxx   "),
    ("at a line's start", "ab\n\ncd", "x   x "),
    ("in a line's first half", "abcdef\nab", "xxx      "),
    ("in a line's last third", "abcdef\nab", "     xx  "),
    ("in a line ending in ':'", "KING:\nIs it", "xxxxxx     "),
    ("in a paragraph's line 1", "ab\ncd\n\nef\ng", "xxx    xxx "),
    ("in a line's indentation", "  ab\n \n\tc", "xx     x "),
    ("in an indented line", "  ab\nc", "xxxxx "),
]
WORDS = [
    ("in quotes", "he said `` yes '' and", "  xx  "),
    ("in brackets", "a ( b ) c", " xx  "),
    ("in a number", "a 12 b", " x "),
    ("at a capitalised word", "The king Ann", "x x"),
    ("at a word of 8+ letters", "the remembrance of", " x "),
    ("at a line's first word", "the king\nsings", "x  x"),
    ("in a line's first half", "a bb cc dd ee ff", "xxx   "),
    ("in a question", "is it ? no", "xxx "),
]


def held(name: str, pieces, level: str) -> str:
    return "".join("x" if mark else " " for mark in labels(pieces, level)[0][name])


@pytest.mark.parametrize(("name", "text", "marks"), MARKED)
def test_where_a_feature_of_characters_holds(name, text, marks):
    assert held(name, list(text), "char") == marks


@pytest.mark.parametrize(("name", "text", "marks"), WORDS)
def test_where_a_feature_of_words_holds(name, text, marks):
    pieces = text.replace("\n", " \n ").split(" ")
    assert held(name, pieces, "word") == marks


def test_every_feature_is_tested():
    assert {name for name, *_ in (*MARKED, *WORDS)} == {f.name for f in FEATURES}


def test_parts_of_words_have_the_feature_of_their_last_character():
    pieces = ["I ", "rem", "", "ember", " it"]
    assert joined(pieces, "bpe")[1].tolist() == [1, 4, 4, 9, 12]
    assert held("past a word's letter 5", pieces, "bpe") == "   x "


def test_what_is_no_code_has_no_comments():
    found, left_out = labels(list("No. // is no comment here.\nNor here\n"), "char")
    assert "in a comment" not in found
    assert left_out["in a comment"] == "the text is not taken for code"


# -- luck -----------------------------------------------------------------------------


def test_ranks_and_auc_are_those_of_units():
    torch.manual_seed(0)
    values = torch.randn(5, 200).round(decimals=1)
    values[3] = 0.5  # says nothing
    truth = torch.rand(2, 3, 200) < 0.3
    size = values.shape[1]
    wanted = (ranks(values.T).T - (size + 1) / 2) / size
    torch.testing.assert_close(centred_ranks(values).double(), wanted, rtol=0, atol=1e-6)
    got = _aucs_of(values, truth)
    for k in range(2):
        wanted = auc(ranks(values.T), truth[k])
        torch.testing.assert_close(got[k].double(), wanted, rtol=0, atol=1e-6)
    assert got[:, :, 3].tolist() == [[0.5] * 3] * 2


def test_shifted_labels_keep_how_long_they_hold():
    truth = torch.zeros(2, 400, dtype=torch.bool)
    truth[0, 20:60] = truth[0, 220:260] = True
    truth[1, ::3] = True
    for half in _shifted(truth, 30, seed=4):
        assert torch.equal(half[:, 0].sum(-1), half[:, 1:].sum(-1).float().mean(1).long())
        rows = half[0, 1:]
        changes = (rows != rows.roll(1, 1)).sum(1)
        assert set(changes.tolist()) == {2}  # one stretch, round the circle
        assert not (rows == half[0, 0]).all(1).any()


def test_the_control_is_calibrated_for_what_holds_in_stretches():
    """Units and labels that know nothing of one another, and change slowly.

    Labels shifted in a circle beat the true ones as often as they should; shuffled ones hardly
    ever do, and would make a discovery of nothing.
    """
    rng = np.random.default_rng(0)
    found = {"shifted": 0, "shuffled": 0}
    trials, draws, size, units = 60, 19, 1200, 8
    for trial in range(trials):
        values = np.zeros((units, size), np.float32)
        for t in range(1, size):
            values[:, t] = 0.95 * values[:, t - 1] + rng.normal(size=units)
        label = np.cumsum(rng.random(size) < 0.03) % 2 == 1
        truths = torch.from_numpy(label)[None]
        shifted = _shifted(truths, draws, seed=trial)
        mixed = tuple(
            torch.stack([half[0, 0], *(half[0, 0][torch.randperm(600)] for _ in range(draws))])[
                None
            ]
            for half in shifted
        )
        for kind, (first, second) in (("shifted", shifted), ("shuffled", mixed)):
            fit = _aucs_of(torch.from_numpy(values[:, :600]), first)[0]
            held_out = _aucs_of(torch.from_numpy(values[:, 600:]), second)[0]
            best = torch.where(fit >= 0.5, held_out, 1 - held_out).max(1).values
            found[kind] += int(best[0] > best[1:].max())
    assert found["shifted"] <= 8  # one in twenty, give or take
    assert found["shuffled"] > trials / 3


# -- probes ---------------------------------------------------------------------------


def test_a_unit_that_latches_in_quotes_is_found():
    model, text = latch(), quoted(6000)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = {p.feature: p for p in probe_text(model, text, shuffles=20)}["in quotes"]
    assert (found.layer, found.unit, found.high) == (0, UNIT, True)
    assert found.auc > 0.999
    assert found.share == pytest.approx(labels(list(text), "char")[0]["in quotes"].mean())
    assert 0.5 < found.token < 0.9
    assert len(found.shuffled) == 20
    assert max(found.shuffled) < 0.8
    assert found.untrained < 0.95
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_token_ids_are_read_as_their_text():
    model, text = latch(), quoted(2500)
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(text)
    assert probe_text(model, ids, shuffles=10) == probe_text(model, text, shuffles=10)
    assert probe_text(model, torch.tensor(ids), shuffles=10) == probe_text(model, text, shuffles=10)
    assert tokens(model, ids).pieces == tuple(text)


def test_what_holds_too_seldom_is_left_out():
    few = probe(latch(), quoted(2500) + "(x)", shuffles=10)
    assert few.left_out["in brackets"].startswith("it holds at 0 tokens of the first half")
    assert few.left_out["in a number"] == "it holds nowhere in the text"
    assert {p.feature for p in few.probed} == set(few.labels)
    assert probe(latch(), "xy", shuffles=10).probed == ()


def test_a_feature_must_hold_in_several_places():
    marks = np.zeros(1000, bool)
    marks[100:200] = marks[600:700] = True
    assert too_few(marks) == f"it holds in 1 places of the first half, fewer than {STRETCHES}"
    marks[:] = True
    marks[::40] = False
    assert too_few(marks) == f"13 tokens of the first half are without it, fewer than {FEWEST}"
    marks[::3] = False
    assert too_few(marks) is None


@pytest.mark.parametrize("cell", READERS)
def test_states_are_those_of_reading_token_by_token(cell):
    model = reader(cell).double()  # some cells are chaotic: float32 would part
    text = "".join(random.Random(1).choice("abcde nor") for _ in range(70))
    assert model.tokenizer is not None
    ids = model.tokenizer.encode(text)
    seen = read_states(model, ids)
    assert seen.columns == columns(model)
    assert seen.chunk < len(ids) < 3 * seen.chunk
    with torch.no_grad():
        paths = model.recurrent(model.embedding(torch.tensor([ids])), return_states=True)[2]
    for column, values in zip(seen.columns, seen.values, strict=True):
        path = paths[column.state][column.place.layer, 0, :, column.place.unit]
        torch.testing.assert_close(values, path.float(), rtol=1e-4, atol=1e-5)


def test_an_overflowing_model_is_refused():
    model = reader("rnn")
    torch.nn.init.constant_(model.embedding.weight, float("nan"))
    with pytest.raises(InspectError, match="not numbers"):
        probe_text(model, "abc de\n" * 100)


def test_a_text_without_tokens_is_refused():
    with pytest.raises(InspectError, match="got none"):
        probe_text(reader("rnn"), "")
    with pytest.raises(InspectError, match="no tokenizer"):
        probe_text(LanguageModel(reader("rnn").shape, "rnn"), [1, 2, 3])


def test_errors_of_leads_are_those_of_repeated_texts():
    """The spread of the lead over many texts, against the error that each of them tells."""
    generator = torch.Generator().manual_seed(4)
    leads, errors = [], []
    for _ in range(150):
        truth = torch.rand(600, generator=generator) < 0.3
        noise = torch.randn(3, 600, generator=generator)
        scores = noise + torch.tensor([[1.0], [0.5], [0.0]]) * truth
        aucs = [_auc_of(score, truth) for score in scores]
        leads.append([aucs[0] - aucs[1], aucs[0] - aucs[2]])
        errors.append(_errors(scores, truth))
    wanted = torch.tensor(leads).std(0)
    torch.testing.assert_close(torch.tensor(errors).mean(0), wanted, rtol=0.15, atol=0)


def test_what_is_in_few_blocks_has_no_error():
    truth = torch.zeros(1000, dtype=torch.bool)
    truth[[50, 150, 250, 350]] = True
    assert _errors(torch.randn(3, 1000), truth) == (math.inf, math.inf)
    truth[450] = True
    assert max(_errors(torch.randn(3, 1000), truth)) < 1


def _auc_of(score: torch.Tensor, truth: torch.Tensor) -> float:
    return float(auc(ranks(score[:, None]), truth)[0])
