"""Units that carry number or gender: probes on held-out sentences, and proof by ablation.

A unit is *selective* if its value tells two kinds of sentence apart, and *causal* if the model
needs it to agree. Only what is both is claimed: among many units some are selective by luck, and
some know what nothing reads.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import torch

from cellwright.inspect.units.probes import Half, held_out_auc, ranks, shuffled_best
from cellwright.inspect.units.read import (
    Column,
    Seen,
    Unit,
    UnitsError,
    ablated,
    look,
    output_state,
    refusal,
    untied,
)
from cellwright.inspect.units.read import units as all_units
from cellwright.lm import LanguageModel
from cellwright.tasks.agreement import AgreementCorpus, Target
from cellwright.tasks.agreement_score import AgreementScore
from cellwright.tasks.agreement_words import ALONE, ONES_OWN, SPEAK, TO_ONESELF

ERRORS = 3  # standard errors that a drop must be above
FEWEST = 10  # targets of each of two values, in each half
_PLURAL: Final = {verb.plural for verb in (*ALONE, *TO_ONESELF, *ONES_OWN, SPEAK)}
# What is told apart, and the two answers: of the words that say yes, and of all others.
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "number": ("plural", "singular"),
    "gender": ("feminine", "masculine"),
}
_YES: Final = {"number": _PLURAL, "gender": {"herself", "her"}}

Ask = Callable[[LanguageModel, AgreementCorpus], AgreementScore]


@dataclass(frozen=True)
class Finding:
    """One of the most selective units of a kind, and what its ablation does.

    `auc` is on held-out sentences, of the unit's `state` before the word that must agree; `high` is
    what a high value says. `drops` are the points of accuracy lost on the same sentences, by kind.
    `causal`: `auc` is above every shuffle's best, and the kind's own drop above every
    control's and above three of its standard errors.
    """

    kind: str
    unit: Unit
    state: str
    auc: float
    high: str
    drops: dict[str, float]
    causal: bool


@dataclass(frozen=True)
class UnitsReport:
    """What was found on so many held-out sentences, and against what.

    accuracy   percent, the whole model's, by kind; `targets` counts them
    shuffled   by kind, the best held-out AUC of any unit, once for each shuffle of the labels
    controls   by kind, the drops of the units `drawn` at random
    left_out   states that were not asked, and why no unit of them can be ablated
    """

    sentences: int
    targets: dict[str, int]
    accuracy: dict[str, float]
    findings: tuple[Finding, ...]
    shuffled: dict[str, tuple[float, ...]]
    controls: dict[str, tuple[float, ...]]
    drawn: tuple[Unit, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind, the most selective first."""
        return tuple(found for found in self.findings if found.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return asdict(self)


def find_units(
    model: LanguageModel,
    corpus: AgreementCorpus,
    ask: Ask,
    *,
    top: int = 3,
    drawn: int = 40,
    shuffles: int = 50,
    seed: int = 0,
) -> UnitsReport:
    """Find the units most selective for number and gender, and what the model loses without them.

    The first half of the test sentences chooses the `top` units and the sign of their values; the
    second measures AUC and, by `ask`, the agreement score with the unit ablated, `drawn` random
    units beside it. States of which no unit can be ablated are not asked. The model is not changed.
    UnitsError where there are too few sentences, or where no unit can be ablated.
    """
    model = untied(model)
    middle = len(corpus.test) // 2
    held_out = replace(corpus, test=corpus.test[middle:])
    halves = [look(model, corpus, part) for part in (corpus.test[:middle], held_out.test)]
    halves, left_out = _ablatable(model, halves)
    rng = torch.Generator().manual_seed(seed)
    probed = {kind: _probed(kind, halves) for kind in KINDS}
    shuffled = {kind: shuffled_best(*probed[kind], shuffles, rng) for kind in KINDS}
    chosen = {kind: _chosen(halves[0].columns, probed[kind], top) for kind in KINDS}
    whole = _accuracy(ask(model, held_out))

    def drops(place: Unit, state: str) -> dict[str, float]:
        with ablated(model, place, state):
            without = _accuracy(ask(model, held_out))
        return {kind: whole[kind] - without[kind] for kind in KINDS}

    taken = dict.fromkeys(column for each in chosen.values() for column, _, _ in each)
    lost = {column: drops(column.place, column.state) for column in taken}
    out, places = output_state(model), {column.place for column in taken}
    free = [place for place in all_units(model) if place not in places]
    free = [place for place in free if not refusal(model, Column(out, place))]
    others = random.Random(seed).sample(free, min(drawn, len(free)))
    each = [drops(place, out) for place in others]
    controls = {kind: tuple(made[kind] for made in each) for kind in KINDS}
    counts = {kind: len(probed[kind][1][1]) for kind in KINDS}
    findings = []
    for kind, best in chosen.items():
        for column, auc, up in best:
            own = lost[column]
            proven = auc > max(shuffled[kind]) and own[kind] > max(0.0, *controls[kind])
            proven = proven and own[kind] > ERRORS * _error(whole[kind], own[kind], counts[kind])
            high = KINDS[kind][0 if up else 1]
            findings.append(Finding(kind, column.place, column.state, auc, high, own, proven))
    total = len(held_out.test)
    return UnitsReport(
        total, counts, whole, tuple(findings), shuffled, controls, tuple(others), left_out
    )


def _ablatable(model: LanguageModel, halves: Sequence[Seen]) -> tuple[list[Seen], dict[str, str]]:
    """Both halves without the units that cannot be ablated, and why those cannot, by state."""
    columns = halves[0].columns
    reasons = {column: refusal(model, column) for column in columns}
    kept = [k for k, column in enumerate(columns) if not reasons[column]]
    left_out = {column.state: reason for column, reason in reasons.items() if reason}
    if not kept:
        raise UnitsError(next(iter(left_out.values())))
    names = tuple(columns[k] for k in kept)
    return [Seen(half.values[:, kept], names, half.targets) for half in halves], left_out


def _probed(kind: str, halves: Sequence[Seen]) -> tuple[Half, Half]:
    made = []
    for half in halves:
        values, targets = half.of(kind)
        truth = torch.tensor([says_yes(target) for target in targets], dtype=torch.bool)
        if min(int(truth.sum()), int((~truth).sum())) < FEWEST:
            raise UnitsError(
                f"units: expected {FEWEST} sentences or more of each {kind} in each half of the "
                f"test, got {int(truth.sum())} and {int((~truth).sum())}; give more --sentences"
            )
        made.append((ranks(values), truth))
    return made[0], made[1]


def says_yes(target: Target) -> bool:
    """Whether a target is plural, or feminine."""
    return target.right in _YES[target.kind]


def _chosen(
    columns: Sequence[Column], halves: tuple[Half, Half], top: int
) -> list[tuple[Column, float, bool]]:
    """The columns with the best AUC on the first half, one for each unit, and their held-out AUC.

    The last item says whether a high value says yes.
    """
    fit, held, up = held_out_auc(*halves)
    found: dict[Unit, tuple[Column, float, bool]] = {}
    for at in fit.argsort(descending=True).tolist():
        place = columns[at].place
        if place not in found:
            found[place] = columns[at], float(held[at]), bool(up[at])
        if len(found) == top:
            break
    return list(found.values())


def _accuracy(score: AgreementScore) -> dict[str, float]:
    """Percent right, by kind."""
    return {kind: 100 * tally.accuracy for kind, tally in score.by_kind().items() if kind in KINDS}


def _error(percent: float, drop: float, targets: int) -> float:
    """The standard error of a drop, in points, as if the two models' answers were independent."""
    shares = percent / 100, (percent - drop) / 100
    return 100 * math.sqrt(sum(share * (1 - share) for share in shares) / targets)
