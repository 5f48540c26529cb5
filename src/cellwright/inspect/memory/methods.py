"""How the numbers of a memory report were computed, and what could not be, a text for a screen."""

from collections.abc import Mapping

from cellwright.inspect.memory.context import BEYOND_CHANCE, LEAST_GAIN, SHUFFLED
from cellwright.inspect.memory.gates import DEAD, Gating
from cellwright.inspect.memory.gradients import Windows
from cellwright.inspect.memory.report import Context, Facts, HalfLives
from cellwright.inspect.units.features import Probes
from cellwright.lm.gates import HIGH, LOW, OPEN, SHUT

FEATURES_NAMED = 4  # of those left out


def methods(
    facts: Facts, context: Context, windows: Windows, whole: bool, probes: Probes
) -> dict[str, str]:
    """Say for each screen how it was computed."""
    unit = facts.unit
    part = f"all {facts.tokens:,}" if whole else f"the first {facts.tokens:,}"
    unknown = f", {facts.unknown:,} of them unknown to the model" if facts.unknown else ""
    return {
        "verdict": (
            f"Computed from the numbers below, on {part} {unit}s of {facts.text}{unknown}. "
            "Untrained is the same model with the weights that its training began with."
        ),
        "context": (
            f"Mean loss at {context.places:,} places evenly spread over the text, after exactly so "
            f"many {unit}s from a zero state; a loss is that of all the text before plus the mean "
            "excess over it, place by place. A context lacks something where that excess is more "
            f"than {BEYOND_CHANCE:g} standard errors and {LEAST_GAIN:g} nats; used is the context "
            "next longer than the longest that lacks something. More places would show smaller "
            f"gains. Controls, at {context.controls:,} of the places: after other text (the state "
            "that the model has half the text away), in another order (the tokens next before the "
            f"context, as many as it has and at least {SHUFFLED}, shuffled; the state before them "
            "is the true one), untrained. Guessing: by how often each token occurs in the rest of "
            "this text, plus one."
        ),
        "gradients": (
            f"Norm of d log p of the true next {unit} by the embedded {unit}, and by each layer's "
            f"states, so many steps back (0: the last read, and the state after it): all ways "
            f"that lead on from it. Median and quartiles of {len(windows.targets)} places evenly "
            f"spread, each the end of a window of {windows.steps} {unit}s that starts from the "
            "state that the text before has left; all windows in one batch, exact within each. "
            "float64, torch operations."
        ),
        "half-lives": (
            "ln 2 / -ln f for each unit, f the geometric mean over the text of the size of what "
            "its state is multiplied with at each step. It says what the gates keep, not what is "
            "read; what goes through the matrices is not in it."
        ),
        "gates": (
            f"All values over the text of every equation that is a sigmoid, in 20 equal bins; "
            f"shares below {LOW:g} and above {HIGH:g}. Stuck: below {SHUT:g}, or above {OPEN:g}, "
            f"at every {unit}. Dead: an output that stays within {DEAD:g} of one value. Masks at "
            "their means."
        ),
        "units": (
            f"For each feature of the text the one unit whose state tells best where it holds, "
            f"chosen on the first half of {probes.tokens:,} {unit}s and measured on the second: "
            "AUC, 0.5 is no better than a coin and 1 always right. Luck: the same with labels "
            f"moved round the text, the best of all units each time. Token: what the current "
            f"{unit} alone tells."
        ),
    }


def left_out(
    facts: Facts,
    silent: Mapping[str, str],
    half_lives: tuple[HalfLives, ...],
    gating: Gating,
    probes: Probes,
) -> dict[str, str]:
    """Say for each screen what is not there, and why."""
    made = {}
    if silent:
        made["gradients"] = "; ".join(f"{name}: {reason}" for name, reason in silent.items())
    if not half_lives:
        made["half-lives"] = (
            f"{facts.cell} multiplies no state with a gate or a number on a straight way to its "
            "next value: there is no half-life"
        )
    if not gating.gates:
        made["gates"] = f"{facts.cell} has no gate: none of its equations is a sigmoid"
    if probes.left_out:
        named = [f"{name}: {reason}" for name, reason in probes.left_out.items()]
        more = len(named) - FEATURES_NAMED
        made["units"] = "; ".join(named[:FEATURES_NAMED]) + (f"; {more} more" if more > 0 else "")
    return made
