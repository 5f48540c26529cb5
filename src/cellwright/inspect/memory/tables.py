"""The numbers of a memory report as people read them: words, shares, rows of tables."""

import math
from collections.abc import Sequence

from cellwright.inspect.memory.report import (
    Context,
    Gate,
    Gradient,
    HalfLives,
    Probed,
)
from cellwright.lm.gates import quantile
from cellwright.web.charts import number, percent

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
NAMED = 12  # units that are listed one by one before the rest is counted


def plural(count: int, noun: str) -> str:
    """Return `1 unit`, `2,000 units`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def place(of: str) -> str:
    """Return how a gradient's name is said: `c, layer 0` for `layers.0.c`."""
    _, dot, rest = of.partition("layers.")
    layer, _, name = rest.partition(".")
    return f"{name}, layer {layer}" if dot and name else of


def shown(context: Context) -> str:
    """Return how much context is used: `64`, `between 32 and 128`, `more than 512`, `at most 8`."""
    low, high = context.lacking, context.enough
    if context.used is not None:
        return f"{context.used:,}"
    if high is None:
        return "not shown" if low is None else f"more than {low:,}"
    return f"at most {high:,}" if low is None else f"between {low:,} and {high:,}"


def used(context: Context, unit: str) -> str:
    """Return how much context is used: `64 characters`, `more than 512 characters`."""
    if context.lacking is None and context.enough is None:
        return shown(context)
    return f"{shown(context)} {unit}{'' if context.used == 1 else 's'}"


def bits(nats: float) -> float:
    """Return a loss in bits."""
    return nats / math.log(2)


def beyond(values: Sequence[float | None], steps: float) -> float:
    """Return the share of units that keep half for longer than so many steps."""
    return sum(v is None or v > steps for v in values) / len(values)


def life(value: float | None) -> str:
    """Return a half-life as people read it."""
    return "never fades" if value is None else number(value)


def units(chosen: Sequence[int], of: int) -> str:
    """Return units one by one, and how many they are: `7, 9 (2 of 32)`, or `none`."""
    if not chosen:
        return "none"
    named = ", ".join(map(str, chosen[:NAMED])) + (", …" if len(chosen) > NAMED else "")
    return f"{named} ({len(chosen):,} of {of:,})"


CONTEXT_HEADS = (
    "context", "trained, bits", "trained", "± se", "other text before it", "± se",
    "earlier text shuffled", "± se", "untrained", "± se",
)  # fmt: skip


def context_rows(context: Context) -> list[list[str]]:
    """A row for each context: all losses in nats with their errors, the trained also in bits."""
    kinds = (context.reset, context.stranger, context.shuffled, context.untrained)
    made = []
    for k, size in enumerate(context.contexts):
        row = [f"{size:,}", number(bits(context.reset.loss[k]), 4)]
        for of in kinds:
            row += ["–", "–"] if of is None else [number(of.loss[k], 4), number(of.error[k], 2)]
        made.append(row)
    last = ["all", number(bits(context.reset.full), 4)]
    for of in kinds:
        last += ["–" if of is None else number(of.full, 4), "–"]
    return [*made, last]


LACK_HEADS = (
    "context", "trained", "± se", "other text before it", "± se", "earlier text shuffled", "± se",
)  # fmt: skip


def lack_rows(context: Context) -> list[list[str]]:
    """A row for each context: by how much each loss is above that with all text before."""
    made = []
    for k, size in enumerate(context.contexts):
        row = [f"{size:,}"]
        for of in (context.reset, context.stranger, context.shuffled):
            row += [number(of.loss[k] - of.full), number(of.error[k], 2)]
        made.append(row)
    return made


GRADIENT_HEADS = (
    "lag", "trained: median", "lower quartile", "upper quartile", "untrained: median",
    "lower quartile", "upper quartile",
)  # fmt: skip


def gradient_rows(gradient: Gradient) -> list[list[str]]:
    """A row for each lag: median and quartiles of both models."""
    rows: dict[int, list[str]] = {}
    for side, decay in enumerate((gradient.trained, gradient.untrained)):
        if decay is None:
            continue
        for k, lag in enumerate(decay.lags):
            row = rows.setdefault(lag, [str(lag), *["–"] * 6])
            row[1 + 3 * side : 4 + 3 * side] = [
                number(of[k]) for of in (decay.median, decay.low, decay.high)
            ]
    return [rows[lag] for lag in sorted(rows)]


LIFE_HEADS = (
    "state, layer", "model", *(f"{share:.0%} quantile".replace("%", " %") for share in QUANTILES),
    "over 10", "over 50", "over 100", "never fade",
)  # fmt: skip


def life_rows(lives: Sequence[HalfLives]) -> list[list[str]]:
    """Two rows for each state of a layer: quantiles, and shares of long half-lives."""
    made = []
    for one in lives:
        for model, values in (("trained", one.trained), ("untrained", one.untrained)):
            if values is None:
                continue
            row = [f"{one.state}, layer {one.layer}", model]
            row += [life(quantile(values, share)) for share in QUANTILES]
            row += [percent(beyond(values, steps)) for steps in (10, 50, 100)]
            made.append([*row, f"{sum(v is None for v in values):,}"])
    return made


def each_life(one: HalfLives) -> list[list[str]]:
    """A row for each unit, the longest half-life first."""
    order = sorted(
        range(len(one.trained)),
        key=lambda k: -math.inf if one.trained[k] is None else -(one.trained[k] or 0.0),
    )
    fresh = one.untrained
    return [[str(k), life(one.trained[k]), "–" if fresh is None else life(fresh[k])] for k in order]


GATE_HEADS = ("gate, layer", "below 0.1", "above 0.9", "always shut", "always open")


def gate_rows(gates: Sequence[Gate]) -> list[list[str]]:
    """A row for each gate: the shares at its ends, and the units that never leave one."""
    return [
        [
            f"{gate.name}, layer {gate.layer}",
            percent(gate.low),
            percent(gate.high),
            units(gate.shut, gate.units),
            units(gate.open, gate.units),
        ]
        for gate in gates
    ]


def bin_rows(gates: Sequence[Gate]) -> list[list[str]]:
    """A row for each bin: the share of each gate's values in it."""
    bins = len(gates[0].histogram)
    return [
        [f"{k / bins:.2f} to {(k + 1) / bins:.2f}", *(percent(g.histogram[k]) for g in gates)]
        for k in range(bins)
    ]


PROBE_HEADS = (
    "feature", "holds for", "best unit", "AUC", "token alone", "untrained", "labels shuffled",
    "it is on when",
)  # fmt: skip


def probe_rows(probes: Sequence[Probed]) -> list[list[str]]:
    """A row for each feature: base rate, best unit, its AUC, and what that is held against."""
    return [
        [
            one.feature,
            percent(one.share),
            f"{one.unit} of {one.state}, layer {one.layer}",
            number(one.auc),
            number(one.token),
            number(one.untrained),
            f"{number(min(one.shuffled))} to {number(max(one.shuffled))}" if one.shuffled else "–",
            "high" if one.high else "low",
        ]
        for one in probes
    ]
