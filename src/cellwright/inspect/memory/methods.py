"""How the numbers of a memory report were computed, and what could not be, a text for a screen."""

from collections.abc import Mapping

from cellwright.inspect.memory import gates as memory_gates
from cellwright.inspect.memory.context import BEYOND_CHANCE, LEAST_GAIN, SHUFFLED
from cellwright.inspect.memory.gates import DEAD, Gating
from cellwright.inspect.memory.gradients import Windows
from cellwright.inspect.memory.report import SCREENS, Context, Facts, HalfLives
from cellwright.inspect.units.features import Probes
from cellwright.language.cell import Cell
from cellwright.lm.gates import HIGH, LOW, OPEN, SHUT

FEATURES_NAMED = 4  # of those left out
NO_CONTROL = "the untrained model, whose predictions are not numbers"


def methods(
    facts: Facts, context: Context, windows: Windows, whole: bool, numbers: str
) -> dict[str, str]:
    """Say for each screen how it was computed; `numbers` names their kind."""
    unit = facts.unit
    part = f"all {facts.tokens:,}" if whole else f"the first {facts.tokens:,}"
    unknown = f", {facts.unknown:,} of them unknown to the model" if facts.unknown else ""
    return {
        "verdict": (
            f"Computed from the numbers below, on {part} {unit}s of {facts.text}{unknown}. "
            "Untrained is the same model with the weights that its training began with. "
            f"Computed in {numbers}."
        ),
        "context": (
            f"Mean loss at {context.places:,} places evenly spread over the text, after exactly so "
            f"many {unit}s from a zero state; a loss is that of all the text before plus the mean "
            "excess over it, place by place. A context lacks something where that excess is more "
            f"than {BEYOND_CHANCE:g} standard errors and {LEAST_GAIN:g} nats; it is shown to be "
            f"enough where the excess plus {BEYOND_CHANCE:g} standard errors is less than "
            f"{LEAST_GAIN:g} nats, there and at all longer ones. What is used lies between the "
            "longest that lacks something and the first that is enough; more places bring the two "
            f"together. Controls, at {context.controls:,} of the places: after other text (the "
            "state that the model has half the text away), in another order (the tokens next "
            "before the context, as many as it has and at least "
            f"{SHUFFLED}, shuffled; the state before them is the true one), untrained. Guessing: "
            "by how often each token occurs in the rest of this text, plus one."
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
            "its state is multiplied with at each step; where that is only 0 or 1, as in a module "
            "with a clock, the mean number of steps from one 0 to the next. It says what the gates "
            "keep, not what is read; what goes through the matrices is not in it."
        ),
        "gates": (
            f"All values over the text of every equation that is a sigmoid, in 20 equal bins; "
            f"shares below {LOW:g} and above {HIGH:g}. Stuck: below {SHUT:g}, or above {OPEN:g}, "
            f"at every {unit}. Dead: an output that hardly moves, within {DEAD:g} of one value; "
            "weights can still make something of it. Masks at their means."
        ),
        "units": (
            f"For each feature of the text the one unit whose state tells best where it holds, "
            f"chosen on the first half of {facts.tokens:,} {unit}s and measured on the second: "
            "AUC, 0.5 is no better than a coin and 1 always right. Luck: the same with labels "
            f"moved round the text, the best of all units each time. Token: what the current "
            f"{unit} alone tells."
        ),
    }


def left_out(
    cell: type[Cell],
    silent: Mapping[str, str],
    half_lives: tuple[HalfLives, ...],
    gatings: tuple[Gating, Gating | None],
    probes: Probes | None,
) -> dict[str, str]:
    """Say for each screen what is not there, and why.

    gatings: of the trained model, and of the untrained one; None, as `probes` is, where the
    untrained model gives no numbers.
    """
    gating, before = gatings
    unmeasured = memory_gates.unmeasured(gating, before)
    made: dict[str, list[str]] = {name: [] for name in SCREENS}
    if before is None:
        for name in ("context", "gradients", "half-lives"):
            made[name].append(NO_CONTROL)
        made["units"].append(f"{NO_CONTROL}: nothing tells what a unit has learnt")
    made["gradients"] += [f"{name}: {reason}" for name, reason in silent.items()]
    made["half-lives"] += [f"{name}: {reason}" for name, reason in unmeasured.items()]
    if not half_lives and not unmeasured:
        made["half-lives"] = [memory_gates.why_none(cell, bool(silent))]
    if not gating.gates:
        made["gates"].append(f"{cell.__name__} has no gate: none of its equations is a sigmoid")
    if probes is not None:
        named = [f"{name}: {reason}" for name, reason in probes.left_out.items()]
        more = len(named) - FEATURES_NAMED
        made["units"] += named[:FEATURES_NAMED] + ([f"{more} more"] if more > 0 else [])
    return {name: "; ".join(reasons) for name, reasons in made.items() if reasons}
