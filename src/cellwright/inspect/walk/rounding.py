"""Rounding that a model hardly notices: what one column of a matrix loses, the next make good.

The columns are rounded in turn. What column j then lacks moves the columns after it, as far as the
vectors that the matrix reads let one column stand for another:

w_k <- w_k - (w_j - round(w_j)) U[j, k] / U[j, j]  for k > j,  where U' U is the inverse of X'X / T

(Frantar et al. 2022, GPTQ). X [T, C] are T vectors that the matrix reads in texts of three kinds:
what the model writes by itself, tokens drawn evenly, and one token over and over.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from cellwright.inspect.walk.values import Array, layers_of, run
from cellwright.language.ops import Op

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

WRITTEN, DRAWN, SAME, STEPS = 12, 8, 24, 48  # texts of each kind, and their tokens
OVERFLOWN: Final = 1e9  # what a cell without bounds reads of texts that it cannot bear
DAMPED: Final = 0.1  # of the mean square of the inputs: for vectors unlike all of these


def usual_inputs(model: "LanguageModel") -> tuple[Sequence[Mapping[int, Array]], Array]:
    """Return vectors that the matrices of a model read, the same ones for the same model.

    For each layer the inputs of its matrices by node, [T, C], and what the decoder reads, [T, H].
    """
    layers = layers_of(model)
    embedding = model.embedding.weight.detach().double().cpu().numpy()
    read: list[list[dict[int, Array]]] = [[] for _ in layers]
    last = []
    for text in _texts(model):
        x = embedding[text]
        for layer, found in zip(layers, read, strict=True):
            values, nodes = run(layer, x), layer.graph.nodes
            found.append({k: values[n.args[0]] for k, n in enumerate(nodes) if n.op is Op.LINEAR})
            x = values[layer.graph.outputs[0]]
        last.append(x)
    joined = [{k: np.concatenate([part[k] for part in found]) for k in found[0]} for found in read]
    return joined, np.concatenate(last)


def _texts(model: "LanguageModel") -> list[list[int]]:
    import torch

    generator, vocab = torch.Generator().manual_seed(0), model.shape.vocab
    row = torch.arange(WRITTEN)[:, None] * 7 % vocab
    rows, state = [row], None
    with torch.no_grad():
        for _ in range(STEPS - 1):
            logits, state = model(row, state)
            chances = torch.softmax(logits[:, -1].double(), -1).nan_to_num(1.0)  # it may overflow
            row = torch.multinomial(chances, 1, generator=generator)
            rows.append(row)
    drawn = torch.randint(vocab, (DRAWN, STEPS), generator=generator)
    same = [[k * vocab // SAME] * STEPS for k in range(SAME)]
    return [*torch.cat(rows, 1).tolist(), *drawn.tolist(), *same]


class Shared:
    """How the columns of a matrix [R, C] can stand for one another, given what it reads [T, C]."""

    def __init__(self, inputs: Array) -> None:
        inputs = inputs[(np.abs(inputs) < OVERFLOWN).all(axis=1)]
        square = inputs.T @ inputs / max(1, len(inputs))
        square += (DAMPED * np.trace(square) / len(square) or 1.0) * np.eye(len(square))
        self.order = np.argsort(-np.diag(square), kind="stable")
        square = square[np.ix_(self.order, self.order)]
        self.upper = np.linalg.cholesky(np.linalg.inv(square)).T

    @property
    def error(self) -> float:
        """How far off a product is, about, where the matrix is rounded to whole numbers."""
        return float(np.sqrt((1 / np.diag(self.upper) ** 2).sum() / 12))

    def rounded(self, values: Array) -> Array:
        """Return a matrix in whole numbers."""
        left, found = values[:, self.order], np.empty_like(values)
        for j, at in enumerate(self.order):
            found[:, at] = np.rint(left[:, j])
            lacks = (left[:, j] - found[:, at]) / self.upper[j, j]
            left[:, j + 1 :] -= np.outer(lacks, self.upper[j, j + 1 :])
        return found
