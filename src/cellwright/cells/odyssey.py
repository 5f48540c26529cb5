"""The eight of "LSTM: a search space odyssey": the peephole LSTM with one thing changed."""

from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    diagonal,
    sigmoid,
    tanh,
)


class NIG(Cell):
    """Peephole LSTM with no input gate: i = 1 (Greff et al. 2015).

    Good for: an ablation: what the input gate is worth.
    """

    x, h, c = Input(), State(), State()

    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = f * c + g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)


class NFG(Cell):
    """Peephole LSTM with no forget gate: f = 1 (Greff et al. 2015).

    Good for: an ablation: what the forget gate is worth.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = c + i * g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)


class NOG(Cell):
    """Peephole LSTM with no output gate: o = 1 (Greff et al. 2015).

    Good for: an ablation: what the output gate is worth.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))

    c.next = f * c + i * g
    h.next = tanh(c.next)


class NIAF(Cell):
    """Peephole LSTM with no input activation function: no tanh (Greff et al. 2015).

    Good for: an ablation: what squashing the candidate is worth.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = affine(x, h)
    c.next = f * c + i * g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)


class NOAF(Cell):
    """Peephole LSTM with no output activation function: h = o c (Greff et al. 2015).

    Good for: an ablation: what squashing the output is worth.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    f = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = f * c + i * g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * c.next


class NP(Cell):
    """LSTM with no peepholes, as the study's eighth variant (Greff et al. 2015).

    The same equations as `lstm`.

    Good for: an ablation: what peepholes are worth.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h))
    f = sigmoid(affine(x, h))
    g = tanh(affine(x, h))
    c.next = f * c + i * g
    o = sigmoid(affine(x, h))

    h.next = o * tanh(c.next)


class CIFG(Cell):
    """Peephole LSTM with coupled gates: f = 1 - i (Greff et al. 2015).

    The learned gate is i, what to write: a positive bias forgets more. In `coupled`, without
    peepholes, it is f, and a positive bias keeps more.

    Good for: an ablation, and a quarter fewer matrices than the peephole LSTM.
    """

    x, h, c = Input(), State(), State()

    i = sigmoid(affine(x, h) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = (1 - i) * c + i * g
    o = sigmoid(affine(x, h) + diagonal(c.next))

    h.next = o * tanh(c.next)


class FGR(Cell):
    """Peephole LSTM with full gate recurrence (Greff et al. 2015).

    Each gate also sees all gates of the step before, through nine more matrices; the candidate
    does not. The gates are states.

    Good for: an ablation: what gates gain by seeing one another.
    """

    x, h, c = Input(), State(), State()
    i, f, o = State(), State(), State()

    i.next = sigmoid(affine(x, h, i, f, o) + diagonal(c))
    f.next = sigmoid(affine(x, h, i, f, o) + diagonal(c))
    g = tanh(affine(x, h))
    c.next = f.next * c + i.next * g
    o.next = sigmoid(affine(x, h, i, f, o) + diagonal(c.next))

    h.next = o.next * tanh(c.next)
