"""NT-ASGD: when the averaging begins, what the mean is, and that nothing of it is lost."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from cellwright.lm import (
    LanguageModel,
    RunError,
    StopRequest,
    Tokenizer,
    Validated,
    Warned,
    resume,
    train,
)
from cellwright.lm.averaging import Averaging, triggered
from cellwright.lm.engine import Engine, build_model
from tests.lm.small import small_config

# A rate so high that the loss soon goes up and down; every other source of randomness takes part.
ROUGH = {
    "optimizer": "nt-asgd",
    "non_monotone": 1,
    "reduction": "mean",
    "lr": 30.0,
    "clip": 0.25,
    "watch": False,  # it would warn of what this rate does
    "epochs": 8,
    "vary_steps": True,
    "dropout_kind": "locked",
    "embedding_dropout": 0.1,
    "ar": 2.0,
    "tar": 1.0,
    "weight_decay": 1.2e-6,
    "tie": True,
    "embed": 6,
    "last_hidden": 6,
    "layer_norm": True,
    "zoneout": "h=.05,c=.05",
    "recurrent_dropout": "g=.1",
    "weight_drop": 0.1,
}


@pytest.mark.parametrize(
    ("losses", "n", "begins"),
    [
        ([5, 4, 3, 2, 1], 1, False),
        ([5, 4, 4.5], 1, False),  # better than the first, which is all that is older than n
        ([5, 4, 5.5], 1, True),
        ([5, 6], 1, False),  # nothing is older than n epochs yet
        ([5, 6, 5.5], 1, True),
        ([3, 4, 4, 4], 3, False),
        ([3, 4, 4, 4, 4], 3, True),
        ([3, 4, 4, 4, 3], 3, False),  # not worse
        ([3, 4, 4, 4, 4, 1, 0.5], 3, True),  # once begun it goes on
        ([], 5, False),
    ],
)
def test_the_trigger_is_the_papers(losses, n, begins):
    assert triggered(losses, n) == begins
    logs, found = [], False  # algorithm 1, line by line
    for value in losses:
        t = len(logs)
        if t > n and value > min(logs[: t - n]):
            found = True
        logs.append(value)
    assert found == begins


def test_the_mean_is_of_the_steps_since(tmp_path):
    config = small_config(tmp_path)
    tokenizer = Tokenizer.train([Path(name) for name in config.files], "char")
    model = build_model(config, "lstm", tokenizer)
    averaging, seen = Averaging(model, 1), []
    for losses in ([3.0], [2.0], [4.0]):
        averaging.take_step()  # before the trigger: not of the mean
        averaging.hear(*losses)
    assert averaging.under_way and averaging.steps == 0
    for _ in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        averaging.take_step()
        seen.append({name: tensor.clone() for name, tensor in model.tensors().items()})
    expected = {name: torch.stack([s[name] for s in seen]).mean(0) for name in seen[0]}
    assert_close(averaging.means, expected, rtol=1e-5, atol=1e-6)
    with averaging.in_place():
        assert_close(model.tensors(), averaging.means, rtol=0, atol=0)
    assert_close(model.tensors(), seen[-1], rtol=0, atol=0)


def test_what_is_validated_and_published_is_the_mean(tmp_path, monkeypatch):
    engines, events = [], []
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda self, *a: (engines.append(self), step(self, *a))[1])
    config = small_config(tmp_path, **ROUGH | {"epochs": 6, "seed": 1})
    train(config, tmp_path / "run", on_event=events.append)
    averaging = engines[-1].averaging
    assert averaging.under_way and averaging.steps > 20
    told = [event.text for event in events if isinstance(event, Warned)]
    assert len(told) == 1 and "averaged from here on" in told[0]
    last = load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert_close(last, averaging.means, rtol=0, atol=0)
    live = load_file(tmp_path / "run" / "last" / "training.safetensors")
    assert_close(
        live["averaging.live.embedding.weight"], engines[-1].model.embedding.weight.detach()
    )
    assert not torch.equal(last["embedding.weight"], live["averaging.live.embedding.weight"])
    valid = [event for event in events if isinstance(event, Validated)]
    assert valid[-1].is_best  # the mean is better than any of what it is of
    assert_close(load_file(tmp_path / "run" / "model.safetensors"), last, rtol=0, atol=0)
    text = "".join(LanguageModel.from_pretrained(tmp_path / "run").generate("the ", 20, seed=1))
    assert len(text) == 20


def without_seconds(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_runs(one, other):
    for name in ("model.safetensors", "last/model.safetensors", "last/training.safetensors"):
        assert_close(load_file(one / name), load_file(other / name), rtol=0, atol=0)
    assert without_seconds(one) == without_seconds(other)


@pytest.mark.parametrize("epochs", [1, 5, 6])
def test_a_longer_run_is_a_run_gone_on_with(tmp_path, epochs):
    """Before the trigger, at it and after it."""
    config = small_config(tmp_path, **ROUGH)
    train(config, tmp_path / "straight")
    train(small_config(tmp_path, **ROUGH | {"epochs": epochs}), tmp_path / "run")
    resume(tmp_path / "run", changes={"epochs": 8})
    same_runs(tmp_path / "run", tmp_path / "straight")


def test_an_interrupted_run_ends_the_same_to_the_bit(tmp_path, monkeypatch):
    config = small_config(tmp_path, **ROUGH)
    train(config, tmp_path / "straight")
    taken, stop, step = [], StopRequest(), Engine.step

    def stopping_step(self, *window):
        taken.append(1)
        if len(taken) % 37 == 0:
            stop.set()
        return step(self, *window)

    monkeypatch.setattr(Engine, "step", stopping_step)
    run, times = tmp_path / "run", 1
    finished = train(config, run, stop=stop)
    while finished.stopped:
        stop, times = StopRequest(), times + 1
        finished = resume(run, stop=stop)
    assert times == 1 + len(taken) // 37 > 8
    same_runs(run, tmp_path / "straight")


@pytest.mark.parametrize(
    "harm",
    [
        lambda t: t.pop("averaging.losses"),
        lambda t: t.pop("averaging.live.embedding.weight"),
        lambda t: t.update({"averaging.live.embedding.weight": torch.zeros(3)}),
        lambda t: t.update({"averaging.losses": torch.tensor([1.0, float("nan")])}),
        lambda t: t.update({"averaging.losses": torch.tensor([1.0])}),
        lambda t: t.update({"averaging.steps": torch.tensor(-1)}),
    ],
)
def test_a_damaged_save_is_told(tmp_path, harm):
    train(small_config(tmp_path, **ROUGH), tmp_path / "run")
    file = tmp_path / "run" / "last" / "training.safetensors"
    tensors = load_file(file)
    harm(tensors)
    save_file(tensors, file)
    with pytest.raises(RunError, match="does not fit") as caught:
        resume(tmp_path / "run", changes={"epochs": 9})
    assert "\n" not in str(caught.value)
