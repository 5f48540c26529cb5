"""The verdict: plain sentences, each computed from the numbers of one memory report."""

import math
from collections.abc import Iterator, Sequence

from cellwright.inspect.memory.bracket import best_alone, said_of_context
from cellwright.inspect.memory.report import (
    Context,
    Decay,
    Facts,
    Gradient,
    HalfLives,
    MemoryReport,
    Probed,
    Sentence,
)
from cellwright.inspect.memory.tables import beyond, plural, shown
from cellwright.lm.gates import LONGEST, quantile

FADED = 0.01  # of the largest gradient
CLEARLY = 0.05  # of AUC: what a unit must have beyond all that it is compared with
FAR_APART = 2.0  # times: gates and ablation disagree


def verdict(report: MemoryReport, *, varied: bool = False) -> tuple[Sentence, ...]:
    """Say in up to nine sentences what was found; `varied` are the lengths of training's windows.

    Each is true of the numbers in the report, whatever they are, and says so where nothing can be
    said.
    """
    facts, context = report.facts, report.context
    made = [
        *(Sentence(text, "context") for text in said_of_context(facts, context)),
        Sentence(_window(facts, context, varied), "gradients"),
        *(Sentence(text, "gradients") for text in _reach(facts, report.gradients)),
        Sentence(_kept(report), "half-lives"),
        *(Sentence(text, "half-lives") for text in _agree(context, report.half_lives)),
        Sentence(_gates(report), "gates"),
        Sentence(_units(report), "units"),
    ]
    return tuple(made)


def share(part: float) -> str:
    """0.313 is 31 %; what is neither none nor all is never 0 % or 100 %."""
    if 0 < part < 0.01:
        return "under 1 %"
    return f"{99 if 0.99 < part < 1 else 100 * part:.0f} %"


def steps(number: float) -> str:
    """8.31 steps, 83 steps."""
    return f"{number:.1f} steps" if number < 10 else f"{number:,.0f} steps"


# -- gradients ----------------------------------------------------------------------------


def _window(facts: Facts, context: Context, varied: bool) -> str:
    unit = facts.unit
    if varied:
        made = (
            f"Trained with windows of about {plural(facts.window, unit)}: hardly any gradient "
            "linked events further apart"
        )
    else:
        made = (
            f"Trained with windows of {plural(facts.window, unit)}: no gradient ever linked "
            "events further apart"
        )
    if context.lacking is not None and context.lacking >= facts.window:
        made += "; what helps from further back comes with the state alone"
    return made + "."


def _reach(facts: Facts, gradients: Sequence[Gradient]) -> Iterator[str]:
    """How far back the gradient by the tokens reaches."""
    for made in gradients:
        if made.of == "x":
            yield _fades(facts.unit, made.trained, made.untrained)


def _fades(unit: str, trained: Decay, untrained: Decay | None) -> str:
    if not any(trained.median):
        return f"No gradient of a prediction reaches the {unit}s before it."
    at = faded(trained)
    if at is None:
        made = (
            f"The gradient of a prediction by the {unit}s is still above {100 * FADED:g} % of its "
            f"largest {plural(trained.lags[-1], 'step')} back, the furthest measured"
        )
    else:
        made = (
            f"The gradient of a prediction by the {unit}s falls below {100 * FADED:g} % of its "
            f"largest {plural(at, 'step')} back"
        )
    if untrained is None:
        return f"{made}."
    if not any(untrained.median):
        return f"{made}; before training there was none."
    first = faded(untrained)
    if first is None:
        return f"{made}; before training it was above that at all lags measured."
    return f"{made}; before training it fell below that {plural(first, 'step')} back."


def faded(decay: Decay) -> int | None:
    """The lag from which on the median is below FADED of its largest; None if it never is."""
    least = FADED * max(decay.median)
    held = [lag for lag, m in zip(decay.lags, decay.median, strict=True) if m > 0 and m >= least]
    after = held[-1] + 1 if held else decay.lags[0]
    return after if after <= decay.lags[-1] else None


# -- half-lives ---------------------------------------------------------------------------


def _kept(report: MemoryReport) -> str:
    facts, half_lives = report.facts, report.half_lives
    if not half_lives:
        return f"There is no half-life: {report.left_out['half-lives']}."
    named = " and ".join(dict.fromkeys(made.state for made in half_lives))
    lives = _lives(half_lives)
    before = _lives(half_lives, trained=False)
    long = beyond(lives, facts.window)
    if not long:
        fresh = f" (before training {_life(quantile(before, 1))})" if before else ""
        return (
            f"No memory cell ({named}) keeps half its content for over {facts.window:,} steps by "
            f"its gates; the longest does for {_life(quantile(lives, 1))}{fresh}."
        )
    fresh = f"; before training {share(beyond(before, facts.window))} did" if before else ""
    return (
        f"{share(long)} of the memory cells ({named}) keep half their content for over "
        f"{facts.window:,} steps by their gates{fresh}."
    )


def _lives(half_lives: Sequence[HalfLives], *, trained: bool = True) -> list[float | None]:
    return [
        life for made in half_lives for life in (made.trained if trained else made.untrained or ())
    ]


def _life(life: float | None) -> str:
    return "no end" if life is None else steps(life)


def _agree(context: Context, half_lives: Sequence[HalfLives]) -> Iterator[str]:
    """Whether gates and ablation say the same; ablation is what counts."""
    low, high = context.lacking, context.enough
    if not half_lives or (low is None and (high is None or best_alone(context))):
        return  # nothing is shown, or more context only harms
    life = quantile(_lives(half_lives), LONGEST)
    gates = math.inf if life is None else life
    told = (
        f"Gates suggest {_life(life)} (the longest tenth of the half-lives), ablation shows "
        f"{shown(context)}"
    )
    trust = "the ablation" if context.used is None else f"{context.used:,}"
    if high is not None and gates > FAR_APART * high:
        yield f"{told}: trust {trust}; what is kept longer is not shown to help."
    elif low is not None and low > FAR_APART * gates:
        yield (
            f"{told}: trust {trust}; the difference travels by other ways than the gates, or is "
            "less than half of what was kept."
        )
    elif high is None:
        yield f"{told}: neither speaks against the other."
    else:
        yield f"{told}: they agree."


# -- gates and units ----------------------------------------------------------------------


def _gates(report: MemoryReport) -> str:
    dead, units = (sum(n) for n in zip(*((len(d.dead), d.units) for d in report.dead), strict=True))
    lost = f"{dead:,} of {plural(units, 'unit')} hardly move" if dead else "no unit is dead"
    if not report.gates:
        return f"{report.facts.cell} has no gates; {lost}."
    worst = max(report.gates, key=lambda gate: (len(gate.shut) + len(gate.open)) / gate.units)
    for stuck, side in ((worst.shut, "shut"), (worst.open, "open")):
        if stuck and len(stuck) >= len(worst.shut + worst.open) / 2:
            return (
                f"{len(stuck):,} of {plural(worst.units, 'unit')} of the gate layers."
                f"{worst.layer}.{worst.name} stand {side} at every {report.facts.unit}; {lost}."
            )
    ends = sum((gate.low + gate.high) * gate.units for gate in report.gates)
    part = ends / sum(gate.units for gate in report.gates)
    return (
        f"No gate is stuck and {lost}; {share(part)} of the gates' values are below 0.1 or above "
        "0.9."
    )


def _units(report: MemoryReport) -> str:
    facts, probes = report.facts, report.probes
    if not probes and report.context.untrained is None:
        return (
            "No unit can be judged without the untrained model, whose predictions are not numbers."
        )
    if not probes:
        return "No feature of this text could be probed: it is too short, or they hold too seldom."
    best = max(probes, key=lambda made: made.auc - _bar(made))
    if best.auc <= _bar(best) + CLEARLY:
        return (
            f"No single unit is shown to carry one of {plural(len(probes), 'feature')} of the "
            f"text: none is {CLEARLY} of AUC beyond luck, the untrained model and the current "
            f"{facts.unit}."
        )
    return (
        f"Unit {best.unit} of layers.{best.layer}.{best.state} tells where the text is "
        f"{best.feature}: AUC {best.auc:.2f} on text it was not chosen on; {_luck(best)}before "
        f"training {best.untrained:.2f}, from the current {facts.unit} alone {best.token:.2f}."
    )


def _bar(made: Probed) -> float:
    """What a unit's AUC must be above to say something."""
    return max(*made.shuffled, made.untrained, made.token, 0.5)


def _luck(made: Probed) -> str:
    return f"by luck {max(made.shuffled):.2f} at most, " if made.shuffled else ""
