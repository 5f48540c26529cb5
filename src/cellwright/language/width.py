"""Symbolic widths: how long a vector is, before anyone has said how wide the layer is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cellwright.language.errors import CellError

LARGEST_WIDTH = 1 << 24
_TERM = re.compile(r"(?:(\d{1,8})\*)?([A-Za-z][A-Za-z0-9_]{0,31})|(\d{1,8})")


@dataclass(frozen=True)
class Width:
    """A sum of whole multiples of symbols and a number, such as `4*hidden` or `input+hidden`.

    `terms` maps a symbol to its factor, sorted by symbol; the number stands under "".
    """

    terms: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, value: "Width | int | str") -> "Width":
        """Return the width that a number, a symbol's name or a text such as `4*hidden` means."""
        if isinstance(value, Width):
            return value
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise CellError(
                f"a width is a whole number or a symbol such as hidden, got {value!r:.60}"
            )
        if isinstance(value, str):
            return cls._parse(value)
        if not 0 < value <= LARGEST_WIDTH:
            raise CellError(f"a width lies between 1 and {LARGEST_WIDTH}, got {value}")
        return cls((("", value),))

    @classmethod
    def _parse(cls, text: str) -> "Width":
        total: dict[str, int] = {}
        for part in text.split("+"):
            match = _TERM.fullmatch(part.strip())
            if match is None:
                raise CellError(
                    f"a width reads like 4*hidden, input+hidden or 64, got {text!r:.60}"
                )
            factor, symbol, number = match.groups()
            key, amount = (symbol, int(factor or 1)) if symbol else ("", int(number))
            total[key] = total.get(key, 0) + amount
        return cls._from(total)

    @classmethod
    def _from(cls, total: Mapping[str, int]) -> Self:
        if any(not 0 < n <= LARGEST_WIDTH for n in total.values()):
            raise CellError(f"a width lies between 1 and {LARGEST_WIDTH}, got {dict(total)}")
        return cls(tuple(sorted(total.items())))

    def __add__(self, other: "Width | int") -> "Width":
        total = dict(self.terms)
        for symbol, factor in Width.of(other).terms:
            total[symbol] = total.get(symbol, 0) + factor
        return Width._from(total)

    __radd__ = __add__

    def __mul__(self, factor: int) -> "Width":
        if isinstance(factor, bool) or not isinstance(factor, int):
            raise CellError(f"a width is multiplied by a whole number, got {factor!r:.60}")
        return Width._from({symbol: n * factor for symbol, n in self.terms})

    __rmul__ = __mul__

    def divided(self, parts: int) -> "Width | None":
        """Return the width of one of `parts` equal parts, or None where it does not divide."""
        if any(n % parts for _, n in self.terms):
            return None
        return Width._from({symbol: n // parts for symbol, n in self.terms})

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(symbol for symbol, _ in self.terms if symbol)

    def resolve(self, sizes: Mapping[str, int]) -> int:
        """Return the number that the width means when `sizes` gives every symbol a value."""
        return sum(n * (sizes[symbol] if symbol else 1) for symbol, n in self.terms)

    def __str__(self) -> str:
        def term(symbol: str, n: int) -> str:
            return str(n) if not symbol else symbol if n == 1 else f"{n}*{symbol}"

        return "+".join(term(symbol, n) for symbol, n in self.terms)


INPUT = Width.of("input")
HIDDEN = Width.of("hidden")
PROJ = Width.of("proj")
