"""No float outside a buffer is read or written, in any pass of any cell."""

import ctypes
import signal
from collections.abc import Callable

import pytest
import torch

from tests.cases import CELLS
from tests.engine.agree import LLVM, REFERENCE, Case, assert_agree, numbers, outcome, planned
from tests.engine.fence import fenced
from tests.engine.test_agreement import NARROW

CASES = (Case(1, 1), Case(5, 3, "both", 2), Case(7, 2), Case(2, 98, "lengths"))
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
sides = pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])


def checks(name: str, hidden: int, inputs: int, dtype: torch.dtype) -> Callable[[], None]:
    """Prepare what is compared; what is returned runs machine code alone."""
    made = planned(name, inputs, hidden)
    given = [numbers(made, case).to(dtype) for case in CASES]
    wanted = [outcome(made, g.to(torch.float64), REFERENCE) for g in given]
    peers = [outcome(made, g, REFERENCE) for g in given]
    for track in ("", "xspr"):  # everything is compiled before the fences are up
        outcome(made, given[0], LLVM, track=track)

    def check() -> None:
        for case, g, want, peer in zip(CASES, given, wanted, peers, strict=True):
            torch.set_num_threads(case.threads)
            assert_agree(outcome(made, g, LLVM), want, dtype, case, peer=peer)
            plain = {k: v for k, v in want.items() if not k.startswith("d ")}
            assert_agree(outcome(made, g, LLVM, track=""), plain, dtype, case, peer=peer)

    return check


@pytest.mark.slow
@sides
@pytest.mark.parametrize("hidden,inputs", NARROW)
@pytest.mark.parametrize("name", CELLS)
def test_every_buffer_is_fenced(name: str, hidden: int, inputs: int, at_end: bool):
    assert fenced(checks(name, hidden, inputs, torch.float32), at_end=at_end) == 0


@pytest.mark.slow
@sides
@pytest.mark.parametrize("name", ["lstm", "lstm-projected", "layernorm-lstm"])
def test_every_buffer_of_doubles_is_fenced(name: str, at_end: bool):
    assert fenced(checks(name, 33, 7, torch.float64), at_end=at_end) == 0


def touched(offset: int, write: bool) -> Callable[[], None]:
    """Touch one float next to a buffer, as bad machine code would."""

    def check() -> None:
        t = torch.ones(5)
        at = t.data_ptr() + offset
        if write:
            ctypes.memset(at, 0, 4)
        else:
            ctypes.string_at(at, 4)
        layer_of_any_cell()

    return check


def layer_of_any_cell() -> None:
    made = planned("rnn", 5, 1)
    outcome(made, numbers(made, Case(1, 1)).to(torch.float32), LLVM, track="")


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("offset,at_end", [(20, True), (-4, False)])
def test_a_fence_holds(offset: int, at_end: bool, write: bool):
    layer_of_any_cell()
    ended = fenced(touched(offset, write), at_end=at_end)
    assert ended in (-signal.SIGSEGV, -signal.SIGBUS)


@pytest.mark.parametrize("offset,at_end", [(20, False), (-4, True)])
def test_a_write_on_the_open_side_is_seen(
    offset: int, at_end: bool, capfd: pytest.CaptureFixture[str]
):
    layer_of_any_cell()
    assert fenced(touched(offset, True), at_end=at_end) == 1
    assert "written outside of 20 bytes" in capfd.readouterr().err


def test_scratch_memory_is_poisoned():
    """What torch hands out unwritten is NaN here, so nothing unwritten reached a result above."""
    assert torch.ones(1).new_empty(3, 4).isnan().all()
    assert torch.empty(3, dtype=torch.float64).isnan().all()
