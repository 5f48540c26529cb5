"""Random declarations as machine code, forward and backward.

CELLWRIGHT_DRAWN_CELLS=400 draws so many, other ones at every run; unset, forty and some that are
always the same.
"""

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from torch import Tensor

from cellwright.runtime import plan
from tests.cases import MASKS
from tests.compiler.drawn import Source
from tests.compiler.drawn import sources as plain_cells
from tests.engine.agree import REFERENCE, Case, Numbers, both, numbers, outcome
from tests.engine.draw import SIZES, cells

pytestmark = pytest.mark.slow
COUNT = os.environ.get("CELLWRIGHT_DRAWN_CELLS")
CHECKS = settings(
    max_examples=int(COUNT or 40),
    derandomize=COUNT is None,
    deadline=None,
    database=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
# A random cell may amplify rounding, or stand on the edge of a comparison. How far its results
# move when everything it is given moves by NUDGE says how far rounding may move them.
NUDGE = {torch.float32: 1e-6, torch.float64: 1e-13}
ROUNDINGS = 30  # how many roundings a result may have gone through, the worst way round
FLOOR = {torch.float32: 1e-5, torch.float64: 1e-12}


def nudged(given: Numbers, size: float, seed: int) -> Numbers:
    generator = torch.Generator().manual_seed(seed)

    def move(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(
            t * (1 + size * torch.randn(t.shape, generator=generator, dtype=t.dtype))
            for t in tensors
        )

    return replace(
        given,
        inputs=move(given.inputs),
        states=move(given.states),
        params=move(given.params),
        fresh=move(given.fresh),
    )


def check(source: Source, sizes: dict[str, int], case: Case, bias: bool, dtype: torch.dtype):
    made = plan(source.cell, sizes, bias)
    found, wanted = both(made, case, dtype)
    given = numbers(made, case).to(dtype).to(torch.float64)
    moved = [
        outcome(made, nudged(given, NUDGE[dtype], seed), REFERENCE, reverse=case.reverse)
        for seed in range(3)
    ]
    for name, want in wanted.items():
        got = found[name].double()
        assert got.shape == want.shape, name
        scale = want.abs().max().clamp(min=1) if want.numel() else 1
        spread = torch.stack([(m[name] - want).abs() for m in moved]).amax(0)
        spread = spread.max() if spread.numel() else 0  # an edge may be near for any element
        allowed = FLOOR[dtype] * scale + ROUNDINGS * spread
        off = (got - want).abs()
        note(f"{name}: off by {float(off.max()) if off.numel() else 0:.1e}, {allowed:.1e} allowed")
        assert bool((off <= allowed).all()), name


cases = st.builds(
    Case,
    batch=st.sampled_from([1, 3, 7, 13]),
    steps=st.sampled_from([1, 2, 5]),
    masks=st.sampled_from(sorted(MASKS)),
    threads=st.sampled_from([1, 2]),
    reverse=st.booleans(),
    recompute=st.sampled_from([0, 0, 2]),
)


@CHECKS
@given(cells(), st.sampled_from(SIZES), cases, st.booleans())
def test_random_cells(source: Source, sizes: dict[str, int], case: Case, bias: bool):
    check(source, sizes, case, bias, torch.float64)


@settings(CHECKS, max_examples=int(COUNT or 40) // 4)
@given(cells(), st.sampled_from(SIZES), cases, st.booleans())
def test_random_cells_in_floats(source: Source, sizes: dict[str, int], case: Case, bias: bool):
    check(source, sizes, case, bias, torch.float32)


@settings(CHECKS, max_examples=int(COUNT or 40) // 4)
@given(plain_cells(), st.sampled_from(SIZES), cases, st.booleans())
def test_random_cells_of_the_compiler(
    source: Source, sizes: dict[str, int], case: Case, bias: bool
):
    check(source, sizes, case, bias, torch.float64)
