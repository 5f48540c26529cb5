"""Cells with layer normalisation."""

from cellwright.language import (
    Cell,
    Input,
    State,
    bias,
    hidden,
    layer_norm,
    linear,
    sigmoid,
    split,
    tanh,
)


class LayerNormLSTM(Cell):
    """LSTM with layer normalisation (Ba, Kiros & Hinton 2016, eqs. 20-22).

    The four gates' projections are normalised together, the input's and the recurrent ones
    apart; so is the cell state before it is shown.

    Good for: steadier training on long sequences, whatever the size of the batch.
    """

    x, h, c = Input(), State(), State()

    z = layer_norm(linear(x, 4 * hidden)) + layer_norm(linear(h, 4 * hidden))
    zf, zi, zo, zg = split(z, 4)
    f = sigmoid(zf + bias())
    i = sigmoid(zi + bias())
    o = sigmoid(zo + bias())
    g = tanh(zg + bias())

    c.next = f * c + i * g
    h.next = o * tanh(layer_norm(c.next))


class LayerNormGRU(Cell):
    """GRU with layer normalisation (Ba, Kiros & Hinton 2016, supplementary material).

    The projections of both gates are normalised together, the candidate's apart; the reset acts
    after the matrix. z near 1 takes the candidate. There are no biases but the norms' shifts.

    Good for: what `layernorm-lstm` is for, with three quarters of its matrices.
    """

    x, h = Input(), State()

    a = layer_norm(linear(h, 2 * hidden)) + layer_norm(linear(x, 2 * hidden))
    az, ar = split(a, 2)
    z = sigmoid(az)
    r = sigmoid(ar)
    n = tanh(layer_norm(linear(x)) + r * layer_norm(linear(h)))

    h.next = (1 - z) * h + z * n
