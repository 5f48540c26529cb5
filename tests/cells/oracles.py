"""The catalogue's equations, written out by hand from the papers for one step in numpy.

Each function takes the weights by equation and operand, as `blocks()` names them, the input
x [B, I], then the states [B, width], and returns the states after the step, the output first.
Nothing here goes through the language or the compiler.
"""

from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray
Weights = Mapping[str, Array]
Step = Callable[..., tuple[Array, ...]]


def sigmoid(v: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * v))  # exp(-v) overflows below -700


def elman(w: Weights, x: Array, h: Array) -> tuple[Array]:
    return (np.tanh(x @ w["h.x"].T + h @ w["h.h"].T + w["h.bias"]),)


def irnn(w: Weights, x: Array, h: Array) -> tuple[Array]:
    a = x @ w["h.x"].T + h @ w["h.h"].T + w["h.bias"]
    return (a * (a > 0),)


def gates(w: Weights, names: str, x: Array, h: Array) -> list[Array]:
    """Preactivations W x + U h + b of gates that read the input and the hidden state."""
    return [x @ w[f"{n}.x"].T + h @ w[f"{n}.h"].T + w[f"{n}.bias"] for n in names]


def lstm_1997(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, g, o = gates(w, "igo", x, h)
    c = c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = gates(w, "ifgo", x, h)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def lstm_projected(w: Weights, x: Array, r: Array, c: Array) -> tuple[Array, Array]:
    m, c = lstm(w, x, r, c)
    return m @ w["h.m"].T, c


def peephole(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, f, g, o = gates(w, "ifgo", x, h)
    i, f = i + w["i.c"] * c, f + w["f.c"] * c
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    o = o + w["o.c.next"] * c  # the new cell state
    return sigmoid(o) * np.tanh(c), c


def coupled(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    f, g, o = gates(w, "fgo", x, h)
    i = 1 - sigmoid(f)
    c = sigmoid(f) * c + i * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(w: Weights, x: Array, h: Array) -> tuple[Array]:
    r, z = (sigmoid(a) for a in gates(w, "rz", x, h))
    n = np.tanh(x @ w["n.x"].T + w["n.bias"] + r * (h @ w["n.h"].T + w["n.bias_h"]))
    return ((1 - z) * n + z * h,)


def gru_cho(w: Weights, x: Array, h: Array) -> tuple[Array]:
    r, z = (sigmoid(a) for a in gates(w, "rz", x, h))
    n = np.tanh(x @ w["n.x"].T + (r * h) @ w["n.r*h"].T + w["n.bias"])
    return ((1 - z) * h + z * n,)


def mut1(w: Weights, x: Array, h: Array) -> tuple[Array]:
    z = sigmoid(x @ w["z.x"].T + w["z.bias"])
    (r,) = (sigmoid(a) for a in gates(w, "r", x, h))
    raw = x @ w["p.x"].T  # the paper's x, where it is as wide as h
    n = np.tanh((r * h) @ w["n.r*h"].T + np.tanh(raw) + w["n.bias"])
    return (n * z + h * (1 - z),)


def clockwork(w: Weights, x: Array, h: Array, age: Array) -> tuple[Array, Array]:
    """Module k of eight runs where the time t is a multiple of 2^k; `age` is t mod 2^k.

    Module k covers the units from floor(k H / 8) on, and reads modules k and slower.
    """
    hidden = h.shape[1]
    module = np.zeros(hidden, dtype=int)
    for k in range(8):
        module[k * hidden // 8 :] = k
    period = 2**module
    recurrent = w["n.h"].copy()
    for row in range(hidden):
        for column in range(hidden):
            if module[column] < module[row]:
                recurrent[row, column] = 0
    n = np.tanh(x @ w["n.x"].T + h @ recurrent.T + w["n.bias"])
    return np.where(age == 0, n, h), np.where(age + 1 == period, 0, age + 1)


def layer_norm(v: Array, gain: Array, shift: Array) -> Array:
    mean = v.mean(-1, keepdims=True)
    variance = ((v - mean) ** 2).mean(-1, keepdims=True)
    return gain * (v - mean) / np.sqrt(variance + 1e-5) + shift


def layernorm_lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    of_x = layer_norm(x @ w["z.x"].T, w["z.gain"], w["z.shift"])
    of_h = layer_norm(h @ w["z.h"].T, w["z.gain_h"], w["z.shift_h"])
    f, i, o, g = np.split(of_x + of_h, 4, axis=-1)
    f, i, o, g = (a + w[f"{n}.bias"] for a, n in zip((f, i, o, g), "fiog", strict=True))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(layer_norm(c, w["h.gain"], w["h.shift"])), c


ORACLES: Mapping[str, Step] = {
    "rnn": elman,
    "rnn-relu": irnn,
    "lstm-1997": lstm_1997,
    "lstm": lstm,
    "lstm-projected": lstm_projected,
    "peephole": peephole,
    "coupled": coupled,
    "gru": gru,
    "gru-cho": gru_cho,
    "mut1": mut1,
    "clockwork": clockwork,
    "layernorm-lstm": layernorm_lstm,
}


def sequence(
    step: Step, weights: Weights, x: Array, states: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """Run a step over x [T, B, I]: the outputs [T, B, width] and the final states."""
    outputs = []
    for x_t in x:
        states = step(weights, x_t, *states)
        outputs.append(states[0])
    return np.stack(outputs), states
