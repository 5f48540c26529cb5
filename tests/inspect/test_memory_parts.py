"""Gradients by lag, half-lives and gates: against autograd, small changes and numpy."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from cellwright.inspect.memory import gates as memory_gates
from cellwright.inspect.memory.gradients import Windows, decay, finite_lags, norms
from cellwright.inspect.memory.text import read
from cellwright.lm import LanguageModel
from cellwright.lm.gates import fading, quantile
from cellwright.runtime import use_backend
from tests.inspect.memory_models import TOKENS, double, text
from tests.inspect.readers import READERS

STEPS = 6  # of a window


# -- gradients ----------------------------------------------------------------------------


def by_hand(model: LanguageModel, ids: torch.Tensor, p: int) -> dict[str, list[float]]:
    """Norms by lag of one place, from an LSTM written out, its states kept as leaves' children."""
    state = model(ids[None, : p - STEPS])[1]
    inputs = model.embedding(ids[p - STEPS : p]).detach().requires_grad_()
    kept = {"x": [inputs]}
    below = list(inputs)
    for layer in range(2):
        b = model.recurrent.blocks(layer)
        h, c = (s[layer, 0].detach() for s in state)
        for t in range(STEPS):
            a = {g: b[f"{g}.x"] @ below[t] + b[f"{g}.h"] @ h + b[f"{g}.bias"] for g in "ifgo"}
            c = a["f"].sigmoid() * c + a["i"].sigmoid() * a["g"].tanh()
            kept.setdefault(f"layers.{layer}.c", []).append(c)
            h = a["o"].sigmoid() * c.tanh()
            kept.setdefault(f"layers.{layer}.h", []).append(h)
            below[t] = h
    leaves = [value for path in kept.values() for value in path]
    log_p = log_softmax(model.decoder(below[-1]), 0)[ids[p]]
    found = iter(torch.autograd.grad(log_p, leaves))
    made = {}
    for name, path in kept.items():
        gradients = [next(found) for _ in path]
        rows = gradients[0] if name == "x" else torch.stack(gradients)
        made[name] = rows.norm(dim=1).flip(0).tolist()
    return made


@pytest.mark.parametrize("numbers", [60_000_000, 1])
def test_gradients_against_autograd_one_place_at_a_time(numbers, monkeypatch):
    monkeypatch.setattr("cellwright.inspect.memory.gradients.MOST_NUMBERS", numbers)
    model = double()
    ids = text(model, 60)
    windows = Windows(torch.tensor([7, 20, 41, 59]), STEPS)
    with use_backend("reference"):
        found = norms(read(model, ids, [*windows.starts]), windows)
        assert list(found) == ["x", "layers.0.h", "layers.0.c", "layers.1.h", "layers.1.c"]
        for row, p in enumerate(windows.targets.tolist()):
            for name, wanted in by_hand(model, ids, p).items():
                assert found[name][row].tolist() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("cell", READERS)
def test_every_cells_gradients_against_small_changes(cell):
    """Each unit of each state, and of a token's vector, is moved a little, at one step."""
    model = double(cell)
    ids, lag, target = text(model, 30), 2, 25
    windows = Windows(torch.tensor([target]), STEPS)
    with use_backend("reference"), torch.no_grad():
        found = norms(read(model, ids, [*windows.starts]), windows)
        start = model(ids[None, : target - STEPS])[1]
        x = model.embedding(ids[target - STEPS : target])

        def log_p(given: torch.Tensor = x) -> torch.Tensor:
            h = model.recurrent(given[None], start)[0]
            return log_softmax(model.decoder(h[0, -1]), 0)[ids[target]]

        def of_token(push: torch.Tensor) -> torch.Tensor:
            moved = x.clone()
            moved[STEPS - 1 - lag] += push
            return log_p(moved)

        def of_state(place: str, push: torch.Tensor) -> torch.Tensor:
            with model.patched({place: lambda v, t: v + push * (t == STEPS - 1 - lag)}):
                return log_p()

        assert float(found["x"][0, lag]) == pytest.approx(slope(of_token, 5), rel=1e-4, abs=1e-8)
        for number, layer in enumerate(model.recurrent._layers):
            for name, width in layer.states:
                place = f"layers.{number}.{name}"
                # the age of a clock is only compared: a small change is no number of steps
                wanted = 0.0 if name == "age" else slope(partial(of_state, place), width)
                assert float(found[place][0, lag]) == pytest.approx(wanted, rel=1e-4, abs=1e-8)


def slope(value: Callable[[torch.Tensor], torch.Tensor], width: int) -> float:
    """The norm of a function's gradient at zero, by differences."""
    steps = 1e-5 * torch.eye(width, dtype=torch.float64)
    return float(torch.stack([(value(push) - value(-push)) / 2e-5 for push in steps]).norm())


def test_a_decay_is_of_the_places_together():
    values = torch.tensor([[1.0, 8.0], [3.0, 4.0], [2.0, 6.0], [5.0, 2.0], [4.0, 0.0]])
    made = decay(values)
    assert (made.lags, made.median) == ((0, 1), (3.0, 4.0))
    assert (made.low, made.high) == ((2.0, 2.0), (4.0, 6.0))


def test_gradients_end_where_one_is_no_number():
    assert finite_lags(torch.tensor([[1.0, 2.0, 3.0], [1.0, torch.inf, 3.0]])) == 1
    assert finite_lags(torch.tensor([[1.0, 2.0]])) == 2
    assert finite_lags(torch.tensor([[torch.nan, 2.0]])) == 0


# -- gates --------------------------------------------------------------------------------


def test_half_lives_and_gates_against_an_lstm_in_numpy():
    model = double(layers=1)
    ids = text(model)
    b = {name: value.numpy() for name, value in model.recurrent.blocks().items()}
    h = c = np.zeros(6)
    gates: dict[str, list] = {g: [] for g in "ifo"}
    outputs = []
    for x in model.embedding(ids).numpy():
        a = {g: b[f"{g}.x"] @ x + b[f"{g}.h"] @ h + b[f"{g}.bias"] for g in "ifgo"}
        for g, values in gates.items():
            values.append(1 / (1 + np.exp(-a[g])))
        c = gates["f"][-1] * c + gates["i"][-1] * np.tanh(a["g"])
        h = gates["o"][-1] * np.tanh(c)
        outputs.append(h)
    known = read(model, ids, [*memory_gates.starts(TOKENS)])
    found = memory_gates.look(known)
    (lives,) = memory_gates.half_lives(found, found, ())
    wanted = math.log(2) / -np.log(np.array(gates["f"])).mean(0)
    assert (lives.layer, lives.state, lives.keep) == (0, "c", "f")
    assert lives.trained == pytest.approx(wanted.tolist(), rel=1e-4)
    assert [gate.name for gate in found.gates] == ["i", "f", "o"]
    for gate in found.gates:
        values = np.array(gates[gate.name])
        assert gate.low == pytest.approx((values < 0.1).mean(), abs=1e-3)
        assert gate.high == pytest.approx((values > 0.9).mean(), abs=1e-3)
        counts = np.histogram(values, 20, (0, 1))[0] / values.size
        assert gate.histogram == pytest.approx(counts.tolist(), abs=2e-3)
        assert sum(gate.histogram) == pytest.approx(1)
        assert gate.shut == tuple(np.flatnonzero(values.max(0) < 0.01))
        assert gate.open == tuple(np.flatnonzero(values.min(0) > 0.99))
    assert found.dead[0].units == 6
    assert found.dead[0].dead == tuple(np.flatnonzero(np.ptp(outputs, 0) <= 0.02))


def test_stuck_gates_and_dead_units_are_named():
    model = double()
    blocks = model.recurrent.blocks(1)
    blocks["f.bias"][1] = 80
    blocks["i.bias"][2] = -80
    blocks["o.bias"][4] = -80
    known = read(model, text(model), [*memory_gates.starts(TOKENS)])
    found = memory_gates.look(known)
    named = {(gate.layer, gate.name): (gate.shut, gate.open) for gate in found.gates}
    assert named[1, "f"] == ((), (1,))
    assert named[1, "i"] == ((2,), ())
    assert named[1, "o"] == ((4,), ())
    assert found.dead[1].dead == (2, 4)  # what is never written stays zero
    assert memory_gates.half_lives(found, found, ())[1].trained[1] is None


def test_a_clockwork_modules_half_life_is_its_period():
    """The keep is 0 at its turns and 1 between them: whatever counts as 0 must not matter."""
    model = double("clockwork", layers=1, hidden=16)
    ids = text(model, 1024)
    known = read(model, ids, [*memory_gates.starts(1024)])
    found = memory_gates.look(known)
    (lives,) = memory_gates.half_lives(found, found, {"layers.0.age"})
    wanted = [period for period in (1, 2, 4, 8, 16, 32, 64, 128) for _ in range(2)]
    assert lives.trained == pytest.approx(wanted)
    assert lives.resets


def test_what_is_0_at_some_steps_and_fades_at_others_has_no_half_life():
    keep = torch.tensor([[0.5, 1.0, 0.0, 0.0], [0.5, 1.0, 1.0, 0.5], [0.5, 1.0, 1.0, 1.0]])
    seen = fading(keep) + fading(keep)
    assert (seen.mixed, seen.resets, seen.steps) == (1, True, 6)
    assert fading(keep[:, :3]).lives() == pytest.approx((1.0, None, 3.0))
    one = memory_gates.Gating((), (), {(0, "c"): seen}, {(0, "c"): "f"})
    assert memory_gates.half_lives(one, one, ()) == ()
    assert memory_gates.unmeasured(one, None) == {
        "layers.0.c": "f of 1 of 4 units is exactly 0 at some steps and fades at others, so it has "
        "no geometric mean"
    }
    assert fading(torch.full((4, 1), 1e-40)).lives()[0] == pytest.approx(math.log(2) / 92.1, 1e-3)


def test_a_keep_that_is_a_number_is_of_every_step():
    model = double("lstm-1997", layers=1)
    known = read(model, text(model, 200), [*memory_gates.starts(200)])
    found = memory_gates.look(known)
    assert found.faded[0, "c"].steps == 200
    assert memory_gates.half_lives(found, None, ())[0].trained == (None,) * 6
    assert memory_gates.half_lives(found, None, ())[0].untrained is None


@pytest.mark.parametrize(
    ("count", "part", "wanted"),
    [(10, 0.9, 9), (11, 0.9, 10), (32, 0.9, 29), (30, 0.1, 3), (6, 0.5, 3), (1, 0.9, 1), (5, 1, 5)],
)
def test_one_quantile_of_half_lives(count, part, wanted):
    lives = [float(k) for k in range(count, 0, -1)]
    assert quantile(lives, part) == wanted
    assert quantile([*lives, None], 1) is None


def test_the_text_is_seen_whole_and_once(monkeypatch):
    monkeypatch.setattr(memory_gates, "ROWS", 1)
    covered = []
    for first, steps in memory_gates._stretches(300):
        covered += [k for at in first for k in range(at, at + steps)]
    assert covered == list(range(300))
