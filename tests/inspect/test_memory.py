"""The memory report's numbers: against loops by hand, autograd place by place, and traces."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from cellwright.inspect.errors import InspectError
from cellwright.inspect.memory import context as memory_context
from cellwright.inspect.memory import measuring
from cellwright.inspect.memory.context import guesses, measure, places, spread
from cellwright.inspect.memory.gradients import Windows, norms
from cellwright.inspect.memory.measuring import Asked, Subject, report
from cellwright.inspect.memory.page import notebook, write_report
from cellwright.inspect.memory.text import Source, read
from cellwright.language import Cell, Input, State, linear, tanh
from cellwright.lm import LanguageModel, ModelShape
from cellwright.runtime import use_backend
from tests.inspect.memory_models import TOKENS, double, line, repeating, text
from tests.inspect.readers import READERS, reader

FEW = Asked(places=20, lags=5)

# -- reading ------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru", "clockwork", "lstm-projected"])
def test_losses_and_states_are_those_of_the_whole_text_before(cell, monkeypatch):
    monkeypatch.setattr("cellwright.inspect.memory.text.CALL_TOKENS", 50)
    model = double(cell)
    ids = text(model, 210)
    found = read(model, ids, [0, 1, 50, 51, 207, 207])
    logits = model(ids[None, :-1])[0][0]
    wanted = cross_entropy(logits.float(), ids[1:], reduction="none")
    assert found.losses.isnan().tolist() == [True] + [False] * 209
    torch.testing.assert_close(found.losses[1:], wanted)
    for place in (1, 50, 51, 207):
        state = model(ids[None, :place])[1]
        for number, layer in enumerate(found.at([0, place, place])):
            for k, values in enumerate(layer):
                one = state if isinstance(state, torch.Tensor) else state[k]
                assert not values[0].any()
                torch.testing.assert_close(values[1], one[number, 0])
                torch.testing.assert_close(values[2], one[number, 0])


# -- context ------------------------------------------------------------------------------


def loss_after(model: LanguageModel, before: torch.Tensor, target, state=None) -> float:
    logits = model(before[None], state)[0][0, -1]
    return float(-log_softmax(logits.float(), 0)[target])


def test_contexts_against_a_loop_by_hand():
    model, fresh = double(), double(hidden=7)
    ids, contexts = text(model), (1, 3, 70)
    chosen = places(TOKENS, 40, contexts)
    assert (len(chosen.targets), int(chosen.targets[0]), int(chosen.targets[-1])) == (40, 140, 319)
    chosen = dataclasses.replace(
        chosen, controls=chosen.targets[::3], strangers=chosen.strangers[::3]
    )
    one, two = (read(m, ids, [*chosen.starts]) for m in (model, fresh))
    found = measure(one, two, chosen, 0, lambda _: None)
    targets, controls = chosen.targets.tolist(), chosen.controls.tolist()
    strangers = dict(zip(controls, chosen.strangers.tolist(), strict=True))
    span = TOKENS - 140
    assert all(min(abs(p - q), span - abs(p - q)) == span // 2 for p, q in strangers.items())

    def full(p, m=model):
        return loss_after(m, ids[:p], ids[p])

    def check(losses, k, excess, mean):
        assert losses.full == pytest.approx(mean, rel=1e-5)
        assert losses.loss[k] == pytest.approx(mean + np.mean(excess), rel=1e-5)
        error = np.std(excess, ddof=1) / math.sqrt(len(excess))
        assert losses.error[k] == pytest.approx(error, rel=1e-4)

    mean = np.mean([full(p) for p in targets])
    mean_fresh = np.mean([full(p, fresh) for p in targets])
    for k, context in enumerate(contexts):
        reset = [loss_after(model, ids[p - context : p], ids[p]) - full(p) for p in targets]
        check(found.reset, k, reset, mean)
        untrained = [
            loss_after(fresh, ids[p - context : p], ids[p]) - full(p, fresh) for p in controls
        ]
        check(found.untrained, k, untrained, mean_fresh)
        stranger = [
            loss_after(model, ids[p - context : p], ids[p], model(ids[None, : strangers[p]])[1])
            - full(p)
            for p in controls
        ]
        check(found.stranger, k, stranger, mean)
    assert (found.contexts, found.places, found.controls) == (contexts, 40, 14)


def test_shuffled_context_moves_what_lies_next_before_it_alone(monkeypatch):
    model = double()
    ids = torch.arange(TOKENS)  # every token is another: where it comes from can be seen
    seen = []
    monkeypatch.setattr(
        memory_context, "last_losses", lambda r, rows, start, targets: seen.append((rows, start))
    )
    chosen = places(TOKENS, 9, (2, 80))
    known = read(model, text(model), [*chosen.starts])
    known = dataclasses.replace(known, ids=ids)
    for context, moved in ((2, 64), (80, 80)):
        seen.clear()
        generator = torch.Generator().manual_seed(3)
        memory_context._shuffled(known, chosen, context, generator)
        ((rows, start),) = seen
        for row, p in zip(rows.tolist(), chosen.controls.tolist(), strict=True):
            before = [*range(p - moved - context, p - context)]
            assert row[moved:] == [*range(p - context, p)]
            assert sorted(row[:moved]) == before != row[:moved]
        for layer, wanted in zip(start, known.at(chosen.controls - moved - context), strict=True):
            for got, state in zip(layer, wanted, strict=True):
                assert torch.equal(got, state)


def test_batches_do_not_change_a_loss(monkeypatch):
    model = double()
    chosen = places(TOKENS, 30, (1, 4))
    known = read(model, text(model), [*chosen.starts])
    found = []
    for tokens in (32_768, 12):
        monkeypatch.setattr(memory_context, "CALL_TOKENS", tokens)
        found.append(measure(known, known, chosen, 5, lambda _: None))
    for kind in ("reset", "stranger", "shuffled"):
        one, other = (getattr(made, kind).loss for made in found)
        assert one == pytest.approx(other, rel=1e-6)


def test_guessing_knows_nothing_of_the_place_itself():
    ids = torch.tensor([0, 1, 1, 2, 1])
    wanted = [-math.log(3 / 9), -math.log(1 / 9)]  # 2 other 1s and no other 2, of 4, plus one of 5
    assert guesses(ids, torch.tensor([1, 3]), 5).tolist() == pytest.approx(wanted)


def test_places_are_spread_and_contexts_doubled():
    assert spread(3, 9, 4).tolist() == [3, 5, 7, 9]
    assert spread(3, 5, 40).tolist() == [3, 4, 5]
    assert places(200, 50, None).contexts == (1, 2, 4, 8, 16, 32)
    assert places(100_000, 50, None).contexts[-1] == 512


@pytest.mark.parametrize(
    ("contexts", "said"),
    [
        ((), "numbers from 1"), ((0, 2), "numbers from 1"), ((4, 4), "each above the last"),
        ((1, 400), "need a text of at least 802, got 320"),
    ],
)  # fmt: skip
def test_contexts_that_cannot_be(contexts, said):
    with pytest.raises(InspectError, match=said):
        places(TOKENS, 20, contexts)


# -- how much context is used -------------------------------------------------------------


def context_of(model: LanguageModel, ids: torch.Tensor, contexts=None) -> memory_context.Context:
    chosen = places(len(ids), 400, contexts)
    known = read(model, ids, [*chosen.starts])
    return measure(known, known, chosen, 0, lambda _: None)


@pytest.mark.parametrize("delay", [1, 3, 5])
def test_a_delay_line_uses_exactly_its_delay(delay):
    model, ids = line(delay), repeating(delay)
    found = context_of(model, ids, tuple(range(1, 9)))
    assert found.used == found.enough == delay
    assert found.lacking == (delay - 1 or None)
    for k in range(8):  # not before, nothing beyond
        gain = found.reset.loss[k] - found.reset.full
        assert gain == pytest.approx(0, abs=1e-6) if k + 1 >= delay else gain > 0.3
    assert context_of(model, ids).used == {1: 1, 3: 4, 5: 8}[delay]
    gradient = norms(
        read(model.double(), ids, [*range(90, 100)]), Windows(torch.arange(98, 106), 8)
    )
    reached = gradient["x"].median(0).values > 0
    assert reached.tolist() == [lag == delay - 1 for lag in range(8)]


def test_a_line_longer_than_the_contexts_uses_more_than_them():
    found = context_of(line(6), repeating(6), (1, 2, 4))
    assert (found.lacking, found.enough, found.used) == (4, None, None)


def rare(model: LanguageModel, ids: torch.Tensor, count: int) -> memory_context.Context:
    chosen = places(len(ids), count, (1, 2, 4, 8, 16))
    known = read(model, ids, [*chosen.starts])
    return measure(known, known, chosen, 0, lambda _: None)


def test_more_text_makes_the_bracket_narrower_and_moves_no_end_past_the_truth():
    """Little text shows little: never that a context is enough which more text shows to lack."""
    model, ids = line(5), repeating(5, 12_000)
    with torch.no_grad():
        model.decoder.weight.mul_(0.03)  # what is 5 back helps, but not much
    found = [rare(model, ids[:tokens], tokens) for tokens in (250, 1000, 12_000)]
    assert found[-1].used == 8
    for one in found:
        assert (one.lacking or 0) <= 4 and (one.enough or 8) >= 8


def test_the_standard_error_of_guessing():
    model, ids = double(), text(double())
    chosen = places(TOKENS, 40, (1, 3))
    known = read(model, ids, [*chosen.starts])
    found = measure(known, known, chosen, 0, lambda _: None)
    gain = guesses(ids, chosen.targets, model.shape.vocab) - known.losses[chosen.targets].double()
    assert found.guessing - found.reset.full == pytest.approx(float(gain.mean()), rel=1e-5)
    assert found.guessing_error == pytest.approx(float(gain.std()) / math.sqrt(40), rel=1e-5)


def test_logits_are_made_in_parts_however_many_rows_a_batch_has(monkeypatch):
    """A context of one token and a large vocabulary: 32,768 rows of logits are gigabytes."""
    model = double()
    chosen = places(TOKENS, 30, (1, 4))
    known = read(model, text(model), [*chosen.starts])
    rows, found = [], []
    model.decoder.register_forward_hook(lambda _, given, made: rows.append(made.numel()))
    for numbers in (16_000_000, 5 * model.shape.vocab):
        rows.clear()
        monkeypatch.setattr(memory_context, "CALL_NUMBERS", numbers)
        found.append(measure(known, known, chosen, 5, lambda _: None))
        assert max(rows) <= numbers
    for kind in ("reset", "stranger", "shuffled", "untrained"):
        one, other = (getattr(made, kind).loss for made in found)
        assert one == pytest.approx(other, rel=1e-6)


def test_order_that_does_not_matter_costs_nothing():
    """Shuffling further back than the line looks changes no loss; nearer, it does."""
    found = context_of(line(3), repeating(3), (1, 2, 3, 4))
    excess = [loss - found.shuffled.full for loss in found.shuffled.loss]
    assert excess[2:] == pytest.approx([0, 0], abs=1e-6)
    assert min(excess[:2]) > 0.3


def test_a_model_that_reads_nothing_uses_no_context():
    model = line(2)
    with torch.no_grad():
        model.decoder.weight.zero_()
    found = context_of(model, repeating(2))
    assert (found.lacking, found.enough, found.used) == (None, 1, 1)
    assert abs(found.guessing - found.reset.full) < 3 * found.guessing_error + 0.005


def test_a_model_worse_than_frequencies_may_use_context_all_the_same():
    """It has learnt an order that is there, and frequencies that are not."""
    model, ids = line(2), repeating(2)
    with torch.no_grad():
        model.decoder.weight.mul_(0.1)
        model.decoder.bias.copy_(torch.tensor([12.0, 0, 0, 0, 0]))
    found = context_of(model, ids)
    assert found.reset.full > found.guessing + 1
    assert found.used == 2


def test_context_that_misleads_is_no_context_used():
    model, ids = line(2), torch.randint(5, (3000,))
    found = context_of(model, ids)
    assert found.reset.loss[0] < found.reset.full - 0.8
    assert (found.lacking, found.enough) == (None, 1)


# -- whole reports ------------------------------------------------------------------------


def words(tokens: int = 240) -> torch.Tensor:
    model = reader()
    assert model.tokenizer is not None
    return torch.tensor(model.tokenizer.encode("the bed is not (a cod),\n" * 20)[:tokens])


def made(cell: str, **asked) -> tuple[dict, tuple]:
    model, fresh = reader(cell, hidden=6), reader(cell, hidden=6)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.mul_(0.5)
    subject = Subject("a run", model, fresh, 20, False)
    source = Source("a text", words(), True, 0)
    with use_backend("reference"):
        found = report(subject, source, Asked(places=20, lags=5, **asked), lambda _: None)
    return found.to_dict(), found.verdict


@pytest.mark.parametrize("cell", READERS)
def test_every_cell_has_a_report(cell):
    found, verdict = made(cell)
    assert 4 <= len(verdict) <= 9
    assert {s.screen for s in verdict} <= {"context", "gradients", "half-lives", "gates", "units"}
    kinds = {gradient["of"] for gradient in found["gradients"]}
    states = {f"layers.{k}.{s}" for k in (0, 1) for s in reader(cell).recurrent.state_names}
    silent = {part.split(":")[0] for part in found["left_out"].get("gradients", "").split("; ")}
    assert kinds | silent - {""} == {"x", *states}
    assert set(found["methods"]) == {
        *("verdict", "context", "gradients", "half-lives", "gates", "units")
    }
    assert ("gates" in found["left_out"]) is (not found["gates"])
    assert ("half-lives" in found["left_out"]) is (not found["half_lives"])
    assert {(life["layer"], life["state"]) for life in found["half_lives"]} <= {
        (k, s) for k in (0, 1) for s in reader(cell).recurrent.state_names
    }
    numbers = list(flat(found))
    assert all(math.isfinite(n) for n in numbers)
    assert len(numbers) > 200


def flat(value):
    if isinstance(value, dict):
        for part in value.values():
            yield from flat(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from flat(part)
    elif isinstance(value, float):
        yield value


def test_the_same_seed_gives_the_same_report():
    first, again, other = made("lstm", seed=1), made("lstm", seed=1), made("lstm", seed=2)
    assert first == again
    assert first[0]["context"]["shuffled"] != other[0]["context"]["shuffled"]
    assert first[0]["context"]["reset"] == other[0]["context"]["reset"]


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_an_untrained_model_without_numbers_is_left_out(cell, tmp_path):
    model, fresh = reader(cell, hidden=6), reader(cell, hidden=6)
    with torch.no_grad():
        fresh.decoder.bias[0] = torch.nan
    subject = Subject("a run", model, fresh, 20, False)
    found = report(subject, Source("a text", words(), True, 0), FEW, lambda _: None)
    assert all(math.isfinite(n) for n in flat(found.to_dict()))
    assert found.context.untrained is None
    assert all(made.untrained is None for made in (*found.gradients, *found.half_lives))
    for screen in ("context", "gradients", "units"):
        why = "the untrained model, whose predictions are not numbers"
        assert found.left_out[screen].startswith(why)
    assert not any("nan" in sentence.text for sentence in found.verdict)
    write_report(tmp_path / "report.html", found)
    made = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"\bnan\b", made, re.IGNORECASE)
    assert len(notebook(found)) > 1000


def test_a_gradient_too_large_in_the_untrained_model_alone():
    """The trained model's gradient is shown at all lags; only the control ends earlier."""
    known = read(double(), text(double()), [0])
    windows = Windows(torch.tensor([20, 30]), 4)
    one, other = torch.ones(2, 4), torch.ones(2, 4)
    other[0, 2] = torch.inf
    with pytest.MonkeyPatch.context() as patch:
        given = iter([{"x": one}, {"x": other}, {"x": one}, {"x": other * torch.nan}])
        patch.setattr(measuring, "_norms", lambda r, w: next(given))
        (made,), why = measuring._gradients(known, known, windows)
        assert made.untrained is not None
        assert (made.trained.lags, made.untrained.lags) == ((0, 1, 2, 3), (0, 1))
        assert why == {"x untrained from 2 steps back on": "too large for numbers"}
        (made,), _ = measuring._gradients(known, known, windows)
        assert made.untrained is None


def test_a_run_in_bfloat16_is_said_to_be_measured_in_float32():
    for dtype, said in (
        (torch.float32, "Computed in float32."), (torch.float64, "Computed in float64."),
        (torch.bfloat16, "Computed in float32, although the weights are bfloat16."),
    ):  # fmt: skip
        subject = Subject("a run", reader().to(dtype), reader().to(dtype), 20, False)
        found = report(subject, Source("a text", words(), True, 0), FEW, lambda _: None)
        assert found.methods["verdict"].endswith(said)


def why_none(model: LanguageModel) -> tuple[str, str]:
    subject = Subject("a run", model, model, 20, False)
    found = report(subject, Source("a text", words(), True, 0), FEW, lambda _: None)
    assert found.half_lives == ()
    (said,) = [s.text for s in found.verdict if s.screen == "half-lives"]
    return said, found.left_out["half-lives"]


class Tanh(Cell):
    """A state that fades on a way that bends: nothing alone multiplies it."""

    x, c = Input(), State()
    c.next = tanh(0.9 * c + linear(x))


def test_each_kind_of_cell_without_half_lives_is_told_why():
    assert why_none(reader("rnn"))[1].endswith("goes through its matrices at every step")
    one = why_none(reader("indrnn"))[1]
    assert one.endswith("goes through one weight for each unit at every step")
    tokenizer = reader().tokenizer
    assert tokenizer is not None
    bent = LanguageModel(ModelShape(tokenizer.size, 6, 5), Tanh, tokenizer).eval()
    said, why = why_none(bent)
    assert why.startswith("Tanh bends c on the way to the next value")
    assert said == f"There is no half-life: {why}."


def test_a_memory_that_nothing_reads_is_silent_and_no_missing_gate():
    model = reader()
    with torch.no_grad():
        model.decoder.weight.zero_()
    said, why = why_none(model)
    assert said.startswith("There is no half-life: no gradient of a prediction passes through what")
    assert "LSTM keeps (c)" in why


def test_a_model_without_numbers_is_refused():
    model = reader()
    with torch.no_grad():
        model.decoder.bias[0] = torch.nan
    subject = Subject("a run", model, reader(), 20, False)
    with pytest.raises(
        InspectError, match="a run: some of the model's predictions are not numbers"
    ):
        report(subject, Source("a text", words(), True, 0), Asked(), lambda _: None)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(places=1), "places: expected at least 2, got 1"),
        (Asked(lags=239), "lags: expected 1 to 238 for a text of 240 tokens, got 239"),
        (Asked(lags=0), "lags: expected 1"),
    ],
)
def test_what_cannot_be_asked(asked, said):
    subject = Subject("a run", reader(), reader(), 20, False)
    with pytest.raises(InspectError, match=said):
        report(subject, Source("a text", words(), True, 0), asked, lambda _: None)
