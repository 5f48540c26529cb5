"""Every verb explains itself on a page of 80 columns, with an example to copy."""

import pytest

VERBS = (
    "train",
    "evaluate",
    "generate",
    "compare",
    "cells",
    "show",
    "demo",
    "bench",
    "cache",
)


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_and_shows_an_example(run, verb):
    shown = run(verb, "--help")
    assert shown.code == 0
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    examples = shown.out.partition("Examples")[2]
    assert f"cellwright {verb}" in examples
    assert "Usage: cellwright " + verb in shown.out


def test_help_names_every_recipe_with_its_flags(run):
    from cellwright.lm.recipes import RECIPES

    examples = run("train", "--help").out.partition("Examples")[2]
    assert all(name in examples for name in RECIPES)
    assert "--init-scale 0.05 --dropout 0.5" in examples


def test_help_shows_the_defaults_that_hold(run):
    from cellwright.lm.config import TrainConfig

    shown = " ".join(run("train", "--help").out.split())
    assert f"(default {TrainConfig.hidden})" in shown
    assert f"(default {TrainConfig.lr:g})" in shown


def test_alone_it_greets(run):
    shown = run()
    assert shown.code == 0
    assert "cellwright demo" in shown.out
    assert max(len(line) for line in shown.out.splitlines()) <= 80


def test_version(run):
    from importlib.metadata import version

    assert run("--version").out == f"cellwright {version('cellwright')}\n"


def test_examples_parse():
    """Every flag that an example types exists."""
    import typer

    from cellwright.cli import bench, cache, compare, demo, evaluate, generate, show, train
    from cellwright.cli.verbs import app

    group = typer.main.get_command(app)
    for module in (train, evaluate, generate, compare, show, demo, bench, cache):
        for line in module.EXAMPLES.replace("\\\n", " ").splitlines():
            if not line.startswith("cellwright "):
                continue
            verb, *words = line.split()[1:]
            known = {opt for p in group.commands[verb].params for opt in p.opts}  # pyright: ignore
            assert {w for w in words if w.startswith("--")} <= known, line


def test_a_group_of_verbs_alone_shows_its_help_and_no_empty_line(run):
    shown = run("inspect")
    assert shown.code == 2
    assert "walkthrough" in shown.out + shown.err
    assert "cellwright inspect: " not in shown.out + shown.err
