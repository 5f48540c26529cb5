"""Traces of a language model over a text, and its values replaced."""

import pytest
import torch

from cellwright.lm import LanguageModel
from cellwright.lm.errors import VocabularyError
from cellwright.lm.model import ModelShape
from cellwright.lm.tokenizer import Tokenizer
from cellwright.nn.trace import Trace
from cellwright.runtime.trail import TraceError
from tests.lm.small import SENTENCES, small_model, write_text

close = torch.testing.assert_close
TEXT = "the cat"


def model_of(folder, level="char", **changes) -> LanguageModel:
    path = write_text(folder / "text.txt")
    tokenizer = Tokenizer.train([path], level, 300 if level == "bpe" else None)
    shape = ModelShape(
        **{"vocab": tokenizer.size, "hidden": 9, "embed": 7, "layers": 2, "dropout": 0.4} | changes
    )
    return LanguageModel(shape, "lstm", tokenizer)


def ids_of(model: LanguageModel) -> torch.Tensor:
    assert model.tokenizer is not None
    return torch.tensor([model.tokenizer.encode(TEXT)])


def test_a_trained_model(tmp_path):
    model = small_model(tmp_path)
    traced = model.trace(TEXT, names=["*.f", "layers.1.c"])
    assert traced.names == ("layers.0.f", "layers.1.f", "layers.1.c")
    assert traced.dims == ("time", "unit")
    assert traced.tokens == tuple(TEXT)
    assert traced["layers.0.f"].shape == (7, 9)
    ids = ids_of(model)
    logits, state = model(ids)
    close(traced.output, logits[0])
    for found, wanted in zip(traced.state, state, strict=True):
        close(found, wanted[:, 0])
    x = model.embedding(ids)
    close(traced["layers.1.c"], model.recurrent.trace(x, names="layers.1.c").tensor[0])


@pytest.mark.parametrize("locked", ["plain", "locked"])
@pytest.mark.parametrize("training", [True, False])
def test_any_mode_shows_what_the_model_predicts_with(tmp_path, training, locked):
    model = model_of(tmp_path, dropout_kind=locked).train(training)
    found = model.trace(TEXT, names="*.h")
    assert model.training == training
    assert found.output.requires_grad
    with torch.no_grad():
        again = model.trace(TEXT, names="*.h")
    assert not again.output.requires_grad
    for name in found:
        close(found[name], again[name])
    close(found.output, model.eval()(ids_of(model))[0][0])


def test_a_trace_goes_on_from_a_state(tmp_path):
    model = model_of(tmp_path)
    whole = model.trace("the cat sees", names="c")
    first = model.trace("the cat", names="c")
    rest = model.trace(" sees", names="c", state=first.state)
    close(torch.cat([first["layers.1.c"], rest["layers.1.c"]]), whole["layers.1.c"])
    close(rest.output, whole.output[7:])


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_tokens_are_labels(tmp_path, level):
    model = model_of(tmp_path, level)
    text = "the cat\nsees é"
    traced = model.trace(text, names="f", time=slice(1, None))
    assert model.tokenizer is not None and traced.tokens is not None
    ids = model.tokenizer.encode(text)
    assert len(traced.tokens) == len(traced.time) == len(ids) - 1
    assert traced.time[0] == 1
    if level == "char":
        assert traced.tokens == (*"he cat\nsees ", "<unk>")
    elif level == "word":
        assert traced.tokens == ("cat", "<eos>", "sees", "<unk>")
    else:
        first = model.tokenizer.decode(ids[:1])
        assert first + "".join(traced.tokens[:-2]) == text[:-1]
        assert traced.tokens[-2:] == ("\ufffd", "\ufffd")  # the two bytes of é
    assert traced.sel(time=2).tokens == (traced.tokens[1],)


def test_ids_and_a_model_without_a_tokenizer():
    model = LanguageModel(ModelShape(vocab=11, hidden=9, embed=7), "gru")
    traced = model.trace([3, 0, 10], names="z", time=-1)
    assert traced.tokens == ("10",)
    close(model.trace(torch.tensor([3, 0, 10]), names="z")["z"][-1], traced.tensor)
    with pytest.raises(VocabularyError, match="no tokenizer"):
        model.trace("the")
    with pytest.raises(VocabularyError, match="from 0 to 10"):
        model.trace([11])


def test_what_cannot_be_traced(tmp_path):
    model = model_of(tmp_path)
    with pytest.raises(VocabularyError, match="at least one token"):
        model.trace("")
    with pytest.raises(TraceError, match=r"did you mean layers\.1\.f"):
        model.trace(TEXT, names="layers.2.f")
    model.train()
    with pytest.raises(TraceError):
        model.trace(TEXT, names="nothing")
    assert model.training


def test_a_trace_of_a_text_is_saved_with_its_tokens(tmp_path):
    traced = model_of(tmp_path).trace("cat </script>", names=["f", "c.prev"])
    traced.save(tmp_path / "trace.safetensors")
    again = Trace.load(tmp_path / "trace.safetensors")
    assert again.tokens == traced.tokens
    close(again.output, traced.output.detach(), rtol=0, atol=0)
    assert "</script>" not in traced._repr_html_()


def test_values_can_be_replaced(tmp_path):
    model = model_of(tmp_path).eval()
    kept = model.trace(TEXT, names="layers.0.c")["c"]
    plain = model.trace(TEXT, names="layers.1.h")
    with model.patched({"layers.0.c": lambda value, step: kept[step][None]}) as same:
        assert same is model
        close(model.trace(TEXT, names="layers.1.h").output, plain.output)
    with model.patched({"layers.0.c": lambda value, step: value * 0}):
        without = model.trace(TEXT, names="*.c")
        text = "".join(model.generate("the", 5, seed=1))
    assert not without["layers.0.c"].any()
    assert without["layers.1.c"].any()
    assert (without.output - plain.output).abs().max() > 1e-3
    assert len(text) == 5
    close(model.trace(TEXT, names="layers.1.h").output, plain.output)
    with (
        pytest.raises(TraceError, match="no value is named"),
        model.patched({"layers.7.c": lambda v, t: v}),
    ):
        pass


def test_gradients_reach_the_embedding(tmp_path):
    model = model_of(tmp_path)
    model.trace(SENTENCES[:9], names="layers.1.f.pre", time=4, units=2).tensor.backward()
    assert model.tokenizer is not None and model.embedding.weight.grad is not None
    read = model.tokenizer.encode(SENTENCES[:9])[:5]
    found = model.embedding.weight.grad.abs().sum(1)
    assert set(found.nonzero().flatten().tolist()) == set(read)
