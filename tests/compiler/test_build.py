"""Build: a graph with sizes becomes one list of operations."""

import pytest

from cellwright.cells import CATALOGUE
from cellwright.compiler import Low
from cellwright.compiler.build import EPSILON, build
from cellwright.compiler.program import SEQUENCE_OPS, STEP_OPS
from cellwright.language import Cell, CellError, Input, Op, State, bias, layer_norm, linear, tanh
from cellwright.language.ops import PARAMETRIC, POINTWISE
from tests.cases import CELLS, widths


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


def test_two_block_triangular_matrices_of_one_vector_are_refused():
    class Two(Cell):
        x, h = Input(), State()
        a = linear(h, upper_blocks=2)
        h.next = tanh(linear(x) + linear(h, upper_blocks=2) + a)

    with pytest.raises(CellError, match=r"Two\.\w+.*: two block-triangular matrices read the same"):
        build(Two.graph, widths())
