"""One table for each interpretation: every table has every operation."""

from cellwright.language import Op
from cellwright.language.ops import (
    ARITY,
    COMPARISONS,
    LEAVES,
    PARAMETRIC,
    POINTWISE,
    STRUCTURE,
)
from cellwright.language.serial import ATTRIBUTES


def test_every_operation_is_of_one_kind():
    kinds = [LEAVES, PARAMETRIC, STRUCTURE, POINTWISE]
    assert sum(map(len, kinds)) == len(Op)
    assert frozenset().union(*kinds) == set(Op)
    assert COMPARISONS < POINTWISE


def test_arity():
    assert set(ARITY) == set(Op)
    assert {op for op, n in ARITY.items() if n == 0} == LEAVES | {Op.BIAS}
    assert all(ARITY[op] in (1, 2, 3) for op in POINTWISE)


def test_attributes_belong_to_operations():
    assert set(ATTRIBUTES) <= set(Op)
    assert not set(ATTRIBUTES) & POINTWISE


def test_values_are_their_names_in_files():
    assert all(str(op) == op.name.lower() for op in Op)
