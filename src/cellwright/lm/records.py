"""The fields of a run's own JSON files: what each must be for a run to be read or gone on with."""

from collections.abc import Mapping
from typing import Any, Final

from cellwright.lm.config import MOST_EPOCHS
from cellwright.lm.fields import (
    FLAG,
    LOSS,
    OBJECT,
    Rule,
    number,
    one_of,
    optional,
    read_fields,
    text,
    whole,
)

VERSION: Final = 1

STATE: Final[Mapping[str, Rule]] = {
    "version": Rule(lambda v: type(v) is int and v == VERSION, f"version {VERSION}"),
    "position": OBJECT,
    "facts": OBJECT,
}
POSITION: Final[Mapping[str, Rule]] = {
    "epoch": whole(1, MOST_EPOCHS + 1),
    "window": whole(),
    "tokens": whole(),
    "seconds": number(0),
    "best_nats": optional(LOSS),
    "finished": FLAG,
    "metrics_bytes": whole(),
    "metrics_digest": text(),
}
LATER_POSITION: Final = ("metrics_digest",)  # the first runs do not have it
_SUM: Final = Rule(
    lambda v: isinstance(v, list) and len(v) == 2 and LOSS.holds(v[0]) and whole().holds(v[1]),
    "a sum of losses and how many tokens it is of",
)


def _object_of(rule: Rule, wanted: str) -> Rule:
    return Rule(lambda v: isinstance(v, dict) and all(map(rule.holds, v.values())), wanted)


FACTS: Final[Mapping[str, Rule]] = {
    "mean": _SUM,
    "optimizer": _object_of(optional(LOSS), "an object of numbers"),
    "threads": whole(1),
    "texts": _object_of(text(), "an object of checksums"),
}
LATER_FACTS: Final = ("texts",)  # the first runs do not have them

_SCORE: Final = {"nats": LOSS, "bits_per_character": LOSS}
METRICS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "train": {"epoch": whole(1), "tokens": whole(), "nats": LOSS},
    "valid": {"epoch": whole(1), "tokens": whole(), **_SCORE},
    "test": _SCORE,
    "watch": {"epoch": whole(1), "tokens": whole()},
}
_KIND: Final = {"kind": one_of(*METRICS)}


def read_metric(place: str, record: object) -> dict[str, Any]:
    """A line of metrics.jsonl, whole; RunError if its kind lacks a field that is read again."""
    kind = read_fields(place, record, _KIND, more=True)["kind"]
    read_fields(place, record, METRICS[kind], more=True)
    assert isinstance(record, dict)
    return record
