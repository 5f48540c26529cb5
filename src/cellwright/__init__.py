"""Cellwright: write a recurrent cell as its equations; get the layer, and what belongs to it.

from cellwright import Cell, Input, State, affine, sigmoid, tanh
from cellwright.nn import Recurrent
"""

from importlib.metadata import version

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

__version__ = version("cellwright")

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
    "where",
]
