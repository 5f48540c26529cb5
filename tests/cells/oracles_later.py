"""By hand: later cells, with fewer gates, exponential ones, or the layer below as an input."""

import numpy as np

from tests.cells.arithmetic import Array, Made, Weights, gates, module_of, sigmoid

Pair = tuple[Array, Array]
HEADS = 4


def irnn(w: Weights, x: Array, h: Array) -> tuple[Array]:
    return (np.maximum(x @ w["h.x"].T + h @ w["h.h"].T + w["h.bias"], 0),)


def indrnn(w: Weights, x: Array, h: Array) -> tuple[Array]:
    """Li et al. 2018."""
    return (np.maximum(x @ w["h.x"].T + w["h.h"] * h + w["h.bias"], 0),)


def mgu(w: Weights, x: Array, h: Array) -> tuple[Array]:
    (f,) = (sigmoid(a) for a in gates(w, "f", x, h))
    n = np.tanh((f * h) @ w["n.f*h"].T + x @ w["n.x"].T + w["n.bias"])
    return ((1 - f) * h + f * n,)


def janet(w: Weights, x: Array, c: Array) -> tuple[Array]:
    s = x @ w["s.x"].T + c @ w["s.c"].T + w["s.bias"]
    g = np.tanh(x @ w["g.x"].T + c @ w["g.c"].T + w["g.bias"])
    beta = 1
    return (sigmoid(s) * c + (1 - sigmoid(s - beta)) * g,)


def ligru(w: Weights, x: Array, h: Array) -> tuple[Array]:
    z, a = gates(w, "zn", x, h)
    z = sigmoid(z)
    return (z * h + (1 - z) * np.maximum(a, 0),)


def ea_lstm(w: Weights, x: Array, s: Array, h: Array, c: Array) -> Pair:
    i = sigmoid(s @ w["i.s"].T + w["i.bias"])
    f, g, o = gates(w, "fgo", x, h)
    c = sigmoid(f) * c + i * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def headed(w: Weights, gate: str, x: Array, h: Array) -> Array:
    """Return a preactivation in which a head of four reads its own units alone."""
    head = module_of(h.shape[1], HEADS)
    recurrent = np.zeros_like(w[f"{gate}.h"])
    for k in range(HEADS):
        own = np.ix_(head == k, head == k)
        recurrent[own] = w[f"{gate}.h"][own]
    return x @ w[f"{gate}.x"].T + h @ recurrent.T + w[f"{gate}.bias"]


def slstm(w: Weights, x: Array, h: Array, c: Array, n: Array, m: Array) -> tuple[Array, ...]:
    """Beck et al. 2024, eqs. 8-17; m is minus infinity where nothing is held (n = 0)."""
    log_i, log_f = headed(w, "li", x, h), headed(w, "lf", x, h)
    z, o = np.tanh(headed(w, "z", x, h)), sigmoid(headed(w, "o", x, h))
    m = np.where(n > 0, m, -np.inf)
    top = np.maximum(log_f + m, log_i)  # eq. 15
    i, f = np.exp(log_i - top), np.exp(log_f + m - top)  # eqs. 16, 17
    c = f * c + i * z  # eq. 8
    n = f * n + i  # eq. 9
    return o * c / n, c, n, top


def slstm_as_it_is(
    w: Weights, x: Array, h: Array, c: Array, n: Array
) -> tuple[Array, Array, Array]:
    """Beck et al. 2024, eqs. 8-14, without the stabiliser: exponentials as large as they are."""
    i, f = np.exp(headed(w, "li", x, h)), np.exp(headed(w, "lf", x, h))
    z, o = np.tanh(headed(w, "z", x, h)), sigmoid(headed(w, "o", x, h))
    c, n = f * c + i * z, f * n + i
    return o * c / n, c, n


def _depth_gated(w: Weights, x: Array, d: Array, below: Array, h: Array, c: Array) -> Made:
    i, f, g, o = gates(w, "ifgo", x, h)
    i, f = sigmoid(i + w["i.c"] * c), sigmoid(f + w["f.c"] * c)
    d = sigmoid(d + x @ w["d.x"].T + w["d.c"] * c + w["d.bias"])
    c = f * c + i * np.tanh(g) + d * below
    h = sigmoid(o + w["o.c.next"] * c) * np.tanh(c)
    return Made((h, c), (h, c))


def depth_gated(w: Weights, x: Array, below: Array, h: Array, c: Array) -> Made:
    return _depth_gated(w, x, w["d.below"] * below, below, h, c)


def depth_gated_lowest(w: Weights, x: Array, h: Array, c: Array) -> Made:
    return _depth_gated(w, x, np.zeros_like(c), x @ w["below.x"].T, h, c)


def transform(w: Weights, names: list[str], joined: dict[str, Array], m: Array) -> Pair:
    """Kalchbrenner et al. 2015: the LSTM transform of H and m; h = tanh(o m)."""
    u, f, g, o = (
        sum((v @ w[f"{n}.{key}"].T for key, v in joined.items()), w[f"{n}.bias"]) for n in names
    )
    m = sigmoid(f) * m + sigmoid(u) * np.tanh(g)
    return np.tanh(sigmoid(o) * m), m


TIME, DEPTH = ["i", "f", "g", "o"], ["i_d", "f_d", "g_d", "o_d"]


def grid(w: Weights, x: Array, below: Array, h: Array, c: Array) -> Made:
    time = transform(w, TIME, {"x": x, "h": h}, c)
    return Made(transform(w, DEPTH, {"x": x, "h": h}, below), time)


def grid_priority(w: Weights, x: Array, below: Array, h: Array, c: Array) -> Made:
    time = transform(w, TIME, {"x": x, "h": h}, c)
    return Made(transform(w, DEPTH, {"x": x, "h.next": time[0]}, below), time)
