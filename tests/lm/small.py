"""A small text and a small training, for the tests of this folder."""

import dataclasses
from pathlib import Path

from cellwright.lm import LanguageModel, TrainConfig, train

SENTENCES = "the cat sees the dog.\na dog sees the cats?\nno cat is a dog!\n"


def write_text(path: Path, repeats: int = 40) -> Path:
    path.write_text(SENTENCES * repeats, encoding="utf-8")
    return path


def small_config(folder: Path, **changes) -> TrainConfig:
    """Two layers with dropout, so that every source of randomness and state takes part."""
    text = write_text(folder / "text.txt")
    config = TrainConfig(
        files=(str(text),),
        layers=2,
        hidden=9,
        embed=7,
        dropout=0.25,
        steps=13,
        batch=4,
        epochs=2,
        lr=1e-2,
        valid=0.2,
        seed=3,
        device="cpu",
        threads=1,
    )
    return dataclasses.replace(config, **changes)


def small_model(folder: Path, **changes) -> LanguageModel:
    """A model trained for one epoch."""
    train(small_config(folder, **{"epochs": 1, **changes}), folder / "run")
    return LanguageModel.from_pretrained(folder / "run")
