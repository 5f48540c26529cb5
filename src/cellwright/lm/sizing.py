"""The hidden size that gives a model a wanted number of parameters."""

import dataclasses
from collections.abc import Callable

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError
from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.model import LanguageModel, ModelShape

LARGEST = 1 << 16
SPARSE = 64  # among so many sizes in a row, a cell allows at least one


def count_parameters(config: TrainConfig, cell: type[Cell], vocab: int) -> int | None:
    """How many parameters the model has; None if the cell cannot have this size.

    Nothing is allocated. `config.embed` of None follows `config.hidden`.
    """
    try:
        return LanguageModel(ModelShape.of(config, vocab), cell, device="meta").parameter_count
    except CellError:
        return None


def nearest_hidden(
    config: TrainConfig, cell: type[Cell], vocab: int, budget: int
) -> tuple[int, int]:
    """The hidden size whose model is nearest to `budget` parameters, and its parameter count.

    ConfigError if the cell fits no size.
    """

    def count(hidden: int) -> int | None:
        sized = dataclasses.replace(config, hidden=hidden)
        return count_parameters(sized, cell, vocab)

    least = config.proj_size + 1  # a projection is narrower than what it is of
    return nearest_size(cell, count, budget, least)


def nearest_size(
    cell: type[Cell], count: Callable[[int], int | None], budget: int, least: int = 1
) -> tuple[int, int]:
    """The size, from `least` on, whose count is nearest to `budget`, and its count.

    `count` grows with the size, and is None for a size that cannot be. ConfigError if none can.
    """
    low, high = least, LARGEST
    while low < high:
        middle = (low + high) // 2
        # a cell may allow only some sizes, such as the multiples of its modules
        allowed = next((h for h in range(middle, min(high, middle + SPARSE)) if count(h)), None)
        if allowed is not None and (count(allowed) or 0) < budget:
            low = allowed + 1
        else:
            high = middle
    above, below = range(low, low + SPARSE), range(low - 1, max(least - 1, low - SPARSE), -1)
    sized = [found for side in (below, above) if (found := _first(side, count)) is not None]
    if not sized:
        raise ConfigError(f"{cell.__name__}: no hidden size near {low} can be built")
    return min(sized, key=lambda pair: abs(pair[1] - budget))


def _first(sizes: range, count: Callable[[int], int | None]) -> tuple[int, int] | None:
    """The first of `sizes` that can be, and its count."""
    counted = ((size, count(size)) for size in sizes)
    return next(((size, found) for size, found in counted if found is not None), None)
