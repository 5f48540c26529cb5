"""Gated recurrent units: two forms that differ in where the reset gate acts."""

from cellwright.language import Cell, Input, State, affine, sigmoid, tanh


class GRU(Cell):
    """Gated recurrent unit, reset after the matrix, torch's and cuDNN's form (Cho et al. 2014).

    z near 1 keeps the old state.
    """

    x, h = Input(), State()

    r = sigmoid(affine(x, h))  # reset gate
    z = sigmoid(affine(x, h))  # update gate: what to keep
    n = tanh(affine(x) + r * affine(h))  # candidate

    h.next = (1 - z) * n + z * h


class GRUCho(Cell):
    """Gated recurrent unit, reset before the matrix, as in the papers (Cho et al. 2014; Olah 2015).

    With Chung et al. (2014) and Olah, z near 1 takes the candidate; Cho's z is 1 - z here.
    """

    x, h = Input(), State()

    r = sigmoid(affine(x, h))
    z = sigmoid(affine(x, h))  # update gate: what to replace
    n = tanh(affine(x, r * h))

    h.next = (1 - z) * h + z * n
