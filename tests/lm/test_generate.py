"""Generation: a stream of tokens that depends on the seed and on nothing else."""

import itertools

import pytest
import torch

from cellwright.lm import (
    ConfigError,
    LanguageModel,
    ModelShape,
    Sampling,
    Tokenizer,
    VocabularyError,
)
from cellwright.lm.generation import PROMPT_STEPS
from tests.lm.small import small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("model"))


def test_greedy_takes_the_likeliest_token_each_time(model):
    ids = model.tokenizer.encode("the cat")
    expected = []
    for _ in range(20):  # from the start each time: no carried state to get wrong
        logits, _ = model(torch.tensor([ids + expected]))
        logits[0, -1, model.tokenizer.unknown_id] = -torch.inf
        expected.append(int(logits[0, -1].argmax()))
    assert list(model.generate_ids(ids, 20, temperature=0.0)) == expected
    text = "".join(model.generate("the cat", 20, temperature=0.0))
    assert text == model.tokenizer.decode(expected)


def test_the_seed_decides(model):
    texts = ["".join(model.generate("a ", 60, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(texts[0]) == 60


def test_the_callers_random_state_and_mode_stay(model):
    model.train()
    before = torch.get_rng_state()
    stream = model.generate("a ", 5, seed=1)
    next(stream)
    assert model.training
    list(stream)
    assert torch.equal(torch.get_rng_state(), before)
    model.eval()


def test_tokens_are_drawn_with_their_probability():
    logits = torch.tensor([0.1, 2.0, -1.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    for sampling in (Sampling(), Sampling(temperature=0.5), Sampling(temperature=3.0)):
        p = torch.softmax(logits / sampling.temperature, 0)
        drawn = torch.tensor([sampling.draw(logits, generator) for _ in range(4000)])
        share = torch.bincount(drawn, minlength=4) / 4000
        assert torch.all((share - p).abs() < 4 * (p * (1 - p) / 4000).sqrt())


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=1), {1}),
        (Sampling(top_k=2), {1, 3}),
        (Sampling(top_k=9), {0, 1, 2, 3}),
        (Sampling(top_p=0.01), {1}),
        (Sampling(top_p=0.75), {1, 3}),  # p = .61 .22 .09 .03 of tokens 1 3 0 2, rounded
        (Sampling(top_p=1.0), {0, 1, 2, 3}),
        (Sampling(top_p=0.99, top_k=2), {1, 3}),
        (Sampling(temperature=0.0), {1}),
    ],
)
def test_top_k_and_top_p_keep_the_likeliest(sampling, kept):
    logits = torch.tensor([0.1, 2.0, -1.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    assert {sampling.draw(logits, generator) for _ in range(600)} == kept


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"seed": -1},
    ],
)
def test_bad_sampling_is_refused_at_the_call(model, bad):
    with pytest.raises(ConfigError, match=f"^{next(iter(bad))}: expected"):
        model.generate("a", 5, **bad)


def test_an_unknown_character_is_named(model):
    with pytest.raises(VocabularyError, match="characters .* never seen: 'Q' 'é'"):
        model.generate("Qéa")


def test_an_unknown_word_is_named(tmp_path):
    model = small_model(tmp_path, level="word")
    with pytest.raises(VocabularyError, match="words .* never seen: 'zebra'"):
        model.generate("the zebra")
    text = "".join(model.generate("the cat", 12, seed=0))
    assert text.startswith((" ", "\n"))


def test_bytes_of_a_character_wait_for_each_other(tmp_path):
    model = small_model(tmp_path, level="bpe", vocab=300)
    assert model.tokenizer is not None
    ids = list(model.generate_ids(model.tokenizer.encode("naïve"), 30, seed=0))
    pieces = list(model.generate("naïve", 30, seed=0))
    assert "".join(pieces) == model.tokenizer.decode(ids)
    assert "" not in pieces


def test_an_empty_prompt_starts_after_a_line_end(model):
    assert "".join(model.generate("", 9, seed=4)) == "".join(model.generate("\n", 9, seed=4))


def test_a_vocabulary_without_line_end_needs_a_prompt(tmp_path):
    (tmp_path / "line.txt").write_text("abcabc")
    other = Tokenizer.train([tmp_path / "line.txt"], "char")
    model = LanguageModel(ModelShape(vocab=other.size, hidden=3, embed=3), "lstm", other)
    with pytest.raises(VocabularyError, match="no line end"):
        model.generate("")


def test_a_long_prompt_is_read_in_pieces(model):
    ids = (model.tokenizer.encode("the cat sees the dog") * 60)[: 2 * PROMPT_STEPS + 7]
    logits, _ = model(torch.tensor([ids]))
    assert next(model.generate_ids(ids, 1, temperature=0.0)) == int(logits[0, -1, 1:].argmax()) + 1


def test_the_unknown_character_is_never_drawn(model):
    with torch.no_grad():
        model.decoder.bias[model.tokenizer.unknown_id] = 50.0
    assert model.tokenizer.unknown_id not in set(model.generate_ids([3], 50, seed=0))


def test_an_endless_stream_stays_lazy(model):
    assert len(list(itertools.islice(model.generate("a", 10**9), 3))) == 3


def test_ids_outside_the_vocabulary_are_refused(model):
    with pytest.raises(VocabularyError, match="token ids from 0 to"):
        model.generate_ids([10**6], 3)
