"""Scales: where a value lies in a picture, and which values are written beside it."""

import math
import sys
from dataclasses import dataclass

from cellwright.web.charts.numbers import PLAIN, number, power_of_ten

STEPS = (1, 2, 5)
SLACK = 1e-9  # of a step or a field: 3 × 0.1 is not 0.3


@dataclass(frozen=True)
class Scale:
    """A map from values between `low` and `high` to places between `start` and `end`.

    Errors: ValueError for limits that are not finite and ascending, and on a log scale for limits
    that are not positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"scale: expected low < high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"scale: a log scale begins above 0, got {self.low}")

    def __call__(self, value: float) -> float:
        """Return the place of a value.

        Errors: ValueError for a value outside the limits: a picture does not hide it in silence.
        """
        slack = SLACK * (self.low if self.log else self.high - self.low)
        if not self.low - slack <= value <= self.high + slack:  # NaN is not inside either
            raise ValueError(f"scale: {value} is not between {self.low} and {self.high}")
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int) -> tuple[float, ...]:
        """Return at most so many (but two on a log scale) round values, ascending."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        return nice_ticks(self.low, self.high, most)


def nice_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return the multiples of 1, 2 or 5 times a power of ten that lie from low to high."""
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    for _ in range(3):
        for step in STEPS:
            made = _multiples(low, high, step * size)
            if len(made) <= most:
                return made
        size *= 10
    raise AssertionError("a step of 500 times the first leaves no tick too many")


def _multiples(low: float, high: float, step: float) -> tuple[float, ...]:
    first, last = math.ceil(low / step - SLACK), math.floor(high / step + SLACK)
    places = max(0, -math.floor(math.log10(step) + SLACK))
    return tuple(min(high, max(low, round(k * step, places))) for k in range(first, last + 1))


def _log_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Return 1, 2 and 5 in each power of ten, or where those are too many, powers alone."""
    first = math.floor(math.log10(low) + SLACK)
    last = min(math.ceil(math.log10(high) - SLACK), sys.float_info.max_10_exp - 1)
    inside = [
        v
        for v in (step * 10.0**k for k in range(first, last + 1) for step in STEPS)
        if low * (1 - SLACK) <= v <= high * (1 + SLACK)
    ]
    if len(inside) > most:
        every = max(1, math.ceil((last - first) / most))
        inside = [
            10.0**k
            for k in range(first, last + 1)
            if k % every == 0 and low * (1 - SLACK) <= 10.0**k <= high * (1 + SLACK)
        ]
    return tuple(min(high, max(low, v)) for v in inside)


def labels(ticks: tuple[float, ...], log: bool = False) -> tuple[str, ...]:
    """Return ticks as text, all in one form: as many decimals as they need, or powers of ten."""
    if log and any(v and not PLAIN[0] <= v < PLAIN[1] for v in ticks):
        return tuple(map(_power, ticks))
    if log:
        return tuple(f"{v:,.12g}" for v in ticks)
    for places in range(13):
        if all(math.isclose(v, round(v, places), rel_tol=1e-13, abs_tol=1e-15) for v in ticks):
            return tuple(f"{v:,.{places}f}".replace("-", "−") for v in ticks)
    return tuple(number(v) for v in ticks)


def _power(value: float) -> str:
    exponent = round(math.log10(value), 9)
    whole = math.floor(exponent)
    step = round(value / 10.0**whole)
    return power_of_ten(whole) if step == 1 else f"{step}·{power_of_ten(whole)}"
