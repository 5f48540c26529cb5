"""Lengths, packed batches, episode starts, learned starts, all states, single steps: every cell."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cellwright.nn import Recurrent
from tests.cases import CELLS
from tests.nn.examples import (
    ALL_CELLS,
    ONE_TENSOR,
    B,
    H,
    I,
    T,
    build,
    flat,
    gradients,
    inputs_for,
    pick,
    start_for,
)

LENGTHS = [3, 0, 5]
STACKS = {
    "one layer": {},
    "two layers, bidirectional": {"num_layers": 2, "bidirectional": True},
}
close = torch.testing.assert_close

every_cell = pytest.mark.parametrize("name", ALL_CELLS)
every_stack = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


def equal(found, wanted):
    for a, b in zip(flat(found), flat(wanted), strict=True):
        close(a, b, rtol=1e-12, atol=1e-12)


def row(layer, x, hx, k, length):
    """Run one row on its own: its output [length, 1, width], its states and their trail."""
    at = slice(k, k + 1)
    return layer(pick(pick(x, 1, at), 0, slice(0, length)), pick(hx, 1, at), return_states=True)


@every_stack
@every_cell
def test_lengths_run_each_row_on_its_own(name, stack):
    layer = build(name, **stack)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    output, state, trail = layer(x, hx, lengths=LENGTHS, return_states=True)
    for k, length in enumerate(LENGTHS):
        if length == 0:
            equal(pick(state, 1, k), pick(hx, 1, k))
        else:
            y, final, path = row(layer, x, hx, k, length)
            equal(pick(pick(output, 1, k), 0, slice(0, length)), pick(y, 1, 0))
            equal(pick(state, 1, k), pick(final, 1, 0))
            for key, states in trail.items():
                close(states[:, :length, k], path[key][:, :, 0], rtol=1e-12, atol=1e-12)
        for beyond in [*flat(pick(pick(output, 1, k), 0, slice(length, None)))]:
            assert not beyond.any()
        assert not any(states[:, length:, k].any() for states in trail.values())


@every_cell
def test_gradients_through_lengths_are_those_of_each_row(name):
    layer = build(name, num_layers=2, bidirectional=True)
    x = inputs_for(layer, T, B)
    leaves = [*(v.requires_grad_() for v in flat(x)), *layer.parameters()]
    output, state = layer(x, lengths=LENGTHS)
    found = gradients(flat(output), leaves)
    source = torch.Generator().manual_seed(1)
    weights = [torch.randn(y.shape, generator=source, dtype=y.dtype) for y in flat(output)]
    total = torch.zeros((), dtype=torch.float64)
    for k, length in enumerate(LENGTHS):
        if length:
            y, _ = layer(pick(pick(x, 1, slice(k, k + 1)), 0, slice(0, length)))
            for part, weight in zip(flat(y), weights, strict=True):
                total = total + (part[:, 0] * weight[:length, k]).sum()
    wanted = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", [list, torch.tensor, lambda n: torch.tensor(n, dtype=torch.int32)])
def test_lengths_may_be_a_list_or_any_whole_numbers(form):
    layer = build("gru")
    x = inputs_for(layer, T, B)
    equal(layer(x, lengths=form(LENGTHS)), layer(x, lengths=LENGTHS))


@pytest.mark.parametrize(
    "lengths", [[1, 2], [1.0, 2.0, 3.0], [1, 2, T + 1], [-1, 2, 3], [[1, 2, 3]], [True, True, True]]
)
def test_lengths_that_cannot_be(lengths):
    layer = build("gru")
    with pytest.raises(ValueError, match="lengths"):
        layer(inputs_for(layer, T, B), lengths=lengths)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize("name", ONE_TENSOR)
def test_packed_equals_lengths(name, enforce_sorted, batch_first):
    layer = build(name, num_layers=2, bidirectional=True, batch_first=batch_first)
    lengths = [5, 3, 2] if enforce_sorted else [2, 5, 3]
    x = inputs_for(layer, *((B, T) if batch_first else (T, B)))
    hx = start_for(layer, B)
    reset = torch.rand(x.shape[:2]) < 0.4
    packed = pack_padded_sequence(
        x, torch.tensor(lengths), batch_first, enforce_sorted=enforce_sorted
    )
    output, state, trail = layer(packed, hx, reset=reset, return_states=True)
    assert isinstance(output, PackedSequence)
    padded, counts = pad_packed_sequence(output, batch_first)
    assert counts.tolist() == lengths
    equal([padded, state, trail], layer(x, hx, lengths=lengths, reset=reset, return_states=True))


def test_packed_says_its_lengths_itself():
    layer = build("lstm")
    packed = pack_padded_sequence(torch.randn(T, 2, I, dtype=torch.float64), torch.tensor([5, 2]))
    with pytest.raises(ValueError, match="its own lengths"):
        layer(packed, lengths=[5, 2])


def episodes(resets):
    """Cut a row's steps where an episode begins: ranges (start, stop)."""
    starts = [0, *(t for t in range(1, len(resets)) if resets[t])]
    return list(zip(starts, [*starts[1:], len(resets)], strict=True))


@pytest.mark.parametrize("learn_start", [False, True], ids=["zero start", "learned start"])
@every_cell
def test_reset_splits_a_row_into_episodes(name, learn_start):
    """The first episode goes on from hx unless it is reset; the others start afresh."""
    layer = build(name, bidirectional=True, learn_start=learn_start)
    learned(layer)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[[2, 4], 0] = True
    reset[[0, 1], 1] = True  # row 2 is one episode
    lengths = torch.tensor([T, 4, 3])
    output, state = layer(x, hx, reset=reset, lengths=lengths)
    for k in range(B):
        n = int(lengths[k])
        cuts = episodes(reset[:n, k].tolist())
        for start, stop in cuts:
            part = pick(pick(x, 1, slice(k, k + 1)), 0, slice(start, stop))
            # Forwards the first episode starts from hx, backwards the last one does.
            forwards = hx if start == 0 and not reset[0, k] else None
            backwards = hx if stop == n else None
            ahead, ahead_state = layer(part, pick_or_none(forwards, k))
            back, back_state = layer(part, pick_or_none(backwards, k))
            for y, a, b in zip(flat(output), flat(ahead), flat(back), strict=True):
                half = y.shape[-1] // 2
                close(y[start:stop, k, :half], a[:, 0, :half], rtol=1e-12, atol=1e-12)
                close(y[start:stop, k, half:], b[:, 0, half:], rtol=1e-12, atol=1e-12)
            for s, a, b in zip(flat(state), flat(ahead_state), flat(back_state), strict=True):
                if stop == n:
                    close(s[0, k], a[0, 0], rtol=1e-12, atol=1e-12)
                if start == 0:
                    close(s[1, k], b[1, 0], rtol=1e-12, atol=1e-12)


def pick_or_none(hx, k):
    return None if hx is None else pick(hx, 1, slice(k, k + 1))


def learned(layer):
    """Give learned start states values, as training would."""
    with torch.no_grad():
        for key, parameter in layer.named_parameters():
            if key.startswith("start_"):
                parameter.normal_()


@every_cell
def test_a_reset_forgets_hx_and_the_past(name):
    layer = build(name, num_layers=2)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    leaves = [v.requires_grad_() for v in [*flat(x), *flat(hx)]]
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3] = True
    output, state = layer(x, hx, reset=reset)
    equal(pick(output, 0, slice(3, None)), layer(pick(x, 0, slice(3, None)))[0])
    shown = [*(y[3:] for y in flat(output)), *flat(state)]
    after = torch.cat([v.flatten() for v in shown]).sum()
    for leaf, grad in zip(
        leaves,
        torch.autograd.grad(after, leaves, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        past = grad[:3] if leaf.shape[0] == T else grad
        assert not past.any()


def test_a_reset_beyond_the_end_of_a_row_does_nothing():
    layer = build("lstm", bidirectional=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3:] = True
    equal(layer(x, hx, lengths=[3, 2, 0], reset=reset), layer(x, hx, lengths=[3, 2, 0]))


@pytest.mark.parametrize("batch_first", [False, True])
def test_reset_masks_that_cannot_be(batch_first):
    layer = build("gru", batch_first=batch_first)
    x = inputs_for(layer, *((B, T) if batch_first else (T, B)))
    wrong = [torch.zeros(T, B), torch.zeros(T + 1, B, dtype=torch.bool), [False]]
    wrong.append(torch.zeros((T, B) if batch_first else (B, T), dtype=torch.bool))
    for mask in wrong:
        with pytest.raises(ValueError, match="reset is a bool tensor"):
            layer(x, reset=mask)


def test_reset_without_a_batch():
    layer = build("lstm", batch_first=True)
    x = inputs_for(layer, T)
    reset = torch.tensor([False, False, True, False, False])
    output, _ = layer(x, reset=reset)
    equal(output, torch.cat([layer(x[:2])[0], layer(x[2:])[0]]))


@every_stack
@every_cell
def test_a_learned_start_gets_gradients(name, stack):
    layer = build(name, learn_start=True, **stack)
    names = [key for key, _ in layer.named_parameters() if key.startswith("start_")]
    per_layer = len(layer.state_names) * (2 if layer.bidirectional else 1)
    assert len(names) == layer.num_layers * per_layer
    learned(layer)
    x = inputs_for(layer, 1, B)
    output, state = layer(x)
    shown = [*flat(output), *flat(state)]
    given = tuple(
        torch.stack([dict(layer.named_parameters())[key] for key in names if f"_{s}_l" in key])
        for s in layer.state_names
    )
    hx = tuple(g[:, None].expand(-1, B, -1) for g in given)
    equal([output, state], layer(x, hx[0] if len(hx) == 1 else hx))
    starts = [p for key, p in layer.named_parameters() if key.startswith("start_")]
    found = dict(zip(names, gradients(shown, starts), strict=True))
    silent = {"delay": ("last", "one"), "clockwork": ("age",)}.get(name, ())
    for key, grad in found.items():
        assert grad.any() or key.split("_")[1] in silent, key


def test_hx_comes_before_the_learned_start():
    layer = build("lstm", learn_start=True)
    x, hx = inputs_for(layer, T, B), start_for(layer, B)
    before = layer(x, hx)
    learned(layer)
    equal(layer(x, hx), before)


@pytest.mark.parametrize("batch_first", [False, True])
@every_stack
@every_cell
def test_return_states_shows_every_state_after_each_step(name, stack, batch_first):
    layer = build(name, batch_first=batch_first, **stack)
    x, hx = inputs_for(layer, *((B, T) if batch_first else (T, B))), start_for(layer, B)
    time = 1 if batch_first else 0
    plain = layer(x, hx)
    output, state, trail = layer(x, hx, return_states=True)
    equal([output, state], plain)
    assert tuple(trail) == layer.state_names
    directions = 2 if layer.bidirectional else 1
    forwards = range(0, layer.num_layers * directions, directions)
    for key, final in zip(trail, state if isinstance(state, tuple) else (state,), strict=True):
        path = trail[key].transpose(1, 2) if batch_first else trail[key]
        assert path.shape == (final.shape[0], T, B, final.shape[2])
        for k in range(final.shape[0]):
            close(path[k, -1 if k in forwards else 0], final[k])
    if not layer.bidirectional:
        for t in range(1, T):
            _, partial = layer(pick(x, time, slice(0, t)), hx)
            for path, final in zip(trail.values(), flat(partial), strict=True):
                close(path[:, :, t - 1] if batch_first else path[:, t - 1], final)


def test_return_states_without_a_batch():
    layer = build("lstm", bidirectional=True)
    x = inputs_for(layer, T)
    output, state, trail = layer(x, return_states=True)
    assert trail["c"].shape == (2, T, H)
    wanted = layer(x[:, None], return_states=True)[2]
    equal(trail, {key: path[:, :, 0] for key, path in wanted.items()})


@pytest.mark.parametrize("name", CELLS)
def test_gradients_flow_through_every_state(name):
    layer = build(name, num_layers=2)
    x = inputs_for(layer, T, B)
    _, _, trail = layer(x, return_states=True)
    for key, path in trail.items():
        if (name, key) != ("clockwork", "age"):  # a clock depends on nothing
            found = gradients([path], list(layer.parameters()), again=True)
            assert any(grad.any() for grad in found)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batch", [(), (B,)], ids=["unbatched", "batched"])
@every_cell
def test_steps_equal_the_sequence(name, batch, batch_first):
    layer = build(name, num_layers=2, batch_first=batch_first)
    x = inputs_for(layer, T, *batch)
    state = None
    outputs = []
    for t in range(T):
        y, state = layer.step(pick(x, 0, t), state)
        outputs.append(y)
    swapped = batch_first and batch
    given = tuple(v.transpose(0, 1) if swapped else v for v in flat(x))
    wanted, final = layer(given[0] if len(given) == 1 else given)
    equal(state, final)
    for k, whole in enumerate(flat(wanted)):
        whole = whole.transpose(0, 1) if swapped else whole
        close(torch.stack([flat(y)[k] for y in outputs]), whole, rtol=1e-12, atol=1e-12)


def test_a_step_is_forwards_and_one_vector():
    with pytest.raises(RuntimeError, match="cannot step"):
        build("lstm", bidirectional=True).step(torch.zeros(B, I, dtype=torch.float64))
    with pytest.raises(ValueError, match="1-D or 2-D"):
        build("lstm").step(torch.zeros(T, B, I, dtype=torch.float64))


def test_several_streams_pass_from_layer_to_layer():
    layer = build("two streams", num_layers=2)
    x, m = inputs_for(layer, T, B)
    (h, c), (h_n, c_n) = layer((x, m))
    assert h.shape == (T, B, H) and c.shape == (T, B, 6)
    assert h_n.shape == (2, B, H) and c_n.shape == (2, B, 6)
    assert layer.weight_ih_l0.shape[1] == I and layer.weight_ih_l1.shape[1] == H
    lower, upper = (
        Recurrent(layer.cell, *sizes, dtype=torch.float64, widths={"stream": width, "memory": 6})
        for sizes, width in (((I, H), 7), ((H, H), 6))
    )
    own = layer.state_dict()
    lower.load_state_dict({k: v for k, v in own.items() if k.endswith("_l0")})
    upper.load_state_dict({k[:-1] + "0": v for k, v in own.items() if k.endswith("_l1")})
    equal((h, c), upper(lower((x, m))[0])[0])


def test_inputs_must_fit_the_cell_and_each_other():
    layer = build("two streams")
    x, m = inputs_for(layer, T, B)
    with pytest.raises(ValueError, match=r"reads 2 inputs \(x, m\), got 1"):
        layer(x)
    with pytest.raises(RuntimeError, match="agree in all but the last"):
        layer((x, m[1:]))
    with pytest.raises(ValueError, match="give all alike"):
        layer((x, m[:, 0]))


@pytest.mark.parametrize("backend", ["llvm", "reference"])
def test_what_fills_a_row_past_its_end_reaches_nothing(backend):
    layer = Recurrent("lstm", I, H, 2, bidirectional=True, backend=backend)
    x = torch.randn(5, 3, I)
    x[2:, 1] = float("nan")
    x.requires_grad_()
    output, (h, c) = layer(x, lengths=torch.tensor([5, 2, 4]))
    gradients = torch.autograd.grad(output.sum() + h.sum() + c.sum(), [x, *layer.parameters()])
    assert all(t.isfinite().all() for t in (output, h, c, *gradients))
