"""Layers in the place of torch.nn's: arguments, attributes, state_dict, warnings and errors."""

import copy
import inspect
import io
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import cellwright
import cellwright.nn
from cellwright.cells import CATALOGUE
from cellwright.language import Cell, CellError, Input, State, affine, layer_normed, stacked, tanh
from cellwright.nn import GRU, LSTM, RNN, Recurrent
from tests.nn.examples import (
    TORCH_LIKE,
    B,
    Delay,
    H,
    I,
    P,
    T,
    TwoStreams,
    build,
    flat,
    inputs_for,
)

every_kind = pytest.mark.parametrize("name", TORCH_LIKE)
close = torch.testing.assert_close


def pair(name, *args, **options):
    torch.manual_seed(0)
    theirs = getattr(nn, name)(I, H, *args, **options)
    torch.manual_seed(0)
    return getattr(cellwright.nn, name)(I, H, *args, **options), theirs


class Unstackable(Cell):
    x, y, h = Input(), Input(), State()
    h.next = tanh(affine(x, y, h))


class TwoInputs(Cell):
    x, y, h = Input(), Input("other"), State()
    h.next = tanh(affine(x, y, h))


OPTIONS = [
    {},
    {"num_layers": 2, "dropout": 0.25, "bidirectional": True},
    {"bias": False, "batch_first": True},
    {"dtype": torch.float64, "device": "cpu", "num_layers": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@every_kind
def test_parameters_attributes_and_repr(name, options):
    ours, theirs = pair(name, **options)
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    for key, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], weight), key
    assert repr(ours) == repr(theirs)
    assert ours.__constants__ == theirs.__constants__
    assert all(getattr(ours, key) == getattr(theirs, key) for key in theirs.__constants__)
    shapes = [[w.shape for w in group] for group in theirs.all_weights]
    assert [[w.shape for w in group] for group in ours.all_weights] == shapes
    assert all(isinstance(w, nn.Parameter) for group in ours.all_weights for w in group)
    assert ours.flatten_parameters() is None


def test_the_projection_and_the_nonlinearity():
    ours, theirs = pair("LSTM", 2, proj_size=P, bidirectional=True)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for nonlinearity in ("tanh", "relu"):
        ours, theirs = pair("RNN", 1, nonlinearity)
        assert (ours.mode, ours.nonlinearity) == (theirs.mode, theirs.nonlinearity)


@every_kind
def test_arguments_by_position_mean_what_they_mean_to_torch(name):
    nonlinearity = ["relu"] if name == "RNN" else []
    values = [2, *nonlinearity, False, True, 0.5, True, 0, "cpu", torch.float64]
    for count in range(len(values) + 1):
        if count not in range(4, 5):  # a dropout alone warns where there is one layer
            ours, theirs = pair(name, *values[:count])
            assert repr(ours) == repr(theirs)
            assert ours.weight_hh_l0.dtype == theirs.weight_hh_l0.dtype
    assert list(inspect.signature(getattr(cellwright.nn, name)).parameters)[:3] == [
        *("input_size", "hidden_size", "num_layers")
    ]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("options", [*OPTIONS, {"proj_size": P}], ids=str)
@every_kind
def test_state_dict_goes_both_ways(name, options):
    if "proj_size" in options and name != "LSTM":
        return
    ours = getattr(cellwright.nn, name)(I, H, **options).eval()
    theirs = getattr(nn, name)(I, H, **options).eval()
    x = torch.randn(T, B, I, dtype=options.get("dtype"))
    assert not torch.allclose(ours(x)[0], theirs(x)[0])
    theirs.load_state_dict(ours.state_dict(), strict=True)
    close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    fresh = getattr(cellwright.nn, name)(I, H, **options).eval()
    fresh.load_state_dict(theirs.state_dict(), strict=True)
    close(fresh(x), theirs(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="Missing key"):
        fresh.load_state_dict(dict(list(ours.state_dict().items())[1:]))


WRONG = [
    {"dropout": 2},
    {"dropout": True},
    {"dropout": "a"},
    {"bias": 1},
    {"batch_first": 1},
    {"num_layers": 0},
    {"num_layers": 1.5},
    {"num_layers": "2"},
    {"proj_size": H + 1},
    {"proj_size": -1},
    {"input_size": 0},
    {"input_size": 2.0},
    {"hidden_size": 0},
    {"hidden_size": -3},
    {"hidden_size": "3"},
    {"dtype": torch.int64},
    {"surprise": 1},
]


def kind_of_error(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.type


@pytest.mark.parametrize("options", WRONG, ids=str)
@every_kind
def test_what_cannot_be_built_raises_torchs_kind(name, options):
    options = {"input_size": I, "hidden_size": H} | options
    kinds = [kind_of_error(lambda m=m: getattr(m, name)(**options)) for m in (cellwright.nn, nn)]
    assert kinds[0] is kinds[1]


@pytest.mark.parametrize("name", ["GRU", "RNN"])
def test_a_projection_is_for_lstm_alone(name):
    with pytest.raises(ValueError, match="for LSTM alone"):
        getattr(cellwright.nn, name)(I, H, proj_size=2)


def test_an_unknown_nonlinearity():
    with pytest.raises(ValueError, match="'tanh' or 'relu', got 'elu'"):
        RNN(I, H, nonlinearity="elu")


def test_an_unknown_backend():
    with pytest.raises(ValueError, match="backend is one of auto, reference, llvm, got 'cuda'"):
        LSTM(I, H, backend="cuda")


def calls(name):
    """Yield calls that cannot work: what each is, and its arguments."""

    def state(*shape, dtype=torch.float32, device="cpu"):
        made = torch.zeros(*shape, dtype=dtype, device=device)
        return (made, made) if name == "LSTM" else made

    x = torch.zeros(T, B, I)
    yield "one dimension", (torch.zeros(I),)
    yield "four dimensions", (torch.zeros(1, 1, 1, I),)
    yield "features", (torch.zeros(T, B, I + 1),)
    yield "features, unbatched", (torch.zeros(T, I + 1),)
    yield "dtype", (x.double(),)
    yield "whole numbers", (x.long(),)
    yield "no steps", (x[:0],)
    yield "state without a batch", (x, state(1, H))
    yield "state of another batch", (x, state(1, B + 1, H))
    yield "state of more layers", (x, state(2, B, H))
    yield "state of another width", (x, state(1, B, H + 1))
    yield "state with a batch", (x[:, 0], state(1, 1, H))
    yield "state of another dtype", (x, state(1, B, H, dtype=torch.float64))
    yield "state on another device", (x, state(1, B, H, device="meta"))
    yield "input on another device", (x.to("meta"),)
    if name == "LSTM":
        yield "three states", (x, (torch.zeros(1, B, H),) * 3)


@every_kind
def test_calls_that_cannot_work_raise_torchs_kind(name):
    ours, theirs = pair(name)
    for what, arguments in calls(name):
        assert kind_of_error(lambda a=arguments: ours(*a)) is kind_of_error(
            lambda a=arguments: theirs(*a)
        ), what


def test_errors_that_are_clearer_than_torchs():
    lstm, gru = LSTM(I, H), GRU(I, H)
    x = torch.zeros(T, B, I)
    with pytest.raises(TypeError, match="input is a tensor, got list"):
        lstm([x])
    with pytest.raises(RuntimeError, match=r"hx holds the states \(h, c\), got 1 tensor$"):
        lstm(x, torch.zeros(1, B, H))
    packed = pack_padded_sequence(x, torch.tensor([5, 4, 2]))
    with pytest.raises(RuntimeError, match="state h: expected size"):  # torch takes two rows of it
        gru(packed, torch.zeros(1, B + 1, H))
    with pytest.raises(ValueError, match="the input is torch.float64, the weights are"):
        gru(packed.double())


def test_a_dropout_that_does_nothing_warns_where_the_layer_is_built():
    for module in (nn, cellwright.nn):
        with pytest.warns(UserWarning, match="dropout") as caught:
            module.LSTM(I, H, dropout=0.5)
        assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LSTM(I, H, 2, dropout=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lstmm"}, "did you mean lstm"),
        ({"cell": int}, "a Cell class or a name, got <class 'int'>"),
        ({"cell": "lstm-projected"}, "give proj_size"),
        ({"cell": "gru", "proj_size": 2}, "has no width proj"),
        ({"cell": "gru", "widths": {"memory": 2}}, "has no width memory"),
        ({"cell": "gru", "widths": {"hidden": 2}}, "width hidden is hidden_size"),
        ({"cell": Delay, "input_size": H + 1}, "input x is hidden wide, 9 here"),
        ({"cell": Delay, "input_size": H, "num_layers": 2, "bidirectional": True}, "gives 18"),
        ({"cell": TwoStreams, "widths": {"stream": 2}}, r"widths=\{\"memory\": 16\}"),
        ({"cell": Unstackable, "num_layers": 2}, "y: is input wide, 9 here, the first layer's"),
        ({"cell": stacked("gru", TwoInputs)}, "2 inputs but 1 outputs below, and no input y"),
        ({"cell": stacked("gru", "rnn"), "num_layers": 3}, "2 layers; leave num_layers=3 out"),
        ({"cell": "indrnn", "split_bias": True}, "second bias .* it has none; leave it out"),
        ({"cell": layer_normed(CATALOGUE["gru"]), "split_bias": True}, "it has none; leave it"),
        ({"cell": stacked("gru", "rnn"), "hidden_size": [9]}, "1 widths for 2 layers; give 2"),
        ({"cell": stacked("gru", "gru", tied=True)}, "tied layers share their weights"),
    ],
)
def test_cells_and_widths_that_cannot_be(options, message):
    options = {"input_size": I, "hidden_size": H} | options
    with pytest.raises((CellError, ValueError), match=message):
        Recurrent(**options)


@every_kind
def test_an_empty_batch_is_as_empty_as_torchs(name):
    ours, theirs = pair(name, 2, bidirectional=True)
    x = torch.zeros(T, 0, I, requires_grad=True)
    found, wanted = flat(ours(x)), flat(theirs(x))
    assert [v.shape for v in found] == [v.shape for v in wanted]
    found[0].sum().backward()
    assert not ours.weight_hh_l0.grad.any()
    lengths = torch.zeros(0, dtype=torch.int64)
    assert ours(x, lengths=lengths)[0].shape == found[0].shape


@every_kind
def test_hx_of_any_strides(name):
    ours, theirs = pair(name, 2)
    wide = torch.randn(B, 2, 2 * H).transpose(0, 1)[..., ::2]
    hx = (wide, wide.clone()) if name == "LSTM" else wide
    x = torch.randn(B, T, I).transpose(0, 1)
    close(ours(x, hx), theirs(x, hx), rtol=1e-5, atol=1e-6)
    if name == "LSTM":
        close(ours(x, list(hx)), ours(x, hx))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@every_kind
def test_half_precision_on_the_cpu(name, dtype):
    ours, theirs = pair(name)
    x = torch.randn(T, B, I)
    exact = theirs(x)[0]
    output, state = ours.to(dtype)(x.to(dtype))
    assert output.dtype == dtype and all(s.dtype == dtype for s in flat(state))
    close(output.float(), exact, rtol=0.05, atol=0.02)
    output.float().sum().backward()
    assert ours.weight_hh_l0.grad.dtype == dtype


def test_autocast_turns_the_whole_layer():
    ours, theirs = pair("LSTM", 2, bidirectional=True)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = ours(x), theirs(x)
        normed = Recurrent("layernorm-lstm", I, H)(x)
        double = copy.deepcopy(ours).double()(x.double())
    for a, b in zip(flat(found), flat(wanted), strict=True):
        assert a.dtype == b.dtype == torch.bfloat16
        close(a.float(), b.float(), rtol=0.05, atol=0.02)
    assert all(v.dtype == torch.bfloat16 for v in flat(normed))
    assert all(v.dtype == torch.float64 for v in flat(double))
    found[0].float().sum().backward()


@every_kind
def test_inference_mode_and_frozen_weights(name):
    ours, theirs = pair(name)
    x = torch.randn(T, B, I)
    with torch.inference_mode():
        y, _ = ours(x)
        close(y, theirs(x)[0], rtol=1e-5, atol=1e-6)
    assert y.is_inference()
    ours.requires_grad_(False)
    assert not ours(x)[0].requires_grad
    x.requires_grad_()
    ours(x)[0].sum().backward()
    assert x.grad is not None and x.grad.any() and ours.weight_hh_l0.grad is None


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("name", ["lstm", "delay", "layernorm-lstm"])
def test_copies_are_whole_and_independent(name, way):
    layer = build(name, learn_start=True)
    if way == "deepcopy":
        copied = copy.deepcopy(layer)
    elif way == "pickle":
        copied = pickle.loads(pickle.dumps(layer))
    else:
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        copied = torch.load(file, weights_only=False)
    x = inputs_for(layer, T, B)
    assert repr(copied) == repr(layer)
    close(flat(copied(x, return_states=True)), flat(layer(x, return_states=True)), rtol=0, atol=0)
    copied.blocks()["h.x" if name == "delay" else "f.x" if name == "lstm" else "z.x"].add_(1.0)
    assert not torch.equal(copied(x)[0], layer(x)[0])


def test_moves_between_dtypes_and_devices():
    layer = build("lstm", dtype=torch.float32)
    assert layer.double().weight_hh_l0.dtype == torch.float64
    assert layer.to("meta").weight_hh_l0.device.type == "meta"
    with torch.device("meta"):
        layer = LSTM(I, H)
    assert layer(torch.zeros(T, B, I, device="meta"))[0].shape == (T, B, H)
    layer.to_empty(device="cpu").reset_parameters()
    bound = H**-0.5
    assert all(p.abs().max() <= bound and p.isfinite().all() for p in layer.parameters())
    assert all(p.is_shared() for p in LSTM(I, H).share_memory().parameters())


def test_a_subclass_is_at_home_too():
    class Wide(LSTM):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.head = nn.Linear(self.hidden_size, 2)

        def forward(self, input, hx=None):
            output, state = super().forward(input, hx)
            return self.head(output), state

    layer = Wide(I, H)
    assert layer(torch.zeros(T, B, I))[0].shape == (T, B, 2)
    assert repr(layer).startswith(f"Wide(\n  {I}, {H}")


def test_reprs_name_the_cell():
    assert repr(Recurrent("peephole", I, H, 2)) == f"Recurrent(Peephole, {I}, {H}, num_layers=2)"
    shown = repr(build("two streams", learn_start=True))
    assert "widths={'stream': 7, 'memory': 6}, learn_start=True" in shown


def test_it_says_which_path_runs():
    assert LSTM(I, H).explain().startswith("LSTM: llvm path")
    half = GRU(I, H, dtype=torch.bfloat16)
    assert half.explain().startswith("GRU: llvm path")
    assert half.explain().endswith("bfloat16 and float16 are computed in torch.float32")


def test_its_source_runs_without_cellwright():
    layer = build("peephole")
    assert "cellwright" not in layer.source()
    namespace: dict[str, Any] = {}
    exec(layer.source(), namespace)
    x, zero = inputs_for(layer, T, B), torch.zeros(B, H, dtype=torch.float64)
    (output,), _ = namespace["peephole"](x, zero, zero, *layer.all_weights[0])
    with cellwright.use_backend("reference"):
        assert torch.equal(output, layer(x)[0])
