"""Which earlier tokens a prediction leaned on: others put in their place, and a straight line.

effect[j] = log p(target) - mean over r of log p(target | token j replaced by r)
slope[j]  = -d log p / d x_j . (mean over r of E[r] - x_j), what the gradient says of it
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

FURTHEST = 24  # tokens that are looked back at
REPLACEMENTS = 3


@dataclass(frozen=True)
class LookBack:
    """Effects on log p(target) in nats of the tokens `first`, `first` + 1, ... up to `at`."""

    at: int
    target: int
    first: int
    effects: tuple[float, ...]
    slopes: tuple[float, ...]


def replacements(ids: Sequence[int], vocab: int) -> dict[int, tuple[int, ...]]:
    """Return for each token of a text the others that take its place.

    The three most frequent tokens of the text other than itself, the smaller id first where two
    are as frequent; where the text has fewer, the vocabulary's first ids after them.
    """
    counts = Counter(ids)
    order = sorted(counts, key=lambda k: (-counts[k], k))
    order += [k for k in range(min(vocab, REPLACEMENTS + len(counts) + 1)) if k not in counts]
    return {k: tuple([r for r in order if r != k][:REPLACEMENTS]) for k in counts}


def look_back(model: "LanguageModel", ids: Sequence[int], at: int, target: int) -> LookBack:
    """Ask what the prediction of `target` after token `at` owes to the tokens before it."""
    import torch

    first = max(0, at + 1 - FURTHEST)
    others = replacements(ids, model.shape.vocab)
    read = torch.tensor([ids[: at + 1]])
    rows, owners = [read[0]], []
    for j in range(first, at + 1):
        for other in others[ids[j]]:
            changed = read[0].clone()
            changed[j] = other
            rows.append(changed)
            owners.append(j - first)
    x = model.embedding(read).detach().requires_grad_()
    with torch.enable_grad():
        logits = model.decoder(model.recurrent(x)[0][:, -1])
        (slope,) = torch.autograd.grad(torch.log_softmax(logits, -1)[0, target], x)
    with torch.no_grad():
        h = model.recurrent(model.embedding(torch.stack(rows)))[0][:, -1]
        scores = torch.log_softmax(model.decoder(h).double(), -1)[:, target]
        steps = [
            model.embedding.weight[list(others[ids[j]])].mean(0) - x[0, j]
            for j in range(first, at + 1)
        ]
        lines = [-float(slope[0, first + k] @ step) for k, step in enumerate(steps)]
    drops: list[list[float]] = [[] for _ in steps]
    for owner, score in zip(owners, scores[1:].tolist(), strict=True):
        drops[owner].append(float(scores[0]) - score)
    means = tuple(sum(d) / len(d) if d else 0.0 for d in drops)
    return LookBack(at, target, first, means, tuple(lines))
