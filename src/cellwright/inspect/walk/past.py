"""How surprised a model is by a text, with all of its past, a part of it, or none.

bits[t] = -log2 p(token t | what came before), from states of zero
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from cellwright.inspect.walk.values import Array, Reading, run

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

FURTHEST_PAST: Final = 32  # tokens before one of which a model is told


def bits(reading: Reading) -> list[float | None]:
    """Surprise at each token in bits, -log2 p; None for the first, which nothing came before."""
    log = reading.log_probabilities()
    return _bits(log, reading.ids)


def alone(model: "LanguageModel", reading: Reading) -> list[float | None]:
    """The same where every token is read from states of zero."""
    x = model.embedding.weight.detach().double().cpu().numpy()
    weight = model.decoder.weight.detach().double().cpu().numpy()
    bias = model.decoder.bias.detach().double().cpu().numpy()
    rows = {}
    for k in set(reading.ids):
        h = x[[k]]
        for layer in reading.layers:
            h = run(layer, h)[layer.graph.outputs[0]]
        logits = h[0] @ weight.T + bias
        top = logits.max()
        rows[k] = logits - top - np.log(np.exp(logits - top).sum())
    return _bits(np.stack([rows[k] for k in reading.ids]), reading.ids)


def _bits(log: Array, ids: Sequence[int]) -> list[float | None]:
    return [None, *(float(-log[t - 1, ids[t]] / np.log(2)) for t in range(1, len(ids)))]


def last_tokens(model: "LanguageModel", ids: Sequence[int]) -> list[list[float]]:
    """Return [k, mean bits] where each token is predicted from the k before it, or all there are.

    k is 1, 2, 4, ... below the text's length, at most 32; each k is read from states of zero.
    """
    import torch

    most = min(FURTHEST_PAST, len(ids) - 1)
    found: list[list[float]] = [[] for _ in range(most)]  # by context: the bits of each token
    text = torch.tensor(ids)
    with torch.no_grad():
        for first in range(len(ids) - 1):
            window = text[first : first + most + 1]
            log = torch.log_softmax(model(window[None, :-1])[0][0].double(), -1)
            came = -log.gather(1, window[1:, None])[:, 0] / np.log(2)
            for k, value in enumerate(came.tolist()):
                # from the text's first token on, what came before is all that there was
                for context in range(k, most) if first == 0 else (k,):
                    found[context].append(value)
    sizes = [2**k for k in range(most.bit_length()) if 2**k <= most]
    return [[k, float(np.mean(found[k - 1]))] for k in sizes]
