"""One step as a module: torch.nn's cells to the last digit, and any other cell beside them."""

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import cellwright.nn
from cellwright.language import CellError
from cellwright.nn import GRUCell, LSTMCell, RecurrentCell, RNNCell
from tests.nn.examples import ALL_CELLS, OWN, B, H, I, P, T, build, flat, gradients, inputs_for

KINDS = {
    "LSTMCell": {},
    "GRUCell": {},
    "RNNCell": {},
    "RNNCell relu": {"nonlinearity": "relu"},
}
PARITY = {torch.float32: 1e-6, torch.float64: 1e-12}
close = torch.testing.assert_close
every_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind, **options):
    name = kind.split()[0]
    options |= KINDS[kind]
    torch.manual_seed(0)
    theirs = getattr(nn, name)(I, H, **options)
    torch.manual_seed(0)
    return getattr(cellwright.nn, name)(I, H, **options), theirs


def states(kind, *batch, dtype=torch.float32):
    made = [torch.randn(*batch, H, dtype=dtype) for _ in range(2 if kind == "LSTMCell" else 1)]
    return tuple(made) if len(made) > 1 else made[0]


@pytest.mark.parametrize("dtype", PARITY, ids=str)
@every_kind
def test_values_and_gradients_are_torchs(kind, dtype):
    options = itertools.product((False, True), ((B,), ()), (False, True))
    for bias, batch, with_hx in options:
        ours, theirs = pair(kind, bias=bias, dtype=dtype)
        x = torch.randn(*batch, I, dtype=dtype, requires_grad=True)
        hx = states(kind, *batch, dtype=dtype) if with_hx else None
        leaves = [x, *(h.requires_grad_() for h in (flat(hx) if with_hx else []))]
        found, wanted = ours(x, hx), theirs(x, hx)
        assert type(found) is type(wanted)
        values = flat(found), flat(wanted)
        gained = [
            gradients(v, [*leaves, *layer.parameters()])
            for v, layer in zip(values, (ours, theirs), strict=True)
        ]
        for a, b in [*zip(*values, strict=True), *zip(*gained, strict=True)]:
            assert a.shape == b.shape and a.dtype == b.dtype
            assert (a - b).abs().max() <= PARITY[dtype] * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("bias", [False, True])
@every_kind
def test_the_same_seed_gives_the_same_parameters(kind, bias):
    ours, theirs = pair(kind, bias=bias)
    assert list(ours._parameters) == list(theirs._parameters)
    for key, weight in theirs._parameters.items():
        mine = ours._parameters[key]
        assert (mine is None) == (weight is None)
        assert weight is None or torch.equal(mine, weight)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert ours.bias_hh is None if not bias else ours.bias_hh.shape == theirs.bias_hh.shape


@every_kind
def test_it_looks_like_torchs(kind):
    for options in ({}, {"bias": False}):
        ours, theirs = pair(kind, **options)
        assert repr(ours) == repr(theirs)
        assert ours.__constants__ == theirs.__constants__
        assert all(getattr(ours, k) == getattr(theirs, k) for k in theirs.__constants__)


def test_the_arguments_stand_in_torchs_order():
    assert RNNCell(I, H, False, "relu", "meta", torch.float64).weight_hh.dtype == torch.float64
    assert LSTMCell(I, H, False, "meta", torch.float64).weight_hh.device.type == "meta"
    assert GRUCell(input_size=I, hidden_size=H, bias=False).bias_ih is None


@every_kind
def test_errors_are_of_torchs_kinds(kind):
    x, hx = torch.zeros(B, I), states(kind, B)
    cubes = tuple(torch.zeros(1, B, H) for _ in flat(hx))
    narrow = tuple(torch.zeros(B, H - 1) for _ in flat(hx))
    doubles = tuple(torch.zeros(B, H, dtype=torch.float64) for _ in flat(hx))
    others = tuple(torch.zeros(B + 1, H) for _ in flat(hx))
    one = (lambda t: t) if kind == "LSTMCell" else (lambda t: t[0])
    calls = [(torch.zeros(T, B, I),), (x, one(cubes)), (torch.zeros(B, I + 1),)]
    calls += [(x, one(narrow)), (x, one(others)), (x, one(doubles)), (x.double(),)]
    for arguments in calls:
        kinds = []
        for cell in pair(kind):
            with pytest.raises((ValueError, RuntimeError)) as caught:
                cell(*arguments)
            kinds.append(caught.type)
        assert kinds[0] is kinds[1], arguments


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="'tanh' or 'relu', got 'elu'"):
        RNNCell(I, H, nonlinearity="elu")
    with pytest.raises(ValueError, match="hidden_size must be greater than zero"):
        GRUCell(I, 0)
    with pytest.raises(TypeError, match="bias is True or False"):
        LSTMCell(I, H, bias=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="input_size is a whole number"):
        LSTMCell(2.0, H)  # pyright: ignore[reportArgumentType]
    with pytest.raises(CellError, match="did you mean"):
        RecurrentCell("lstmm", I, H)
    with pytest.raises(CellError, match="give proj_size"):
        RecurrentCell("lstm-projected", I, H)


def cell_like(layer, name, **options):
    """Build the cell of a layer, with the layer's own weights."""
    widths = {"widths": layer.widths, "proj_size": layer.proj_size, **options}
    made = RecurrentCell(OWN.get(name, name), layer.input_size, H, dtype=torch.float64, **widths)
    weights = {k.removesuffix("_l0"): v for k, v in layer.state_dict().items()}
    weights = {"bias_h" if k == "bias" else k: v for k, v in weights.items()}
    made.load_state_dict(weights, strict=True)
    return made


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [(), (B,)], ids=["unbatched", "batched"])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_a_loop_over_any_cell_is_its_layer(name, batch, bias):
    layer = build(name, bias=bias)
    cell = cell_like(layer, name, bias=bias)
    assert cell.state_names == layer.state_names
    x = inputs_for(layer, T, *batch)
    wanted, final = layer(x)
    state, outputs = None, []
    for t in range(T):
        x_t = tuple(v[t] for v in x) if isinstance(x, tuple) else x[t]
        again = cell(x_t, state)
        output, state = cell.step(x_t, state)
        assert all(torch.equal(a, b) for a, b in zip(flat(again), flat(state), strict=True))
        outputs.append(output)
    for k, y in enumerate(flat(wanted)):
        close(torch.stack([flat(o)[k] for o in outputs]), y, rtol=1e-12, atol=1e-12)
    for a, b in zip(flat(state), flat(final), strict=True):
        close(a, b[0], rtol=1e-12, atol=1e-12)


def test_blocks_write_through():
    cell: Any = RecurrentCell("lstm", I, H)
    assert list(cell.blocks()) == list(build("lstm").blocks())
    cell.blocks()["f.bias"].fill_(3.0)
    assert cell.bias_ih[H : 2 * H].eq(3.0).all() and not cell.bias_ih[:H].eq(3.0).any()


def test_its_repr_names_the_cell():
    assert repr(RecurrentCell("peephole", I, H)) == f"RecurrentCell(Peephole, {I}, {H})"
    shown = repr(RecurrentCell("lstm-projected", I, H, False, proj_size=P))
    assert shown == f"RecurrentCell(ProjectedLSTM, {I}, {H}, bias=False, proj_size={P})"


def test_copies_are_independent():
    cell = RecurrentCell(OWN["delay"], H, H)
    x = torch.randn(B, H)
    for copied in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert all(torch.equal(a, b) for a, b in zip(copied(x), cell(x), strict=True))
        with torch.no_grad():
            copied.blocks()["h.x"].add_(1.0)
        assert not torch.equal(copied(x)[0], cell(x)[0])


@pytest.mark.parametrize("name", ["lstm", "clockwork"])
def test_a_compiled_loop_is_the_same(name):
    cell = RecurrentCell(name, I, H)

    def run(xs):
        state = None
        for x in xs:
            state = cell(x, state)
        return state

    xs = torch.randn(T, B, I)
    found = torch.compile(run, backend="aot_eager", fullgraph=True)(xs)
    close(found, run(xs))
