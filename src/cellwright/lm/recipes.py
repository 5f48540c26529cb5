"""Published training recipes, as nothing but the flags that one could type.

Zaremba's (Zaremba, Sutskever & Vinyals 2014, "Recurrent neural network regularization", section
4.1) are for the Penn Treebank's words. The dropout acts on the embedding, between the layers and
on the last output; the norm of the whole gradient is clipped; the loss is summed over the window
and averaged over the batch, as `TrainConfig` always does, so the published `lr` and `clip` apply
as they stand. The medium one's factor 0.8 is that of the authors' programs (the paper: 1/1.2).

char-rnn is Karpathy's program (2015) with its own defaults. Three things differ here: the whole
gradient's norm is clipped at 5, where it clamps each element to +-5; the characters pass through
an embedding of 128, where it multiplies one-hot vectors; RMSProp's smoothing is its 0.95.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from cellwright.lm.config import ConfigError, TrainConfig

_ZAREMBA: Final = {
    "cell": "lstm",
    "level": "word",
    "layers": 2,
    "batch": 20,
    "optimizer": "sgd",
    "lr": 1.0,
}

RECIPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "zaremba-small": {
            **_ZAREMBA,
            "hidden": 200,
            "steps": 20,
            "init_scale": 0.1,
            "dropout": 0.0,
            "clip": 5.0,
            "epochs": 13,
            "lr_decay": 0.5,
            "decay_after": 4,
        },
        "zaremba-medium": {
            **_ZAREMBA,
            "hidden": 650,
            "steps": 35,
            "init_scale": 0.05,
            "dropout": 0.5,
            "clip": 5.0,
            "epochs": 39,
            "lr_decay": 0.8,
            "decay_after": 6,
        },
        "zaremba-large": {
            **_ZAREMBA,
            "hidden": 1500,
            "steps": 35,
            "init_scale": 0.04,
            "dropout": 0.65,
            "clip": 10.0,
            "epochs": 55,
            "lr_decay": 1 / 1.15,
            "decay_after": 14,
        },
        "char-rnn": {
            "cell": "lstm",
            "level": "char",
            "layers": 2,
            "hidden": 128,
            "steps": 50,
            "batch": 50,
            "optimizer": "rmsprop",
            "lr": 2e-3,
            "lr_decay": 0.97,
            "decay_after": 10,
            "clip": 5.0,
            "dropout": 0.0,
            "init_scale": 0.08,
            "forget_bias": 1.0,
            "epochs": 50,
            "valid": 0.05,
        },
    }
)


def configure(recipe: str | None, given: Mapping[str, Any]) -> TrainConfig:
    """The recipe's flags, overlaid by the `given` ones; `minutes` and `epochs` oust each other.

    ConfigError for an unknown recipe, an unknown flag or a bad value.
    """
    if recipe is not None and recipe not in RECIPES:
        raise ConfigError(f"recipe: expected one of {', '.join(RECIPES)}, got {recipe!r}")
    flags = dict(RECIPES[recipe]) if recipe is not None else {}
    if given.get("minutes") is not None:
        flags.pop("epochs", None)
    flags.update(given)
    return TrainConfig.from_flags(flags)
