"""Simple recurrent networks: one state, no gates."""

from cellwright.language import Cell, Input, State, affine, bias, linear, relu, tanh


class RNN(Cell):
    """Simple recurrent network with tanh (Elman 1990).

    Good for: short memory, and as the yardstick for cells with gates.
    """

    x, h = Input(), State()

    h.next = tanh(affine(x, h))


class ReluRNN(Cell):
    """Simple recurrent network with rectified units (Le, Jaitly & Hinton 2015, eq. 1).

    Good for: what `rnn` is for, with units that do not saturate; clip its gradients.
    """

    x, h = Input(), State()

    h.next = relu(affine(x, h))


class IRNN(Cell):
    """Rectified network that starts as the identity (Le, Jaitly & Hinton 2015).

    The recurrent matrix starts as the identity and the bias at zero. W is drawn as in other
    cells, where the paper draws it with a standard deviation of 0.001.

    Good for: sums and counts over long spans; it explodes easily, so clip its gradients.
    """

    x, h = Input(), State()

    h.next = relu(linear(x) + linear(h, start="identity") + bias(start=0))
