"""Pattern search: which units are on throughout a stretch of text, and where else they are.

A unit is on where its value is far from its own mean over the text, on the high or on the low side:
a unit that is always large says nothing by being large. What several units do together is compared
with what they would do together by luck.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cellwright.inspect.errors import InspectError
from cellwright.inspect.units.features_text import joined
from cellwright.inspect.units.read import Column
from cellwright.inspect.units.states import States, Tokens

LEVELS: Final = (2.0, 1.5, 1.0, 0.75, 0.5, 0.25)  # standard deviations from a unit's mean
ENOUGH: Final = 5  # units that are on throughout, for a level to be taken
MOST: Final = 20  # matches

Bits = NDArray[np.bool_]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class On:
    """A column that is on throughout a stretch, above its mean (`high`) or below it.

    `share`: of all stretches of that length in the text, those throughout which it is on so.
    """

    column: Column
    high: bool
    share: float


@dataclass(frozen=True)
class Match:
    """Tokens `first` to `end`, without the last, where `on` of the units searched for are on.

    They are as long as the stretch searched for, or longer where such stretches follow one
    another; `on` and `jaccard` are of the best, that begins at token `best`. `jaccard`: the units
    on throughout both stretches over those on throughout either.
    """

    first: int
    end: int
    best: int
    on: int
    jaccard: float


@dataclass(frozen=True)
class Pattern:
    """A stretch of tokens `first` to `end`, the units on throughout it, and where else they are.

    above       standard deviations from its own mean beyond which a unit is on
    stretches   of that length in the text that do not touch it
    need        units of these that a match has on at least, half of them
    found       found[k]: stretches with k units on or more
    luck        the same, on average, if each unit's values were shifted round the text by a random
                offset of its own
    matches     the best first; there may be more: `spans` counts all
    """

    first: int
    end: int
    above: float
    units: tuple[On, ...]
    stretches: int
    need: int
    found: tuple[int, ...]
    luck: tuple[float, ...]
    spans: int
    matches: tuple[Match, ...]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return asdict(self)


def find_pattern(
    states: States,
    first: int,
    end: int,
    *,
    state: str,
    above: float | None = None,
    alone: bool = False,
    most: int = MOST,
) -> Pattern:
    """Find where else the units are on that are on throughout tokens `first` to `end`.

    `end` is left out. state: whose units, "h". above: standard deviations from its own mean beyond
    which a unit is on; None takes the highest of LEVELS at which ENOUGH units are on throughout,
    or else any. alone: only units that are off just before and just after the stretch.
    InspectError for a stretch that is not in the text, or for one throughout which none is on.
    """
    size = states.values.shape[1]
    if not 0 <= first < end <= size:
        raise InspectError(
            f"select: expected A:B with 0 <= A < B <= {size}, the text's tokens, got {first}:{end}"
        )
    rows = [k for k, column in enumerate(states.columns) if column.state == state]
    if not rows:
        raise InspectError(f"state: the model has no {state!r:.40}")
    values = states.values[rows].double().numpy()
    columns = [states.columns[k] for k in rows]
    return search(values, columns, first, end, above=above, alone=alone, most=most)


def search(
    values: Numbers,
    columns: Sequence[Column],
    first: int,
    end: int,
    *,
    above: float | None = None,
    alone: bool = False,
    most: int = MOST,
) -> Pattern:
    """`find_pattern` for values [columns, tokens]; units.js does it with what `beyond` says."""
    size, length = values.shape[1], end - first
    tried = {}
    for level in LEVELS if above is None else (above,):
        tried[level] = _throughout_these(values, level, first, end, alone)
        if len(tried[level]) >= ENOUGH:
            break
    else:  # the highest at which any unit is on
        level = next((level for level, chosen in tried.items() if chosen), level)
    if not (chosen := tried[level]):
        raise InspectError(
            f"no unit is on throughout tokens {first}:{end}"
            + (" and off beside them" if alone else "")
            + f", {level:g} standard deviations from its mean; select fewer tokens"
        )
    low, high = _limits(values, level)
    starts = size - length + 1
    together, anywhere = np.zeros(starts, np.int64), np.zeros(starts, np.int64)
    wanted: set[tuple[int, bool]] = set(chosen)
    units: list[On] = []
    for k in range(len(values)):
        for up in (True, False):
            on = values[k] > high[k] if up else values[k] < low[k]
            throughout = _throughout(on, length)
            anywhere += throughout
            if (k, up) in wanted:
                together += throughout
                units.append(On(columns[k], up, float(throughout.mean())))
    elsewhere = np.ones(starts, np.bool_)
    elsewhere[max(0, first - length + 1) : end] = False
    need = max(1, -(-len(units) // 2))
    union = len(units) + anywhere - together
    spans = _spans(together, together / union, elsewhere & (together >= need), length)
    counts = together[elsewhere]
    chances = _at_least([unit.share for unit in units])
    return Pattern(
        first=first,
        end=end,
        above=level,
        units=tuple(units),
        stretches=len(counts),
        need=need,
        found=tuple(int((counts >= k).sum()) for k in range(len(units) + 1)),
        luck=tuple(len(counts) * chance for chance in chances),
        spans=len(spans),
        matches=tuple(spans[:most]),
    )


def _throughout_these(
    values: Numbers, level: float, first: int, end: int, alone: bool
) -> list[tuple[int, bool]]:
    """The rows that are on throughout tokens `first` to `end`, and on which side."""
    low, high = _limits(values, level)
    beside = [at for at in (first - 1, end) if alone and 0 <= at < values.shape[1]]
    found = []
    for up, on in ((True, (high < values.T).T), (False, (low > values.T).T)):
        held = on[:, first:end].all(1) & ~on[:, beside].any(1)
        found += [(int(k), up) for k in np.flatnonzero(held)]
    return sorted(found, key=lambda side: (side[0], not side[1]))


def _limits(values: Numbers, above: float) -> tuple[Numbers, Numbers]:
    """Below and above what value each row is on; a row that never changes is on nowhere."""
    size = values.shape[1]
    mean = values.sum(1) / size
    spread = np.sqrt(np.maximum(0.0, (values * values).sum(1) / size - mean * mean))
    spread[np.ptp(values, 1) == 0] = np.inf  # its mean is rounded, and may not be its value
    return mean - above * spread, mean + above * spread


def beyond(values: Numbers) -> NDArray[np.int8]:
    """How many of LEVELS each value of [columns, tokens] is beyond: above its mean, or (-) below.

    This is all that `search` needs of the values where it is free to choose the level.
    """
    made = np.zeros(values.shape, np.int8)
    for level in LEVELS:
        low, high = _limits(values, level)
        made += values > high[:, None]
        made -= values < low[:, None]
    return made


def _throughout(on: Bits, length: int) -> Bits:
    """Whether each stretch of so many tokens is on throughout, by its first token."""
    counts = np.concatenate([[0], np.cumsum(on)])
    return counts[length:] - counts[:-length] == length


def _spans(together: NDArray[np.int64], jaccard: Numbers, held: Bits, length: int) -> list[Match]:
    """Stretches that follow one another as one match, the best matches first."""
    found, starts = [], np.flatnonzero(held)
    groups = np.split(starts, np.flatnonzero(np.diff(starts) > length) + 1) if len(starts) else []
    for group in groups:
        best = max(group.tolist(), key=lambda at: (together[at], jaccard[at], -at))
        found.append(
            Match(
                first=int(group[0]),
                end=int(group[-1]) + length,
                best=best,
                on=int(together[best]),
                jaccard=float(jaccard[best]),
            )
        )
    return sorted(found, key=lambda m: (-m.on, -m.jaccard, m.first - m.end, m.first))


def _at_least(shares: Sequence[float]) -> list[float]:
    """The chances that 0, 1, 2, ... or more of independent events of these chances happen."""
    exactly = [1.0]
    for share in shares:
        exactly = [
            (exactly[k] * (1 - share) if k < len(exactly) else 0.0)
            + (exactly[k - 1] * share if k else 0.0)
            for k in range(len(exactly) + 1)
        ]
    made, total = [], 0.0
    for chance in reversed(exactly):
        total += chance
        made.append(total)
    return made[::-1]


def span_of(read: Tokens, phrase: str) -> tuple[int, int]:
    """The tokens that hold the first occurrence of a phrase, as find_pattern takes them.

    InspectError for a phrase that the text does not have.
    """
    text, last = joined(read.pieces, read.level)
    at = text.find(phrase)
    if not phrase or at < 0:
        raise InspectError(
            f"find: {phrase!r:.60} is not in these {len(read)} tokens; give words that are, or "
            "more of the text"
        )
    first, final = np.searchsorted(last, [at, at + len(phrase) - 1])
    return int(first), int(final) + 1
