"""The language model: what it computes, what its files hold, and what they may not."""

import json
import shutil

import pytest
import torch
from torch.nn.functional import embedding, linear
from torch.testing import assert_close

from cellwright.language.errors import CellwrightError
from cellwright.lm import ConfigError, LanguageModel, ModelShape, RunError, Tokenizer, configure
from tests.lm.small import SENTENCES, write_text

CELLS = ("lstm", "gru", "rnn")


@pytest.fixture
def tokenizer(tmp_path):
    return Tokenizer.train([write_text(tmp_path / "vocabulary.txt", 1)], "char")


def make(tokenizer, cell="lstm", **changes):
    sizes = {"hidden": 5, "embed": 5, "layers": 2, "dropout": 0.5, **changes}
    model = LanguageModel(ModelShape(vocab=tokenizer.size, **sizes), cell, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1, 1)
    return model


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_is_embedding_cell_decoder(tokenizer, cell, tie):
    model = make(tokenizer, cell, tie=tie).eval()
    ids = torch.randint(tokenizer.size, (3, 11))
    logits, state = model(ids)
    x = embedding(ids, model.embedding.weight)
    h, expected_state = model.recurrent(x)
    decoder = model.embedding.weight if tie else model.decoder.weight
    assert_close(logits, linear(h, decoder, model.decoder.bias))
    assert_close(state, expected_state)


@pytest.mark.parametrize("cell", CELLS)
def test_two_windows_with_carried_state_are_one(tokenizer, cell):
    model = make(tokenizer, cell).eval()
    ids = torch.randint(tokenizer.size, (2, 9))
    whole, last = model(ids)
    first, state = model(ids[:, :4])
    second, state = model(ids[:, 4:], state)
    assert_close(torch.cat([first, second], dim=1), whole)
    assert_close(state, last)


def test_dropout_acts_on_the_embedding_and_the_output(tokenizer):
    model = make(tokenizer, layers=1, dropout=0.5).train()
    seen = []
    model.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.randint(tokenizer.size, (8, 30)))
    for x in seen:
        assert 0.4 < (x == 0).float().mean() < 0.6


def test_a_tied_matrix_counts_and_is_saved_once(tokenizer, tmp_path):
    tied, free = make(tokenizer, tie=True), make(tokenizer)
    assert free.parameter_count - tied.parameter_count == 5 * tokenizer.size
    tied.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert loaded.decoder.weight is loaded.embedding.weight
    assert_close(loaded.decoder.weight, tied.embedding.weight, rtol=0, atol=0)


def test_a_tie_that_cannot_be_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="gives 6 units, the embedding has 5"):
        make(tokenizer, hidden=6, tie=True)


def test_a_projected_output_is_tied_to_an_embedding_of_its_width(tokenizer):
    model = make(tokenizer, "lstm-projected", hidden=6, proj_size=5, tie=True).eval()
    assert model.decoder.weight is model.embedding.weight
    assert model(torch.tensor([[1, 2]]))[0].shape == (1, 2, tokenizer.size)
    with pytest.raises(ConfigError, match="gives 4 units, the embedding has 5"):
        make(tokenizer, "lstm-projected", hidden=6, proj_size=4, tie=True)


@pytest.mark.parametrize("cell", CELLS)
def test_the_last_layer_has_a_width_of_its_own(tokenizer, tmp_path, cell):
    model = make(tokenizer, cell, hidden=9, last_hidden=5, layers=3, tie=True).eval()
    assert model.decoder.weight is model.embedding.weight
    assert model.recurrent.hidden_sizes == (9, 9, 5)
    ids = torch.randint(tokenizer.size, (2, 9))
    whole, _ = model(ids)
    first, state = model(ids[:, :4])
    assert_close(torch.cat([first, model(ids[:, 4:], state)[0]], dim=1), whole)
    model.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert_close(loaded(ids)[0], whole, rtol=0, atol=0)


def test_awd_lstm_has_the_papers_24_million_parameters():
    shape = ModelShape.of(configure("awd-lstm", {}), vocab=10_000)
    embedding = 10_000 * 400 + 10_000  # and the decoder's bias
    layers = [(400, 1150), (1150, 1150), (1150, 400)]
    expected = embedding + sum(4 * h * (x + h + 1) for x, h in layers)
    assert LanguageModel(shape, "lstm", device="meta").parameter_count == expected == 24_210_800


def test_the_outputs_before_and_after_the_dropout_can_be_had(tokenizer):
    model = make(tokenizer, dropout=0.5).train()
    ids = torch.randint(tokenizer.size, (3, 11))
    logits, _, h, dropped = model(ids, return_outputs=True)
    assert_close(dropped, torch.where(dropped == 0, 0.0, h * 2))
    assert 0.2 < (dropped == 0).float().mean() < 0.8
    assert_close(logits, model.decoder(dropped))


def test_forget_bias_is_the_bias_of_f_in_all(tokenizer):
    model = make(tokenizer)
    torch.manual_seed(1)
    model.set_forget_bias(2.5)
    for layer in range(2):
        blocks = model.recurrent.blocks(layer)
        assert_close(blocks["f.bias"], torch.full((5,), 2.5))
    with pytest.raises(ConfigError, match=r"^forget_bias: \w+ has no equation f"):
        make(tokenizer, "rnn").set_forget_bias(1.0)


@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_model_is_the_same_model(tokenizer, tmp_path, cell):
    model = make(tokenizer, cell).eval()
    before = torch.get_rng_state()
    model.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    assert not loaded.training
    ids = torch.tensor([tokenizer.encode(SENTENCES)])
    assert_close(loaded(ids)[0], model(ids)[0], rtol=0, atol=0)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "cell.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_double_precision_survives_a_save(tokenizer, tmp_path):
    model = make(tokenizer).double()
    model.save_pretrained(tmp_path / "model")
    assert LanguageModel.from_pretrained(tmp_path / "model").decoder.weight.dtype is torch.float64


FILES = ("config.json", "cell.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def saved(tokenizer, tmp_path):
    make(tokenizer).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refused(path):
    with pytest.raises(CellwrightError) as caught:
        LanguageModel.from_pretrained(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    assert f"{name} is missing" in refused(saved)


@pytest.mark.parametrize("keep", [0, 5, 100, -4])
@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_named(saved, name, keep):
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[:keep])
    assert name in refused(saved)


def test_no_directory_is_said(tmp_path):
    assert "no such directory" in refused(tmp_path / "nowhere")


def test_another_format_is_refused(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "version": 2}))
    assert "version 1, got 'cellwright language model' version 2" in refused(saved)


@pytest.mark.parametrize(
    "change",
    [{"hidden": 6}, {"layers": 3}, {"hidden": 10**12}, {"tie": True}, {"bias": False}],
)
def test_weights_of_another_shape_are_refused(saved, change):
    config = json.loads((saved / "config.json").read_text())
    config["model"] |= change
    (saved / "config.json").write_text(json.dumps(config))
    refused(saved)


@pytest.mark.parametrize(
    "change", [{"hidden": "5"}, {"layers": 0}, {"tie": 1}, {"vocab": None}, {"extra": 1}]
)
def test_a_shape_that_is_none_is_refused(saved, change):
    config = json.loads((saved / "config.json").read_text())
    config["model"] |= change
    (saved / "config.json").write_text(json.dumps(config))
    assert "model shape" in refused(saved)


def test_another_vocabulary_is_refused(saved, tmp_path):
    (tmp_path / "other.txt").write_text("only a few")
    Tokenizer.train([tmp_path / "other.txt"], "char").save(saved / "tokenizer.json")
    assert "expected a vocabulary of" in refused(saved)


def test_another_cell_is_refused(saved, tokenizer, tmp_path):
    make(tokenizer, "gru").save_pretrained(tmp_path / "gru")
    shutil.copy(tmp_path / "gru" / "cell.json", saved / "cell.json")
    assert "expected shape" in refused(saved)


def test_a_model_without_a_tokenizer_is_not_saved(tmp_path):
    model = LanguageModel(ModelShape(vocab=4, hidden=3, embed=3), "lstm")
    with pytest.raises(RunError, match="without its tokenizer"):
        model.save_pretrained(tmp_path / "model")
