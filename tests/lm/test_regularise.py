"""What dropout drops, what the activations cost: by hand, on tensors and in the model."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from cellwright.lm import LanguageModel, ModelShape, Tokenizer
from cellwright.lm.engine import Engine, build_model
from cellwright.lm.regularise import activation_penalty, drop_words, locked_dropout
from tests.lm.small import small_config, write_text


def test_a_locked_mask_holds_for_all_steps_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.rand(40, 7, 50) + 1
    y = locked_dropout(x, 0.3, dim=1)
    kept = (y != 0)[:, 0]  # [B, H]
    assert torch.equal(y != 0, kept[:, None].expand_as(x))
    assert_close(y, torch.where(kept[:, None], x / 0.7, 0.0))
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert not torch.equal(kept[0], kept[1])  # each row has its own
    assert locked_dropout(x, 0.0, dim=1) is x


def test_a_dropped_word_is_dropped_wherever_it_stands():
    torch.manual_seed(0)
    table = torch.rand(30, 5) + 1
    ids = torch.randint(30, (8, 40))
    y = drop_words(table[ids], ids, 30, 0.4)
    factor = y / table[ids]  # [B, T, E]
    for word in range(30):
        of_word = factor[ids == word]
        expected = 0.0 if of_word[0, 0] == 0 else 1 / 0.6
        assert_close(of_word, torch.full_like(of_word, expected))
    dropped = sum(bool((factor[ids == word] == 0).all()) for word in range(30))
    assert 5 <= dropped <= 19
    assert drop_words(y, ids, 30, 0.0) is y


def test_the_penalty_is_of_the_dropped_output_and_of_the_raw_ones_change():
    h, dropped = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    sizes = sum(float(v) ** 2 for v in dropped.flatten()) / 24
    changes = [
        (float(h[b, t + 1, k] - h[b, t, k])) ** 2
        for b in range(2)
        for t in range(2)
        for k in range(4)
    ]
    expected = 2 * sizes + 3 * sum(changes) / 16
    assert float(activation_penalty(h, dropped, 2.0, 3.0)) == pytest.approx(expected, rel=1e-5)
    assert activation_penalty(h, dropped, 0.0, 0.0) == 0
    assert activation_penalty(h[:, :1], dropped[:, :1], 0.0, 3.0) == 0  # no step to compare with


def trained_inputs(tokenizer, **rates):
    """What the recurrent layers and the decoder read in training mode."""
    shape = ModelShape(vocab=tokenizer.size, hidden=40, embed=40, layers=1, **rates)
    model = LanguageModel(shape, "gru", tokenizer).train()
    seen = []
    model.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.randint(tokenizer.size, (8, 30)))
    return seen


@pytest.fixture
def tokenizer(tmp_path):
    return Tokenizer.train([write_text(tmp_path / "vocabulary.txt", 1)], "char")


def share_of_zeros(x):
    return (x == 0).float().mean().item()


def test_each_place_has_its_rate(tokenizer):
    torch.manual_seed(0)
    read, out = trained_inputs(tokenizer, dropout=0.6, input_dropout=0.2)
    assert share_of_zeros(read) == pytest.approx(0.2, abs=0.05)
    assert share_of_zeros(out) == pytest.approx(0.6, abs=0.05)
    read, out = trained_inputs(tokenizer, dropout=0.6, input_dropout=0.0)
    assert share_of_zeros(read) == 0
    locked = trained_inputs(tokenizer, dropout=0.6, dropout_kind="locked")
    for x in locked:
        assert torch.all((x == 0) == (x == 0)[:, :1])
        assert share_of_zeros(x) == pytest.approx(0.6, abs=0.1)


def test_dropped_words_reach_the_layers_as_zeros(tokenizer):
    torch.manual_seed(0)
    read, _ = trained_inputs(tokenizer, embedding_dropout=0.5)
    whole = (read == 0).all(-1)
    assert torch.equal(whole, (read == 0).any(-1))
    assert 0.1 < whole.float().mean() < 0.9


@pytest.mark.parametrize("kind", ["plain", "locked"])
def test_dropout_between_layers(tokenizer, kind):
    """All units of the lower layer's output dropped but few: one mask for all steps, or many."""
    torch.manual_seed(0)
    shape = ModelShape(
        vocab=tokenizer.size,
        hidden=64,
        embed=8,
        layers=2,
        input_dropout=0.0,
        layer_dropout=0.5,
        dropout_kind=kind,
    )
    model = LanguageModel(shape, "rnn", tokenizer).train()
    with torch.no_grad():  # the upper layer shows what it reads: h = tanh(x)
        blocks = model.recurrent.blocks(1)
        blocks["h.x"].copy_(torch.eye(64))
        blocks["h.h"].zero_()
        blocks["h.bias"].zero_()
    h, _ = model.recurrent(model.embedding(torch.randint(tokenizer.size, (4, 20))))
    dropped = h == 0  # [B, T, H]
    assert 0.4 < dropped.float().mean() < 0.6
    same = bool((dropped == dropped[:, :1]).all())
    assert same == (kind == "locked")


def test_evaluation_drops_nothing(tokenizer):
    rates = {"dropout": 0.5, "embedding_dropout": 0.5, "dropout_kind": "locked", "layers": 2}
    shape = ModelShape(vocab=tokenizer.size, hidden=8, embed=8, **rates)
    model = LanguageModel(shape, "lstm", tokenizer).eval()
    plain = LanguageModel(ModelShape(tokenizer.size, 8, 8, 2), "lstm", tokenizer).eval()
    plain.load_tensors(model.tensors())
    ids = torch.randint(tokenizer.size, (3, 12))
    assert_close(model(ids)[0], plain(ids)[0], rtol=0, atol=0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_step_descends_the_loss_and_the_penalties(tmp_path, tokenizer, reduction):
    config = small_config(
        tmp_path, dropout=0.0, optimizer="sgd", clip=0.0, ar=2.0, tar=3.0, reduction=reduction
    )
    torch.manual_seed(0)
    model = build_model(config, "lstm", tokenizer)
    torch.manual_seed(0)
    twin = build_model(config, "lstm", tokenizer)
    x, y = torch.randint(tokenizer.size, (2, 4, 13)).unbind()
    nats, _, _ = Engine(config, model, torch.device("cpu")).step(x, y, None)

    h, _ = twin.recurrent(twin.embedding(x))
    loss = cross_entropy(twin.decoder(h).flatten(0, 1), y.flatten())
    assert nats == pytest.approx(loss.item())  # what is told is the loss alone
    loss = loss + 2 * (h**2).mean() + 3 * ((h[:, 1:] - h[:, :-1]) ** 2).mean()
    (loss * (13 if reduction == "sum" else 1)).backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            assert parameter.grad is not None
            parameter -= config.lr * parameter.grad
    assert_close(dict(model.named_parameters()), dict(twin.named_parameters()))
