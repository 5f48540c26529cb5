"""Long short-term memory and its closest relatives."""

from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    diagonal,
    linear,
    proj,
    sigmoid,
    tanh,
)


class LSTM1997(Cell):
    """LSTM without a forget gate: the carousel's weight is 1 (Hochreiter & Schmidhuber 1997).

    The modern form, with tanh in place of the paper's scaled logistic squashing.

    Good for: counting and exact storage in short episodes; nothing is ever forgotten.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h))  # input gate: what to write
    g = tanh(affine(x, h))  # candidate
    o = sigmoid(affine(x, h))  # output gate: what to show

    c.next = c + i * g
    h.next = o * tanh(c.next)


class LSTM1997Paper(Cell):
    """LSTM without a forget gate, squashed as in the paper (Hochreiter & Schmidhuber 1997).

    g(a) = 4 sigmoid(a) - 2 squashes the candidate, h(c) = 2 sigmoid(c) - 1 what is shown.

    Good for: repeating the first experiments.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h))
    g = 4 * sigmoid(affine(x, h)) - 2
    o = sigmoid(affine(x, h))

    c.next = c + i * g
    h.next = o * (2 * sigmoid(c.next) - 1)


class LSTM(Cell):
    """Long short-term memory with a forget gate (Gers, Schmidhuber & Cummins 2000).

    Good for: nearly everything; the first cell to try.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h))  # input gate: what to write
    f = sigmoid(affine(x, h))  # forget gate: what to keep
    g = tanh(affine(x, h))  # candidate
    o = sigmoid(affine(x, h))  # output gate: what to show

    c.next = f * c + i * g
    h.next = o * tanh(c.next)


class ProjectedLSTM(Cell):
    """LSTM whose output is a narrower projection (Sak, Senior & Beaufays 2014, eqs. 7-12).

    Without the paper's peepholes, as in torch.

    Good for: much memory with few weights, as in speech and large vocabularies.
    """

    x, h, c = Input(), State(proj), State()

    i = sigmoid(affine(x, h))
    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    o = sigmoid(affine(x, h))

    c.next = f * c + i * g
    m = o * tanh(c.next)  # the paper's m; r, its projection, is h here
    h.next = linear(m, proj, name="hr")


class Peephole(Cell):
    """LSTM whose gates see the cell state (Gers & Schmidhuber 2000; Greff et al. 2015, "vanilla").

    The input and forget gates look at the old cell state, the output gate at the new one; the
    candidate has no peephole.

    Good for: exact timing and counting: the gates see how full the memory is.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = f * c + i * g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)


class Coupled(Cell):
    """LSTM that writes exactly where it forgets: i = 1 - f (Greff et al. 2015, CIFG).

    The learned gate is f, what to keep, as in Olah (2015); a positive bias keeps more.

    Good for: what the LSTM is for, with a quarter fewer weights and a memory that cannot grow.
    """

    x, h, c = Input(), State(), State()

    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    o = sigmoid(affine(x, h))

    c.next = f * c + (1 - f) * g
    h.next = o * tanh(c.next)


class EALSTM(Cell):
    """Entity-aware LSTM: static features open the input gate (Kratzert et al. 2019).

    `s` holds what never changes along a sequence, `static` wide: give a sequence that repeats it,
    as `features.expand(T, -1, -1)` of [B, static], and the input (x, s).

    Good for: one model of many rivers, sites or patients whose traits do not change.
    """

    x, s = Input(), Input("static")
    h, c = State(), State()

    i = sigmoid(affine(s))  # the same at every step
    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    o = sigmoid(affine(x, h))

    c.next = f * c + i * g
    h.next = o * tanh(c.next)
