"""The closed set of operations. Each interpretation of a cell is one table keyed by them."""

from enum import StrEnum


class Op(StrEnum):
    """One operation of the language; the value is its name in `cell.json`."""

    # leaves
    INPUT = "input"
    STATE = "state"
    CONSTANT = "constant"
    MODULES = "modules"
    # with weights of their own
    LINEAR = "linear"
    DIAGONAL = "diagonal"
    BIAS = "bias"
    LAYER_NORM = "layer_norm"
    # structure
    PART = "part"
    CONCAT = "concat"
    # pointwise
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    NEG = "neg"
    ABS = "abs"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    RELU = "relu"
    EXP = "exp"
    LOG = "log"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    WHERE = "where"


LEAVES = frozenset({Op.INPUT, Op.STATE, Op.CONSTANT, Op.MODULES})
PARAMETRIC = frozenset({Op.LINEAR, Op.DIAGONAL, Op.BIAS, Op.LAYER_NORM})
STRUCTURE = frozenset({Op.PART, Op.CONCAT})
COMPARISONS = frozenset({Op.LESS, Op.LESS_EQUAL})
POINTWISE = frozenset(Op) - LEAVES - PARAMETRIC - STRUCTURE

ARITY: dict[Op, int | None] = {
    **dict.fromkeys(LEAVES | {Op.BIAS}, 0),
    **dict.fromkeys((Op.LINEAR, Op.DIAGONAL, Op.LAYER_NORM, Op.PART), 1),
    **dict.fromkeys((Op.NEG, Op.ABS, Op.SIGMOID, Op.TANH, Op.RELU, Op.EXP, Op.LOG), 1),
    **dict.fromkeys((Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MAXIMUM, Op.MINIMUM), 2),
    **dict.fromkeys(COMPARISONS, 2),
    Op.WHERE: 3,
    Op.CONCAT: None,  # two or more
}
