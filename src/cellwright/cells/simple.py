"""Simple recurrent networks: one state, no gates."""

from cellwright.language import Cell, Input, State, affine, relu, tanh


class RNN(Cell):
    """Simple recurrent network with tanh (Elman 1990, Finding structure in time)."""

    x, h = Input(), State()

    h.next = tanh(affine(x, h))


class ReluRNN(Cell):
    """Simple recurrent network with rectified units (Le, Jaitly & Hinton 2015, eq. 1)."""

    x, h = Input(), State()

    h.next = relu(affine(x, h))
