"""LSTM with exponential gates."""

from cellwright.language import (
    Cell,
    Input,
    State,
    bias,
    exp,
    linear,
    maximum,
    sigmoid,
    tanh,
    where,
)

HEADS = 4


class SLSTM(Cell):
    """sLSTM: input and forget gates are exponentials, stabilised (Beck et al. 2024, eqs. 8-17).

    Four heads: units are mixed within a head alone. The state n normalises, m keeps exponents
    small; m.next is where the paper's m is, and before the first step, where n is 0, nothing is
    held: m starts from the input gate. The norm and projections around it are not in the cell.

    Good for: revising what is stored: one step can outweigh all before it.
    """

    x, h, c, n, m = Input(), State(), State(), State(), State()

    li = linear(x) + linear(h, blocks=HEADS) + bias()  # log i
    lf = linear(x) + linear(h, blocks=HEADS) + bias()  # log f
    z = tanh(linear(x) + linear(h, blocks=HEADS) + bias())
    o = sigmoid(linear(x) + linear(h, blocks=HEADS) + bias())

    held = where(n > 0, lf + m, li)
    m.next = maximum(held, li)
    i = exp(li - m.next)
    f = exp(held - m.next)

    c.next = f * c + i * z
    n.next = f * n + i
    h.next = o * (c.next / n.next)
