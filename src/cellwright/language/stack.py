"""Stacks: cells on top of one another, and cells that read a sequence both ways."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Concatenate, ParamSpec, Protocol, overload

from cellwright.language.cell import Cell
from cellwright.language.errors import CellError

P = ParamSpec("P")


@dataclass(frozen=True)
class Stack:
    """Layers of cells, the lowest first; `cellwright.nn.Recurrent` takes it where it takes a cell.

    cells: classes or names of the catalogue. `both_ways` says of each layer whether it reads the
    sequence in both directions. `tied` layers share one set of weights.
    """

    cells: tuple[type[Cell] | str, ...]
    both_ways: tuple[bool, ...]
    tied: bool = False

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        names = (cell if isinstance(cell, str) else cell.__name__ for cell in self.cells)
        pairs = zip(names, self.both_ways, strict=True)
        shown = [f"bidirectional({name})" if both else name for name, both in pairs]
        return f"stacked({', '.join(shown)}{', tied=True' if self.tied else ''})"


def stacked(*cells: "type[Cell] | str | Stack", tied: bool = False) -> Stack:
    """Put cells on top of one another: `stacked(LSTM, GRU)`, the lowest first.

    A layer reads the outputs of the layer below by order; further inputs it takes from what the
    stack is given, by name (the static features of `ea-lstm` reach every layer). Widths are given
    to `Recurrent`: `Recurrent(stacked(LSTM, GRU), 64, hidden_size=[256, 128])`. tied: all layers
    share their weights, which needs one cell and equal widths. CellError for no cells at all.
    """
    layers: list[type[Cell] | str] = []
    ways: list[bool] = []
    for cell in cells:
        if isinstance(cell, Stack):
            if cell.tied:
                raise CellError("stacked: a tied stack cannot be a part of another")
            layers += cell.cells
            ways += cell.both_ways
        else:
            layers.append(_checked("stacked", cell))
            ways.append(False)
    if not layers:
        raise CellError("stacked needs at least one cell, as in stacked(LSTM, LSTM)")
    if tied and not all(_same(layers[0], other) for other in layers[1:]):
        raise CellError("stacked: tied layers share their weights, so they are of one cell")
    return Stack(tuple(layers), tuple(ways), tied)


def _same(one: type[Cell] | str, other: type[Cell] | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    a, b = one.graph, other.graph
    return (a.nodes, a.states, a.outputs) == (b.nodes, b.states, b.outputs)


def bidirectional(cell: type[Cell] | str | Stack) -> Stack:
    """Read the sequence in both directions, each with weights of its own; outputs side by side.

    Of a stack it makes every layer bidirectional (Graves & Schmidhuber 2005).
    """
    made = cell if isinstance(cell, Stack) else stacked(cell)
    return replace(made, both_ways=(True,) * len(made))


def _checked(word: str, cell: object) -> type[Cell] | str:
    if isinstance(cell, str) or (isinstance(cell, type) and issubclass(cell, Cell)):
        return cell
    raise CellError(f"{word} takes cells, got {cell!r:.60}")


class Layerwise(Protocol[P]):
    """A transform of a cell that takes a stack too, and transforms each of its layers."""

    @overload
    def __call__(self, cell: type[Cell], /, *args: P.args, **kwargs: P.kwargs) -> type[Cell]: ...
    @overload
    def __call__(self, cell: Stack, /, *args: P.args, **kwargs: P.kwargs) -> Stack: ...


def layerwise(transform: Callable[Concatenate[type[Cell], P], type[Cell]]) -> Layerwise[P]:
    """Let a transform of a cell take a stack as well."""

    @functools.wraps(transform)
    def applied(cell: object, *args: P.args, **kwargs: P.kwargs) -> object:
        word = transform.__name__
        if isinstance(cell, Stack):
            made = tuple(transform(_class(word, c), *args, **kwargs) for c in cell.cells)
            return replace(cell, cells=made)
        return transform(_class(word, cell), *args, **kwargs)

    return applied  # type: ignore[return-value]


def _class(word: str, cell: object) -> type[Cell]:
    if isinstance(cell, type) and issubclass(cell, Cell) and cell is not Cell:
        return cell
    hint = f"; cellwright.cells.find({cell!r:.40}) looks a name up" if isinstance(cell, str) else ""
    raise CellError(f"{word} takes a Cell class, got {cell!r:.60}{hint}")
