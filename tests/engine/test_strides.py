"""A dense batch of one may claim any distance between its rows: nothing there is touched."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cellwright.nn import Recurrent
from cellwright.runtime import use_backend
from cellwright.runtime.fast import FastProgram
from tests.cases import CELLS, options
from tests.engine.fence import fenced
from tests.nn.examples import flat, inputs_for

STEPS = 30
QUICK = ("lstm", "gru", "layernorm-lstm")  # of each kind of loop one; the rest is slow
close = torch.testing.assert_close
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")


def results(layer: Recurrent, given: list[Tensor], track: bool = True) -> list[Tensor]:
    """Outputs, final states and gradients, of inputs that lie in memory as they were given."""
    leaves = [x.detach().requires_grad_(track) for x in given]
    with torch.set_grad_enabled(track), use_backend("llvm"):
        made = flat(layer(tuple(leaves) if len(leaves) > 1 else leaves[0]))
        if not track:
            return made
        # Plain arithmetic: what MKL divides among its threads would hang in a forked process.
        loss = torch.stack([(y.flatten() * (torch.arange(y.numel()) % 7 - 3)).sum() for y in made])
        return [*made, *torch.autograd.grad(loss.sum(), [*leaves, *layer.parameters()])]


@pytest.fixture
def strides(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Note how the inputs lie that a compiled program is given."""
    seen: list[tuple[int, ...]] = []
    call = FastProgram.__call__

    def noted(self: FastProgram, inputs: Any, *rest: Any) -> Any:
        seen.extend(x.stride() for x in inputs)
        return call(self, inputs, *rest)

    monkeypatch.setattr(FastProgram, "__call__", noted)
    return seen


def batch_first(name: str, steps: int = STEPS) -> tuple[Recurrent, list[Tensor]]:
    layer = Recurrent(name, 6, 40, batch_first=True, **options(name, 40))
    return layer, flat(inputs_for(layer, 1, steps))


def test_the_odd_stride_reaches_machine_code(strides: list[tuple[int, ...]]):
    """[1, T, I] is read as [T, 1, I], whose rows claim to lie T * I apart."""
    layer, (x,) = batch_first("lstm")
    found = results(layer, [x])
    assert strides.count((6, STEPS * 6, 1)) == 2  # forward and back
    strides.clear()
    layer.batch_first = False
    plain = torch.empty(STEPS, 1, 6).copy_(x.transpose(0, 1))
    wanted = results(layer, [plain])
    assert strides.count((6, 6, 1)) == 2
    assert torch.equal(found[0].transpose(0, 1), wanted[0])


def checks(name: str) -> Callable[[], None]:
    """Compile and compute what is wanted; what is returned runs machine code alone."""
    layer, given = batch_first(name)
    layer.batch_first = False
    apart = [torch.empty(STEPS, 1, x.shape[2]).copy_(x.transpose(0, 1)) for x in given]
    wanted = {track: results(layer, apart, track) for track in (True, False)}
    layer.batch_first = True

    def check() -> None:
        for track, count in itertools.product((True, False), (1, 2)):
            torch.set_num_threads(count)
            for found, want in zip(results(layer, given, track), wanted[track], strict=True):
                close(found.flatten(), want.flatten(), rtol=1e-5, atol=1e-5)

    return check


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CELLS],
)
def test_nothing_outside_a_batch_of_one_is_touched(name: str, at_end: bool):
    assert fenced(checks(name), at_end=at_end) == 0
