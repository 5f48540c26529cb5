"""The music model and its training: shapes, counts, losses by hand, early stopping, repetition."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.language import Cell, Input, State, affine, tanh
from cellwright.language.errors import SettingError
from cellwright.tasks.music import MusicError, least_nats, made_up
from cellwright.tasks.music_model import MusicModel, Rolls, nats_of_steps, score, why_not
from cellwright.tasks.music_training import Recipe, train

FITTING = [name for name, cell in CATALOGUE.items() if why_not(cell) is None]
SMALL = made_up(0, (6, 3, 3))


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_only_named_cells_do_not_fit():
    assert set(CATALOGUE) - set(FITTING) == {"ea-lstm", "depth-gated"}
    assert why_not(CATALOGUE["ea-lstm"]) == (
        "it reads s beside the music, and there is nothing else"
    )
    assert "depth-gated-lowest" in (why_not(CATALOGUE["depth-gated"]) or "")
    with pytest.raises(MusicError, match="EALSTM: it reads s"):
        MusicModel(CATALOGUE["ea-lstm"], 8)


def test_cells_of_ones_own_are_told_what_they_lack():
    class Narrow(Cell):
        x, h = Input(3), State()
        h.next = tanh(affine(x, h))

    class Wide(Cell):
        x, h, m = Input(), State(), State("memory")
        m.next = tanh(affine(x, h, width="memory"))
        h.next = tanh(affine(x, m))

    assert why_not(Narrow) == "its input x cannot be 88 wide"
    assert why_not(Wide) == "it needs a size for its width memory"


@pytest.mark.parametrize("name", FITTING)
def test_every_cell_gives_a_finite_loss_and_gradients(name):
    model = MusicModel(CATALOGUE[name], 8)
    rolls = Rolls.of(SMALL).valid
    losses, lengths = nats_of_steps(model, rolls)
    assert losses.shape == (max(map(len, rolls)) - 1, 3)
    assert lengths.tolist() == [len(roll) - 1 for roll in rolls]
    losses.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    for name, parameter in model.below.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("name", FITTING)
def test_a_piece_is_scored_alike_alone_and_beside_longer_ones(name):
    model = MusicModel(CATALOGUE[name], 8)
    rolls = Rolls.of(SMALL).train
    with torch.no_grad():
        together, _ = nats_of_steps(model, rolls)
        for k, roll in enumerate(rolls):
            alone, _ = nats_of_steps(model, [roll])
            torch.testing.assert_close(together[: len(roll) - 1, k], alone[:, 0], atol=2e-4, rtol=0)
            assert (together[len(roll) - 1 :, k] == 0).all()


def test_the_loss_is_that_of_numpy():
    """An Elman network and its 88 sigmoids written out; the first step is read, not predicted."""
    model = MusicModel(CATALOGUE["rnn"], 7)
    weights = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    blocks = {key: view.double().numpy() for key, view in model.recurrent.blocks().items()}
    rolls = Rolls.of(SMALL).test
    means, total, steps = [], 0.0, 0
    for roll in rolls:
        x, h, losses = roll.double().numpy(), np.zeros(7), []
        for t in range(len(x) - 1):
            h = np.tanh(blocks["h.x"] @ x[t] + blocks["h.h"] @ h + blocks["h.bias"])
            p = sigmoid(weights["head.weight"] @ h + weights["head.bias"])
            losses.append(-np.sum(np.where(x[t + 1] == 1, np.log(p), np.log(1 - p))))
        means.append(np.mean(losses))
        total, steps = total + sum(losses), steps + len(losses)
    found = score(model, rolls)
    assert found.nats == pytest.approx(total / steps, rel=1e-5)
    assert found.nats_by_piece == pytest.approx(np.mean(means), rel=1e-5)
    assert abs(found.nats - found.nats_by_piece) > 1e-5  # the two averages are not one


@pytest.mark.parametrize("hidden", [8, 13, 24])
@pytest.mark.parametrize("name", FITTING)
def test_parameters_are_the_numbers_that_can_learn(name, hidden):
    model = MusicModel(CATALOGUE[name], hidden)
    numbers = sum(p.numel() for p in model.parameters())
    if name in ("clockwork", "slstm"):  # drawn at random, but for the blocks that stay zero
        numbers = sum(int((p != 0).sum()) for p in model.parameters())
        assert numbers < sum(p.numel() for p in model.parameters())
    assert model.parameter_count == numbers
    assert MusicModel(CATALOGUE[name], hidden, "meta").parameter_count == numbers


def test_training_approaches_what_the_music_allows():
    music = made_up(1, (80, 20, 20))
    recipe = Recipe(epochs=60, batch=4)
    outcome = train(Rolls.of(music), CATALOGUE["rnn"], 40, 1e-2, 0, recipe)
    assert outcome is not None
    assert not outcome.broke_down
    assert least_nats() * 0.9 < outcome.test_nats < 1.6 * least_nats()
    assert outcome.curve[0] > 55  # 88 coins: 61 nats
    assert outcome.valid_nats == min(outcome.curve) == outcome.curve[outcome.best_epoch]


def test_the_same_arguments_give_the_same_outcome_and_seeds_differ():
    rolls, recipe = Rolls.of(SMALL), Recipe(epochs=3, batch=2)
    state = torch.get_rng_state()

    def run(seed):
        made = train(rolls, CATALOGUE["gru"], 6, 3e-3, seed, recipe)
        assert made is not None
        return dataclasses.replace(made, seconds=0.0)

    assert run(0) == run(0)
    assert run(0).curve != run(1).curve
    assert torch.equal(torch.get_rng_state(), state)


def test_training_ends_without_a_better_validation_and_tests_the_best_weights():
    rolls = Rolls.of(SMALL)
    outcome = train(rolls, CATALOGUE["gru"], 24, 3e-2, 0, Recipe(epochs=500, patience=4, batch=2))
    assert outcome is not None
    assert outcome.epochs == outcome.best_epoch + 4 < 500
    to_the_best = Recipe(epochs=outcome.best_epoch, patience=500, batch=2)
    shorter = train(rolls, CATALOGUE["gru"], 24, 3e-2, 0, to_the_best)
    assert shorter is not None
    assert shorter.test_nats == outcome.test_nats
    assert shorter.train_nats == outcome.train_nats


def test_a_training_that_breaks_down_keeps_its_best():
    outcome = train(Rolls.of(SMALL), CATALOGUE["rnn-relu"], 8, 1e30, 0, Recipe(epochs=9))
    assert outcome is not None
    assert outcome.broke_down
    assert outcome.epochs < 9
    assert math.isfinite(outcome.valid_nats)
    assert math.isfinite(outcome.test_nats)


def test_a_stop_ends_it_before_the_next_epoch():
    asked = iter([False, False, True])
    rolls = Rolls.of(SMALL)
    assert train(rolls, CATALOGUE["rnn"], 4, 1e-2, 0, Recipe(), lambda: next(asked)) is None


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"patience": True}, {"batch": 2.0}, {"clip": 0}, {"clip": math.inf}],
)
def test_a_recipe_that_cannot_be_is_refused(values):
    with pytest.raises(SettingError, match=f"{next(iter(values))}: expected"):
        Recipe(**values)
