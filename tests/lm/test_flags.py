"""Every setting of a training run can be typed, and a recipe is what one could type."""

import dataclasses
import inspect
import shlex

import pytest
import typer

from cellwright.cli import app
from cellwright.cli.flags import as_flags, typed
from cellwright.cli.train import train
from cellwright.lm import RECIPES, TrainConfig, configure

COMMAND = typer.main.get_command(app)


def test_every_setting_is_a_flag_of_train():
    fields = {field.name for field in dataclasses.fields(TrainConfig)} - {"files"}
    assert fields <= set(inspect.signature(train).parameters)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_can_be_typed(recipe):
    words = shlex.split(" ".join(as_flags(RECIPES[recipe])))
    verb = COMMAND.commands["train"]  # type: ignore[attr-defined]
    context = verb.make_context("train", ["text.txt", *words])
    assert configure(None, typed(context)) == configure(recipe, {})


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--zoneout h=.05,c=.5", "zoneout", "h=.05,c=.5"),
        ("--zoneout 0.1", "zoneout", 0.1),
        ("--recurrent-dropout g=.3", "recurrent_dropout", "g=.3"),
        ("--weight-drop .5", "weight_drop", 0.5),
        ("--layer-norm", "layer_norm", True),
        ("--optimizer nt-asgd --non-monotone 7", "non_monotone", 7),
        ("--recipe awd-lstm --no-vary-steps", "vary_steps", False),
    ],
)
def test_what_is_typed_is_what_is_set(words, field, value):
    verb = COMMAND.commands["train"]  # type: ignore[attr-defined]
    context = verb.make_context("train", ["text.txt", *words.split()])
    config = configure(context.params["recipe"], typed(context))
    assert getattr(config, field) == value
