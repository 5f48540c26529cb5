"""Formulas read back: LaTeX, MathML and plain text as numbers, to see what they say.

Every vector is one number wide. A reader makes tokens of a notation; one small parser gives them
the meaning that a person would: what is in a fraction or between parentheses belongs together,
products bind tighter than sums, and operations of one kind go from left to right.
"""

import math
import operator
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MATHML = "{http://www.w3.org/1998/Math/MathML}"
FUNCTIONS = {
    "σ": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "ReLU": lambda v: max(v, 0.0),
    "exp": math.exp,
    "log": math.log,
    "max": max,
    "min": min,
    "LN": lambda v: 0.3 * v + 0.1,  # some function of one number
    "fit": lambda v: v,
}
COMPARISONS = {"<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge}
MODULES = 2.0  # what a vector of modules is taken for


@dataclass(frozen=True)
class Token:
    """kind: number, symbol, sign, function, group, fraction, cases; with what belongs to it."""

    kind: str
    value: Any
    parts: tuple[tuple["Token", ...], ...] = ()


@dataclass
class Reader:
    """Evaluates tokens; `weights` are handed out to symbols in the order in which they appear."""

    values: dict[str, float]
    weights: list[float]
    given: dict[str, float] = field(default_factory=dict)

    def number(self, tokens: tuple[Token, ...]) -> float:
        """The value of a whole expression."""
        value, rest = self._choice(tokens)
        assert not rest, f"left over: {rest}"
        return value

    def _choice(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        value, rest = self._comparison(tokens)
        if rest and rest[0] == Token("sign", "if"):
            condition, rest = self._comparison(rest[1:])
            assert rest[0] == Token("sign", "else")
            other, rest = self._sum(rest[1:])
            value = value if condition else other
        return value, rest

    def _comparison(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        value, rest = self._sum(tokens)
        if rest and rest[0].value in COMPARISONS:
            other, after = self._sum(rest[1:])
            return float(COMPARISONS[rest[0].value](value, other)), after
        return value, rest

    def _sum(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        negative = tokens[0] == Token("sign", "-")
        value, rest = self._product(tokens[1:] if negative else tokens)
        value = -value if negative else value
        while rest and rest[0].value in ("+", "-"):
            assert rest[1] != Token("sign", "-"), "two signs side by side"
            other, after = self._product(rest[1:])
            value, rest = value + other if rest[0].value == "+" else value - other, after
        return value, rest

    def _product(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        value, rest = self._beside(tokens)
        while rest and rest[0].value in ("⊙", "/"):
            other, after = self._beside(rest[1:])
            value, rest = value * other if rest[0].value == "⊙" else value / other, after
        return value, rest

    def _beside(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        value, rest = self._factor(tokens)
        while rest and rest[0].kind != "sign":
            assert rest[0].kind != "number", "a number right behind a factor"
            other, rest = self._factor(rest)
            value *= other
        return value, rest

    def _factor(self, tokens: tuple[Token, ...]) -> tuple[float, tuple[Token, ...]]:
        first, rest = tokens[0], tokens[1:]
        if first.kind == "number":
            return float(first.value), rest
        if first.kind == "symbol":
            return self._symbol(first.value), rest
        if first.kind == "function":
            args = [self.number(part) for part in rest[0].parts]
            return FUNCTIONS[first.value](*args), rest[1:]
        parts = [self.number(part) for part in first.parts]
        if first.kind == "fraction":
            return parts[0] / parts[1], rest
        if first.kind == "cases":
            return (parts[0] if parts[1] else parts[2]), rest
        assert first.kind == "group" and len(parts) == 1, first
        return (abs(parts[0]) if first.value == "|" else parts[0]), rest

    def _symbol(self, name: str) -> float:
        if name in self.values:
            return self.values[name]
        if name not in self.given:
            self.given[name] = self.weights[len(self.given)]
        return self.given[name]


_LATEX = re.compile(
    r"\\left\\lvert|\\right\\rvert|\\left\(|\\right\)|\\begin\{cases\}|\\end\{cases\}"
    r"|\\text\{if \}|\\text\{otherwise\}|\\\\|&|\\frac"
    r"|\\(?:odot|le|ge|sigma|tanh|exp|log|max|min)\b"
    r"|\\operatorname\{\w+\}|\\,|\\times 10\^\{-?\d+\}|[-+<>(),;{}\[\]]|\d+(?:\.\d+)?"
    r"|(?:\\[A-Za-z]+(?:\{[\w\\]+\})?|[A-Za-z])'*(?:\^\{\\mathrm\{\w+\}\})?"
    r"(?:_(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w))?"
)
_CLOSING = {"(": ")", r"\left(": r"\right)", r"\left\lvert": r"\right\rvert", "{": "}", "[": "]"}
_SIGNS = {"+": "+", "-": "-", "<": "<", ">": ">", r"\le": "≤", r"\ge": "≥", r"\odot": "⊙"}


def latex_tokens(text: str) -> tuple[Token, ...]:
    """Tokens of a side of an equation in LaTeX."""
    words = _LATEX.findall(text)
    assert "".join(words).replace(" ", "") == text.replace(" ", ""), (text, words)
    return _latex(words)


def _latex(words: list[str]) -> tuple[Token, ...]:
    found: list[Token] = []
    while words:
        word = words.pop(0)
        name = re.fullmatch(
            r"\\(?:operatorname\{)?(sigma|tanh|exp|log|max|min|ReLU|LN|fit)\}?", word
        )
        if name:
            found.append(Token("function", name[1].replace("sigma", "σ")))
        elif word == r"\frac":
            assert words.pop(0) == "{"
            top = _latex(_until(words, "{"))
            assert words.pop(0) == "{"
            found.append(Token("fraction", None, (top, _latex(_until(words, "{")))))
        elif word == r"\begin{cases}":
            end = _matching(words, r"\begin{cases}", r"\end{cases}")
            inside, words[:] = words[:end], words[end + 1 :]
            found.append(Token("cases", None, _cases(inside)))
        elif word in _CLOSING:
            inside = _until(words, word)
            sign = "|" if "lvert" in word else word[-1]
            found.append(Token("group", sign, _parted(_latex(inside))))
        elif word in _SIGNS:
            found.append(Token("sign", _SIGNS[word]))
        elif word in (",", ";"):
            found.append(Token("comma", word))
        elif word.startswith(r"\times 10"):
            found[-1] = Token("number", f"{found[-1].value}e{word[11:-1]}")
        elif word[0].isdigit():
            found.append(Token("number", word))
        elif word != r"\,":
            found.append(Token("symbol", word))
    return tuple(found)


def _until(words: list[str], opening: str) -> list[str]:
    end = _matching(words, opening, _CLOSING[opening])
    inside, words[:] = words[:end], words[end + 1 :]
    return inside


def _matching(words: list[str], opening: str, closing: str) -> int:
    depth = 0
    for place, word in enumerate(words):
        if word == closing and depth == 0:
            return place
        depth += (word == opening) - (word == closing)
    raise AssertionError(f"no {closing} in {words}")


def _cases(words: list[str]) -> tuple[tuple[Token, ...], ...]:
    """`a & if c \\\\ b & otherwise`, in which a and b may hold cases of their own."""
    parts: list[list[str]] = [[]]
    depth = 0
    for word in words:
        depth += (word == r"\begin{cases}") - (word == r"\end{cases}")
        if depth == 0 and word in ("&", r"\\"):
            parts.append([])
        elif depth or word not in (r"\text{if }", r"\text{otherwise}"):
            parts[-1].append(word)
    a, condition, b, nothing = parts
    assert not nothing
    return _latex(a), _latex(condition), _latex(b)


def _parted(tokens: tuple[Token, ...]) -> tuple[tuple[Token, ...], ...]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "comma":
            parts.append([])
        else:
            parts[-1].append(token)
    return tuple(map(tuple, parts))


def mathml_rows(text: str) -> list[tuple[tuple[Token, ...], tuple[Token, ...]]]:
    """The two sides of each equation of a <math> element."""
    table = ET.fromstring(text).find(f"{MATHML}mtable")
    assert table is not None
    rows = []
    for row in table:
        left, right = row
        sides = mathml_tokens(list(left)), mathml_tokens(list(right[0])[1:])
        assert right[0][0].text == "="
        rows.append(sides)
    return rows


def mathml_tokens(elements: list[ET.Element]) -> tuple[Token, ...]:
    """Tokens of a run of MathML elements."""
    found: list[Token] = []
    for position, element in enumerate(elements):
        tag, text = element.tag.removeprefix(MATHML), element.text or ""
        following = elements[position + 1] if position + 1 < len(elements) else None
        if tag == "mn":
            found.append(Token("number", text))
        elif tag in ("msub", "msubsup") or (tag == "mi" and not _applies(following)):
            found.append(Token("symbol", ET.tostring(element, encoding="unicode")))
        elif tag == "mi":
            found.append(Token("function", text))
        elif tag == "mfrac":
            found.append(Token("fraction", None, tuple(mathml_tokens(list(e)) for e in element)))
        elif tag == "msup":  # 10 to a power, behind × and the digits
            power = "".join((e.text or "").replace("−", "-") for e in element[1])
            found[-1] = Token("number", f"{found[-1].value}e{power}")
        elif tag == "mrow":
            found.append(_fenced(element))
        elif tag == "mo" and text in "+−⊙<≤>≥":
            found.append(Token("sign", text.replace("−", "-")))
        elif tag == "mo" and text in ",;":
            found.append(Token("comma", text))
        else:
            assert tag == "mspace" or (tag == "mo" and text in "\u2061\u2062×"), (tag, text)
    return tuple(found)


def _applies(following: ET.Element | None) -> bool:
    return following is not None and following.text == "\u2061"


def _fenced(row: ET.Element) -> Token:
    inside = list(row)
    if inside[0].text == "{":
        rows = list(inside[1])
        a, condition, b = list(rows[0][0]), list(rows[0][1])[1:], list(rows[1][0])
        return Token("cases", None, tuple(map(mathml_tokens, (a, condition, b))))
    assert (inside[0].text or "") + (inside[-1].text or "") in ("()", "||", "[]")
    return Token("group", inside[0].text, _parted(mathml_tokens(inside[1:-1])))


_TEXT = re.compile(
    r"(?:σ|tanh|relu|exp|log|max|min|LN|fit)(?=\()|\d+(?:\.\d+)?(?:e-?\d+)?|[-+⊙/<≤>≥()|\[\],;]"
    r"|\b(?:if|else)\b|[A-Za-z]\w*(?:,\w+)*(?:\^\w+)?'*(?:\[t(?:-1)?\])?"
)


def text_tokens(text: str) -> tuple[Token, ...]:
    """Tokens of a side of an equation in plain text."""
    words = _TEXT.findall(text)
    assert "".join(words).replace(" ", "") == text.replace(" ", ""), (text, words)
    return _text(words)


def _text(words: list[str]) -> tuple[Token, ...]:
    found: list[Token] = []
    while words:
        word = words.pop(0)
        if word in ("(", "["):
            found.append(Token("group", word, _parted(_text(_until(words, word)))))
        elif word == "|":  # between bars there are none in these tests
            end = words.index("|")
            inside, words[:] = words[:end], words[end + 1 :]
            found.append(Token("group", "|", (_text(inside),)))
        elif word in "-+⊙/<≤>≥" or word in ("if", "else"):
            found.append(Token("sign", word))
        elif word in (",", ";"):
            found.append(Token("comma", word))
        elif words and words[0] == "(" and word.replace("relu", "ReLU") in FUNCTIONS:
            found.append(Token("function", word.replace("relu", "ReLU")))
        else:
            found.append(Token("number" if word[0].isdigit() else "symbol", word))
    return tuple(found)


def symbols(tokens: tuple[Token, ...]) -> list[str]:
    """The names on the left of an equation: one, or the parts of a vector."""
    inside = tokens[0].parts if tokens[0].kind == "group" else (tokens,)
    return [part[0].value for part in inside]


def read(
    rows: list[tuple[tuple[Token, ...], tuple[Token, ...]]],
    values: Mapping[str, float],
    weights: list[float],
) -> tuple[dict[str, float], int]:
    """Work through equations in order: every value by its symbol, and how many weights they have.

    A part of a vector is taken for that vector plus its number.
    """
    reader = Reader(dict(values), weights)
    for left, right in rows:
        names = symbols(left)
        several = left[0].kind == "group"
        value = MODULES if right is None else reader.number(right)
        for k, name in enumerate(names):
            reader.values[name] = value + k if several else value
    return reader.values, len(reader.given)
