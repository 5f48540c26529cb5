"""Numbers as a person reads them: counts, rates, durations, losses."""

import math


def count(number: int) -> str:
    """1234567 -> '1,234,567'."""
    return f"{number:,}"


def rate(per_second: float) -> str:
    """45123.4 -> '45.1k'; four figures or fewer, so that a column stays narrow."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if per_second >= size:
            scaled = per_second / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return f"{per_second:.0f}"


def duration(seconds: float) -> str:
    """151 -> '2:31', 4000 -> '1:06:40', 200000 -> '2d 7h'; unknown (nan, inf) -> '-'."""
    if not math.isfinite(seconds):
        return "-"
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 48:
        return f"{hours // 24}d {hours % 24}h"
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"


def perplexity(nats: float) -> float:
    """exp(nats), infinite where a float cannot hold it."""
    return math.exp(nats) if nats < 700 else math.inf


def short(number: float) -> str:
    """A positive number in at most seven characters: 6.312, 63.12, 631.2, 6312, 1.2e+09."""
    if not math.isfinite(number):
        return "inf" if number > 0 else "nan"
    if number >= 1e6:
        return f"{number:.1e}"
    places = max(0, 3 - max(0, math.floor(math.log10(number)) if number > 0 else 0))
    return f"{number:.{places}f}"


def percent(fraction: float) -> str:
    """0.9312 -> '93.1 %'; only a whole is written '100 %'."""
    if fraction == 1:
        return "100 %"
    return f"{min(100 * fraction, 99.9):.1f} %"


def sparkline(values: list[float], width: int) -> str:
    """The course of `values` in `width` characters, '▁' the least and '█' the most.

    Of a long course the first tenth is left out: a training's first losses would dwarf the rest.
    """
    bars = "▁▂▃▄▅▆▇█"
    if not values or width < 1:
        return ""
    values = values[len(values) // 10 :] if len(values) > 2 * width else values
    size = min(width, len(values))
    groups = [values[k * len(values) // size : (k + 1) * len(values) // size] for k in range(size)]
    means = [sum(group) / len(group) for group in groups]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(bars[min(7, int(8 * (mean - low) / span))] for mean in means)
