"""Settings are checked when they are made, and recipes are nothing but settings."""

import dataclasses

import pytest

from cellwright.lm import RECIPES, ConfigError, TrainConfig, configure

BAD = {
    "files": "text.txt",
    "cell": "",
    "level": "letter",
    "vocab": 1,
    "layers": 0,
    "hidden": 1.5,
    "embed": -1,
    "proj_size": -1,
    "tie": 1,
    "bias": None,
    "dropout": 1.0,
    "steps": True,
    "batch": 0,
    "epochs": 0,
    "minutes": 0.0,
    "optimizer": "lion",
    "lr": float("nan"),
    "lr_decay": 1.5,
    "decay_after": -1,
    "clip": -1.0,
    "weight_decay": float("inf"),
    "init_scale": 0.0,
    "forget_bias": "one",
    "valid": 1.0,
    "test": "",
    "seed": -1,
    "device": "tpu",
    "precision": "16-mixed",
    "threads": 0,
    "corpus": "",
}


def test_every_field_has_a_bad_value_here():
    assert set(BAD) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"^{name}: .*got") as caught:
        TrainConfig(**{name: BAD[name]})
    assert "\n" not in str(caught.value)


def test_epochs_and_minutes_exclude_each_other():
    with pytest.raises(ConfigError, match="not both"):
        TrainConfig(epochs=1, minutes=1.0)
    assert TrainConfig().epochs == 10
    assert TrainConfig(minutes=2.0).epochs is None


def test_a_tied_embedding_is_as_wide_as_the_hidden_layer():
    with pytest.raises(ConfigError, match=r"^tie: .*\(256\), got embed 64"):
        TrainConfig(tie=True, embed=64)
    assert TrainConfig(tie=True).embed_size == 256


def test_valid_is_a_fraction_a_file_or_nothing():
    assert TrainConfig(valid="0.25").valid == 0.25
    assert TrainConfig(valid="0").valid is None
    assert TrainConfig(valid="held-out.txt").valid == "held-out.txt"


def test_a_configuration_survives_its_json():
    config = TrainConfig(files=("a.txt", "b.txt"), minutes=1.5, forget_bias=1.0, valid="v.txt")
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, "expected version 1, got 2"),
        ({"speed": 1}, "speed: no such setting"),
        ({"hidden": "many"}, "hidden: expected"),
    ],
)
def test_a_foreign_configuration_is_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        TrainConfig.from_dict({**TrainConfig().to_dict(), **change})


def test_a_resumed_run_changes_only_how_long_and_where():
    config = TrainConfig(files=("a.txt",), epochs=3)
    assert config.resumed({"minutes": 2.0}).epochs is None
    assert config.resumed({"epochs": 5, "hidden": 256, "files": ["a.txt"]}).epochs == 5
    with pytest.raises(ConfigError, match=r"^hidden: a resumed run keeps its hidden \(256\)"):
        config.resumed({"hidden": 300})


# Learning rates of chosen epochs, worked out by hand from the published descriptions.
@pytest.mark.parametrize(
    ("recipe", "rates"),
    [
        ("zaremba-small", {1: 1, 4: 1, 5: 1 / 2, 6: 1 / 4, 13: 1 / 512}),
        ("zaremba-medium", {6: 1, 7: 0.8, 8: 0.64, 39: 0.8**33}),
        ("zaremba-large", {14: 1, 15: 1 / 1.15, 55: 1.15**-41}),
        ("char-rnn", {1: 2e-3, 10: 2e-3, 11: 2e-3 * 0.97, 50: 2e-3 * 0.97**40}),
    ],
)
def test_a_recipe_decays_as_published(recipe, rates):
    config = configure(recipe, {})
    assert {epoch: config.learning_rate(epoch) for epoch in rates} == pytest.approx(rates)
    assert config.epochs == max(rates)


def test_a_recipe_is_overlaid_by_what_is_given():
    config = configure("char-rnn", {"minutes": 5.0, "hidden": 64})
    assert (config.minutes, config.epochs, config.hidden, config.batch) == (5.0, None, 64, 50)
    assert configure(None, {"hidden": 8}) == TrainConfig(hidden=8)
    with pytest.raises(ConfigError, match="expected one of zaremba-small"):
        configure("zaremba", {})
    with pytest.raises(ConfigError, match="width: no such setting"):
        configure("char-rnn", {"width": 8})


def test_recipes_set_only_what_exists():
    for flags in RECIPES.values():
        assert set(flags) <= {field.name for field in dataclasses.fields(TrainConfig)}
