"""What the papers' equations are written with, in plain numpy."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Weights = Mapping[str, Array]


class Made(NamedTuple):
    """What a step makes, where its outputs are not its first state."""

    outputs: tuple[Array, ...]
    states: tuple[Array, ...]


Step = Callable[..., tuple[Array, ...] | Made]


def sigmoid(v: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * v))  # exp(-v) overflows below -700


def gates(w: Weights, names: str, x: Array, h: Array) -> list[Array]:
    """Preactivations W x + U h + b of gates that read the input and the hidden state."""
    return [x @ w[f"{n}.x"].T + h @ w[f"{n}.h"].T + w[f"{n}.bias"] for n in names]


def layer_norm(v: Array, gain: Array, shift: Array) -> Array:
    mean = v.mean(-1, keepdims=True)
    variance = ((v - mean) ** 2).mean(-1, keepdims=True)
    return gain * (v - mean) / np.sqrt(variance + 1e-5) + shift


def module_of(width: int, count: int) -> Array:
    """Number the module of each unit; module k covers the units from floor(k width / count) on."""
    module = np.zeros(width, dtype=int)
    for k in range(count):
        module[k * width // count :] = k
    return module
