"""Training: what a step computes, that interrupting changes nothing, what is told on the way."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from cellwright.lm import (
    ConfigError,
    CorpusError,
    LanguageModel,
    ModelShape,
    RunError,
    Saved,
    Started,
    Step,
    StopRequest,
    Tokenizer,
    TrainConfig,
    TrainingError,
    Validated,
    Warned,
    evaluate,
    read_run,
    resume,
    train,
)
from cellwright.lm.engine import Engine, build_model, workplace
from cellwright.lm.pace import reached
from cellwright.lm.training import Training
from tests.lm.small import small_config, write_text

CPU = torch.device("cpu")


def weights(run):
    return load_file(run / "last" / "model.safetensors")


def stop_after(windows):
    """A callback that asks for a stop once so many windows have been reported or saved."""
    stop, seen = StopRequest(), []

    def on_event(event):
        seen.append(event)
        if isinstance(event, Saved) and len([e for e in seen if isinstance(e, Saved)]) == windows:
            stop.set()

    return stop, on_event


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_a_step_is_the_textbooks(tmp_path, optimizer):
    """Loss summed over time and averaged over the batch, norm clipped, then torch's optimizer."""
    config = small_config(tmp_path, optimizer=optimizer, dropout=0.0, clip=0.7, weight_decay=0.01)
    tokenizer = Tokenizer.train([write_text(tmp_path / "t.txt")], "char")
    torch.manual_seed(0)
    model = build_model(config, "lstm", tokenizer)
    torch.manual_seed(0)
    twin = build_model(config, "lstm", tokenizer)
    make = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": lambda *a, **k: torch.optim.RMSprop(*a, alpha=0.95, **k),
    }[optimizer]
    theirs = make(twin.parameters(), lr=config.lr, weight_decay=0.01)
    engine, state, twin_state = Engine(config, model, CPU), None, None
    for _ in range(3):
        x, y = torch.randint(tokenizer.size, (2, 4, 13)).unbind()
        nats, norm, state = engine.step(x, y, state)

        logits, twin_state = twin(x, twin_state)
        twin_state = tuple(tensor.detach() for tensor in twin_state)
        token_losses = cross_entropy(logits.transpose(1, 2), y, reduction="none")  # [B, T]
        theirs.zero_grad()
        token_losses.sum(1).mean(0).backward()
        gradients = [p.grad for p in twin.parameters() if p.grad is not None]
        total = math.sqrt(sum(g.square().sum().item() for g in gradients))
        for gradient in gradients:
            gradient.mul_(min(1.0, 0.7 / total))
        theirs.step()
        assert nats == pytest.approx(token_losses.mean().item(), rel=1e-6)
        assert norm == pytest.approx(total, rel=1e-5)
    assert norm > 0.7  # the clip acted
    assert_close(dict(model.named_parameters()), dict(twin.named_parameters()))


def test_the_state_is_carried_within_an_epoch_and_dropped_after(tmp_path, monkeypatch):
    given = []
    step = Engine.step

    def spy(self, x, y, state):
        given.append(state)
        return step(self, x, y, state)

    monkeypatch.setattr(Engine, "step", spy)
    train(small_config(tmp_path), tmp_path / "run")
    windows = len(given) // 2
    cold = [k for k, state in enumerate(given) if state is None]
    assert cold == [0, windows]


@pytest.mark.parametrize(
    ("optimizer", "cell"), [("adam", "lstm"), ("sgd", "gru"), ("rmsprop", "peephole")]
)
def test_an_interrupted_run_ends_the_same_to_the_bit(tmp_path, optimizer, cell):
    config = small_config(tmp_path, optimizer=optimizer, cell=cell, lr_decay=0.5, decay_after=1)
    straight = train(config, tmp_path / "straight")
    stop, on_event = stop_after(3)  # saves after every window: stops within the first epoch
    result = train(config, tmp_path / "broken", on_event=on_event, stop=stop, save_seconds=0)
    assert result.stopped
    times, told = 0, []
    while result.stopped and times < 50:
        stop, on_event = stop_after(17)

        def both(event, on_event=on_event):
            told.append(event)
            on_event(event)

        result = resume(tmp_path / "broken", on_event=both, stop=stop, save_seconds=0)
        times += 1
    assert times > 2
    assert_close(weights(tmp_path / "broken"), weights(tmp_path / "straight"), rtol=0, atol=0)
    assert_close(
        load_file(tmp_path / "broken" / "model.safetensors"),
        load_file(tmp_path / "straight" / "model.safetensors"),
        rtol=0,
        atol=0,
    )
    same = ("epoch", "tokens", "train_nats", "valid_nats", "parameters", "stopped")
    assert [getattr(result, n) for n in same] == [getattr(straight, n) for n in same]
    lines = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_run(run).metrics]
        for run in (tmp_path / "broken", tmp_path / "straight")
    ]
    assert lines[0] == lines[1]
    # what is told of an epoch is of the whole of it, the part before the resume included
    valid = [line for line in lines[1] if line["kind"] == "valid"]
    heard = [event for event in told if isinstance(event, Validated)]
    assert [e.train_nats for e in heard] == [line["train_nats"] for line in valid][-len(heard) :]


def test_the_seed_decides_and_the_callers_generator_stays(tmp_path):
    before = torch.get_rng_state()
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(small_config(tmp_path, epochs=1, seed=seed), tmp_path / name)
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(a["decoder.weight"], c["decoder.weight"])


def test_threads_are_set_and_put_back(tmp_path):
    before = torch.get_num_threads()
    with workplace(small_config(tmp_path, threads=before + 1)):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_what_is_told(tmp_path):
    held_out = write_text(tmp_path / "test.txt", 5)
    config = small_config(tmp_path, test=str(held_out), epochs=3)
    events = []
    result = train(config, tmp_path / "run", on_event=events.append)
    started, finished = events[0], events[-1]
    assert isinstance(started, Started)
    assert finished == result
    assert (started.epochs, started.resumed, started.progress) == (3, False, 0.0)
    assert started.vocab == Tokenizer.load(tmp_path / "run" / "tokenizer.json").size
    steps = [event for event in events if isinstance(event, Step)]
    assert [s.progress for s in steps] == sorted(s.progress for s in steps)
    assert steps[-1].progress == 1.0
    assert steps[-1].eta == 0.0
    assert steps[-1].tokens == finished.tokens == 3 * (steps[-1].tokens // 3)
    validated = [event for event in events if isinstance(event, Validated)]
    assert [v.epoch for v in validated] == [1, 2, 3]
    assert finished.valid_nats == min(v.nats for v in validated) == validated[-1].best_nats
    assert validated[-1].nats < validated[0].nats < math.log(started.vocab)  # it learns
    assert not finished.stopped
    assert finished.test is not None
    model = LanguageModel.from_pretrained(tmp_path / "run")
    assert evaluate(model, [held_out]).nats == pytest.approx(finished.test.nats)
    kinds = [line["kind"] for line in read_run(tmp_path / "run").metrics]
    assert kinds == ["train", "watch", "valid"] * 3 + ["test"]


def test_the_best_weights_are_published(tmp_path):
    """A rate that ruins the last epochs: the published weights are the best epoch's."""
    config = small_config(tmp_path, epochs=4, lr=0.02, optimizer="sgd", dropout=0.0)
    events = []
    train(config, tmp_path / "run", on_event=events.append)
    order = [event for event in events if isinstance(event, Validated)]
    model = LanguageModel.from_pretrained(tmp_path / "run")
    (tmp_path / "tail.txt").write_text("the cat sees the dog.\n")
    assert min(v.nats for v in order) == order[-1].best_nats
    last = weights(tmp_path / "run")
    same = torch.equal(last["decoder.weight"], model.decoder.weight)
    assert same == order[-1].is_best


def test_without_validation_the_latest_weights_are_published(tmp_path):
    result = train(small_config(tmp_path, valid=None), tmp_path / "run")
    assert result.valid_nats is None
    published = load_file(tmp_path / "run" / "model.safetensors")
    assert_close(published, weights(tmp_path / "run"), rtol=0, atol=0)


def test_a_stop_before_the_first_validation_leaves_a_usable_model(tmp_path):
    stop, on_event = stop_after(2)
    result = train(
        small_config(tmp_path), tmp_path / "run", on_event=on_event, stop=stop, save_seconds=0
    )
    assert result.stopped
    assert result.valid_nats is None
    assert "".join(LanguageModel.from_pretrained(tmp_path / "run").generate("a", 5))


def test_minutes_end_the_run_and_count_across_resumes(tmp_path):
    config = small_config(tmp_path, epochs=None, minutes=0.01)
    result = train(config, tmp_path / "run")
    assert not result.stopped
    assert 0.6 <= result.seconds < 20
    with pytest.raises(RunError, match="is finished"):
        resume(tmp_path / "run")
    longer = resume(tmp_path / "run", changes={"minutes": 0.02})
    assert longer.tokens > result.tokens
    assert longer.seconds >= 1.2


def test_an_unfinished_epoch_is_told_as_what_it_is(tmp_path, monkeypatch):
    """The clock ends the run after 5 windows of the second epoch."""
    monkeypatch.setattr(
        Training, "progress", property(lambda self: float(self.position.tokens >= self.end))
    )
    config = small_config(tmp_path, epochs=None, minutes=1.0)
    events = []
    monkeypatch.setattr(Training, "end", 1, raising=False)
    windows = train(config, tmp_path / "short", on_event=events.append).windows
    first = next(event for event in events if isinstance(event, Validated))
    assert (first.epoch, first.window, first.windows) == (1, 1, windows)
    per_epoch = 4 * ((first.tokens // 4 - 13) + 13 * windows)  # the last window may be shorter
    monkeypatch.setattr(Training, "end", per_epoch + 4 * 13 * 4 + 1)
    result = train(config, tmp_path / "run", on_event=events.append)
    last = [event for event in events if isinstance(event, Validated)][-1]
    assert last.epoch == 2 and 0 < last.window < windows
    assert (result.epoch, result.window, result.windows) == (1, last.window, windows)
    line = read_run(tmp_path / "run").metrics[-1]
    assert (line["epoch"], line["window"], line["windows"]) == (2, last.window, windows)
    with pytest.raises(RunError, match=r"finished \(1 epoch and \d+ % of the next, "):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ((0, 0, 7), "no epoch"),
        ((1, 0, 7), "1 epoch"),
        ((3, 0, 7), "3 epochs"),
        ((0, 2, 7), "28 % of the first epoch"),
        ((1, 6, 7), "1 epoch and 85 % of the next"),
        ((2, 199, 200), "2 epochs and 99 % of the next"),
    ],
)
def test_how_far_a_run_is_in_words(done, said):
    assert reached(*done) == said


def test_a_finished_run_goes_on_with_more_epochs(tmp_path):
    straight = tmp_path / "straight"
    train(small_config(tmp_path, epochs=3), straight)
    train(small_config(tmp_path, epochs=2), tmp_path / "run")
    with pytest.raises(RunError, match=r"finished \(2 epochs"):
        resume(tmp_path / "run", changes={"epochs": 2})
    assert resume(tmp_path / "run", changes={"epochs": 3}).epoch == 3
    assert_close(weights(tmp_path / "run"), weights(straight), rtol=0, atol=0)
    assert read_run(tmp_path / "run").config.epochs == 3


def test_other_threads_are_warned_of(tmp_path):
    stop, on_event = stop_after(1)
    train(small_config(tmp_path, steps=100), tmp_path / "run", on_event=on_event, stop=stop)
    events = []
    resume(tmp_path / "run", changes={"threads": 2}, on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert warnings[0].startswith("saved with 1 threads, going on with 2")


def test_unknown_characters_of_the_validation_text_are_warned_of(tmp_path):
    (tmp_path / "valid.txt").write_text("the cat sees XYZ")
    events = []
    train(
        small_config(tmp_path, valid=str(tmp_path / "valid.txt")),
        tmp_path / "run",
        on_event=events.append,
    )
    assert any("validation text: 3 of 16 tokens" in e.text for e in events if isinstance(e, Warned))


def test_a_loss_that_breaks_down_keeps_the_save(tmp_path):
    config = small_config(tmp_path, optimizer="sgd", epochs=50, lr=1e38, clip=0.0)
    with pytest.raises(TrainingError, match=r"epoch 1, window \d+: the (loss|gradient)") as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run").values())


def test_init_scale_and_forget_bias_are_set(tmp_path):
    tokenizer = Tokenizer.train([write_text(tmp_path / "t.txt")], "char")
    config = small_config(tmp_path, init_scale=0.05, forget_bias=1.5)
    model = build_model(config, "lstm", tokenizer)
    assert (
        0.045 < max(p.abs().max() for p in (model.embedding.weight, model.decoder.weight)) <= 0.05
    )
    blocks = model.recurrent.blocks(1)
    assert blocks["f.h"].abs().max() <= 0.05
    assert_close(blocks["f.bias"], torch.full((9,), 1.5))
    assert blocks["i.bias"].abs().max() <= 0.05


@pytest.mark.parametrize("cell", ["layernorm-lstm", "clockwork"])
def test_init_scale_keeps_norms_and_structural_zeros(tmp_path, cell):
    tokenizer = Tokenizer.train([write_text(tmp_path / "t.txt")], "char")
    default = build_model(small_config(tmp_path), cell, tokenizer)
    scaled = build_model(small_config(tmp_path, init_scale=0.5), cell, tokenizer)
    for (name, a), b in zip(default.named_parameters(), scaled.parameters(), strict=True):
        assert torch.equal(a == 0, b == 0)
        if "norm" in name:
            assert torch.equal(a, b)
        else:
            assert 0.3 < b.abs().max() <= 0.5


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_precisions(tmp_path, precision):
    config = small_config(tmp_path, precision=precision)
    result = train(config, tmp_path / "run")
    assert math.isfinite(result.train_nats)
    dtypes = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "bf16-mixed": torch.float32}
    model = LanguageModel.from_pretrained(tmp_path / "run")
    assert model.decoder.weight.dtype is dtypes[precision]
    resume(tmp_path / "run", changes={"epochs": 3})


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"files": ()}, ConfigError, "at least one text file"),
        ({"files": ("nowhere.txt",)}, CorpusError, "no such file"),
        ({"batch": 2000}, CorpusError, "a batch of 2000 needs at least"),
        ({"valid": "nowhere.txt"}, CorpusError, "no such file"),
        ({"device": "cuda:63"}, ConfigError, "CUDA"),
        ({"cell": "rnn", "forget_bias": 1.0}, ConfigError, "no equation f"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing_behind(tmp_path, changes, error, text):
    config = small_config(tmp_path, **changes)
    with pytest.raises(error, match=text) as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_failed_overwrite_brings_the_old_run_back(tmp_path):
    train(small_config(tmp_path, epochs=1), tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    with pytest.raises(CorpusError):
        train(small_config(tmp_path, batch=2000), tmp_path / "run", overwrite=True)
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    assert after == before
    assert resume(tmp_path / "run", changes={"epochs": 2}).epoch == 2
    train(small_config(tmp_path, epochs=1, hidden=4), tmp_path / "run", overwrite=True)
    assert read_run(tmp_path / "run").config.hidden == 4
    assert not (tmp_path / "run" / "replaced").exists()


def test_the_configuration_is_in_the_run(tmp_path):
    config = small_config(tmp_path, epochs=1)
    train(config, tmp_path / "run")
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    assert TrainConfig.from_dict(values["training"]) == config
    vocab = Tokenizer.load(tmp_path / "run" / "tokenizer.json").size
    assert values["model"] == dataclasses.asdict(ModelShape.of(config, vocab))
    assert read_run(tmp_path / "run").finished


def test_a_model_larger_than_the_machine_is_refused_before_it_is_built(tmp_path):
    config = small_config(tmp_path, hidden=100_000_000)
    with pytest.raises(ConfigError, match=r"hidden: .* GiB of memory to train"):
        train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="layers: expected a whole number from 1 to 1000"):
        small_config(tmp_path, layers=5_000_000)
