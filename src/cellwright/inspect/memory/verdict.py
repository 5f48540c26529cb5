"""The verdict: plain sentences, each computed from the numbers of one memory report."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from cellwright.inspect.memory.context import above
from cellwright.inspect.memory.report import (
    Context,
    Decay,
    Facts,
    Gradient,
    HalfLives,
    Losses,
    MemoryReport,
    Probed,
    Sentence,
)

FADED = 0.01  # of the largest gradient
LONGEST = 0.9  # the quantile of the half-lives that says how far the gates reach
CLEARLY = 0.05  # of AUC: what a unit must have beyond all that it is compared with
FAR_APART = 2.0  # times: gates and ablation disagree


def verdict(report: MemoryReport, *, varied: bool = False) -> tuple[Sentence, ...]:
    """Say in up to eight sentences what was found; `varied` are the lengths of training's windows.

    Each is true of the numbers in the report, whatever they are, and says so where nothing can be
    said.
    """
    facts, context = report.facts, report.context
    made = [
        Sentence(_used(facts, context), "context"),
        *(Sentence(text, "context") for text in _controls(facts, context)),
        Sentence(_window(facts, context, varied), "gradients"),
        *(Sentence(text, "gradients") for text in _reach(facts, report.gradients)),
        Sentence(_kept(facts, report.half_lives), "half-lives"),
        *(Sentence(text, "half-lives") for text in _agree(context, report.half_lives)),
        Sentence(_gates(report), "gates"),
        Sentence(_units(facts, report.probes), "units"),
    ]
    return tuple(made)


def counted(number: int, unit: str) -> str:
    """1 character, 64 characters."""
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def share(part: float) -> str:
    """0.313 is 31 %; what is neither none nor all is never 0 % or 100 %."""
    if 0 < part < 0.01:
        return "under 1 %"
    return f"{99 if 0.99 < part < 1 else 100 * part:.0f} %"


def steps(number: float) -> str:
    """8.31 steps, 83 steps."""
    return f"{number:.1f} steps" if number < 10 else f"{number:,.0f} steps"


# -- context ------------------------------------------------------------------------------


def _used(facts: Facts, context: Context) -> str:
    full, guessing, unit = context.reset.full, context.guessing, facts.unit
    used = context.used
    if used is None:
        return (
            f"No context is shown to improve the predictions: with all the text before it a {unit} "
            f"costs {full:.2f} nats, guessed by how often it occurs {guessing:.2f}."
        )
    at = context.contexts.index(used)
    excess = [loss - full for loss in context.reset.loss]
    if context.used_at_least:
        return (
            f"Predictions improve with more than {counted(used, unit)} of context, the longest "
            f"measured: they cost {full:.2f} nats with all the text before, {excess[at]:.3f} more "
            f"with {used:,}."
        )
    if at == 0:
        last = f"the last {unit}" if used == 1 else f"the last {counted(used, unit)}"
        return (
            f"Predictions need no more than {last}: more context improves them by no more than "
            f"chance ({full:.2f} nats; {guessing:.2f} by how often each {unit} occurs)."
        )
    return (
        f"Predictions improve with up to {counted(used, unit)} of context: with "
        f"{context.contexts[at - 1]:,} they cost {excess[at - 1]:.3f} nats more than the "
        f"{full:.2f} with all the text before, with {used:,} no more than chance explains."
    )


def enough(contexts: Sequence[int], losses: Losses) -> int | None:
    """The first context from which on the loss is not above that of all the text; None if none."""
    found = None
    for context, loss, error in zip(
        reversed(contexts), reversed(losses.loss), reversed(losses.error), strict=True
    ):
        if above(loss - losses.full, error):
            break
        found = context
    return found


def _controls(facts: Facts, context: Context) -> Iterator[str]:
    """What a foreign text leaves behind, or else from where on the order does not matter."""
    if context.used is None:
        return
    unit = facts.unit
    foreign = enough(context.contexts, context.stranger)
    ordered = enough(context.contexts, context.shuffled)
    if not context.used_at_least and (foreign is None or foreign > context.used):
        last = context.contexts.index(foreign or context.contexts[-1]) - (foreign is not None)
        more = context.stranger.loss[last] - context.stranger.full
        yield (
            "What other text left in the states is felt for longer: "
            f"{counted(context.contexts[last], unit)} after it, a prediction costs {more:.3f} nats "
            "more."
        )
    elif ordered is not None and ordered < context.used and _told(context, ordered):
        yield (
            f"The order of what stands more than {counted(ordered, unit)} back is not shown to "
            "matter."
        )


def _told(context: Context, ordered: int) -> bool:
    """Whether a loss as high as without the tokens would have been seen where they are shuffled."""
    at = context.contexts.index(ordered)
    missing = context.reset.loss[at] - context.reset.full
    return above(missing, context.shuffled.error[at])


# -- gradients ----------------------------------------------------------------------------


def _window(facts: Facts, context: Context, varied: bool) -> str:
    unit = facts.unit
    if varied:
        made = (
            f"Trained with windows of about {counted(facts.window, unit)}: hardly any gradient "
            "linked events further apart"
        )
    else:
        made = (
            f"Trained with windows of {counted(facts.window, unit)}: no gradient ever linked "
            "events further apart"
        )
    if context.used is not None and context.used > facts.window:
        made += "; what helps from further back comes with the state alone"
    return made + "."


def _reach(facts: Facts, gradients: Sequence[Gradient]) -> Iterator[str]:
    """How far back the gradient by the tokens reaches."""
    for made in gradients:
        if made.of == "x":
            yield _fades(facts.unit, made.trained, made.untrained)


def _fades(unit: str, trained: Decay, untrained: Decay) -> str:
    if not any(trained.median):
        return f"No gradient of a prediction reaches the {unit}s before it."
    at, first = faded(trained), faded(untrained)
    if at is None:
        made = (
            f"The gradient of a prediction by the {unit}s is still above {100 * FADED:g} % of its "
            f"largest {counted(trained.lags[-1], 'step')} back, the furthest measured"
        )
    else:
        made = (
            f"The gradient of a prediction by the {unit}s falls below {100 * FADED:g} % of its "
            f"largest {counted(at, 'step')} back"
        )
    if not any(untrained.median):
        return f"{made}; before training there was none."
    if first is None:
        return f"{made}; before training it was above that at all lags measured."
    return f"{made}; before training it fell below that {counted(first, 'step')} back."


def faded(decay: Decay) -> int | None:
    """The lag from which on the median is below FADED of its largest; None if it never is."""
    least = FADED * max(decay.median)
    held = [lag for lag, m in zip(decay.lags, decay.median, strict=True) if m > 0 and m >= least]
    after = held[-1] + 1 if held else decay.lags[0]
    return after if after <= decay.lags[-1] else None


# -- half-lives ---------------------------------------------------------------------------


def sorted_lives(lives: Iterable[float | None]) -> list[float]:
    """Half-lives, the shortest first; infinite where a unit never fades."""
    return sorted(math.inf if life is None else life for life in lives)


def longest_tenth(lives: Sequence[float]) -> float:
    """Where the longest tenth of sorted half-lives begins."""
    return lives[min(len(lives) - 1, math.ceil(LONGEST * len(lives)))]


def _lives(half_lives: Sequence[HalfLives]) -> list[float]:
    return sorted_lives(chain.from_iterable(made.trained for made in half_lives))


def _kept(facts: Facts, half_lives: Sequence[HalfLives]) -> str:
    if not half_lives:
        return (
            f"{facts.cell} has no gate that keeps a state: what it remembers goes through its "
            "matrices at every step, so there is no half-life."
        )
    named = " and ".join(dict.fromkeys(made.state for made in half_lives))
    lives = _lives(half_lives)
    before = sorted_lives(chain.from_iterable(made.untrained for made in half_lives))
    long, first = (
        sum(life > facts.window for life in found) / len(found) for found in (lives, before)
    )
    if not long:
        return (
            f"No memory cell ({named}) keeps half its content for over {facts.window:,} steps by "
            f"its gates; the longest does for {steps(lives[-1])} (before training "
            f"{_life(before[-1])})."
        )
    return (
        f"{share(long)} of the memory cells ({named}) keep half their content for over "
        f"{facts.window:,} steps by their gates; before training {share(first)} did."
    )


def _life(life: float) -> str:
    return "no end" if math.isinf(life) else steps(life)


def _agree(context: Context, half_lives: Sequence[HalfLives]) -> Iterator[str]:
    """Whether gates and ablation say the same; ablation is what counts."""
    if not half_lives or context.used is None:
        return
    lives, used = _lives(half_lives), context.used
    gates = longest_tenth(lives)
    least = "at least " if context.used_at_least else ""
    told = f"Gates suggest {_life(gates)} (the longest tenth of the half-lives)"
    if gates > FAR_APART * used:
        trust = (
            f"{used:,} can be trusted"
            if least
            else f"trust {used:,}; what is kept longer is not shown to help"
        )
        yield f"{told}, ablation shows {least}{used:,}: {trust}."
    elif used > FAR_APART * gates:
        yield (
            f"{told}, ablation shows {least}{used:,}: trust {used:,}; the difference travels "
            "through the matrices, or is less than half of what was kept."
        )
    else:
        yield f"{told}, ablation shows {least}{used:,}: they agree."


# -- gates and units ----------------------------------------------------------------------


def _gates(report: MemoryReport) -> str:
    dead, units = (sum(n) for n in zip(*((len(d.dead), d.units) for d in report.dead), strict=True))
    lost = f"{dead:,} of {counted(units, 'unit')} stay at one value" if dead else "no unit is dead"
    if not report.gates:
        return f"{report.facts.cell} has no gates; {lost}."
    worst = max(report.gates, key=lambda gate: (len(gate.shut) + len(gate.open)) / gate.units)
    for stuck, side in ((worst.shut, "shut"), (worst.open, "open")):
        if stuck and len(stuck) >= len(worst.shut + worst.open) / 2:
            return (
                f"{len(stuck):,} of {counted(worst.units, 'unit')} of the gate layers."
                f"{worst.layer}.{worst.name} stand {side} at every {report.facts.unit}; {lost}."
            )
    ends = sum((gate.low + gate.high) * gate.units for gate in report.gates)
    part = ends / sum(gate.units for gate in report.gates)
    return (
        f"No gate is stuck and {lost}; {share(part)} of the gates' values are below 0.1 or above "
        "0.9."
    )


def _units(facts: Facts, probes: Sequence[Probed]) -> str:
    if not probes:
        return "No feature of this text could be probed: it is too short, or they hold too seldom."
    best = max(probes, key=lambda made: made.auc - _bar(made))
    if best.auc <= _bar(best) + CLEARLY:
        return (
            f"No single unit is shown to carry one of {counted(len(probes), 'feature')} of the "
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
