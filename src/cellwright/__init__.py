"""Cellwright: write a recurrent cell as its equations; get the layer, and what belongs to it.

from cellwright import Cell, Input, State, affine, sigmoid, tanh
from cellwright.nn import Recurrent
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cellwright.language import (
    Cell,
    CellError,
    CellFileError,
    CellwrightError,
    Input,
    State,
    Width,
    affine,
    bias,
    cell_from_json,
    cell_to_json,
    concat,
    diagonal,
    exp,
    fit,
    hidden,
    layer_norm,
    linear,
    log,
    maximum,
    minimum,
    modules,
    proj,
    relu,
    sigmoid,
    split,
    tanh,
    where,
)

if TYPE_CHECKING:
    from cellwright.runtime import use_backend

__version__ = version("cellwright")


def __getattr__(name: str) -> Any:
    """`use_backend`, which needs torch: fetched when it is asked for."""
    if name == "use_backend":
        from cellwright.runtime import use_backend

        return use_backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Cell",
    "CellError",
    "CellFileError",
    "CellwrightError",
    "Input",
    "State",
    "Width",
    "affine",
    "bias",
    "cell_from_json",
    "cell_to_json",
    "concat",
    "diagonal",
    "exp",
    "fit",
    "hidden",
    "layer_norm",
    "linear",
    "log",
    "maximum",
    "minimum",
    "modules",
    "proj",
    "relu",
    "sigmoid",
    "split",
    "tanh",
    "use_backend",
    "where",
]
