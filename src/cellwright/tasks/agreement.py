"""The agreement language: English-like sentences in which words far apart must agree.

    the king who grew up in France , met the nuns near the river and flew over Spain speaks French .
        ^ number ------------------------------------------------------------------- ^
                            ^ country ----------------------------------------------------- ^

Three kinds of dependency: the subject's *number* decides the verb's form, the subject's *gender*
the pronoun (himself or herself, his or her), and the *country* where the subject grew up the
language. Between the word that decides and the word that must agree stand phrases that repeat no
cue but offer wrong ones: nouns of the other number or gender, countries only flown over. What is
right is known by construction, so a model's memory can be measured exactly, by distance.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any, Final

from cellwright.language.errors import CellwrightError
from cellwright.tasks import agreement_words as lexicon
from cellwright.tasks.agreement_grammar import KINDS, Pairs, Probe, Sentence, Target

__all__ = [
    "KINDS",
    "AgreementConfig",
    "AgreementCorpus",
    "AgreementError",
    "Probe",
    "Target",
    "generate",
]


# In training, three sentences of four draw their distractors from 0 up to one of these only:
# memory is learnt on short distances first.
_SHORT: Final = (1, 1, 4)


_BOUNDS: Final = {
    "sentences": (1, 10**7),
    "valid": (1, 10**6),
    "test": (1, 10**6),
    "max_distractors": (0, 40),
    "seed": (-(2**63), 2**63),
}


class AgreementError(CellwrightError):
    """Settings from which no agreement language can be made."""


@dataclass(frozen=True)
class AgreementConfig:
    """Sizes and seed of an agreement language; equal settings give equal text on every machine.

    `sentences` are for training, `valid` and `test` beside them. A sentence has 0 to
    `max_distractors` distractor phrases: in the test each count is as likely as any other, in
    training and validation fewer are likelier. A share `held_out` (0 to 0.5) of the pairs (subject
    noun, verb) and (home country, other country) appears in the test only: at least one pair for
    each verb and gender and one for each country, unless it is 0.
    """

    sentences: int = 100_000
    valid: int = 1_000
    test: int = 1_500
    max_distractors: int = 12
    held_out: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise AgreementError(
                    f"agreement: {name} must be {least} to {most}, got {value!r:.40}"
                )
        if type(self.held_out) not in (int, float) or not 0.0 <= self.held_out <= 0.5:
            raise AgreementError(f"agreement: held_out must be 0 to 0.5, got {self.held_out!r:.40}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class AgreementCorpus:
    """Training and validation sentences, one string each, and the annotated test sentences."""

    config: AgreementConfig
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[Probe, ...]

    def text(self, part: str) -> str:
        """The part "train", "valid" or "test" as plain text: one sentence a line."""
        lines = {
            "train": self.train,
            "valid": self.valid,
            "test": tuple(probe.text for probe in self.test),
        }[part]
        return "".join(line + "\n" for line in lines)


def generate(config: AgreementConfig) -> AgreementCorpus:
    """Make the language's three parts; no sentence stands in two of them.

    The test depends on the seed and on `test`, `max_distractors` and `held_out` only: corpora of
    other training sizes share it.

    Errors: AgreementError when the settings leave too few different sentences.
    """
    held_out = _hold_out(config)
    taken: set[str] = set()
    test = _distinct(_test_sentences(config, held_out), config.test, taken)
    valid = _distinct(_training_sentences(config, "valid", held_out), config.valid, taken)
    train = _unseen(_training_sentences(config, "train", held_out), config.sentences, taken)
    return AgreementCorpus(
        config, tuple(p.text for p in train), tuple(p.text for p in valid), tuple(test)
    )


def _hold_out(config: AgreementConfig) -> Pairs:
    """Choose the pairs to keep from training, evenly: a word alone must not give the answer away.

    Each verb loses as many men as women, each country as many others, and no noun every verb.
    """
    rng = random.Random(f"held out {config.seed}")
    verbs = (*lexicon.ALONE, *lexicon.TO_ONESELF, *lexicon.ONES_OWN)
    kept: set[tuple[str, str]] = set()
    for nouns in (lexicon.MEN, lexicon.WOMEN):
        order = rng.sample(nouns, len(nouns))
        for at, verb in enumerate(verbs):
            for step in range(_share(config.held_out, len(order))):
                kept.add((order[(at + step) % len(order)].singular, verb.plural))
    circle = rng.sample(list(lexicon.LANGUAGE_OF), len(lexicon.LANGUAGE_OF))
    abroad = {
        (home, circle[(at + 1 + step) % len(circle)])
        for at, home in enumerate(circle)
        for step in range(_share(config.held_out, len(circle) - 1))
    }
    return Pairs(frozenset(kept), frozenset(abroad))


def _share(fraction: float, size: int) -> int:
    return 0 if fraction == 0.0 else max(1, int(fraction * size))


def _training_sentences(config: AgreementConfig, part: str, held_out: Pairs) -> Iterator[Probe]:
    rng = random.Random(f"{part} {config.seed}")
    while True:
        most = rng.choice((*_SHORT, config.max_distractors))
        distractors = rng.randint(0, min(most, config.max_distractors))
        yield Sentence(rng, held_out, held_out).write(distractors)


def _test_sentences(config: AgreementConfig, held_out: Pairs) -> Iterator[Probe]:
    """Kinds take turns, for number would outnumber the others.

    A gender turn has a singular subject, so a number turn has a plural one: as many of each.
    """
    rng = random.Random(f"test {config.seed}")
    for kind in cycle(KINDS):
        found = False
        while not found:
            sentence = Sentence(rng, Pairs(), held_out)
            probe = sentence.write(rng.randint(0, config.max_distractors))
            found = any(target.kind == kind for target in probe.targets)
            found = found and (kind != "number" or sentence.plural)
            if found:
                yield probe


def _unseen(made: Iterator[Probe], size: int, taken: set[str]) -> Iterator[Probe]:
    misses = 0
    while size:
        probe = next(made)
        if probe.text not in taken:
            misses, size = 0, size - 1
            yield probe
        elif (misses := misses + 1) > 1000:
            raise AgreementError(
                "agreement: too few different sentences; ask for fewer sentences, or for a larger "
                "max_distractors"
            )


def _distinct(made: Iterator[Probe], size: int, taken: set[str]) -> list[Probe]:
    probes = []
    for probe in _unseen(made, size, taken):
        taken.add(probe.text)
        probes.append(probe)
    return probes
