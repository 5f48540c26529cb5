"""The walk: every cell's equations sorted, its numbers the model's, every line right by hand."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.inspect.errors import InspectError
from cellwright.inspect.walk.back import FURTHEST, look_back, replacements
from cellwright.inspect.walk.lines import LINES, lines
from cellwright.inspect.walk.rows import Spot, number, rows, units
from cellwright.inspect.walk.steps import terms_of, walk
from cellwright.inspect.walk.values import NUMBERS, read
from cellwright.language import Cell, Input, State, affine, concat, sigmoid, split, tanh
from cellwright.language.masks import expected
from cellwright.language.ops import Op
from cellwright.language.regularise import zoneout
from cellwright.lm import LanguageModel
from cellwright.web import asset
from tests.inspect.readers import READERS, reader

TEXT = "the bed is not/a\nnot the cod"

# Which equations keep, write, update and reveal: from the papers, by hand.
BY_HAND = {
    "lstm": ("f", "i g", "c.next", "o h.next"),
    "lstm-1997": ("", "i g", "c.next", "o h.next"),
    "lstm-projected": ("f", "i g", "c.next", "o m h.next"),
    "coupled": ("f", "g", "c.next", "o h.next"),
    "gru": ("z", "r n", "h.next", ""),
    "gru-cho": ("z", "r n", "h.next", ""),
    "mgu": ("f", "n", "h.next", ""),
    "rnn": ("", "", "h.next", ""),
    "clockwork": ("", "n", "h.next age.next", ""),
    "slstm": ("li lf held m.next f", "z i", "c.next n.next", "o h.next"),
}


@pytest.mark.parametrize("cell", BY_HAND)
def test_equations_are_sorted_as_by_hand(cell):
    graph = CATALOGUE[cell].graph
    found = walk(graph)
    names = tuple(
        {graph.nodes[k].name for k in step} - {None}
        for step in (found.forget, found.write, found.update, found.reveal)
    )
    assert names == tuple(set(step.split()) for step in BY_HAND[cell])


@pytest.mark.parametrize("cell", CATALOGUE)
def test_every_equation_stands_in_one_step(cell):
    graph = CATALOGUE[cell].graph
    found = walk(graph)
    steps = (found.forget, found.write, found.update, found.reveal)
    shown = [k for step in steps for k in step]
    assert len(shown) == len(set(shown))
    wanted = {k for _, k in graph.equations if k in lines(graph)}
    assert wanted | {s.next for s in graph.states} <= set(shown)


@pytest.mark.parametrize("cell", READERS)
def test_numbers_are_the_models(cell):
    model = reader(cell).double()
    found = read(model, TEXT)
    with torch.no_grad():
        logits, state = model(torch.tensor([found.ids]))
    np.testing.assert_allclose(found.logits, logits[0].numpy(), rtol=1e-9, atol=1e-9)
    states = state if isinstance(state, tuple) else (state,)
    for layer, values in enumerate(found.values):
        graph = found.layers[layer].graph
        for slot, final in zip(graph.states, states, strict=True):
            np.testing.assert_allclose(
                values[slot.next][-1], final[layer, 0].numpy(), rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("cell", READERS)
def test_terms_add_up_to_the_next_state(cell):
    found = read(reader(cell), TEXT)
    for layer, values in zip(found.layers, found.values, strict=True):
        for update in walk(layer.graph).updates:
            if hasattr(update.made, "condition"):
                continue  # what `where` decides is not one sum
            total = sum(term.sign * values[term.node] for term in terms_of(update.made))
            np.testing.assert_allclose(total, values[update.state.next], rtol=1e-9, atol=1e-9)


FUNCTIONS = {
    "σ": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "relu": lambda v: max(v, 0.0),
    "exp": math.exp,
    "log": math.log,
    "abs": abs,
    "max": max,
    "min": min,
}


def by_hand(text: str) -> float:
    """What a person with a calculator makes of a row's numbers."""
    text = text.replace("−", "-").replace("·", "*").replace("≤", "<=")
    choice = re.fullmatch(r"(.*) if (.*), else (.*)", text)
    if choice:
        text = f"({choice[1]}) if {choice[2]} else ({choice[3]})"
    return float(eval(text, {"__builtins__": {}}, FUNCTIONS))


@pytest.mark.parametrize("cell", READERS)
def test_every_line_can_be_checked_by_hand(cell):
    """The numbers of a row, as they are printed, make its value to four decimals."""
    found = read(reader(cell), TEXT)
    checked = 0
    for spot in (Spot(0, 0, 0), Spot(0, 11, 3), Spot(1, 5, 15), Spot(1, found.steps - 1, 8)):
        if spot.unit >= units(found.layers[spot.layer]):
            continue
        for row in rows(found, spot):
            if not re.search(r"\d\.\d", row.numbers):
                continue  # a state that came in, or a product with a matrix
            for side in row.numbers.split(" = "):
                slack = 1e-4 * max(1.0, abs(row.value))
                assert abs(by_hand(side) - row.value) < slack, (row, side)
                checked += 1
    assert checked >= 8


def test_the_lstm_keeps_as_its_equation_says():
    found = read(reader("lstm"), TEXT)
    by_name = {row.formula: row for row in rows(found, Spot(0, 7, 3))}
    row = by_name["f ⊙ c[t-1] + i ⊙ g"]
    f, i, g = (
        next(r.value for r in by_name.values() if r.name == name) for name in ("f", "i", "g")
    )
    before = next(r.value for r in rows(found, Spot(0, 7, 3)) if r.name == "c[t-1]")
    assert row.name == "c[t]"
    assert row.value == pytest.approx(f * before + i * g, rel=1e-12)
    first = f"{number(f)} · "
    assert row.numbers.startswith(first)


def test_units_follow_parts_and_concatenations():
    """A part's unit 2 is another unit of the whole; a concatenation's is one of its arguments'."""

    class Halved(Cell):
        x, h = Input(), State()
        both = concat(tanh(affine(x)), sigmoid(affine(h)))
        a, b = split(both, 2)
        h.next = 0.5 * h + 0.5 * (a - b)

    base = reader("rnn", layers=1)
    model = LanguageModel(base.shape, Halved, base.tokenizer).eval()
    found = read(model, TEXT)
    graph = found.layers[0].graph
    places = dict(graph.equations)
    values = found.values[0]
    spot = Spot(0, 4, 2)
    said = {row.name: row for row in rows(found, spot) if row.name}
    assert said["b"].numbers == "unit 18 of both"
    assert said["b"].value == values[places["both"]][4, 18]
    assert said["a"].value == values[places["both"]][4, 2]
    assert said["both"].numbers == "unit 2 of the vector"


def test_the_tables_know_every_operation():
    assert set(LINES) == set(NUMBERS) == set(Op)
    source = asset("walk_engine.js").partition("const OPS = {")[2].partition("\n};")[0]
    assert set(re.findall(r"^  (\w+):", source, re.M)) == {str(op) for op in Op}


@pytest.mark.parametrize(
    ("spot", "told"),
    [
        (Spot(2, 0, 0), "--layer: expected 0 to 1, got 2"),
        (Spot(0, 99, 0), "--at: expected 0 to 27"),
        (Spot(0, -1, 0), "--at: expected 0 to 27"),
        (Spot(0, 0, 16), "--unit: expected 0 to 15"),
    ],
)
def test_a_place_that_is_not_there_is_said(spot, told):
    with pytest.raises(InspectError, match=told):
        rows(read(reader(), TEXT), spot)


def test_a_text_without_tokens_is_refused():
    with pytest.raises(InspectError, match="one token"):
        read(reader(), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": False},
        {"tie": True, "embed": 16},
        {"last_hidden": 7},
        {"dropout": 0.5, "dropout_kind": "locked"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_shape_of_model_is_read(changes):
    base = reader("lstm")
    model = LanguageModel(replace(base.shape, **changes), "lstm", base.tokenizer).double().eval()
    found = read(model, TEXT)
    with torch.no_grad():
        logits, _ = model(torch.tensor([found.ids]))
    np.testing.assert_allclose(found.logits, logits[0].numpy(), rtol=1e-9, atol=1e-9)
    assert rows(found, Spot(1, 3, 2))


def test_what_a_sum_keeps_inside_of_a_term_is_kept():
    graph = expected(zoneout(CATALOGUE["lstm"], 0.2).graph)
    found = walk(graph)
    names = [
        {graph.nodes[k].name for k in step} - {None}
        for step in (found.forget, found.write, found.update)
    ]
    assert names == [{"f"}, {"i", "g", "o", "h_new"}, {"c_new", "c.next", "h.next"}]


def test_masks_stand_at_their_means():
    """A cell that training regularises is read as it predicts: the masks are no random numbers."""
    base = reader("lstm")
    cell = zoneout(CATALOGUE["lstm"], 0.2)
    model = LanguageModel(base.shape, cell, base.tokenizer).double().eval()
    found = read(model, TEXT)
    with torch.no_grad():
        logits, _ = model(torch.tensor([found.ids]))
    np.testing.assert_allclose(found.logits, logits[0].numpy(), rtol=1e-9, atol=1e-9)
    formulas = [row.formula for row in rows(found, Spot(0, 3, 2)) if row.name == "c[t]"]
    assert formulas == ["0.8 c_new + c[t-1] ⊙ (1 - 0.8)"]


def test_an_overflow_is_said():
    model = reader("rnn-relu")
    with torch.no_grad():
        model.recurrent.blocks(0)["h.h"].fill_(1e30)
    with pytest.raises(InspectError, match=r"token \d+: the model's logits are not numbers"):
        read(model, TEXT * 3)


def test_unknown_signs_are_read_as_unknown():
    found = read(reader(), "the Zed")
    assert found.pieces[4] == "Z"
    assert found.ids[4] == 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_looking_back_replaces_one_token_at_a_time(cell):
    model = reader(cell)
    ids = read(model, TEXT).ids
    at, target = 15, ids[16]
    found = look_back(model, ids, at, target)
    others = replacements(ids, model.shape.vocab)

    def log_p(tokens):
        with torch.no_grad():
            logits, _ = model(torch.tensor([tokens]))
        return float(torch.log_softmax(logits[0, -1].double(), -1)[target])

    whole = log_p(list(ids[: at + 1]))
    for j in range(at + 1):
        drops = []
        for other in others[ids[j]]:
            assert other != ids[j]
            tokens = list(ids[: at + 1])
            tokens[j] = other
            drops.append(whole - log_p(tokens))
        assert found.effects[j - found.first] == pytest.approx(np.mean(drops), abs=1e-5)


def test_the_straight_line_is_the_gradients():
    """slope[j] against a finite difference of the model's own log p."""
    model = reader("gru").double()
    ids = read(model, TEXT).ids
    found = look_back(model, ids, 9, ids[10])
    others = replacements(ids, model.shape.vocab)
    weight = model.embedding.weight.detach()

    def log_p(x):
        with torch.no_grad():
            h, _ = model.recurrent(x[None])
            return float(torch.log_softmax(model.decoder(h[0, -1]), -1)[ids[10]])

    x = weight[list(ids[:10])]
    for j in (0, 4, 9):
        step = torch.zeros_like(x)
        step[j] = weight[list(others[ids[j]])].mean(0) - x[j]
        slope = (log_p(x - 1e-5 * step) - log_p(x + 1e-5 * step)) / 2e-5
        assert found.slopes[j - found.first] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_looking_back_ends_somewhere():
    model = reader()
    ids = read(model, TEXT * 2).ids
    found = look_back(model, ids, 40, 3)
    assert (found.first, len(found.effects)) == (41 - FURTHEST, FURTHEST)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500000"), (-1.25, "−1.250000"), (0.0, "0.000000"), (3e-7, "3.00000e−07")],
)
def test_numbers_have_six_decimals(value, text):
    assert number(value) == text
