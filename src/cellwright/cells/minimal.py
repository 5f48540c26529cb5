"""Cells with one gate, or none: fewer weights for nearly the same."""

from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    diagonal,
    relu,
    sigmoid,
    tanh,
)


class MGU(Cell):
    """Minimal gated unit: one gate resets and updates (Zhou, Wu, Zhang & Zhou 2016).

    Good for: small models: half the weights of an LSTM.
    """

    x, h = Input(), State()

    f = sigmoid(affine(x, h))  # forget gate
    n = tanh(affine(x, f * h))

    h.next = (1 - f) * h + f * n


class JANET(Cell):
    """JANET: an LSTM with its forget gate alone (van der Westhuizen & Lasenby 2018).

    What is written is 1 - sigmoid(s - 1): a little more comes in than is forgotten (the paper's
    beta = 1). The paper starts the gate's bias after the task's length; here it is drawn.

    Good for: long memory with half the weights of an LSTM, from a high forget bias on.
    """

    x, c = Input(), State()

    s = affine(x, c)
    g = tanh(affine(x, c))

    c.next = sigmoid(s) * c + (1 - sigmoid(s - 1)) * g


class IndRNN(Cell):
    """Independently recurrent network: a unit sees itself (Li, Li, Cook, Zhu & Gao 2018).

    The recurrent weight is a vector, the paper's u.

    Good for: deep stacks and long sequences: one weight says how long a unit remembers.
    """

    x, h = Input(), State()

    h.next = relu(affine(x) + diagonal(h))


class LiGRU(Cell):
    """Light gated unit: no reset, rectified (Ravanelli, Brakel, Omologo & Bengio 2018).

    The paper normalises W x over the batch; here it has a bias instead. z near 1 keeps.

    Good for: speech and other signals frame by frame, with fewer weights than a GRU.
    """

    x, h = Input(), State()

    z = sigmoid(affine(x, h))
    n = relu(affine(x, h))

    h.next = z * h + (1 - z) * n
