"""The pictures of a memory report."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cellwright.inspect.memory.bracket import best_alone
from cellwright.inspect.memory.report import (
    Context,
    Facts,
    Gate,
    Gradient,
    HalfLives,
    Losses,
    Probed,
)
from cellwright.inspect.memory.tables import beyond, place, used
from cellwright.web.charts import (
    Axis,
    Bar,
    Dot,
    DotRow,
    Level,
    Mark,
    Series,
    Tone,
    Words,
    bar_chart,
    dot_chart,
    limits,
    line_chart,
    number,
    percent,
)

WIDE: Final = (900.0, 440.0)  # a drawing across the page
SIDES: Final = (44.0, 256.0)  # room beside its field: the two across the page align
NARROW: Final = (360.0, 330.0)  # the same where there is the room of a phone
PANEL: Final = (300.0, 235.0)  # one of several side by side
DECADES: Final = 10  # of gradients, below the largest; what is smaller is shown at the foot
LEAST: Final = 1e-4  # nats that a context lacks: less is shown at the foot
SHORTEST, LONGEST = 0.1, 1e6  # steps of the half-lives that are drawn; the rest is counted
TRAINED, UNTRAINED = Tone.TEAL, Tone.GREY
CONTROLS: Final = (("trained", TRAINED), ("untrained", UNTRAINED))
CURVES: Final = (
    ("trained", TRAINED),
    ("other text before it", Tone.BLUE),
    ("earlier text shuffled", Tone.ORANGE),
    ("untrained", UNTRAINED),
)
DOTS: Final = (
    ("best unit", TRAINED),
    ("token alone", Tone.BLUE),
    ("best unit, untrained", UNTRAINED),
)


def context_plot(context: Context, facts: Facts, name: str, wide: bool) -> str:
    """Draw the loss against the context: wide with names at the curves, or narrow without."""
    kinds = (context.reset, context.stranger, context.shuffled, context.untrained)
    series = [
        _losses(called, tone, context.contexts, of)
        for (called, tone), of in zip(CURVES, kinds, strict=True)
        if of is not None
    ]
    full, guess, unit = context.reset.full, context.guessing, facts.unit
    low, high = limits([v for one in series for v in (*one.low, *one.high, full, guess)])
    return line_chart(
        Words(
            name,
            f"Loss against {unit}s of context",
            f"Trained: {number(context.reset.loss[0])} nats with {context.contexts[0]:,} and "
            f"{number(context.reset.loss[-1])} with {context.contexts[-1]:,} {unit}s of context, "
            f"{number(full)} with all text before. Context used: {used(context, unit)}.",
        ),
        _contexts(context, unit),
        Axis(
            f"loss, nats per {unit}",
            low - 0.06 * (high - low),  # room for a label below the lowest line
            high,
            also=(f"bits per {unit}", 1 / math.log(2)),
        ),
        series,
        size=WIDE if wide else NARROW,
        marks=_used(context, unit),
        levels=[
            Level(full, f"all text before: {number(full)} nats", below=True),
            Level(guess, f"guessing: {number(guess)} nats"),
        ],
        named=wide,
        sides=SIDES if wide else None,
    )


def lack_plot(context: Context, facts: Facts, name: str, wide: bool) -> str:
    """Draw what each context still lacks: its loss above the loss with all text before."""
    series = []
    for (called, tone), of in zip(
        CURVES, (context.reset, context.stranger, context.shuffled), strict=False
    ):
        full = of.full
        one = _losses(called, tone, context.contexts, of)
        y, low, high = (tuple(v - full for v in values) for values in (one.y, one.low, one.high))
        series.append(replace(one, y=y, low=low, high=high))
    values = [v for one in series for v in one.y]
    bottom, top = limits([*values, *(v for one in series for v in one.high), LEAST], log=True)
    sizes = zip(context.contexts, series[0].y, strict=True)
    return line_chart(
        Words(
            name,
            "What each context still lacks",
            "Trained, nats above the loss with all text before: "
            + ", ".join(f"{number(lack, 2)} with {size:,}" for size, lack in sizes)
            + ".",
        ),
        _contexts(context, facts.unit),
        Axis("nats above the loss with all text before", max(bottom, LEAST), top, log=True),
        series,
        size=(WIDE[0], 300.0) if wide else (NARROW[0], 280.0),
        marks=_used(context, facts.unit),
        sides=SIDES if wide else None,
    )


def _contexts(context: Context, unit: str) -> Axis:
    first, last = context.contexts[0], context.contexts[-1]
    return Axis(f"{unit}s of context", first, max(last, first + 1), log=True)


def _used(context: Context, unit: str) -> list[Mark]:
    """One mark where the bracket closes, or its two ends; the best where more text does harm."""
    if context.lacking is None and (best := best_alone(context)) is not None:
        return [Mark(best, f"best: {best:,}")]
    if context.used is not None:
        return [Mark(context.used, f"used: {used(context, unit)}")]
    low, high = context.lacking, context.enough
    made = [] if low is None else [Mark(low, f"lacking: {low:,}")]
    return made if high is None else [*made, Mark(high, f"enough: {high:,}")]


def _losses(name: str, tone: Tone, contexts: Sequence[int], of: Losses) -> Series:
    pairs = list(zip(of.loss, of.error, strict=True))
    low, high = tuple(loss - e for loss, e in pairs), tuple(loss + e for loss, e in pairs)
    return Series(name, tone, tuple(contexts), of.loss, low, high)


def gradient_limits(gradients: Iterable[Gradient]) -> tuple[float, float]:
    """Return the limits that all panels share: at most DECADES, a decade where all is zero."""
    values = [
        v
        for g in gradients
        for d in (g.trained, g.untrained)
        if d is not None
        for v in (*d.median, *d.low, *d.high)
    ]
    if not any(v > 0 for v in values):
        return 0.1, 1.0
    low, high = limits(values, log=True)
    return max(low, high / 10.0**DECADES), high


def gradient_plot(gradient: Gradient, facts: Facts, norms: tuple[float, float], name: str) -> str:
    """Draw the norm of a gradient against the lag, between the limits `norms`."""
    pair = (gradient.trained, gradient.untrained)
    series = [
        Series(called, tone, of.lags, of.median, of.low, of.high)
        for (called, tone), of in zip(CONTROLS, pair, strict=True)
        if of is not None
    ]
    lags = sorted({lag for of in pair if of is not None for lag in of.lags})
    ends = ", ".join(
        " and ".join(number(of.median[k]) for k in (0, -1)) + f" {called}"
        for (called, _), of in zip(CONTROLS, pair, strict=True)
        if of is not None
    )
    window = facts.window
    return line_chart(
        Words(
            name,
            f"Gradient with respect to {place(gradient.of)}, by lag",
            f"Medians at the first and the last lag: {ends}.",
        ),
        Axis(f"lag, {facts.unit}s back", lags[0], max(lags[-1], lags[0] + 1)),
        Axis("norm of the gradient", *norms, log=True),
        series,
        size=PANEL,
        marks=[Mark(window, f"window {window:,}")] if lags[0] <= window <= lags[-1] else [],
    )


def life_limits(lives: Iterable[HalfLives]) -> tuple[float, float]:
    """Return the limits that all panels share: decades around what fades, at most LONGEST."""
    values = [v for one in lives for own in (one.trained, one.untrained) for v in own or () if v]
    if not values:
        return 1.0, 1000.0
    low, high = limits(values, log=True)
    low = min(max(low, SHORTEST), 1.0)
    return low, max(min(high, LONGEST), 100.0)


def life_plot(one: HalfLives, facts: Facts, steps: tuple[float, float], name: str) -> str:
    """Draw the share of units that keep half for longer than so many steps."""
    pair = (one.trained, one.untrained)
    series = [
        _lasting(called, tone, values, steps)
        for (called, tone), values in zip(CONTROLS, pair, strict=True)
        if values is not None
    ]
    middle = " and ".join(
        f"{percent(beyond(values, facts.window))} {called}"
        for (called, _), values in zip(CONTROLS, pair, strict=True)
        if values is not None
    )
    inside = steps[0] <= facts.window <= steps[1]
    return line_chart(
        Words(
            name,
            f"Half-lives of {one.state}, layer {one.layer}",
            f"Units that keep half for longer than {facts.window:,} steps: {middle}.",
        ),
        Axis("steps", *steps, log=True),
        Axis("units that keep half for longer", 0, 1, share=True),
        series,
        size=PANEL,
        marks=[Mark(facts.window, f"window {facts.window:,}")] if inside else [],
    )


def _lasting(
    name: str, tone: Tone, values: Sequence[float | None], steps: tuple[float, float]
) -> Series:
    """The share above each half-life, from the left edge to the right one."""
    fading = sorted(v for v in values if v is not None)
    count = len(values)
    x, y = [steps[0]], [1 - bisect_right(fading, steps[0]) / count]
    for at in sorted({v for v in fading if steps[0] < v <= steps[1]}):
        x.append(at)
        y.append(1 - bisect_right(fading, at) / count)
    if x[-1] < steps[1]:
        x.append(steps[1])
        y.append(y[-1])
    return Series(name, tone, tuple(x), tuple(y), stepped=True, strip=tuple(fading))


def gate_plot(gate: Gate, top: float, name: str) -> str:
    """Draw how often a gate has which value, the shares from 0 to `top`."""
    bins = len(gate.histogram)
    bars = []
    for k, share in enumerate(gate.histogram):
        start, end = k / bins, (k + 1) / bins
        tone = Tone.ORANGE if end <= 0.1 else Tone.TEAL if start >= 0.9 else Tone.GREY
        bars.append(Bar(start, end, share, tone))
    return bar_chart(
        Words(
            name,
            f"Values of {gate.name}, layer {gate.layer}",
            f"{percent(gate.low)} of the values are below 0.1, {percent(gate.high)} above 0.9.",
        ),
        Axis("value", 0, 1),
        Axis("share of the values", 0, top, share=True),
        bars,
        size=PANEL,
    )


def probe_plot(probes: Sequence[Probed], name: str, wide: bool) -> str:
    """Draw the AUC of each feature's best unit beside its controls."""
    rows = []
    for one in probes:
        values = (one.auc, one.token, one.untrained)
        dots = tuple(Dot(*of, v) for of, v in zip(DOTS, values, strict=True))
        drawn = ("labels shuffled", min(one.shuffled), max(one.shuffled)) if one.shuffled else None
        rows.append(DotRow(one.feature, f"AUC {number(one.auc)}", dots, drawn))
    low = min(0.5, *(v for row in rows for v in row.values()))
    return dot_chart(
        Words(
            name,
            "How well the best unit tells each feature, and its controls",
            "; ".join(f"{one.feature}: AUC {number(one.auc)}" for one in probes) + ".",
        ),
        Axis("AUC on held-out text (0.5: chance, 1: always right)", math.floor(10 * low) / 10, 1),
        rows,
        width=WIDE[0] if wide else NARROW[0],
    )
