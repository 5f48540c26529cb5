"""Rates of a transform of the cell, as they are typed: one for all, or one for each name."""

from typing import Any, Final

from cellwright.lm.fields import Rule

Rates = float | dict[str, float]

_BELOW_ONE: Final = "a rate of at least 0 and below 1"


def plain(value: object) -> Any:
    """A rate as a float or as the text with its names; 0 is None. Other values as they are."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if isinstance(value, float) or (type(value) is int and 0 <= value <= 1):
        return float(value) or None
    return value


def read(value: float | str) -> Rates:
    """0.1 -> 0.1; "h=.05,c=.5" -> {"h": 0.05, "c": 0.5}. ValueError says what it is not."""
    if not isinstance(value, str):
        return _rate(value)
    rates: dict[str, float] = {}
    for part in value.split(","):
        name, sign, rate = (piece.strip() for piece in part.partition("="))
        if not (sign and name.isidentifier()) or name in rates:
            raise ValueError(f"expected NAME=RATE once for each name, got {part!r}")
        try:
            rates[name] = _rate(float(rate))
        except ValueError as error:
            raise ValueError(f"{name}: expected {_BELOW_ONE}, got {rate!r}") from error
    return rates


def _rate(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"expected {_BELOW_ONE}, got {value:g}")
    return value


def rule(example: str) -> Rule:
    """What a field of rates may hold: one rate, or a text like `example`."""

    def holds(value: Any) -> bool:
        if not isinstance(value, float | str):
            return False
        try:
            read(value)
        except ValueError:
            return False
        return True

    return Rule(holds, f"{_BELOW_ONE}, or {example}")
