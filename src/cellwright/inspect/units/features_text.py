"""Features of a text by token: where it is in a quote, in a line's last third, inside a word.

Each is a table entry: a name, the levels at which it says something, and a function that marks the
characters of a text at which it holds. A token has a feature if the token's last character has it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.bool_]

SIGNS: Final = ("char", "bpe")  # levels whose tokens are parts of words
WORDS: Final = ("word",)
ALL: Final = (*SIGNS, *WORDS)
LONG: Final = 6  # letters from which on a word is long, where tokens are characters
LONG_WORD: Final = 8  # the same where tokens are words
SHORTEST_LINE: Final = 6  # characters of a line that has a first half
CODE_SHARE: Final = 0.2  # of the lines that end as code ends, in a text taken for code

_GAP: Final = r"(?!\n[ \t]*\n)"  # an empty line ends a quote, a bracket and a sentence
_QUOTE: Final = re.compile(
    rf'"(?:{_GAP}[^"])*"|“(?:{_GAP}[^”])*”|«(?:{_GAP}[^»])*»'
    rf"|(?<!\S)``(?!\S)(?:{_GAP}.)*?''(?!\S)",
    re.DOTALL,
)
_WORD: Final = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_QUESTION: Final = re.compile(rf"(?:{_GAP}[^.!?])+\?")
_COMMENT: Final = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*|(?<!\S)#[^\n]*", re.DOTALL)
_CODE_LINE: Final = re.compile(r"[;{}]\s*$|^\s*(?:def|class|import|from|return|if|for)\b.*[:)\w]$")
_EMPTY: Final = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Feature:
    """Something that holds at some characters of a text; `why` it cannot be asked of others."""

    name: str
    levels: tuple[str, ...]
    marks: Callable[[str], Marks]
    asked: Callable[[str], bool] = lambda _: True
    why: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a text: its first character's place, its text, and whether a paragraph begins."""

    start: int
    text: str
    first: bool


def labels(pieces: Sequence[str], level: str) -> tuple[dict[str, Marks], dict[str, str]]:
    """Where each feature holds, [tokens] by its name, and why others were not asked.

    pieces: the tokens as the text has them, a line's end "\\n". Features of a level are asked of
    its texts only: where tokens are words, "inside a word" says nothing.
    """
    text, last = joined(pieces, level)
    made: dict[str, Marks] = {}
    left_out: dict[str, str] = {}
    for feature in FEATURES:
        if level in feature.levels:
            if feature.asked(text):
                made[feature.name] = feature.marks(text)[last]
            else:
                left_out[feature.name] = feature.why
    return made, left_out


def joined(pieces: Sequence[str], level: str) -> tuple[str, NDArray[np.int64]]:
    """The text of tokens, and the place of each token's last character in it.

    A byte that is no character alone has the place of the character before it.
    """
    parts: list[str] = []
    last, at = [], 0
    for piece in pieces:
        gap = " " if level in WORDS and parts and parts[-1] != "\n" != piece else ""
        parts += [gap, piece] if gap else [piece]
        at += len(gap) + len(piece)
        last.append(max(at - 1, 0))
    text = "".join(parts)
    return text or " ", np.asarray(last, dtype=np.int64)


def _marked(text: str, spans: Iterator[tuple[int, int]]) -> Marks:
    made = np.zeros(len(text), dtype=np.bool_)
    for start, end in spans:
        made[start:end] = True
    return made


def _quotes(text: str) -> Marks:
    """From the opening sign on; the closing one ends it."""
    ends = {"''": 2}
    spans = ((m.start(), m.end() - ends.get(m[0][-2:], 1)) for m in _QUOTE.finditer(text))
    return _marked(text, spans)


def _pairs(opening: str, closing: str, across: bool) -> Callable[[str], Marks]:
    """Between brackets that match; `across` empty lines too."""

    def marks(text: str) -> Marks:
        gaps = {} if across else {m.start(): True for m in _EMPTY.finditer(text)}
        spans, opened = [], []
        for k, sign in enumerate(text):
            if k in gaps:
                opened.clear()
            elif sign in opening:
                opened.append((sign, k))
            elif sign in closing and opened and opened[-1][0] == opening[closing.index(sign)]:
                spans.append((opened.pop()[1], k))
        return _marked(text, iter(spans))

    return marks


def _each(pattern: re.Pattern[str]) -> Callable[[str], Marks]:
    return lambda text: _marked(text, (m.span() for m in pattern.finditer(text)))


def _words(part: Callable[[str], tuple[int, int]]) -> Callable[[str], Marks]:
    """A part of each word: its first and its last place, counted from the word's start."""

    def marks(text: str) -> Marks:
        found = ((m.start(), part(m[0])) for m in _WORD.finditer(text))
        return _marked(text, ((at + first, at + end) for at, (first, end) in found))

    return marks


def _capitals(word: str) -> tuple[int, int]:
    """From the second of at least two capitals that a word begins with."""
    upper = next((k for k, sign in enumerate(word) if not sign.isupper()), len(word))
    return (1, upper) if upper > 1 else (0, 0)


def _name(word: str) -> tuple[int, int]:
    """All but the first letter of a word that begins with the one capital."""
    return (1, len(word)) if word[:1].isupper() and word[1:2].islower() else (0, 0)


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a text; a line's end belongs to it, an empty line is one."""
    start, empty = 0, True
    for line in _split(text):
        yield Line(start, line, empty)
        start, empty = start + len(line), not line.strip()


def _split(text: str) -> list[str]:
    """Lines that end in "\\n" only: splitlines has seven more signs."""
    return [f"{line}\n" for line in text.split("\n")[:-1]] + [text.rpartition("\n")[2]]


def _lines(part: Callable[[Line], tuple[int, int]]) -> Callable[[str], Marks]:
    """A part of each line, counted from the line's start."""

    def marks(text: str) -> Marks:
        found = ((line.start, part(line)) for line in lines(text))
        return _marked(text, ((at + first, at + end) for at, (first, end) in found))

    return marks


def _whole(holds: Callable[[Line], bool]) -> Callable[[Line], tuple[int, int]]:
    return lambda line: (0, len(line.text)) if holds(line) else (0, 0)


def _first_half(line: Line) -> tuple[int, int]:
    return (0, len(line.text) // 2) if len(line.text) >= SHORTEST_LINE else (0, 0)


def _last_third(line: Line) -> tuple[int, int]:
    size = len(line.text)
    return (size - size // 3, size) if size >= SHORTEST_LINE else (0, 0)


def _first_sign(line: Line) -> tuple[int, int]:
    return (0, 1) if line.text.strip() else (0, 0)


def _first_word(line: Line) -> tuple[int, int]:
    found = re.match(r"\S+", line.text)
    return found.span() if found else (0, 0)


def _indent(line: Line) -> tuple[int, int]:
    return (0, len(line.text) - len(line.text.lstrip())) if line.text.strip() else (0, 0)


def _after_comma(line: Line) -> tuple[int, int]:
    at = line.text.find(",")
    return (at, len(line.text)) if at >= 0 else (0, 0)


def _is_code(text: str) -> bool:
    held = [line.text.rstrip("\n") for line in lines(text) if line.text.strip()]
    return sum(bool(_CODE_LINE.search(line)) for line in held) > CODE_SHARE * len(held)


FEATURES: Final[tuple[Feature, ...]] = (
    Feature("in quotes", ALL, _quotes),
    Feature("in brackets", ALL, _pairs("([", ")]", across=False)),
    Feature("in braces", SIGNS, _pairs("{", "}", across=True)),
    Feature("in a comment", SIGNS, _each(_COMMENT), _is_code, "the text is not taken for code"),
    Feature("in a number", ALL, _each(_NUMBER)),
    Feature("at a word's first letter", SIGNS, _words(lambda word: (0, 1))),
    Feature("inside a word", SIGNS, _words(lambda word: (1, len(word)))),
    Feature(f"past a word's letter {LONG - 1}", SIGNS, _words(lambda w: (LONG - 1, len(w)))),
    Feature("in a capitalised word", SIGNS, _words(_name)),
    Feature("in a word of capitals", SIGNS, _words(_capitals)),
    Feature("at a capitalised word", WORDS, _words(lambda w: (0, len(w) * w[:1].isupper()))),
    Feature(
        f"at a word of {LONG_WORD}+ letters",
        WORDS,
        _words(lambda word: (0, len(word) * (len(word) >= LONG_WORD))),
    ),
    Feature("after a line's comma", ALL, _lines(_after_comma)),
    Feature("in a question", ALL, _each(_QUESTION)),
    Feature("at a line's start", SIGNS, _lines(_first_sign)),
    Feature("at a line's first word", WORDS, _lines(_first_word)),
    Feature("in a line's first half", ALL, _lines(_first_half)),
    Feature("in a line's last third", ALL, _lines(_last_third)),
    Feature(
        "in a line ending in ':'",
        ALL,
        _lines(_whole(lambda line: line.text.rstrip().endswith(":"))),
    ),
    Feature(
        "in a paragraph's line 1",
        SIGNS,
        _lines(_whole(lambda line: line.first and bool(line.text.strip()))),
    ),
    Feature("in a line's indentation", SIGNS, _lines(_indent)),
    Feature(
        "in an indented line",
        SIGNS,
        _lines(_whole(lambda line: line.text[:1] in (" ", "\t") and bool(line.text.strip()))),
    ),
)
