"""What every comparison of cells shares: its order, the choice of the rate, and no mixing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cellwright.lm.errors import RunError
from cellwright.lm.storage import read_json


@dataclass(frozen=True)
class Trial:
    """Training `index` of `count` (from 1): this cell with this learning rate and seed."""

    cell: str
    lr: float
    seed: int
    index: int
    count: int


class Tried(Protocol):
    """What a trial left behind, as far as the choice of a rate needs it."""

    @property
    def cell(self) -> str:
        """The cell's name."""
        ...

    @property
    def lr(self) -> float:
        """The learning rate."""
        ...

    @property
    def seed(self) -> int:
        """The seed."""
        ...

    @property
    def valid_nats(self) -> float:
        """The best validation loss."""
        ...


AnyTried = TypeVar("AnyTried", bound=Tried)


def in_turn(
    cells: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    run: Callable[[Trial], float | None],
) -> bool:
    """Try each cell with each rate at the first seed, then with its best rate at the others.

    `run` gives a trial's validation loss, None to stop; False if it stopped.
    """
    count, index = len(cells) * (len(rates) + len(seeds) - 1), 0
    for cell in cells:
        losses: dict[float, float] = {}
        for lr in rates:
            loss = run(Trial(cell, lr, seeds[0], index := index + 1, count))
            if loss is None:
                return False
            losses[lr] = loss
        for seed in seeds[1:]:
            if run(Trial(cell, best_rate(losses), seed, index := index + 1, count)) is None:
                return False
    return True


def best_rate(losses: Mapping[float, float]) -> float:
    """The rate of the least loss, the first of equals; a loss that is no number is the worst."""
    return min(losses, key=lambda lr: math.inf if math.isnan(losses[lr]) else losses[lr])


def chosen(rows: Sequence[AnyTried], seeds: Sequence[int]) -> dict[str, list[AnyTried]]:
    """For each cell its rows at its best rate, in the order of the rows.

    The best rate is the one of the least validation loss at the first seed.
    """
    made: dict[str, list[AnyTried]] = {}
    for name in dict.fromkeys(row.cell for row in rows):
        own = [row for row in rows if row.cell == name]
        lr = best_rate({row.lr: row.valid_nats for row in own if row.seed == seeds[0]})
        made[name] = [row for row in own if row.lr == lr]
    return made


def refuse_another(path: Path, asked: Mapping[str, Any]) -> None:
    """RunError if `path` is the compare.json of a comparison called with other arguments."""
    if not path.exists():
        return
    before = read_json(path).get("asked")
    if before == asked:
        return
    differing = "version"
    if isinstance(before, dict):
        flat = [{**values, **_object(values.get("training"))} for values in (before, asked)]
        names = [n for n in flat[1] if n != "training" and flat[0].get(n) != flat[1][n]]
        differing = ", ".join(names) or differing
    raise RunError(
        f"{path}: holds a comparison with other settings ({differing}); choose another directory "
        "for this one"
    )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
