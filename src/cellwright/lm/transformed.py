"""The cell of a training run: the one it names, changed as its other flags say."""

from cellwright import cells
from cellwright.language import layer_normed, recurrent_dropout, weight_dropped, zoneout
from cellwright.language.cell import Cell
from cellwright.lm.config import TrainConfig
from cellwright.lm.rates import read


def cell_of(config: TrainConfig, name: str | None = None) -> type[Cell]:
    """The cell `name` (None: the configuration's), normed, then zoned out, then with dropout.

    CellError for a cell that is not found or that a transform makes no sense for.
    """
    cell = cells.find(config.cell if name is None else name)
    if config.layer_norm:
        cell = layer_normed(cell)
    if config.zoneout is not None:
        cell = zoneout(cell, read(config.zoneout))
    if config.recurrent_dropout is not None:
        rates = read(config.recurrent_dropout)
        for on, rate in rates.items() if isinstance(rates, dict) else [(None, rates)]:
            cell = recurrent_dropout(cell, rate, on=on)
    if config.weight_drop:
        cell = weight_dropped(cell, config.weight_drop)
    return cell
