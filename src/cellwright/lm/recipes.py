"""Published training recipes, as nothing but the flags that one could type.

Zaremba's (Zaremba, Sutskever & Vinyals 2014, "Recurrent neural network regularization", section
4.1) are for the Penn Treebank's words. The dropout acts on the embedding, between the layers and
on the last output; the norm of the whole gradient is clipped; the loss is summed over the window
and averaged over the batch, as `TrainConfig` always does, so the published `lr` and `clip` apply
as they stand. The medium one's factor 0.8 is that of the authors' programs (the paper: 1/1.2).

char-rnn is Karpathy's program (2015) with its own defaults. Three things differ here: the whole
gradient's norm is clipped at 5, where it clamps each element to +-5; the characters pass through
an embedding of 128, where it multiplies one-hot vectors; RMSProp's smoothing is its 0.95.

awd-lstm is Merity, Keskar & Socher's (2018, "Regularizing and optimizing LSTM language models",
arXiv 1708.02182, section 5) for the Penn Treebank's words. Where the paper and the command that
its authors published for that text differ, the batch (20; the paper: 40) and the dropout between
layers (0.25; the paper: 0.3) are the command's and the 750 epochs are the paper's (the command:
500). Their loss is averaged over the window. The fine-tuning after it, a second run of averaged
SGD, and the pointer cache are not in it.
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
        "awd-lstm": {
            "cell": "lstm",
            "level": "word",
            "layers": 3,
            "hidden": 1150,
            "last_hidden": 400,
            "embed": 400,
            "tie": True,
            "dropout_kind": "locked",
            "input_dropout": 0.4,
            "layer_dropout": 0.25,
            "dropout": 0.4,
            "embedding_dropout": 0.1,
            "weight_drop": 0.5,
            "ar": 2.0,
            "tar": 1.0,
            "weight_decay": 1.2e-6,
            "steps": 70,
            "vary_steps": True,
            "batch": 20,
            "optimizer": "nt-asgd",
            "reduction": "mean",
            "lr": 30.0,
            "clip": 0.25,
            "epochs": 750,
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
    config = TrainConfig.from_flags(flags)
    if given.get("decay_after") is not None and config.lr_decay == 1:
        raise ConfigError("decay_after: the rate does not decay; give lr_decay too, as in 0.9")
    return config
