"""Build: a graph with sizes becomes one list of operations."""

from typing import Any

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import Low, lower
from cellwright.compiler.build import EPSILON, build
from cellwright.compiler.program import SEQUENCE_OPS, STEP_OPS
from cellwright.language import (
    Cell,
    CellError,
    Input,
    Op,
    State,
    bias,
    fit,
    hidden,
    layer_norm,
    linear,
    split,
    tanh,
)
from cellwright.language.ops import PARAMETRIC, POINTWISE
from tests.cases import CELLS, assert_close, draw, run, widths
from tests.compiler.naive import Interpreter


def test_a_program_knows_every_operation_that_is_not_lowered_away():
    kept = POINTWISE | {Op.CONCAT, Op.CONSTANT, Op.MODULES, Op.LAYER_NORM}
    assert {op for op in STEP_OPS if isinstance(op, Op)} == kept
    assert kept | set(Low) == SEQUENCE_OPS
    assert (PARAMETRIC | {Op.PART, Op.INPUT, Op.STATE}) & set(STEP_OPS) == {Op.LAYER_NORM}


@pytest.mark.parametrize("name", CELLS)
def test_widths_and_names(name):
    graph = CATALOGUE[name].graph
    made = build(graph, widths())
    known = made.widths()
    assert [p.name for p in made.inputs] == list(graph.input_names)
    assert [c.name for c in made.states] == list(graph.state_names)
    for node in graph.nodes:
        if node.name and node.width:
            assert known[made.names[node.name]] == node.width.resolve(widths())
    assert [n for n, _ in made.outputs] == list(graph.output_names)


def test_without_biases_they_are_zeros():
    class Biased(Cell):
        x, h = Input(), State()
        b = bias()
        h.next = tanh(linear(x) + linear(h) + b)

    made = build(Biased.graph, widths(), with_bias=False)
    assert made.names["b"] in {i.name for i in made.body if i.op is Low.ZEROS}
    assert not [p for p in made.params if p.name.startswith("bias")]


def test_norms_are_torchs():
    class Normed(Cell):
        x, h = Input(), State()
        h.next = tanh(layer_norm(linear(x) + linear(h)))

    (norm,) = (i for i in build(Normed.graph, widths()).body if i.op is Op.LAYER_NORM)
    assert norm.attr("eps") == EPSILON == 1e-5


def test_a_value_may_be_named_like_a_parameter():
    class Named(Cell):
        x, weight_ih = Input(), State()
        bias_ih = linear(x)
        weight_ih.next = tanh(bias_ih + linear(weight_ih))

    made = build(Named.graph, widths())
    assert {p.name for p in made.params} == {"weight_ih", "weight_weight_ih_h"}
    assert made.states[0].name == "weight_ih_2"


def of(kind: str, count: int) -> Any:
    return {kind: count}


@pytest.mark.parametrize("kind", ["blocks", "upper_blocks"])
def test_matrices_of_blocks_that_differ_in_width_are_refused(kind):
    class Two(Cell):
        x, h = Input(), State()
        a, b = split(linear(h, 2 * hidden, **of(kind, 2)), 2)
        h.next = tanh(linear(x) + linear(h, **of(kind, 2)) + a + b)

    with pytest.raises(CellError, match=r"Two\.\w+.*: matrices of blocks that read the same"):
        build(Two.graph, widths())


@pytest.mark.parametrize("kind", ["blocks", "upper_blocks"])
def test_matrices_of_blocks_are_masked_each_for_itself(kind):
    class Two(Cell):
        x, h = Input(), State()
        a = tanh(linear(x) + linear(h, **of(kind, 3)))
        h.next = a * tanh(linear(h, **of(kind, 3)))

    program = lower(Two.graph, widths(3, 7))
    values = draw(program, 5, 2)
    (found,), _ = run(program, values)
    numbers = [w.numpy() for w in values.params]
    naive = Interpreter(Two.graph, widths(3, 7), numbers)
    (wanted,), _ = naive.run([values.inputs[0].numpy()], [values.states[0].numpy()])
    assert_close(found, torch.from_numpy(wanted), 1e-12)


@pytest.mark.parametrize(("inputs", "fits"), [(5, True), (3, False)])
def test_what_fits_needs_no_matrix(inputs, fits):
    class Fitted(Cell):
        x, h = Input(), State()
        p = fit(x)
        h.next = tanh(linear(h) + p)

    made = build(Fitted.graph, widths(inputs, 5))
    assert ("weight_ih" in {p.name for p in made.params}) != fits
    assert (made.names["p"] == "x") == fits
