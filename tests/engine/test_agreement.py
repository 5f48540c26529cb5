"""Every cell of the catalogue as machine code: what the float64 reference says, and its gradients.

Outputs, final states and the gradients of inputs, start states, the states at a reset and every
parameter, with random cotangents on all outputs and final states; NaN past a row's end.
"""

import json
from dataclasses import dataclass, replace

import pytest
import torch

from cellwright.compiler import lower
from cellwright.compiler.program import Program
from cellwright.runtime import Plan
from cellwright.targets import reference
from tests.cases import CELLS, compiled, widths
from tests.engine.agree import DTYPES, Case, assert_agree, both, planned

# Hidden width and input width: one unit; less than a vector; whole vectors and a rest; exactly so
# many; several blocks of tiles and a rest. Inputs one wide, odd, and never as wide as the state.
NARROW = ((1, 5), (7, 1), (33, 7))
WIDE = ((64, 33), (250, 17))
# Time times batch goes beyond the 192 and the 256 rows that are taken at a time.
CASES = (
    Case(1, 1),
    Case(1, 9, "both", 2),
    Case(5, 1, "reset", 2),
    Case(5, 4, "no mask", 2),
    Case(7, 1, "lengths"),
    Case(7, 6, "lengths", 2),
    Case(13, 21, "no mask", 2),
    Case(13, 6, "both"),
    Case(13, 1, "no mask"),
    Case(5, 9, "reset", reverse=True),
    Case(13, 17, "both", 2, reverse=True),
)
SOME = (Case(5, 4), Case(7, 6, "both", 2))
cells = pytest.mark.parametrize("name", CELLS)
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


# Two numbers are normalised together there: where they are nearly equal, the rounding of their
# difference is divided by as little as sqrt(eps), 1/316.
STEEP = {("layernorm-gru", 1): 3.0}


def check(
    made: Plan,
    dtype: torch.dtype,
    cases: tuple[Case, ...],
    track: str = "xspr",
    factor: float = 1.0,
) -> None:
    for seed, case in enumerate(cases):
        found, wanted = both(made, case, dtype, seed=seed, track=track)
        assert_agree(found, wanted, dtype, (made.cell.__name__, case), factor=factor)


@dtypes
@pytest.mark.parametrize("hidden,inputs", NARROW)
@cells
def test_narrow(name: str, hidden: int, inputs: int, dtype: torch.dtype):
    check(planned(name, inputs, hidden), dtype, CASES, factor=STEEP.get((name, hidden), 1.0))


@pytest.mark.slow
@dtypes
@pytest.mark.parametrize("hidden,inputs", WIDE)
@cells
def test_wide(name: str, hidden: int, inputs: int, dtype: torch.dtype):
    check(planned(name, inputs, hidden), dtype, CASES)


@cells
def test_without_bias(name: str):
    check(planned(name, 7, 33, with_bias=False), torch.float32, SOME)


@pytest.mark.parametrize("track", ["", "x", "s", "p", "spr"])
@cells
def test_whatever_is_differentiated(name: str, track: str):
    """Inference keeps no residuals, and a gradient of weights alone is a program of its own."""
    check(planned(name, 7, 33), torch.float32, SOME, track)


@cells
def test_every_state_emitted(name: str):
    check(planned(name, 7, 33).emitting_states(), torch.float32, SOME)


@dataclass(frozen=True, eq=False)
class Narrow(Plan):
    """A plan whose program is already as machine code wants it."""

    def narrow(self) -> Program:
        return self.program


@cells
def test_every_equation_emitted(name: str):
    plain = planned(name, 7, 33)
    program = lower(plain.cell.graph, widths(7, 33), wide=False)
    width = program.widths()
    every = [*program.outputs, *((n, v) for n, v in program.names.items() if width[v])]
    traced = replace(program, outputs=tuple(every))
    assert len(every) > len(plain.cell.graph.equations)
    loops = {}
    for masks in plain.loops:
        source = reference.emit(traced, reset=masks[0], lengths=masks[1])
        loops[masks] = compiled(source, reference.function_name(traced))
    key = json.dumps({**json.loads(plain.key), "traced": True})
    made = Narrow(key, plain.cell, traced, plain.emitted, loops)
    check(made, torch.float32, SOME)
