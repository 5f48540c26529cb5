"""The words of the agreement language, about 150, all of them ours to know the grammar of."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Noun:
    """A noun with its forms; `gender` is "he", "she" or None (things, and people of either)."""

    singular: str
    plural: str
    gender: str | None = None
    person: bool = True

    def form(self, plural: bool) -> str:
        """The noun in one number."""
        return self.plural if plural else self.singular


@dataclass(frozen=True)
class Verb:
    """A present-tense verb, `singular` for the third person, and the words that follow it."""

    singular: str
    plural: str
    tails: tuple[tuple[str, ...], ...] = ((),)

    def form(self, plural: bool) -> str:
        """The verb in one number."""
        return self.plural if plural else self.singular


def _plain(word: str, gender: str | None = None, person: bool = True) -> Noun:
    return Noun(word, word + "s", gender, person)


MEN: Final = (
    Noun("man", "men", "he"),
    *(_plain(w, "he") for w in ["king", "boy", "brother", "father", "monk"]),
)
WOMEN: Final = (
    Noun("woman", "women", "she"),
    *(_plain(w, "she") for w in ["queen", "girl", "sister", "mother", "nun"]),
)
NEUTRAL: Final = tuple(_plain(w) for w in ["teacher", "farmer", "doctor"])
PEOPLE: Final = (*MEN, *WOMEN, *NEUTRAL)
THINGS: Final = tuple(
    _plain(word, person=False) for word in ["bridge", "tree", "house", "river", "tower", "boat"]
)

OF_PEOPLE: Final = ("old", "young", "tall", "quiet", "happy", "brave", "kind", "famous")
OF_THINGS: Final = ("old", "new", "tall", "quiet", "little", "famous", "green", "strange")
PREPOSITIONS: Final = ("near", "behind", "beside", "beyond")

# The past tense has one form for both numbers, so a relative clause repeats no cue.
MET: Final = ("met", "helped", "thanked", "heard", "followed", "visited", "painted")
TOURED: Final = ("visited", "painted", "found")
PASSED: Final = (("flew", "over"), ("sailed", "past"), ("dreamed", "of"), ("read", "about"))

_OFTEN: Final = ((), ("every", "day"), ("at", "night"), ("again",))
ALONE: Final = tuple(
    Verb(word + "s", word, _OFTEN)
    for word in ["sing", "smile", "wait", "work", "sleep", "dance", "laugh", "swim"]
)
TO_ONESELF: Final = (
    Verb("admires", "admire", (("in", "the", "mirror"), ())),
    Verb("blames", "blame", (("for", "the", "noise"), ())),
    Verb("praises", "praise", (("every", "day"), ())),
    Verb("trusts", "trust", (("again",), ())),
)
ONES_OWN: Final = (
    Verb("cleans", "clean", (("own", "coat"), ("own", "boots"))),
    Verb("loses", "lose", (("own", "keys"), ("own", "coat"))),
    Verb("carries", "carry", (("own", "bag"), ("own", "boots"))),
    Verb("wants", "want", (("own", "bag"), ("own", "keys"))),
)
SPEAK: Final = Verb("speaks", "speak")

ONESELF: Final = {"he": "himself", "she": "herself", "they": "themselves"}
OWNER: Final = {"he": "his", "she": "her", "they": "their"}

LANGUAGE_OF: Final = {
    "France": "French",
    "Spain": "Spanish",
    "Italy": "Italian",
    "Poland": "Polish",
    "Japan": "Japanese",
    "Sweden": "Swedish",
    "Greece": "Greek",
    "Turkey": "Turkish",
}
