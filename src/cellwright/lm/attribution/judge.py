"""Where the methods of an attribution disagree, and where one of them does not add up."""

import dataclasses
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cellwright.lm.attribution import Attribution, Companion, signed
from cellwright.lm.attribution.run import Shares

INCOMPLETE: Final = 0.05  # share of the scores' size by which they may miss their sum
ALIKE: Final = 0.5  # rank correlation below which two methods disagree
FEWEST: Final = 8  # parts whose order says something
NOTHING: Final = 1e-5  # nats below which no score means anything


def judged(found: Attribution, shares: Mapping[str, Shares], steps: int) -> Attribution:
    """The same, with what the other methods say and where they disagree."""
    companions = []
    for name, other in shares.items():
        if name != found.method:
            ranked = _correlation(found.scores, other.means)
            said = _disagreement(found, name, other.means, ranked)
            companions.append(Companion(name, other.means, ranked, said))
    own = shares[found.method]
    changes: dict[str, Any] = {}
    if own.baseline is not None:
        missed = sum(own.means) - (own.score - own.baseline)
        changes = {"steps": steps, "baseline": own.baseline, "completeness": missed}
    return _warned(dataclasses.replace(found, companions=tuple(companions), **changes))


def renamed(found: Attribution, texts: Sequence[str]) -> Attribution:
    """The same with other texts for its parts, in what is said of them as well."""
    parts = tuple(
        dataclasses.replace(part, text=text) for part, text in zip(found.parts, texts, strict=True)
    )
    made = dataclasses.replace(found, parts=parts)
    companions = tuple(
        dataclasses.replace(c, disagreement=_disagreement(made, c.method, c.scores, c.correlation))
        for c in found.companions
    )
    return _warned(dataclasses.replace(made, companions=companions))


def _warned(found: Attribution) -> Attribution:
    """The same with its warning: what the companions say, and a sum that is missed."""
    said = [c.disagreement for c in found.companions if c.disagreement]
    if said:
        said.append("Trust the ablation: it asks the model itself.")
    if found.completeness is not None:
        total = sum(found.scores)
        wanted = total - found.completeness
        size = max(sum(map(abs, found.scores)), abs(wanted))
        if abs(found.completeness) > INCOMPLETE * size and size > NOTHING:
            said.append(
                f"The scores add up to {signed(total)} nats and should add up to "
                f"{signed(wanted)}: give more than {found.steps} steps."
            )
    return dataclasses.replace(found, warning=" ".join(said))


def _disagreement(
    found: Attribution, name: str, theirs: Sequence[float], ranked: float | None
) -> str:
    """Where two methods disagree on what matters most, its sign, or the order; else nothing."""
    ours = found.scores
    a, b = strongest(ours), strongest(theirs)
    if max(abs(ours[a]), abs(theirs[b])) < NOTHING:
        return ""

    def told(k: int, scores: Sequence[float]) -> str:
        return f"{found.tokens[k]!r} at {found.parts[k].start} ({signed(scores[k])})"

    if abs(theirs[a]) < abs(theirs[b]) / 2 or abs(ours[b]) < abs(ours[a]) / 2:
        return (
            f"What matters most is {told(a, ours)} by {found.method}, and {told(b, theirs)} by "
            f"{name}."
        )
    if ours[a] * theirs[a] < 0:
        return f"For {told(a, ours)} {name} has the other sign ({signed(theirs[a])})."
    if ours[b] * theirs[b] < 0:
        return (
            f"For {found.tokens[b]!r} at {found.parts[b].start}, strongest by {name} "
            f"({signed(theirs[b])}), {found.method} has the other sign ({signed(ours[b])})."
        )
    if ranked is not None and ranked < ALIKE:
        return (
            f"By {name} the tokens stand in another order of size (rank correlation "
            f"{signed(ranked)}; 1 for the same)."
        )
    return ""


def strongest(scores: Sequence[float]) -> int:
    """The place of the largest score, whatever its sign."""
    return max(range(len(scores)), key=lambda k: abs(scores[k]))


def _correlation(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Spearman's rank correlation of the sizes of scores."""
    if len(ours) < FEWEST:
        return None
    centre = (len(ours) - 1) / 2
    a, b = ([r - centre for r in _ranks([abs(v) for v in scores])] for scores in (ours, theirs))
    size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / size if size else None


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0, equal values sharing the mean of theirs."""
    order = sorted(values)
    return [(bisect_left(order, v) + bisect_right(order, v) - 1) / 2 for v in values]
