"""Cells found by search (Jozefowicz, Zaremba & Sutskever 2015).

The paper's raw x needs inputs as wide as the state; `fit(x)` is x itself there, and a learned
projection of x in its place elsewhere.
"""

from cellwright.language import Cell, Input, State, affine, bias, fit, linear, sigmoid, tanh


class MUT1(Cell):
    """MUT1: the update gate sees the input alone (Jozefowicz, Zaremba & Sutskever 2015, sec. 3.3).

    The candidate takes tanh(x); where x is not as wide as h, a learned projection of x stands in
    its place.

    Good for: comparison with the best of a search over ten thousand architectures.
    """

    x, h = Input(), State()

    z = sigmoid(affine(x))
    r = sigmoid(affine(x, h))
    n = tanh(linear(r * h) + tanh(fit(x)) + bias())

    h.next = n * z + h * (1 - z)


class MUT2(Cell):
    """MUT2: the reset gate takes x as it is (Jozefowicz, Zaremba & Sutskever 2015, sec. 3.3).

    Where x is not as wide as h, a learned projection of x stands in its place, and the cell is
    `gru-cho`.

    Good for: comparison with the best of a search over ten thousand architectures.
    """

    x, h = Input(), State()

    z = sigmoid(affine(x, h))
    r = sigmoid(fit(x) + linear(h) + bias())
    n = tanh(affine(x, r * h))

    h.next = n * z + h * (1 - z)


class MUT3(Cell):
    """MUT3: the update gate sees tanh(h) (Jozefowicz, Zaremba & Sutskever 2015, sec. 3.3).

    Good for: comparison with the best of a search over ten thousand architectures.
    """

    x, h = Input(), State()

    z = sigmoid(affine(x, tanh(h)))
    r = sigmoid(affine(x, h))
    n = tanh(affine(x, r * h))

    h.next = n * z + h * (1 - z)
