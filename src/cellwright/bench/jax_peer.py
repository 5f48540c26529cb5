"""JAX: the same cells as `lax.scan`, jitted, the input's product hoisted out of the loop."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cellwright.bench.extras import found, lacking
from cellwright.bench.sides import Drawn, Outcome, Side, Subject

NAME = "jax"
# The name of a state after the last step, in the order in which a loop carries them.
STATES = {
    "lstm": ("last h", "last c"), "peephole": ("last h", "last c"),
    "gru": ("last h",), "rnn": ("last h",),
}  # fmt: skip


def missing(dtype: torch.dtype) -> str | None:
    """Say why there is nothing to compare with, or None; JAX has every dtype of ours."""
    return lacking("JAX", "jax")


def start(threads: int, dtype: torch.dtype) -> None:
    """Load JAX with a number of threads; they are JAX's for as long as the process lives."""
    os.environ["NPROC"] = str(threads)  # read when its CPU client starts
    jax: Any = found("jax")
    jax.config.update("jax_platforms", "cpu")
    if dtype == torch.float64:
        jax.config.update("jax_enable_x64", True)


def side(subject: Subject, layer: nn.Module, x: Tensor) -> Side | None:
    """A cell with a layer's weights; None for one that is not written here.

    Parameters are torch's: gates in its order, one or two biases.
    """
    if subject.known not in STATES:
        return None
    jax: Any = found("jax")
    numbers: Any = found("jax.numpy")
    loop = _loops(jax, numbers)[subject.known]
    weights = {name: numbers.asarray(p.detach().numpy()) for name, p in layer.named_parameters()}
    given = numbers.asarray(x.numpy())
    forward = jax.jit(loop)
    gradient = jax.jit(jax.grad(lambda w, x: loop(w, x)[0].sum(), argnums=(0, 1)))

    def outcome(drawn: Drawn) -> Outcome:
        return _outcome(jax, loop, STATES[subject.known or ""], weights, drawn)

    return Side(
        NAME,
        outcome,
        lambda: jax.block_until_ready(forward(weights, given)),
        lambda: jax.block_until_ready(gradient(weights, given)),
    )


def _outcome(
    jax: Any, loop: Callable[..., Any], states: tuple[str, ...], weights: Any, drawn: Drawn
) -> Outcome:
    names = ("output", *states)
    (x,) = drawn.inputs
    made, pull = jax.vjp(jax.jit(loop), weights, jax.numpy.asarray(x.numpy()))
    cotangents = tuple(jax.numpy.asarray(drawn.cotangents[n].numpy()) for n in names)
    of_weights, of_x = pull(cotangents)
    return Outcome(
        {name: _tensor(value) for name, value in zip(names, made, strict=True)},
        {"input 0": _tensor(of_x)} | {name: _tensor(g) for name, g in of_weights.items()},
    )


def _tensor(array: Any) -> Tensor:
    numpy: Any = found("numpy")
    return torch.from_numpy(numpy.array(array))


def _loops(jax: Any, np: Any) -> Mapping[str, Callable[..., Any]]:
    """The cells as functions `(weights, x [T, B, I]) -> (output, final states [1, B, H])`."""
    sigmoid = jax.nn.sigmoid

    def hoisted(w: Any, x: Any) -> Any:
        return x @ w["weight_ih_l0"].T + w["bias_ih_l0"]

    def zeros(w: Any, x: Any) -> Any:
        return np.zeros((x.shape[1], w["weight_hh_l0"].shape[1]), x.dtype)

    def rnn(w: Any, x: Any) -> Any:
        def step(h: Any, a: Any) -> Any:
            h = np.tanh(a + h @ w["weight_hh_l0"].T)
            return h, h

        last, output = jax.lax.scan(step, zeros(w, x), hoisted(w, x) + w["bias_hh_l0"])
        return output, last[None]

    def gru(w: Any, x: Any) -> Any:
        def step(h: Any, a: Any) -> Any:
            of_x = np.split(a, 3, -1)
            of_h = np.split(h @ w["weight_hh_l0"].T + w["bias_hh_l0"], 3, -1)
            r, z = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
            h = (1 - z) * np.tanh(of_x[2] + r * of_h[2]) + z * h
            return h, h

        last, output = jax.lax.scan(step, zeros(w, x), hoisted(w, x))
        return output, last[None]

    def lstm(w: Any, x: Any) -> Any:
        def step(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = np.split(a + h @ w["weight_hh_l0"].T, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            return (h, c), h

        first = zeros(w, x), zeros(w, x)
        (h, c), output = jax.lax.scan(step, first, hoisted(w, x) + w["bias_hh_l0"])
        return output, h[None], c[None]

    def peephole(w: Any, x: Any) -> Any:
        p_i, p_f = np.split(w["weight_ch_l0"], 2)

        def step(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = np.split(a + h @ w["weight_hh_l0"].T, 4, -1)
            c = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
            h = sigmoid(o + w["weight_c_next_h_l0"] * c) * np.tanh(c)
            return (h, c), h

        first = zeros(w, x), zeros(w, x)
        (h, c), output = jax.lax.scan(step, first, hoisted(w, x))
        return output, h[None], c[None]

    return {"rnn": rnn, "gru": gru, "lstm": lstm, "peephole": peephole}
