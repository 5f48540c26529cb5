"""The grammar of the agreement language: one sentence, with what must agree in it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from cellwright.tasks import agreement_words as lexicon
from cellwright.tasks.agreement_words import Noun, Verb

KINDS: Final = ("number", "gender", "country")
Choice = TypeVar("Choice")

# a verb phrase that ends the sentence, by whether the subject's gender is known
_ENDINGS: Final = {
    True: ("alone", "oneself", "oneself", "own", "own", "speak", "speak"),
    False: ("alone", "speak"),
}


@dataclass(frozen=True)
class Target:
    """A word that must agree: where it is, with what, and what else would be of its kind.

    `position` counts words from 0; `distance` is the target's position less that of the word that
    decides, so neighbours have distance 1. Nothing between the two repeats the cue; `attractors`
    words between them suggest a wrong answer. `held_out`: the pair was kept from training.
    """

    kind: str
    position: int
    distance: int
    attractors: int
    right: str
    wrong: tuple[str, ...]
    held_out: bool

    @property
    def candidates(self) -> tuple[str, ...]:
        """The right word, then the wrong ones."""
        return (self.right, *self.wrong)


@dataclass(frozen=True)
class Probe:
    """A sentence as words, its full stop included, with the targets in it."""

    words: tuple[str, ...]
    targets: tuple[Target, ...]

    @property
    def text(self) -> str:
        """The sentence as a line of text."""
        return " ".join(self.words)


@dataclass(frozen=True)
class Pairs:
    """Pairs of words: (a subject's singular, a verb's plural) and (home country, another)."""

    verbs: frozenset[tuple[str, str]] = frozenset()
    countries: frozenset[tuple[str, str]] = frozenset()


class Sentence:
    """One sentence as it is written from left to right, and where the cues in it stand."""

    def __init__(self, rng: random.Random, forbidden: Pairs, held_out: Pairs) -> None:
        """Draw from `rng`; use no pair that is `forbidden`; mark targets with `held_out` pairs."""
        self._rng = rng
        self._forbidden = forbidden
        self._held_out = held_out
        self._subject = rng.choice(lexicon.PEOPLE)
        self.plural: Final = rng.random() < 0.5  # the subject's number
        self._home: str | None = None
        self._home_at = 0
        self._subject_at = 0
        self._words: list[str] = []
        self._nouns: list[tuple[Noun, bool]] = []  # every noun after the subject, and if plural
        self._abroad: list[str] = []  # countries after the home country
        self._targets: list[Target] = []

    def write(self, distractors: int) -> Probe:
        """Subject, distractors, verb phrase; or two verb phrases with distractors before each."""
        rng = self._rng
        ending = rng.choice(_ENDINGS[self._subject.gender is not None])
        if ending == "speak" or rng.random() < 0.2:
            self._home = rng.choice(tuple(lexicon.LANGUAGE_OF))
        two = distractors > 0 and ending != "alone" and rng.random() < 0.3
        later = rng.randint(1, min(3, distractors)) if two else 0
        self._noun_phrase(self._subject, self.plural, lexicon.OF_PEOPLE)
        self._subject_at = len(self._words) - 1
        self._nouns.clear()
        self._modify_subject(distractors - later)
        if later:
            self._verb_alone(target=True)
            for _ in range(later):
                self._adverbial()
            self._words.append("and")
        if ending == "alone":
            self._verb_alone(target=True)
        elif ending == "speak":
            self._speak(target=not later)
        else:
            self._act(ending, target=not later)
        self._words.append(".")
        return Probe(tuple(self._words), tuple(self._targets))

    def _modify_subject(self, distractors: int) -> None:
        # Either prepositional phrases or one relative clause: "near the boys who ..." would leave
        # open whether the boys or the subject did what follows.
        if self._home is None and distractors <= 2 and self._rng.random() < 0.5:
            for _ in range(distractors):
                self._prepositional_phrase()
            return
        clauses = [False] * distractors
        if self._home is not None:
            first = self._rng.random() < 0.5  # or anywhere: both long and short distances
            clauses.insert(0 if first else self._rng.randint(0, distractors), True)
        for index, is_home in enumerate(clauses):
            last = index == len(clauses) - 1
            self._words.append("who" if index == 0 else "and" if last else ",")
            if is_home:
                self._grew_up()
            else:
                self._past_clause()

    def _grew_up(self) -> None:
        assert self._home is not None
        self._words += ["grew", "up", "in", self._home]
        self._home_at = len(self._words) - 1
        self._abroad.clear()

    def _past_clause(self) -> None:
        draw = self._rng.random()
        if draw < 0.3:
            self._words += self._rng.choice(lexicon.PASSED)
            self._other_country()
        elif draw < 0.5:
            self._words.append(self._rng.choice(lexicon.TOURED))
            self._any_noun_phrase(lexicon.THINGS, lexicon.OF_THINGS)
        else:
            self._words.append(self._rng.choice(lexicon.MET))
            self._any_noun_phrase(lexicon.PEOPLE, lexicon.OF_PEOPLE)
            if self._rng.random() < 0.15:
                self._words.append(self._rng.choice(lexicon.PREPOSITIONS))
                self._any_noun_phrase(lexicon.THINGS, lexicon.OF_THINGS)

    def _adverbial(self) -> None:
        if self._rng.random() < 0.3:
            self._words += ["on", "the", "way", "to"]
            self._other_country()
        else:
            self._prepositional_phrase()

    def _prepositional_phrase(self) -> None:
        self._words.append(self._rng.choice(lexicon.PREPOSITIONS))
        if self._rng.random() < 0.5:
            self._any_noun_phrase(lexicon.THINGS, lexicon.OF_THINGS)
        else:
            self._any_noun_phrase(lexicon.PEOPLE, lexicon.OF_PEOPLE)

    def _any_noun_phrase(self, nouns: Sequence[Noun], adjectives: Sequence[str]) -> None:
        self._noun_phrase(self._rng.choice(nouns), self._rng.random() < 0.5, adjectives)

    def _noun_phrase(self, noun: Noun, plural: bool, adjectives: Sequence[str]) -> None:
        self._words.append("the")
        if self._rng.random() < 0.15:
            self._words.append(self._rng.choice(adjectives))
        self._words.append(noun.form(plural))
        self._nouns.append((noun, plural))

    def _other_country(self) -> None:
        allowed = [
            country
            for country in lexicon.LANGUAGE_OF
            if country != self._home and (self._home, country) not in self._forbidden.countries
        ]
        self._words.append(self._rng.choice(allowed))
        self._abroad.append(self._words[-1])

    def _verb_alone(self, target: bool) -> None:
        verb = self._draw_verb(lexicon.ALONE)
        self._agreeing_verb(verb, target)
        self._words += self._rng.choice(verb.tails)

    def _act(self, ending: str, target: bool) -> None:
        reflexive = ending == "oneself"
        verb = self._draw_verb(lexicon.TO_ONESELF if reflexive else lexicon.ONES_OWN)
        self._agreeing_verb(verb, target)
        self._pronoun(lexicon.ONESELF if reflexive else lexicon.OWNER, verb)
        self._words += self._rng.choice(verb.tails)

    def _speak(self, target: bool) -> None:
        self._agreeing_verb(lexicon.SPEAK, target)
        self._words.append("fluent")
        assert self._home is not None
        right = lexicon.LANGUAGE_OF[self._home]
        wrong = tuple(name for name in lexicon.LANGUAGE_OF.values() if name != right)
        pair = any((self._home, name) in self._held_out.countries for name in self._abroad)
        self._agree("country", self._home_at, len(self._abroad), right, wrong, pair)
        if self._subject.gender is not None:
            self._words.append("with")
            self._pronoun(lexicon.OWNER, lexicon.SPEAK)
            self._words.append("friends")

    def _pronoun(self, forms: Mapping[str, str], verb: Verb) -> None:
        gender = self._subject.gender
        assert gender is not None
        if self.plural:  # no target: it shows no gender, and the verb has repeated the number
            self._words.append(forms["they"])
            return
        attractors = sum(noun.gender not in (None, gender) for noun, _ in self._nouns)
        wrong = forms["he" if gender == "she" else "she"]
        pair = (self._subject.singular, verb.plural) in self._held_out.verbs
        self._agree("gender", self._subject_at, attractors, forms[gender], (wrong,), pair)

    def _draw_verb(self, verbs: Sequence[Verb]) -> Verb:
        name = self._subject.singular
        allowed = [v for v in verbs if (name, v.plural) not in self._forbidden.verbs]
        return self._rng.choice(allowed)

    def _agreeing_verb(self, verb: Verb, target: bool) -> None:
        right, wrong = verb.form(self.plural), verb.form(not self.plural)
        if not target:  # an earlier verb has repeated the subject's number
            self._words.append(right)
            return
        attractors = sum(plural != self.plural for _, plural in self._nouns)
        pair = (self._subject.singular, verb.plural) in self._held_out.verbs
        self._agree("number", self._subject_at, attractors, right, (wrong,), pair)

    def _agree(
        self, kind: str, cue: int, attractors: int, right: str, wrong: tuple[str, ...], pair: bool
    ) -> None:
        at = len(self._words)
        self._targets.append(Target(kind, at, at - cue, attractors, right, wrong, pair))
        self._words.append(right)
