"""Looking back at each token of a walk: `LanguageModel.attribute` for the last few tokens.

effect[j] = log p(target) - mean over r of log p(target | token j replaced by r)
slope[j]  = -d log p / d x_j . (mean over r of E[r] - x_j), what the gradient says of it
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cellwright.lm.attribution.spans import REPLACEMENTS, replacements, token_spans

if TYPE_CHECKING:
    from cellwright.lm import LanguageModel

__all__ = ["FURTHEST", "REPLACEMENTS", "LookBack", "look_back", "replacements"]
FURTHEST: Final = 24  # tokens that are looked back at


@dataclass(frozen=True)
class LookBack:
    """Effects on log p(target) in nats of the tokens `first`, `first` + 1, ... up to `at`."""

    at: int
    target: int
    first: int
    effects: tuple[float, ...]
    slopes: tuple[float, ...]


def look_back(model: "LanguageModel", ids: Sequence[int], at: int, target: int) -> LookBack:
    """Ask what the prediction of `target` after token `at` owes to the tokens before it."""
    from cellwright.lm.attribution.run import Question, ablation, gradient

    first = max(0, at + 1 - FURTHEST)
    unknown = model.tokenizer.unknown_id if model.tokenizer is not None else None
    spans = token_spans(ids, model.shape.vocab, unknown=unknown)[first : at + 1]
    asked = Question(tuple(ids[: at + 1]), target, (), spans)
    return LookBack(at, target, first, ablation(model, asked).means, gradient(model, asked).means)
