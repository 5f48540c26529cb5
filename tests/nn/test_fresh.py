"""What a layer or a cell returns is the caller's own, even where the cell hands its input on."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from cellwright.language import Cell, Input, State, affine, hidden, tanh
from cellwright.nn import Recurrent, RecurrentCell
from cellwright.runtime import native, use_backend
from tests.nn.examples import B, H, T, flat, gradients

close = torch.testing.assert_close
PATHS = ("reference", "auto") if native.missing() is None else ("reference",)


class HandsOn(Cell):
    """Gives its input, its old states; one state is the input itself."""

    x, h, last, still = Input(hidden), State(), State(), State()

    last.next = x
    still.next = still
    h.next = tanh(affine(x, last))
    outputs = x, h, still, h.next


class SaysTwice(Cell):
    """Gives two outputs that the compiler sees to be one value."""

    x, h = Input(hidden), State()

    p = tanh(h) * x
    q = tanh(h) * x
    h.next = p
    outputs = p, q


def homes(values: Any) -> list[int]:
    return [t.untyped_storage().data_ptr() for t in flat(values)]


def given(*batch: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    return torch.randn(*batch, H), tuple(torch.randn(*batch[-1:], H) for _ in range(3))


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("masks", [{}, {"lengths": torch.tensor([1, 0, 1])}], ids=["", "lengths"])
def test_a_layer_gives_memory_of_its_own(masks, steps, backend, track):
    layer = Recurrent(HandsOn, H, H, backend=backend)
    x, states = given(steps, B)
    hx = tuple(s[None] for s in states)
    with torch.set_grad_enabled(track):
        found = layer(x, hx, return_states=True, **masks)
    if not masks:
        close(found[0][0], x, rtol=0, atol=0)
        close(found[1][1][0], x[-1], rtol=0, atol=0)
    before = homes((x, hx))
    assert not set(homes(found[0])) & set(before)
    if not track:
        kept = [t.clone() for t in flat((x, hx))]
        for t in flat(found[0]):
            t.zero_()
        close(flat((x, hx)), kept, rtol=0, atol=0)


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("backend", PATHS)
def test_a_cell_gives_memory_of_its_own(backend, track, inference):
    cell = RecurrentCell(HandsOn, H, H, backend=backend)
    x, states = given(B)
    with torch.set_grad_enabled(track), torch.inference_mode(inference):
        outputs, state = cell.step(x, states)
    made = homes((outputs, state))
    assert len(set(made)) == len(made) and not set(made) & set(homes((x, states)))
    close(outputs[:3], (x, states[0], states[2]), rtol=0, atol=0)
    close(state[1:], (x, states[2]), rtol=0, atol=0)


@pytest.mark.parametrize("backend", PATHS)
def test_a_copy_carries_its_gradient(backend):
    cell = RecurrentCell(HandsOn, H, H, backend=backend, dtype=torch.float64)
    x, states = given(B)
    leaves = [t.double().requires_grad_() for t in (x, *states)]
    found = gradients(flat(cell.step(leaves[0], tuple(leaves[1:]))), leaves)
    with use_backend("reference"):
        wanted = gradients(flat(cell.step(leaves[0], tuple(leaves[1:]))), leaves)
    close(found, wanted)
    assert all(g.any() for g in found)


@pytest.mark.parametrize("track", [True, False])
@pytest.mark.parametrize("backend", PATHS)
@pytest.mark.parametrize("kind", [Recurrent, RecurrentCell])
def test_one_value_given_twice_is_two_tensors(kind, backend, track):
    module = kind(SaysTwice, H, H, backend=backend)
    with torch.set_grad_enabled(track):
        (p, q), final = module.step(torch.randn(B, H))
    close(p, q, rtol=0, atol=0)
    assert len(set(homes((p, q, final)))) == 3


def test_under_vmap_and_in_a_graph(fresh_compiler):
    cell = RecurrentCell(HandsOn, H, H)
    x, states = given(B)
    wanted = cell.step(x, states)
    mapped = vmap(lambda v, s: cell.step(v, s))(x, states)
    compiled = torch.compile(cell.step, backend="aot_eager", fullgraph=True)(x, states)
    for found in (mapped, compiled):
        close(flat(found), flat(wanted), rtol=1e-5, atol=1e-6)
        assert not set(homes(found)) & set(homes((x, states)))
