"""Cells of thousands of equations: work grows with their number, and no recursion with it."""

import ast
import sys

import pytest
import torch

from cellwright.compiler import lower, vjp
from cellwright.language.graph import Graph
from cellwright.targets import reference
from tests.cases import GRADIENT_TOLERANCE, assert_close, draw
from tests.compiler.adjoint import both_gradients
from tests.compiler.large import KINDS

SIZES = {"input": 3, "hidden": 4}


def compiled(graph: Graph) -> tuple[str, str]:
    """What the reference runs of a cell: forward, and its adjoint."""
    program = lower(graph, SIZES)
    lower(graph, SIZES, wide=False)
    adjoint = vjp(program)
    return reference.emit(program, reset=True, lengths=True), reference.emit(adjoint.backward)


def calls(graph: Graph) -> int:
    """How many calls of functions, and turns of generators, compiling a cell takes."""
    count = 0

    def seen(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        compiled(graph)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_equations_are_twice_the_work(kind):
    small, large = (calls(KINDS[kind](n)) for n in (150, 300))
    assert large < 2.2 * small


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_equations_compile(kind):
    for source in compiled(KINDS[kind](1200)):
        ast.parse(source)


@pytest.mark.parametrize("kind", KINDS)
def test_their_gradients_are_right(kind):
    program = lower(KINDS[kind](4), SIZES)
    values = draw(program, steps=2, batch=2, scale=0.3)
    for name, found, wanted in both_gradients(program, values):
        assert_close(found, wanted, GRADIENT_TOLERANCE[torch.float64], name)
