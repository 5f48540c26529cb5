"""Training watch: its numbers against torch, what it warns of, and that it changes nothing."""

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from cellwright.lm import LanguageModel, Warned, read_run, train
from cellwright.lm.corpus import TokenFile, Windows, encode_files
from cellwright.lm.model import ModelShape
from cellwright.lm.tokenizer import Tokenizer
from cellwright.lm.watch import GateWatch, HalfLife, LayerWatch, Watch, watch
from tests.lm.small import small_config, write_text

STEPS = 12


@pytest.fixture
def text(tmp_path) -> TokenFile:
    file = write_text(tmp_path / "text.txt")
    tokenizer = Tokenizer.train([file], "char", None)
    return encode_files([file], tokenizer, tmp_path / "text.bin")


def model_of(cell: str, text: TokenFile, layers: int = 2, **shape) -> LanguageModel:
    torch.manual_seed(4)
    sizes = {"vocab": int(text.ids.max()) + 1, "hidden": 6, "embed": 5, "layers": layers, **shape}
    return LanguageModel(ModelShape(**sizes), cell)


def test_an_lstm_by_hand(text):
    model = model_of("lstm", text, layers=1, dropout=0.5)
    seen = watch(model, text, STEPS)
    assert model.training
    model.eval()
    (before, _), (ids, targets) = [*Windows(text.ids, 8, STEPS)][:2]
    (h, c), b = model(before)[1], model.recurrent.blocks()
    x = model.embedding(ids).detach().requires_grad_()
    h, c, gates = h[0].detach(), c[0].detach(), {"i": [], "f": [], "o": []}
    for t in range(STEPS):
        a = {g: x[:, t] @ b[f"{g}.x"].T + h @ b[f"{g}.h"].T + b[f"{g}.bias"] for g in "ifgo"}
        for gate, values in gates.items():
            values.append(a[gate].sigmoid())
        c = gates["f"][-1] * c + gates["i"][-1] * a["g"].tanh()
        h = gates["o"][-1] * c.tanh()
    cross_entropy(model.decoder(h), targets[:, -1], reduction="sum").backward()
    wanted = x.grad.norm(dim=2).median(0).values.flip(0)
    assert seen.lags == (0, 1, 2, 4, 8, 11)
    for lag, gradient in zip(seen.lags, seen.gradient, strict=True):
        assert gradient == pytest.approx(float(wanted[lag]), rel=1e-4)
    f = torch.stack(gates["f"]).detach()  # [T, B, H]
    lives = math.log(2) / -f.log().flatten(0, 1).mean(0)
    lives = lives.sort().values
    found = seen.layers[0].half_lives["c"]
    assert found.median == pytest.approx(float(lives[2]), rel=1e-4)  # half do not exceed it
    assert found.longest_tenth == pytest.approx(float(lives[-1]), rel=1e-4)
    assert seen.layers[0].gates["f"].high == pytest.approx(
        float((f > 0.9).float().mean()), abs=1e-6
    )


@pytest.mark.parametrize(
    ("cell", "gates", "states"),
    [
        ("rnn", set(), set()), ("gru", {"r", "z"}, {"h"}), ("lstm-1997", {"i", "o"}, {"c"}),
        ("peephole", {"i", "f", "o"}, {"c"}), ("slstm", {"o"}, {"c", "n"}),
        ("clockwork", set(), {"h", "age"}),
    ],
)  # fmt: skip
def test_any_cell_is_seen(text, cell, gates, states):
    seen = watch(model_of(cell, text), text, STEPS)
    assert len(seen.layers) == 2
    for layer in seen.layers:
        assert set(layer.gates) == gates
        assert set(layer.half_lives) == states
    assert max(seen.gradient) > 0


def test_what_never_fades_has_no_half_life(text):
    seen = watch(model_of("lstm-1997", text), text, STEPS)
    assert seen.layers[0].half_lives["c"] == HalfLife(None, None)


def test_a_module_with_a_clock_keeps_for_its_period(text):
    """What it is multiplied with is only 0 or 1: no logarithm tells how long it keeps."""
    seen = watch(model_of("clockwork", text, hidden=16), text, STEPS)
    for layer in seen.layers:
        assert layer.half_lives["h"].median == pytest.approx(8, rel=0.5)
        assert set(layer.half_lives) == {"h", "age"}


def test_a_stuck_gate_is_seen_and_said(text):
    model = model_of("lstm", text)
    model.recurrent.blocks(1)["o.bias"].fill_(-20.0)
    model.recurrent.blocks(1)["f.bias"].fill_(20.0)
    seen = watch(model, text, STEPS)
    assert seen.layers[1].gates["o"].shut == 1.0
    assert seen.layers[1].gates["f"].open == 1.0
    assert seen.layers[0].gates["o"].shut == 0.0
    assert "layer 1: 100 % of the units of f stand above 0.99" in seen.warnings()["stuck"]


def told(gradient: tuple[float, ...]) -> dict[str, str]:
    layer = LayerWatch({"f": GateWatch(0.5, 0.5, 0.5, 0.5)}, {})
    return Watch((layer,), (0, 1, 2, 4, 8, 15), gradient).warnings()


def test_what_is_warned_of():
    assert told((1.0, 0.5, 0.2, 0.1, 1e-5, 1e-7)) == {}
    assert told((1.0, 0.5, 0.2, 0.1, 1e-7, 1e-9)) == {}  # in the farther half alone
    assert "4 tokens back" in told((1.0, 0.5, 0.2, 1e-7, 1e-9, 0.0))["vanishing"]
    assert "15 tokens back it is 200 times" in told((1.0, 1, 2, 4, 8, 200.0))["exploding"]
    assert set(told((0.0,) * 6)) == set()


def test_a_text_of_one_window(tmp_path, text):
    short = dataclasses.replace(text, tokens=9)
    assert watch(model_of("gru", text), short, STEPS).lags == (0, 1, 2, 4, 7)


def test_the_model_and_the_generator_stay(text):
    model = model_of("lstm", text, dropout=0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    watch(model, text, STEPS)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_training_is_the_same_with_and_without(tmp_path):
    for name, looked in (("with", True), ("without", False)):
        train(small_config(tmp_path, watch=looked), tmp_path / name)
    runs = [read_run(tmp_path / name).metrics for name in ("with", "without")]
    kinds = [[line["kind"] for line in lines] for lines in runs]
    assert kinds == [["train", "watch", "valid"] * 2, ["train", "valid"] * 2]
    both = [[line["nats"] for line in lines if "nats" in line] for lines in runs]
    assert both[0] == both[1]


def test_a_fault_is_told_once(tmp_path):
    events = []
    config = small_config(tmp_path, forget_bias=40.0, epochs=3)
    train(config, tmp_path / "run", on_event=events.append)
    said = [e.text for e in events if isinstance(e, Warned)]
    assert len(said) == 1
    assert said[0].startswith("epoch 1: layer 0: 100 % of the units of f")
    watched = [m for m in read_run(tmp_path / "run").metrics if m["kind"] == "watch"]
    assert [len(m["warnings"]) for m in watched] == [1, 1, 1]


def test_the_advice_is_one_that_the_cell_can_take():
    gradient = (1.0, 0.5, 0.2, 1e-7, 1e-9, 0.0)
    assert "higher --forget-bias" in told(gradient)["vanishing"]
    plain = Watch((LayerWatch({}, {}),), (0, 1, 2, 4, 8, 15), gradient).warnings()["vanishing"]
    assert "a cell with a memory" in plain and "--forget-bias" not in plain
