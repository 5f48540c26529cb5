"""Scoring: every token, whatever the windows; and what is said of unknown ones."""

import itertools
import math

import pytest
import torch

from cellwright.lm import CorpusError, VocabularyError, evaluate
from cellwright.lm.corpus import encode_files
from cellwright.lm.evaluation import evaluate_tokens
from tests.lm.small import SENTENCES, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("model"), dropout=0.5)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text(SENTENCES * 3, encoding="utf-8")
    return path


def scored_by_hand(model, text):
    """-ln p of each token but the first, the state carried from token to token."""
    ids = model.tokenizer.encode(text)
    state, losses = None, []
    with torch.no_grad():
        for this, following in itertools.pairwise(ids):
            logits, state = model(torch.tensor([[this]]), state)
            losses.append(-torch.log_softmax(logits[0, 0].double(), 0)[following].item())
    return losses


@pytest.mark.parametrize("call_tokens", [1, 7, 60, 2048])
def test_every_token_is_scored(model, text, monkeypatch, call_tokens):
    monkeypatch.setattr("cellwright.lm.evaluation.CALL_TOKENS", call_tokens)
    losses = scored_by_hand(model, text.read_text())
    result = evaluate(model, [text])
    assert result.scored == result.tokens - 1 == len(losses)
    assert result.nats == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)
    assert result.perplexity == pytest.approx(math.exp(result.nats))
    assert result.bits_per_character == pytest.approx(result.nats / math.log(2))
    assert (result.characters, result.unknown) == (3 * len(SENTENCES), 0)


def test_several_files_are_one_text(model, text, tmp_path):
    (tmp_path / "twice.txt").write_text(text.read_text() * 2)
    twice = evaluate(model, [tmp_path / "twice.txt"])
    assert evaluate(model, [text, text]).nats == pytest.approx(twice.nats)


def test_streams_score_the_same_tokens_from_cold_starts(model, text, tmp_path):
    tokens = encode_files([text], model.tokenizer, tmp_path / "text.bin")
    one, three = evaluate_tokens(model, tokens), evaluate_tokens(model, tokens, streams=3)
    assert one.scored - three.scored < 3
    assert three.nats == pytest.approx(one.nats, rel=0.05)
    assert three.nats != one.nats


def test_the_mode_stays(model, text):
    model.train()
    evaluate(model, [text])
    assert model.training
    model.eval()


def test_bits_of_words_are_per_character(tmp_path, text):
    model = small_model(tmp_path, level="word")
    result = evaluate(model, [text])
    assert result.tokens == 3 * 18  # 15 words and 3 line ends
    bits = result.nats / math.log(2) * result.scored
    characters = result.characters * result.scored / result.tokens
    assert result.bits_per_character == pytest.approx(bits / characters)


def test_unknown_tokens_are_told(model, tmp_path):
    (tmp_path / "some.txt").write_text("the cat XY")
    heard = []
    result = evaluate(model, [tmp_path / "some.txt"], on_warning=heard.append)
    assert result.unknown == 2
    assert len(heard) == 1
    assert "some.txt: 2 of 10 tokens are not in the model's vocabulary" in heard[0]


def test_a_text_of_another_kind_is_refused(model, tmp_path):
    (tmp_path / "greek.txt").write_text("μῆνιν ἄειδε θεὰ")
    with pytest.raises(VocabularyError, match=r"greek\.txt: 13 of 15 tokens are not"):
        evaluate(model, [tmp_path / "greek.txt"])


@pytest.mark.parametrize("content", [b"", b"a", b"\0\1\2\0", b"caf\xe9 au lait"])
def test_what_is_no_text_is_refused(model, tmp_path, content):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        evaluate(model, [tmp_path / "bad.txt"])
    assert "\n" not in str(caught.value)


def test_the_result_is_json(model, text):
    values = evaluate(model, [text]).to_dict()
    assert all(isinstance(value, (int, float)) for value in values.values())
