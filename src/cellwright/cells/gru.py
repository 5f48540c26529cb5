"""Gated recurrent units: two forms that differ in where the reset gate acts."""

from cellwright.language import Cell, Input, State, affine, sigmoid, tanh


class GRU(Cell):
    """Gated recurrent unit, reset after the matrix as in torch (Cho et al. 2014).

    torch's and cuDNN's form; the paper's own is `gru-cho`. z near 1 keeps the old state.

    Good for: what the LSTM is for, with a quarter fewer matrices; takes torch's weights.
    """

    x, h = Input(), State()

    r = sigmoid(affine(x, h))  # reset gate
    z = sigmoid(affine(x, h))  # update gate: what to keep
    n = tanh(affine(x) + r * affine(h))  # candidate

    h.next = (1 - z) * n + z * h


class GRUCho(Cell):
    """Gated recurrent unit, reset before the matrix as in the paper (Cho et al. 2014, eqs. 5-8).

    As in Chung et al. (2014) and Olah (2015), z near 1 takes the candidate; Cho's z is 1 - z here.

    Good for: repeating the papers' experiments.
    """

    x, h = Input(), State()

    r = sigmoid(affine(x, h))
    z = sigmoid(affine(x, h))  # update gate: what to replace
    n = tanh(affine(x, r * h))

    h.next = (1 - z) * h + z * n
