"""What a comparison on a text found out: a row for each training, and all of them."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellwright.lm.contest import chosen
from cellwright.lm.evaluation import perplexity

VERSION = 3


@dataclass(frozen=True)
class CurvePoint:
    """A validation: after `epoch` epochs and `tokens` tokens of training."""

    epoch: int
    tokens: int
    nats: float
    bits_per_character: float

    @property
    def perplexity(self) -> float:
        """exp(nats), for each token."""
        return perplexity(self.nats)


@dataclass(frozen=True)
class Row:
    """One training; its losses are those of its best validation.

    `difference` is to the budget; `tokens_per_s` is over the whole time, validations and saves
    included.
    """

    cell: str
    seed: int
    hidden: int
    parameters: int
    difference: int
    tokens: int
    seconds: float
    tokens_per_s: float
    valid_nats: float
    perplexity: float
    bits_per_character: float
    test_nats: float | None
    curve: tuple[CurvePoint, ...]
    run: Path
    lr: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """The rows so far, in the order of the trials; `stopped` if some are missing.

    `asked` is all that the comparison was called with: it tells one from another. `left_out` maps
    a cell to why it takes no part; `broke_down` says of trainings without a row why.
    """

    rows: tuple[Row, ...]
    budget: int | None
    equal: str
    level: str
    files: tuple[str, ...]
    epochs: int
    out: Path
    stopped: bool
    asked: Mapping[str, Any]
    seeds: tuple[int, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    broke_down: tuple[str, ...] = ()

    def chosen(self) -> tuple[Row, ...]:
        """The rows at each cell's best rate: the least validation loss at the first seed."""
        if len({row.lr for row in self.rows}) < 2:
            return self.rows
        return tuple(row for rows in chosen(self.rows, self.seeds).values() for row in rows)

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        values = dataclasses.asdict(self)
        values["out"] = str(self.out)
        values["asked"] = dict(self.asked)
        values["files"] = list(self.files)
        for row in values["rows"]:
            row["run"] = str(row["run"])
        return {"version": VERSION, **values}
