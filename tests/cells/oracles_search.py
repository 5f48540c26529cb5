"""By hand: the variants of two studies, Greff et al. 2015 and Jozefowicz et al. 2015."""

import numpy as np

from tests.cells.arithmetic import Array, Weights, gates, sigmoid

Pair = tuple[Array, Array]


def see(w: Weights, gate: str, vectors: dict[str, Array]) -> Array:
    """Add up a gate's matrices of the vectors it sees, and its bias."""
    return sum((v @ w[f"{gate}.{name}"].T for name, v in vectors.items()), w[f"{gate}.bias"])


def nig(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    f, z, o = gates(w, "fgo", x, h)
    c = np.tanh(z) + c * sigmoid(f + w["f.c"] * c)
    return np.tanh(c) * sigmoid(o + w["o.c.next"] * c), c


def nfg(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, z, o = gates(w, "igo", x, h)
    c = np.tanh(z) * sigmoid(i + w["i.c"] * c) + c
    return np.tanh(c) * sigmoid(o + w["o.c.next"] * c), c


def nog(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, f, z = gates(w, "ifg", x, h)
    c = np.tanh(z) * sigmoid(i + w["i.c"] * c) + c * sigmoid(f + w["f.c"] * c)
    return np.tanh(c), c


def niaf(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, f, z, o = gates(w, "ifgo", x, h)
    c = z * sigmoid(i + w["i.c"] * c) + c * sigmoid(f + w["f.c"] * c)
    return np.tanh(c) * sigmoid(o + w["o.c.next"] * c), c


def noaf(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, f, z, o = gates(w, "ifgo", x, h)
    c = np.tanh(z) * sigmoid(i + w["i.c"] * c) + c * sigmoid(f + w["f.c"] * c)
    return c * sigmoid(o + w["o.c.next"] * c), c


def no_peepholes(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, f, z, o = gates(w, "ifgo", x, h)
    c = np.tanh(z) * sigmoid(i) + c * sigmoid(f)
    return np.tanh(c) * sigmoid(o), c


def cifg(w: Weights, x: Array, h: Array, c: Array) -> Pair:
    i, z, o = gates(w, "igo", x, h)
    i = sigmoid(i + w["i.c"] * c)
    f = 1 - i
    c = np.tanh(z) * i + c * f
    return np.tanh(c) * sigmoid(o + w["o.c.next"] * c), c


def fgr(
    w: Weights, x: Array, h: Array, c: Array, i: Array, f: Array, o: Array
) -> tuple[Array, ...]:
    before = {"x": x, "h": h, "i": i, "f": f, "o": o}
    z = np.tanh(see(w, "g", {"x": x, "h": h}))
    i = sigmoid(see(w, "i", before) + w["i.c"] * c)
    f = sigmoid(see(w, "f", before) + w["f.c"] * c)
    c = z * i + c * f
    o = sigmoid(see(w, "o", before) + w["o.c.next"] * c)
    return np.tanh(c) * o, c, i, f, o


def raw(w: Weights, key: str, x: Array, h: Array) -> Array:
    """The papers' raw x, where it is as wide as h; else a projection stands in its place."""
    return x if x.shape == h.shape else x @ w[key].T


def mut1(w: Weights, x: Array, h: Array) -> tuple[Array]:
    z = sigmoid(x @ w["z.x"].T + w["z.bias"])
    (r,) = (sigmoid(a) for a in gates(w, "r", x, h))
    n = np.tanh((r * h) @ w["n.r*h"].T + np.tanh(raw(w, "n.x", x, h)) + w["n.bias"])
    return (n * z + h * (1 - z),)


def mut2(w: Weights, x: Array, h: Array) -> tuple[Array]:
    (z,) = (sigmoid(a) for a in gates(w, "z", x, h))
    r = sigmoid(raw(w, "r.x", x, h) + h @ w["r.h"].T + w["r.bias"])
    n = np.tanh((r * h) @ w["n.r*h"].T + x @ w["n.x"].T + w["n.bias"])
    return (n * z + h * (1 - z),)


def mut3(w: Weights, x: Array, h: Array) -> tuple[Array]:
    z = sigmoid(x @ w["z.x"].T + np.tanh(h) @ w["z.tanh(h)"].T + w["z.bias"])
    (r,) = (sigmoid(a) for a in gates(w, "r", x, h))
    n = np.tanh((r * h) @ w["n.r*h"].T + x @ w["n.x"].T + w["n.bias"])
    return (n * z + h * (1 - z),)
