"""Cells that a stack connects by more than h: the layer below is an input of its own."""

from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    diagonal,
    hidden,
    linear,
    sigmoid,
    tanh,
)


class DepthGated(Cell):
    """Depth-gated LSTM: a gate lets in the memory from below (Yao et al. 2015).

    `below` is that layer's new c; the outputs, h and c, are what the layer above reads. The
    lowest layer is `depth-gated-lowest`.

    Good for: deep stacks: memory flows up the layers as it flows through time.
    """

    x, below = Input(), Input(hidden)
    h, c = State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    d = sigmoid(affine(x) + diagonal(c) + diagonal(below))  # depth gate
    c.next = f * c + i * g + d * below
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)
    outputs = h.next, c.next


class DepthGatedLowest(Cell):
    """Depth-gated LSTM, lowest layer: a projection of x is below (Yao et al. 2015).

    The depth gate has no weight for what is below.

    Good for: the bottom of a stack of `depth-gated`.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    d = sigmoid(affine(x) + diagonal(c))
    below = linear(x)
    c.next = f * c + i * g + d * below
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)
    outputs = h.next, c.next


class Grid(Cell):
    """Grid LSTM, 2-D: one LSTM along time, one along depth (Kalchbrenner et al. 2015).

    Both read H = (x, h), x being the depth's h from below and `below` its memory; the outputs are
    the depth's new h and memory, what the layer above reads. As in the paper h = tanh(o c), not
    the usual o tanh(c); biases are added.

    Good for: deep stacks: the depth has a memory of its own.
    """

    x, below = Input(), Input(hidden)
    h, c = State(), State()

    i = sigmoid(affine(x, h))
    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    o = sigmoid(affine(x, h))
    c.next = f * c + i * g
    h.next = tanh(o * c.next)

    i_d = sigmoid(affine(x, h))
    f_d = sigmoid(affine(x, h))
    g_d = tanh(affine(x, h))
    o_d = sigmoid(affine(x, h))
    m = f_d * below + i_d * g_d
    y = tanh(o_d * m)

    outputs = y, m


class GridPriority(Cell):
    """Grid LSTM, 2-D, depth last: it reads the new h of time (Kalchbrenner et al. 2015).

    Otherwise as `grid`.

    Good for: what `grid` is for, where the layer above should see the newest state.
    """

    x, below = Input(), Input(hidden)
    h, c = State(), State()

    i = sigmoid(affine(x, h))
    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    o = sigmoid(affine(x, h))
    c.next = f * c + i * g
    h.next = tanh(o * c.next)

    i_d = sigmoid(affine(x, h.next))
    f_d = sigmoid(affine(x, h.next))
    g_d = tanh(affine(x, h.next))
    o_d = sigmoid(affine(x, h.next))
    m = f_d * below + i_d * g_d
    y = tanh(o_d * m)

    outputs = y, m
