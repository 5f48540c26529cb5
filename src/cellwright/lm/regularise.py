"""What keeps a language model from learning its text by heart.

Merity, Keskar & Socher 2018, "Regularizing and optimizing LSTM language models" (arXiv
1708.02182), sections 4.2, 4.3 and 4.6. The locked masks are Gal & Ghahramani's (2016).
"""

from torch import Tensor

from cellwright.nn import Recurrent


def locked_dropout(x: Tensor, p: float, dim: int) -> Tensor:
    """Dropout with one mask for all places along `dim`, the time.

    y[t] = x[t] * m / (1 - p), m ~ Bernoulli(1 - p) drawn once for each row and unit.
    """
    if p == 0:
        return x
    shape = [1 if k == dim else size for k, size in enumerate(x.shape)]
    return x * x.new_empty(shape).bernoulli_(1 - p).div_(1 - p)


def drop_words(x: Tensor, ids: Tensor, vocab: int, p: float) -> Tensor:
    """Zero the vectors of words drawn anew for each batch, wherever in it they stand.

    x [B, T, E], the vectors of `ids` [B, T]; as if whole rows of the embedding were dropped.
    """
    if p == 0:
        return x
    kept = x.new_empty(vocab).bernoulli_(1 - p).div_(1 - p)  # [V]
    return x * kept[ids].unsqueeze(-1)


def activation_penalty(h: Tensor, dropped: Tensor, ar: float, tar: float) -> Tensor | float:
    """What activation regularisation adds to the loss, from the last layer's output [B, T, H].

    ar * mean(dropped^2) + tar * mean((h[t + 1] - h[t])^2); a single step has no difference.
    """
    penalty: Tensor | float = 0.0
    if ar:
        penalty = ar * dropped.square().mean()
    if tar and h.shape[1] > 1:
        penalty = penalty + tar * h.diff(dim=1).square().mean()
    return penalty


class LockedRecurrent(Recurrent):
    """`Recurrent` whose dropout between layers keeps one mask for all steps of a call."""

    def _drop(self, values: Tensor, rows: object, packed: bool) -> Tensor:
        del rows, packed  # one mask for a row, however long the row is
        return locked_dropout(values, self.dropout if self.training else 0.0, dim=0)
