"""Random declarations, through every pass: what comes out is what the equations say."""

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellwright.compiler import lower, verify
from cellwright.language import Op, cell_from_json, cell_to_json
from tests.cases import MASKS, draw, run
from tests.compiler.adjoint import both_gradients
from tests.compiler.drawn import SIZES, Source, sources
from tests.compiler.naive import Interpreter

CHECKS = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
HUGE = 1e4  # past this a random recurrence has run away and its last digits say nothing


def spread(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, relative to the larger of 1 and the largest value."""
    if not found.numel():
        return 0.0
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def arrays(tensors: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    return [t.numpy() for t in tensors]


@CHECKS
@given(sources(), st.sampled_from(sorted(MASKS)), st.booleans(), st.booleans())
def test_reference_is_the_graph(source: Source, masks: str, with_bias: bool, wide: bool):
    reset, lengths = MASKS[masks]
    graph = source.cell.graph
    program = verify(lower(graph, SIZES, with_bias, wide=wide))
    values = draw(program, 4, 3, reset=reset, lengths=lengths, scale=0.4)
    outputs, final = run(program, values, reset=reset, lengths=lengths)
    naive = Interpreter(graph, SIZES, arrays(values.params), with_bias)
    mask = dict(zip([*["reset"] * reset, *["valid"] * lengths], arrays(values.masks), strict=True))
    with np.errstate(all="ignore"):
        wanted, ends = naive.run(
            arrays(values.inputs), arrays(values.states), arrays(values.starts), **mask
        )
    for found, want in zip((*outputs, *final), (*wanted, *ends), strict=True):
        want = torch.from_numpy(np.array(want))
        assert found.shape == want.shape
        assert found.dtype == torch.float64
        if bool((want.abs() < HUGE).all()):
            assert spread(found, want) < 1e-11


@CHECKS
@given(sources(), st.sampled_from(sorted(MASKS)), st.booleans(), st.booleans())
def test_adjoint_is_autograd(source: Source, masks: str, with_bias: bool, wide: bool):
    reset, lengths = MASKS[masks]
    program = lower(source.cell.graph, SIZES, with_bias, wide=wide)
    values = draw(program, 4, 3, reset=reset, lengths=lengths, scale=0.4)
    for name, found, want in both_gradients(program, values, reset=reset, lengths=lengths):
        assert found.shape == want.shape, name
        if bool((want.abs() < HUGE).all()):
            assert spread(found, want) < 1e-9, name


@CHECKS
@given(sources())
def test_file_round_trip(source: Source):
    cell = source.cell
    text = cell_to_json(cell)
    again = cell_from_json(text)
    assert cell_to_json(again) == text
    assert again.graph.nodes == cell.graph.nodes
    assert lower(again.graph, SIZES) == lower(cell.graph, SIZES)


def test_draws_use_the_whole_language():
    """What the other tests of this file stand on: no operation is missing from what is drawn."""
    seen: set[str] = set()

    @settings(CHECKS, max_examples=60)
    @given(sources())
    def look(source: Source) -> None:
        seen.update(str(node.op) for node in source.cell.graph.nodes)

    look()
    assert seen == set(map(str, Op))
