"""How often a language model prefers the word that agrees, by kind of dependency and distance."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cellwright.tasks.agreement import KINDS, AgreementError, Probe, Target

DISTANCES: Final = ((1, 5), (6, 10), (11, 20), (21, 40), (41, None))

LogProbabilities = Callable[[Sequence[Probe]], Sequence[Sequence[Sequence[float]]]]
"""What a model answers for sentences: for each probe and each of its targets, one number for each
of `target.candidates`, in that order: log p(candidate | the words of the sentence before the
target). What the model has read before that sentence is the caller's to choose, the same for all;
a model of running text has never met a sentence without one before it, on a line of its own."""


@dataclass(frozen=True)
class Answer:
    """A target, and whether the model gave its right word more than every wrong one."""

    target: Target
    right: bool


@dataclass(frozen=True)
class Tally:
    """Right answers among those asked; `chance` is what guessing is expected to reach."""

    right: int
    asked: int
    chance: float

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 to 1; NaN when nothing was asked."""
        return self.right / self.asked if self.asked else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """A JSON object; the accuracy of nothing is null."""
        accuracy = self.accuracy if self.asked else None
        return {
            "right": self.right,
            "asked": self.asked,
            "accuracy": accuracy,
            "chance": self.chance if self.asked else None,
        }


@dataclass(frozen=True)
class DistanceRow:
    """One line of the table: targets `low` to `high` words from their cue, all and by kind."""

    low: int
    high: int | None
    all: Tally
    kinds: dict[str, Tally]

    @property
    def label(self) -> str:
        """The distances as people write them: "6-10", "41+"."""
        return f"{self.low}+" if self.high is None else f"{self.low}-{self.high}"

    @property
    def balanced(self) -> float:
        """The mean of the kinds' accuracies, for rows that hold the kinds in different shares."""
        return _mean(tally.accuracy for tally in self.kinds.values() if tally.asked)

    @property
    def balanced_chance(self) -> float:
        """What guessing is expected to reach in `balanced`."""
        return _mean(tally.chance for tally in self.kinds.values() if tally.asked)


@dataclass(frozen=True)
class AgreementScore:
    """Every answer that a model gave, and the tables that follow from them."""

    answers: tuple[Answer, ...]

    def tally(self, chosen: Callable[[Target], bool] = lambda _: True) -> Tally:
        """Count the answers to the chosen targets."""
        picked = [answer for answer in self.answers if chosen(answer.target)]
        guess = sum(1 / len(answer.target.candidates) for answer in picked)
        chance = guess / len(picked) if picked else float("nan")
        return Tally(sum(answer.right for answer in picked), len(picked), chance)

    def by_distance(
        self, distances: Sequence[tuple[int, int | None]] = DISTANCES
    ) -> tuple[DistanceRow, ...]:
        """One row for each range of distances, both ends included."""
        return tuple(
            DistanceRow(
                low,
                high,
                self.tally(lambda t: _within(t, low, high)),  # noqa: B023
                {
                    kind: self.tally(lambda t: t.kind == kind and _within(t, low, high))  # noqa: B023
                    for kind in KINDS
                },
            )
            for low, high in distances
        )

    def by_kind(self) -> dict[str, Tally]:
        """One tally for each kind of dependency."""
        return {kind: self.tally(lambda t, kind=kind: t.kind == kind) for kind in KINDS}

    def held_out(self) -> dict[str, Tally]:
        """The answers whose pair of words stands in the test only: "all", then by kind.

        Gender pairs are kept back with the verb that asks for them.
        """
        picked = {"all": self.tally(lambda t: t.held_out)}
        for kind in KINDS:
            picked[kind] = self.tally(lambda t, kind=kind: t.held_out and t.kind == kind)
        return picked

    def to_dict(self) -> dict[str, Any]:
        """All tables as one JSON object."""
        return {
            "all": self.tally().to_dict(),
            "kinds": {kind: tally.to_dict() for kind, tally in self.by_kind().items()},
            "distances": [
                {"low": row.low, "high": row.high, "all": row.all.to_dict()}
                | {"balanced": row.balanced if row.all.asked else None}
                | {kind: tally.to_dict() for kind, tally in row.kinds.items()}
                for row in self.by_distance()
            ],
            "attractors": {
                "none": self.tally(lambda t: t.attractors == 0).to_dict(),
                "some": self.tally(lambda t: t.attractors > 0).to_dict(),
            },
            "held_out": self.held_out()["all"].to_dict(),
        }


def score(
    probes: Sequence[Probe], log_probabilities: LogProbabilities, *, batch: int = 128
) -> AgreementScore:
    """Ask a model for every target of the probes, `batch` sentences of similar length at a time.

    An answer is right when the right word's value is greater than every wrong word's; a tie or a
    NaN is wrong.

    Errors: AgreementError when the model's answer does not have a value for each candidate.
    """
    by_length = sorted(probes, key=lambda probe: len(probe.words))
    answers: list[Answer] = []
    for start in range(0, len(by_length), batch):
        part = by_length[start : start + batch]
        answers += _answers(part, log_probabilities(part))
    return AgreementScore(tuple(answers))


def _answers(
    probes: Sequence[Probe], values: Sequence[Sequence[Sequence[float]]]
) -> Iterator[Answer]:
    if len(values) != len(probes):
        raise AgreementError(
            f"agreement score: expected values for {len(probes)} sentences, got {len(values)}"
        )
    for probe, of_probe in zip(probes, values, strict=True):
        wanted = [len(target.candidates) for target in probe.targets]
        given = [len(of_target) for of_target in of_probe]
        if given != wanted:
            raise AgreementError(
                f"agreement score: {probe.text!r}: expected {wanted} values, one for each "
                f"candidate of each target, got {given}"
            )
        for target, (right, *wrong) in zip(probe.targets, of_probe, strict=True):
            yield Answer(target, all(right > other for other in wrong))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else float("nan")


def _within(target: Target, low: int, high: int | None) -> bool:
    return low <= target.distance and (high is None or target.distance <= high)
