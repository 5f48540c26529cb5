"""The classic cells' equations, by hand: simple networks, LSTM, GRU, clockwork, layer norm."""

import numpy as np

from tests.cells.arithmetic import Array, Weights, gates, layer_norm, sigmoid


def elman(w: Weights, x: Array, h: Array) -> tuple[Array]:
    return (np.tanh(x @ w["h.x"].T + h @ w["h.h"].T + w["h.bias"]),)


def rectified(w: Weights, x: Array, h: Array) -> tuple[Array]:
    a = x @ w["h.x"].T + h @ w["h.h"].T + w["h.bias"]
    return (a * (a > 0),)


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


def layernorm_lstm(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    of_x = layer_norm(x @ w["z.x"].T, w["z.gain"], w["z.shift"])
    of_h = layer_norm(h @ w["z.h"].T, w["z.gain_h"], w["z.shift_h"])
    f, i, o, g = np.split(of_x + of_h, 4, axis=-1)
    f, i, o, g = (a + w[f"{n}.bias"] for a, n in zip((f, i, o, g), "fiog", strict=True))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(layer_norm(c, w["h.gain"], w["h.shift"])), c


def lstm_1997_paper(w: Weights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Squash with the paper's g and h, logistic functions to (-2, 2) and (-1, 1)."""
    i, g, o = gates(w, "igo", x, h)
    c = c + sigmoid(i) * (4 / (1 + np.exp(-g)) - 2)
    return sigmoid(o) * (2 / (1 + np.exp(-c)) - 1), c


def layernorm_gru(w: Weights, x: Array, h: Array) -> tuple[Array]:
    of_h = layer_norm(h @ w["a.h"].T, w["a.gain"], w["a.shift"])
    of_x = layer_norm(x @ w["a.x"].T, w["a.gain_x"], w["a.shift_x"])
    z, r = np.split(sigmoid(of_h + of_x), 2, axis=-1)
    of_x = layer_norm(x @ w["n.x"].T, w["n.gain"], w["n.shift"])
    of_h = layer_norm(h @ w["n.h"].T, w["n.gain_h"], w["n.shift_h"])
    return ((1 - z) * h + z * np.tanh(of_x + r * of_h),)
