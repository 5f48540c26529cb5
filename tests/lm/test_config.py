"""Settings are checked when they are made, and recipes are nothing but settings."""

import dataclasses

import pytest

from cellwright.lm import RECIPES, ConfigError, TrainConfig, configure
from cellwright.lm.config import LATER
from cellwright.lm.rates import read

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
    "last_hidden": 0,
    "layer_norm": "yes",
    "zoneout": "h=.05,h=.1",
    "recurrent_dropout": "g=1",
    "weight_drop": 1.0,
    "dropout": 1.0,
    "dropout_kind": "variational",
    "input_dropout": -0.1,
    "layer_dropout": 1.0,
    "embedding_dropout": "none",
    "ar": -1.0,
    "tar": float("inf"),
    "vary_steps": 1,
    "watch": 1,
    "non_monotone": 0,
    "reduction": "none",
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


def test_a_tied_embedding_is_as_wide_as_the_output():
    with pytest.raises(ConfigError, match=r"^tie: .*\(256\), got embed 64"):
        TrainConfig(tie=True, embed=64)
    assert TrainConfig(tie=True).embed_size == 256
    assert TrainConfig(tie=True, proj_size=64).embed_size == 64
    assert TrainConfig(tie=True, proj_size=64, embed=64).embed_size == 64
    assert TrainConfig(tie=True, layers=2, last_hidden=80).embed_size == 80
    assert TrainConfig(layers=2, last_hidden=80).embed_size == 256


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"layers": 1, "last_hidden": 64}, "^last_hidden: .*hidden's 256, got 64"),
        ({"layer_dropout": 0.2}, "^layer_dropout: .*layers is 1"),
        ({"dropout_kind": "locked"}, "^dropout_kind: expected a dropout to lock"),
        ({"dropout_kind": "locked", "embedding_dropout": 0.5}, "^dropout_kind: "),
        ({"tar": 1.0, "steps": 1}, "^tar: expected steps of at least 2"),
        ({"vary_steps": True, "steps": 9}, "^vary_steps: expected steps of at least 10, got 9"),
        ({"non_monotone": 5}, "^non_monotone: expected the optimizer nt-asgd, got adam"),
        ({"optimizer": "nt-asgd", "valid": 0}, "^optimizer: nt-asgd .*got none"),
        ({"optimizer": "nt-asgd", "precision": "bf16-true"}, "^precision: .*got bf16-true"),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(flags, text):
    with pytest.raises(ConfigError, match=text) as caught:
        TrainConfig(**flags)
    assert "\n" not in str(caught.value)


def test_flags_that_say_what_is_so_anyway_are_taken():
    TrainConfig(layers=1, last_hidden=256, layer_dropout=0.0)
    TrainConfig(dropout_kind="locked", input_dropout=0.1)
    TrainConfig(optimizer="nt-asgd", non_monotone=3, precision="bf16-mixed")


def test_dropout_is_the_default_of_its_places():
    assert TrainConfig(dropout=0.5).dropouts == (0.5, 0.5, 0.5)
    assert TrainConfig(layers=2, dropout=0.5, input_dropout=0.0).dropouts == (0.0, 0.5, 0.5)
    given = TrainConfig(layers=2, dropout=0.4, input_dropout=0.6, layer_dropout=0.3)
    assert given.dropouts == (0.6, 0.3, 0.4)


def test_rates_are_one_or_one_for_each_name():
    assert TrainConfig(zoneout="0.1").zoneout == TrainConfig(zoneout=0.1).zoneout == 0.1
    assert TrainConfig(zoneout="0", recurrent_dropout=0).zoneout is None
    kept = TrainConfig(zoneout="h=.05, c=.5").zoneout
    assert kept is not None and read(kept) == {"h": 0.05, "c": 0.5}
    for text in (
        "h",
        "h=",
        "=.1",
        "h=2",
        "h=nan",
        "h=.1,",
        "h=.1;c=.1",
        "1",
        "nan",
        "",
        10**400,
        [0.1],
        True,
    ):
        with pytest.raises(
            ConfigError, match=r"^zoneout: expected a rate .* or h=.05,c=.5, or null, got"
        ):
            TrainConfig.from_flags({"zoneout": text})


def test_the_rate_follows_the_length_where_the_loss_is_a_mean():
    config = TrainConfig(lr=30.0, steps=70, vary_steps=True, reduction="mean")
    assert config.learning_rate(1, 35) == 15.0
    assert config.learning_rate(1) == 30.0
    for same in ({"vary_steps": False}, {"reduction": "sum"}):
        assert dataclasses.replace(config, **same).learning_rate(1, 35) == 30.0


def test_valid_is_a_fraction_a_file_or_nothing():
    assert TrainConfig(valid="0.25").valid == 0.25
    assert TrainConfig(valid="0").valid is None
    assert TrainConfig(valid="held-out.txt").valid == "held-out.txt"


def test_a_configuration_survives_its_json():
    config = TrainConfig(files=("a.txt", "b.txt"), minutes=1.5, forget_bias=1.0, valid="v.txt")
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_a_configuration_of_the_first_version_has_the_defaults_of_what_it_lacks():
    old = {name: value for name, value in TrainConfig().to_dict().items() if name not in LATER}
    assert len(old) < len(TrainConfig().to_dict())
    assert TrainConfig.from_dict(old) == TrainConfig()


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
    typed = TrainConfig(files=("a.txt",), zoneout=0.1, valid=0.2)
    assert typed.resumed({"zoneout": "0.10", "valid": ".2"}) == typed
    with pytest.raises(ConfigError, match=r"^zoneout: a resumed run keeps its zoneout \(0.1\)"):
        typed.resumed({"zoneout": "h=0.1"})


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


def test_awd_lstms_recipe_is_the_papers():
    """Merity, Keskar & Socher 2018, section 5, and the command that its authors published."""
    config = configure("awd-lstm", {})
    assert (config.layers, config.hidden, config.last_hidden, config.embed) == (3, 1150, 400, 400)
    assert (config.lr, config.clip, config.reduction) == (30.0, 0.25, "mean")
    assert (config.batch, config.steps, config.vary_steps, config.epochs) == (20, 70, True, 750)
    assert config.dropouts == (0.4, 0.25, 0.4)
    assert (config.embedding_dropout, config.weight_drop, config.dropout_kind) == (
        0.1,
        0.5,
        "locked",
    )
    assert (config.ar, config.tar, config.weight_decay) == (2.0, 1.0, 1.2e-6)
    assert (config.optimizer, config.non_monotone, config.tie) == ("nt-asgd", None, True)
    assert configure("awd-lstm", {"optimizer": "adam", "lr": 1e-3}).optimizer == "adam"


def test_a_decay_that_never_begins_is_refused():
    with pytest.raises(ConfigError, match="^decay_after: the rate does not decay"):
        configure(None, {"files": ("a.txt",), "decay_after": 3})
    assert configure("zaremba-small", {"files": ("a.txt",), "lr_decay": 1.0}).decay_after == 4


def test_a_resumed_run_says_its_text_as_it_was_typed():
    config = TrainConfig(files=("a.txt", "b.txt"))
    with pytest.raises(ConfigError, match=r"keeps its files \(a.txt b.txt\), got c.txt;"):
        config.resumed({"files": ("c.txt",)})
