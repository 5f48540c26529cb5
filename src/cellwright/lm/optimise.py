"""Optimizers by name, and their state as tensors and JSON."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from cellwright.lm.config import TrainConfig

RMSPROP_SMOOTHING: Final = 0.95  # Karpathy's char-rnn; torch's own default is 0.99

_MAKE: Final[Mapping[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": torch.optim.SGD,
    "nt-asgd": torch.optim.SGD,  # the mean of its weights is taken beside it: `Averaging`
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": lambda *a, **k: torch.optim.RMSprop(*a, alpha=RMSPROP_SMOOTHING, **k),
}


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that `config` names, for all parameters of `model`."""
    make = _MAKE[config.optimizer]
    return make(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What the optimizer remembers: tensors by `parameter.name`, and the rest by the same names.

    Learning rate, decay and the like are not in it: they follow from the configuration.
    """
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            (tensors if isinstance(value, Tensor) else rest)[f"{index}.{name}"] = value
    return tensors, rest


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]
) -> None:
    """Give back to `optimizer` what `optimizer_state` took; ValueError if it is not that."""
    if twice := tensors.keys() & rest.keys():
        raise ValueError(f"{min(twice)} is saved both as a tensor and as a number")
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *rest.items()):
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr
