"""Transforms: which cells they make, which they refuse, and that they compose."""

import itertools
import re
from collections.abc import Callable

import pytest

from cellwright import (
    Cell,
    CellError,
    CellFileError,
    Input,
    Mask,
    State,
    affine,
    cell_from_json,
    cell_to_json,
    layer_normed,
    linear,
    projected,
    recurrent_dropout,
    residual,
    tanh,
    weight_dropped,
    zoneout,
)
from cellwright.cells import CATALOGUE
from cellwright.compiler import lower
from cellwright.language.masks import expected, masks
from tests.cases import CELLS, widths

LSTM, GRU, RNN = (CATALOGUE[name] for name in ("lstm", "gru", "rnn"))
TRANSFORMS: dict[str, Callable[[type[Cell]], type[Cell]]] = {
    "zoneout": lambda cell: zoneout(cell, 0.2),
    "recurrent dropout": lambda cell: recurrent_dropout(cell, 0.3),
    "weight dropped": lambda cell: weight_dropped(cell, 0.4),
    "layer normed": layer_normed,
    "projected": projected,
    "residual": residual,
}
# What a transform refuses, and the word that says why. Everything else it serves.
REFUSED = {
    "recurrent dropout": ({"indrnn"}, "no matrix reads h"),
    "weight dropped": ({"indrnn"}, "no matrix reads a state"),
    "layer normed": (
        {"layernorm-lstm", "layernorm-gru", "clockwork", "slstm"},
        "(not normalised already|in blocks, which a norm)",
    ),
}
# Orders that make no sense.
ORDERS = {
    ("zoneout", "projected"): "before zoneout or dropout, not after",
    ("recurrent dropout", "projected"): "before zoneout or dropout, not after",
    ("residual", "projected"): "project before residual",
    ("zoneout", "layer normed"): "comes before zoneout, not after",
}
NOT_PROJECTED = ("read unit by unit", "is not `hidden` wide", "needs a square matrix")


class Shared(Cell):
    """Two states take the same new value, and a matrix reads it in the same step."""

    x, h, g, d = Input(), State(), State(), State()

    n = tanh(affine(x, h, g))
    h.next = n
    g.next = n
    d.next = h
    y = linear(n) + linear(h) + linear(d)
    outputs = y


def parameters(cell: type[Cell]) -> list[tuple[str, tuple[int, ...]]]:
    sizes = widths(8, 8)
    return [(p.name, p.shape) for p in lower(cell.graph, sizes).params]


@pytest.mark.parametrize("word", TRANSFORMS)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_served_or_refused_by_name(name: str, word: str):
    cell = CATALOGUE[name]
    refused, why = REFUSED.get(word, (set(), ""))
    try:
        made = TRANSFORMS[word](cell)
    except CellError as error:
        assert cell.__name__ in str(error)
        if word == "projected":
            assert any(why in str(error) for why in NOT_PROJECTED)
        else:
            assert name in refused
            assert re.search(why, str(error))
        return
    assert name not in refused
    assert made.graph != cell.graph
    lower(made.graph, widths(8, 8))
    lower(expected(made.graph), widths(8, 8))
    assert cell_from_json(cell_to_json(made)).graph.nodes == made.graph.nodes


@pytest.mark.parametrize("first,second", [*itertools.permutations(TRANSFORMS, 2)])
def test_transforms_compose(first: str, second: str):
    said = ORDERS.get((first, second))
    if said:
        with pytest.raises(CellError, match=said):
            TRANSFORMS[second](TRANSFORMS[first](LSTM))
        return
    made = TRANSFORMS[second](TRANSFORMS[first](LSTM))
    lower(made.graph, widths(8, 8))
    assert made.graph.state_names == ("h", "c")


@pytest.mark.parametrize("word", ["zoneout", "recurrent dropout", "weight dropped"])
@pytest.mark.parametrize("name", [*CELLS, "shared"])
def test_masks_leave_the_parameters_as_they_are(name: str, word: str):
    if name == "indrnn" and word != "zoneout":
        return  # refused: no matrix reads its state
    cell = CATALOGUE.get(name, Shared)
    made = TRANSFORMS[word](cell)
    assert parameters(made) == parameters(cell)
    mean = type("Mean", (), {"graph": expected(made.graph)})
    assert parameters(mean) == parameters(cell)  # type: ignore[arg-type]


def test_in_evaluation_dropout_is_not_there():
    sizes = widths(4, 3)
    for made in (recurrent_dropout(LSTM, 0.3), recurrent_dropout(LSTM, 0.3, on="g")):
        assert str(lower(expected(made.graph), sizes)) == str(lower(LSTM.graph, sizes))


def test_a_rate_of_zero_is_the_cell_itself():
    assert zoneout(LSTM, 0) is LSTM
    assert zoneout(LSTM, {"h": 0.0}) is LSTM
    assert recurrent_dropout(LSTM, 0.0) is LSTM
    assert weight_dropped(LSTM, 0.0) is LSTM


def test_zoneout_by_state():
    made = zoneout(LSTM, {"c": 0.5})
    assert [(m.name, m.rate, m.per_sequence) for m in masks(made.graph)] == [("mask_c", 0.5, False)]
    assert "masks mask_c 0.5" in repr(made)


def test_dropout_of_a_state_holds_for_the_sequence_of_an_equation_for_a_step():
    state, equation = recurrent_dropout(LSTM, 0.3), recurrent_dropout(LSTM, 0.3, on="g")
    assert [m.per_sequence for m in masks(state.graph)] == [True]
    assert [m.per_sequence for m in masks(equation.graph)] == [False]
    for per in ("step", "sequence"):
        (mask,) = masks(recurrent_dropout(LSTM, 0.3, per=per).graph)
        assert mask.per_sequence == (per == "sequence")


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan"), "0.5", None, True])
def test_rates_are_probabilities(rate: object):
    for word in (zoneout, recurrent_dropout, weight_dropped):
        with pytest.raises(CellError, match="a rate is a probability"):
            word(LSTM, rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong,said",
    [
        (lambda: zoneout(LSTM, {"m": 0.1}), "has no state m; it has h, c"),
        (lambda: recurrent_dropout(LSTM, 0.1, on="q"), "has no state or equation 'q'"),
        (lambda: recurrent_dropout(LSTM, 0.1, on="c"), "no matrix reads c"),
        (lambda: recurrent_dropout(LSTM, 0.1, on="c.next"), "no state or equation 'c.next'"),
        (lambda: recurrent_dropout(LSTM, 0.1, per="row"), "per is step or sequence"),
        (lambda: projected(GRU), "GRU.*read unit by unit"),
        (lambda: projected(projected(LSTM)), "is not `hidden` wide"),
        (lambda: layer_normed(layer_normed(LSTM)), "not normalised already"),
        (lambda: recurrent_dropout(Shared, 0.1, on="n"), "n is what the state h takes next"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wrong: Callable[[], object], said: str):
    with pytest.raises(CellError, match=said):
        wrong()


def test_a_cell_may_declare_masks_itself():
    class Keeps(Cell):
        """An RNN with zoneout, written out."""

        keep = Mask(0.25, scaled=False)
        x, h = Input(), State()

        new = tanh(affine(x, h))
        h.next = h + keep * (new - h)

    assert Keeps.graph.input_names == ("x", "keep")
    (mask,) = masks(Keeps.graph)
    assert (mask.rate, mask.high, mask.mean) == (0.25, 1.0, 0.75)
    assert cell_from_json(cell_to_json(Keeps)).graph.nodes == Keeps.graph.nodes


@pytest.mark.parametrize(
    "made,said", [(lambda: Mask(1.0), "a rate is 0 or more"), (lambda: Mask(0.1, per="row"), "per")]
)
def test_masks_check_themselves(made: Callable[[], Mask], said: str):
    with pytest.raises(CellError, match=said):
        made()


def test_a_cell_needs_an_input_besides_its_masks():
    with pytest.raises(CellError, match="at least one Input that is not a Mask"):

        class Alone(Cell):
            keep, h = Mask(0.1), State()
            h.next = tanh(affine(h)) * keep


@pytest.mark.parametrize(
    "old,new",
    [
        ('"rate": 0.25', '"rate": 1.5'),
        ('"rate": 0.25', '"rate": "much"'),
        ('"per": "step"', '"per": "row"'),
        (', "scaled": 0', ""),
        ('"drop": 0.125', '"drop": -1'),
    ],
)
def test_a_cell_file_with_a_wrong_mask_is_refused(old: str, new: str):
    text = cell_to_json(zoneout(weight_dropped(RNN, 0.125), 0.25))
    assert old in text
    with pytest.raises(CellFileError):
        cell_from_json(text.replace(old, new))
