"""Floor 0: the language in which cells are written. Standard library only."""

from cellwright.language.cell import Cell, cell_from_graph
from cellwright.language.errors import CellError, CellFileError, CellwrightError, UnsupportedOp
from cellwright.language.expr import (
    Expr,
    Input,
    Mask,
    State,
    affine,
    bias,
    concat,
    diagonal,
    exp,
    fit,
    layer_norm,
    linear,
    log,
    maximum,
    minimum,
    modules,
    relu,
    sigmoid,
    split,
    tanh,
    where,
)
from cellwright.language.graph import Graph, Node
from cellwright.language.normalise import layer_normed
from cellwright.language.ops import Op
from cellwright.language.regularise import recurrent_dropout, weight_dropped, zoneout
from cellwright.language.reshape import projected, residual
from cellwright.language.serial import cell_from_json, cell_to_json
from cellwright.language.stack import Stack, bidirectional, stacked
from cellwright.language.width import HIDDEN, PROJ, Width

hidden, proj = HIDDEN, PROJ

__all__ = [
    "Cell",
    "CellError",
    "CellFileError",
    "CellwrightError",
    "Expr",
    "Graph",
    "Input",
    "Mask",
    "Node",
    "Op",
    "Stack",
    "State",
    "UnsupportedOp",
    "Width",
    "affine",
    "bias",
    "bidirectional",
    "cell_from_graph",
    "cell_from_json",
    "cell_to_json",
    "concat",
    "diagonal",
    "exp",
    "fit",
    "hidden",
    "layer_norm",
    "layer_normed",
    "linear",
    "log",
    "maximum",
    "minimum",
    "modules",
    "proj",
    "projected",
    "recurrent_dropout",
    "relu",
    "residual",
    "sigmoid",
    "split",
    "stacked",
    "tanh",
    "weight_dropped",
    "where",
    "zoneout",
]
