"""What the verdict says of the context used: sentences, each with its numbers."""

from collections.abc import Iterator

from cellwright.inspect.memory.context import LEAST_GAIN, above, bracket
from cellwright.inspect.memory.report import Context, Facts, Losses
from cellwright.inspect.memory.tables import plural


def said_of_context(facts: Facts, context: Context) -> Iterator[str]:
    """How much context is used; whether more does harm, and whether it beats guessing at all."""
    alone = best_alone(context)
    if context.lacking is None and alone is not None:
        yield _harmed(facts, context, alone)
    else:
        yield _used(facts, context)
        if alone is not None:
            yield _harmed(facts, context, alone)
    guessed = _guessed(facts, context)
    yield from guessed
    if alone is None and not guessed:
        yield from _controls(facts, context)


def _used(facts: Facts, context: Context) -> str:
    unit, full = facts.unit, context.reset.full
    low, high, last = context.lacking, context.enough, context.contexts[-1]
    if low is None:
        return _never_lacking(facts, context)
    costs = f"with {low:,} they cost {_excess(context, low)} nats more than the {full:.2f} with all"
    if high is None:
        if low == last:
            return (
                f"Predictions improve with more than {plural(low, unit)} of context, the longest "
                f"measured: {costs} the text before."
            )
        return (
            f"Predictions improve with more than {plural(low, unit)} of context: {costs} the text "
            f"before. No context is shown to be enough: even with {last:,} it may be "
            f"{LEAST_GAIN:g} or more ({_excess(context, last)})."
        )
    how = "up to" if context.used is not None else f"up to somewhere between {low:,} and"
    return (
        f"Predictions improve with {how} {plural(high, unit)} of context: {costs} the text "
        f"before, with {high:,} less than {LEAST_GAIN:g} more ({_excess(context, high)})."
    )


def _never_lacking(facts: Facts, context: Context) -> str:
    """Where no context lacks something: none is needed, or nothing can be told."""
    unit, full, high = facts.unit, context.reset.full, context.enough
    first = context.contexts[0]
    alone = f"the last {unit}" if first == 1 else f"the last {plural(first, unit)}"
    if high == first:
        return (
            f"Predictions need no more than {alone}: all the text before improves them by less "
            f"than {LEAST_GAIN:g} nats ({_excess(context, first)} of {full:.2f})."
        )
    made = (
        f"No context beyond {alone} is shown to improve the predictions: with it alone they cost "
        f"{_excess(context, first)} nats more than the {full:.2f} with all the text before, less "
        f"than {LEAST_GAIN:g} or within chance"
    )
    if high is None:
        return f"{made}; nor is any shown to be enough."
    return f"{made}; {high:,} are shown to be enough ({_excess(context, high)})."


def _excess(context: Context, size: int, of: Losses | None = None) -> str:
    """What a context's loss is above all the text before, and the standard error."""
    losses = context.reset if of is None else of
    at = context.contexts.index(size)
    excess = round(losses.loss[at] - losses.full, 3) + 0.0  # 0.000 has no sign
    return f"{excess:.3f} ± {losses.error[at]:.3f}"


def best_alone(context: Context) -> int | None:
    """Return the context with the lowest loss, where it is shown to be below all the text's."""
    losses = context.reset
    at = min(range(len(losses.loss)), key=lambda k: losses.loss[k])
    return context.contexts[at] if above(losses.full - losses.loss[at], losses.error[at]) else None


def _harmed(facts: Facts, context: Context, best: int) -> str:
    at = context.contexts.index(best)
    full, loss = context.reset.full, context.reset.loss[at]
    return (
        f"More context makes the predictions worse here: with all the text before they cost "
        f"{full:.2f} nats, with {plural(best, facts.unit)} alone {full - loss:.3f} ± "
        f"{context.reset.error[at]:.3f} less."
    )


def _guessed(facts: Facts, context: Context) -> list[str]:
    """That a model is no better than guessing, where it is not shown to be."""
    gain, error = context.guessing - context.reset.full, context.guessing_error
    if above(gain, error):
        return []
    how = "worse than" if above(-gain, error) else "not shown to be better than"
    return [
        f"The predictions are {how} guessing by how often each {facts.unit} occurs in this text: "
        f"{context.reset.full:.2f} nats with all the text before, guessed {context.guessing:.2f} "
        f"(a difference of {abs(gain):.3f} ± {error:.3f})."
    ]


def _controls(facts: Facts, context: Context) -> Iterator[str]:
    """What a foreign text leaves behind, or else from where on the order does not matter."""
    unit, high = facts.unit, context.enough
    foreign, _ = bracket(context.contexts, context.stranger)
    ordered = _unordered(context)
    if high is not None and foreign is not None and foreign >= high:
        yield (
            "What other text left in the states is felt for longer: "
            f"{plural(foreign, unit)} after it, a prediction costs "
            f"{_excess(context, foreign, context.stranger)} nats more."
        )
    elif ordered is not None:
        yield (
            f"The order of what stands more than {plural(ordered, unit)} back is not shown to "
            "matter."
        )


def _unordered(context: Context) -> int | None:
    """From which context on no order of what stands before it is shown to matter.

    None where a loss as high as without what stands there would not have been seen.
    """
    moved, _ = bracket(context.contexts, context.shuffled)
    at = 0 if moved is None else context.contexts.index(moved) + 1
    if context.lacking is None or context.lacking not in context.contexts[at:]:
        return None
    missing = context.reset.loss[at] - context.reset.full
    return context.contexts[at] if above(missing, context.shuffled.error[at]) else None
