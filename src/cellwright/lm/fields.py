"""Values that came from a file or a flag: what each must be, and what came instead.

A run's files can be edited by hand, cut short or made up. Each of their fields has a Rule, and a
value that breaks it is told in one line, before anything is computed or allocated with it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cellwright.lm.errors import RunError

LARGEST_COUNT: Final = 1 << 62
LARGEST_NUMBER: Final = 1e38  # what float32 can still hold, with room for a factor of 2
OR_NULL: Final = ", or null"  # ends what `optional` wants
FROM_A_COPY: Final = "bring the file back from a copy, or train anew"
LONGEST_TEXT: Final = 1 << 16  # characters


@dataclass(frozen=True)
class Rule:
    """What a value must be: the test, and the words that complete 'expected ...'."""

    holds: Callable[[Any], bool]
    wanted: str


def shown(value: object) -> str:
    """A value as an error quotes it, however long it is."""
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a very large number"


def whole(least: int = 0, most: int = LARGEST_COUNT) -> Rule:
    """A whole number within bounds; true and false are none."""

    def holds(value: object) -> bool:
        return type(value) is int and least <= value <= most

    bounds = f"of at least {least}" if most == LARGEST_COUNT else f"from {least} to {most}"
    return Rule(holds, f"a whole number {bounds}")


def number(
    least: float = -LARGEST_NUMBER,
    most: float = LARGEST_NUMBER,
    *,
    above: bool = False,
    below: bool = False,
) -> Rule:
    """A finite number within bounds; `above` and `below` leave the bound itself out."""

    def holds(value: object) -> bool:
        if type(value) not in (int, float) or not least <= value <= most:  # type: ignore[operator]
            return False
        return not ((above and value == least) or (below and value == most))

    low = f"above {least:g}" if above else f"of at least {least:g}"
    high = f"below {most:g}" if below else f"at most {most:g}"
    return Rule(holds, f"a number {low} and {high}")


def text(shortest: int = 1, longest: int = LONGEST_TEXT) -> Rule:
    """A text of so many characters."""

    def holds(value: object) -> bool:
        return isinstance(value, str) and shortest <= len(value) <= longest

    return Rule(holds, f"a text of {shortest} to {longest} characters")


def one_of(*values: str) -> Rule:
    """One of these texts."""
    return Rule(lambda value: value in values, f"one of {', '.join(values)}")


def optional(rule: Rule) -> Rule:
    """What `rule` allows, or null."""
    return Rule(lambda value: value is None or rule.holds(value), rule.wanted + OR_NULL)


FLAG: Final = Rule(lambda value: isinstance(value, bool), "true or false")
OBJECT: Final = Rule(lambda value: isinstance(value, dict), "an object")
# Losses may have run away: nan and the infinities are numbers here.
LOSS: Final = Rule(
    lambda value: type(value) is float or (type(value) is int and abs(value) < LARGEST_COUNT),
    "a number",
)


def read_fields(
    place: str,
    values: object,
    rules: Mapping[str, Rule],
    *,
    may_lack: Collection[str] = (),
    more: bool = False,
) -> dict[str, Any]:
    """The fields of a JSON object, each as its rule wants it.

    Fields in `may_lack` may be missing, and are then missing in the result; with `more` there may
    be fields without a rule, which are left out of it. RunError: `place: field: expected ..., got
    ...`.
    """
    if not isinstance(values, dict):
        raise RunError(f"{place}: expected an object, got {shown(values)}")
    unknown = sorted(set(values) - set(rules))
    if unknown and not more:
        raise RunError(f"{place}: expected {', '.join(rules)}, got a field {shown(unknown[0])}")
    for name, rule in rules.items():
        if name not in values:
            if name in may_lack:
                continue
            raise RunError(f"{place}: {name}: expected {rule.wanted}, got nothing")
        if not rule.holds(values[name]):
            raise RunError(f"{place}: {name}: expected {rule.wanted}, got {shown(values[name])}")
    return {name: values[name] for name in rules if name in values}
