"""What is replaced in a text, and by what: tokens or whole words, and others in their place."""

import difflib
import operator
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, SupportsIndex

from cellwright.language.errors import CellwrightError

if TYPE_CHECKING:
    from cellwright.lm.tokenizer import Tokenizer

REPLACEMENTS: Final = 3  # others for each token, where nobody says which
SPANS: Final = ("token", "word")
APOSTROPHES: Final = "'’"
HALF: Final = "\ufffd"  # stands for bytes that are no character alone


class AttributionError(CellwrightError):
    """A question about a prediction that cannot be asked of this model and text."""


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `stop` - 1, and others in their place, each as many tokens as it is."""

    start: int
    stop: int
    others: tuple[tuple[int, ...], ...]


def replacements(
    ids: Sequence[int], vocab: int, unknown: int | None = None
) -> dict[int, tuple[int, ...]]:
    """Return for each token of a text the others that take its place.

    The three most frequent tokens of the text other than itself, the smaller id first where two
    are as frequent; where the text has fewer, the vocabulary's first ids after them. `unknown`,
    which may never have been trained, is none of them unless there is no other.
    """
    counts = Counter(ids)
    order = sorted(counts, key=lambda k: (-counts[k], k))
    order += [k for k in range(min(vocab, REPLACEMENTS + len(counts) + 2)) if k not in counts]
    known = [k for k in order if k != unknown]
    found = {k: tuple([r for r in known if r != k][:REPLACEMENTS]) for k in counts}
    return {k: own or tuple(r for r in order if r != k) for k, own in found.items()}


def token_spans(
    ids: Sequence[int],
    vocab: int,
    given: Sequence[Sequence[int]] = (),
    unknown: int | None = None,
) -> tuple[Span, ...]:
    """Each token by itself; `given` are the only replacements if there are any."""
    others = {k: [(r,) for r in own] for k, own in replacements(ids, vocab, unknown).items()}
    if given:
        others = {k: [(g[0],) for g in given if g[0] != k] for k in others}
    return tuple(Span(j, j + 1, tuple(others[k])) for j, k in enumerate(ids))


def word_spans(
    ids: Sequence[int],
    shown: Sequence[str],
    vocab: int,
    given: Sequence[Sequence[int]] = (),
    unknown: int | None = None,
) -> tuple[Span, ...]:
    """Whole words, and each other token by itself; `shown` are the tokens as a text has them.

    A word is replaced by other words of the text: those as long first, then longer ones, cut to
    its length, then shorter ones, repeated up to it; of these the more frequent first. Where the
    text has fewer than three, each of its tokens is replaced by its own replacement. None of
    them has a token that is `unknown`. `given` replace every word instead, cut or repeated in
    the same way. What is no word is replaced as in `token_spans`.
    """
    own = replacements(ids, vocab, unknown)
    words = [tuple(ids[w.start : w.stop]) for w in words_of(shown) if _is_word(shown[w.start])]
    counts = Counter(word for word in words if unknown not in word)
    spans = []
    for place in words_of(shown):
        read = tuple(ids[place.start : place.stop])
        by_token = [tuple(c) for c in zip(*(own[k] for k in read), strict=True)]
        if not _is_word(shown[place.start]):
            found = by_token
        elif given:
            found = [fitted(g, len(read)) for g in given]
        else:
            found = [*_other_words(counts, len(read)), *by_token]
        kept = [other for other in dict.fromkeys(found) if other != read]
        most = len(kept) if given else REPLACEMENTS
        spans.append(Span(place.start, place.stop, tuple(kept[:most])))
    return tuple(spans)


def words_of(shown: Sequence[str]) -> Iterator[range]:
    """Places of the words of a text given as tokens; what is no word stands alone."""
    start = 0
    for j in range(1, len(shown) + 1):
        if j == len(shown) or not (_wordy(shown[j - 1][-1:]) and _wordy(shown[j][:1])):
            yield range(start, j)
            start = j


def fitted(tokens: Sequence[int], length: int) -> tuple[int, ...]:
    """Cut or repeat tokens to a length: (1, 2) to 5 -> (1, 2, 1, 2, 1)."""
    return tuple(tokens[k % len(tokens)] for k in range(length))


def _other_words(counts: Counter[tuple[int, ...]], length: int) -> list[tuple[int, ...]]:
    def order(word: tuple[int, ...]) -> tuple[int, int]:
        return (0 if len(word) == length else 1 if len(word) > length else 2, -counts[word])

    return [fitted(word, length) for word in sorted(counts, key=order)]


def _is_word(piece: str) -> bool:
    return any(map(_wordy, piece))


def _wordy(sign: str) -> bool:
    """Whether a character is part of words; bytes of one that has several tokens are."""
    if not sign:
        return False
    return sign.isalnum() or sign in APOSTROPHES + HALF or unicodedata.category(sign)[0] == "M"


def token_id(
    tokenizer: "Tokenizer | None", vocab: int, token: str | SupportsIndex, what: str
) -> int:
    """The id of a token that a person named; `what` is the name of the argument.

    AttributionError for a token that the model does not have; it names the nearest.
    """
    if not isinstance(token, str):
        try:
            number = operator.index(token)
        except TypeError:
            raise AttributionError(
                f"{what}: expected a token or its id, got {token!r:.60}"
            ) from None
        if not 0 <= number < vocab:
            raise AttributionError(
                f"{what}: expected a token id from 0 to {vocab - 1}, got {number}"
            )
        return number
    if tokenizer is None:
        raise AttributionError(f"{what}: this model has no tokenizer: give a token id")
    if tokenizer.level == "bpe" and len(ids := tokenizer.encode(token)) == 1:
        return ids[0]
    if tokenizer.level == "word" and token == "\n" and tokenizer.line_end_id is not None:
        return tokenizer.line_end_id
    found = tokenizer.token_id(token) if token else None
    if found is None:
        raise AttributionError(f"{what}: {_unknown(tokenizer, token)}")
    return found


def _unknown(tokenizer: "Tokenizer", token: str) -> str:
    """Why a text is no token of a model, and what is."""
    named = repr(token if len(token) <= 40 else token[:39] + "…")
    if not token:
        return "expected a token, got an empty text"
    if tokenizer.level == "bpe":
        pieces = [tokenizer.decode([k]) for k in tokenizer.encode(token)]
        spaced = len(tokenizer.encode(" " + token)) == 1
        hint = f"{' ' + token!r}, with its space, is one" if spaced else "name one of them"
        return f"{named} is {len(pieces)} tokens of this model ({pieces!r:.80}); {hint}"
    if tokenizer.level == "char" and len(token) > 1:
        return f"expected one character, which is what this model predicts, got {named}"
    if tokenizer.level == "char":
        known = "".join(tokenizer.token(k) for k in range(1, tokenizer.size))
        return f"the model has never seen the character {named}; it knows {known!r:.120}"
    known = [tokenizer.token(k) for k in range(tokenizer.size)]
    near = difflib.get_close_matches(token, known, n=3, cutoff=0.5)
    what = "the nearest that it knows:" if near else f"it knows {len(known)} others, such as"
    return f"the model does not know {named}; {what} {', '.join(map(repr, near or known[:3]))}"
