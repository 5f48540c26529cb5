"""Cells found by search (Jozefowicz, Zaremba & Sutskever 2015)."""

from cellwright.language import Cell, Input, State, affine, bias, linear, sigmoid, tanh


class MUT1(Cell):
    """MUT1: the update gate sees the input alone (Jozefowicz, Zaremba & Sutskever 2015, sec. 3.3).

    The paper adds tanh(x) to the candidate, which needs x as wide as h; here, at any width, a
    learned projection of x stands in its place.
    """

    x, h = Input(), State()

    z = sigmoid(affine(x))
    r = sigmoid(affine(x, h))
    p = linear(x)  # stands for the paper's raw x
    n = tanh(linear(r * h) + tanh(p) + bias())

    h.next = n * z + h * (1 - z)
