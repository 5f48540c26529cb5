"""Pattern search: planted patterns are found, and luck is what shifting the units gives."""

import numpy as np
import pytest

from cellwright.inspect.errors import InspectError
from cellwright.inspect.units.pattern import (
    ENOUGH,
    LEVELS,
    _at_least,
    beyond,
    find_pattern,
    search,
    span_of,
)
from cellwright.inspect.units.read import Column, Unit
from cellwright.inspect.units.states import Tokens, read_states, tokens
from tests.inspect.latch import UNIT, latch, quoted

COLUMNS = [Column("h", Unit(0, k)) for k in range(8)]
PLACES = (100, 700, 1500)


@pytest.fixture
def values():
    """Noise; at three places units 1 and 4 are high and unit 6 low for five tokens."""
    made = np.random.default_rng(0).normal(size=(8, 2000)) * 0.3
    for at in PLACES:
        made[:, [at - 1, at + 5]] = 0.0
        made[1, at : at + 5] = made[4, at : at + 5] = 2.0
        made[6, at : at + 5] = -2.0
    return made


def test_what_was_planted_is_found(values):
    found = search(values, COLUMNS, 100, 105, above=1.0)
    assert [(on.column.place.unit, on.high) for on in found.units] == [
        (1, True), (4, True), (6, False),
    ]  # fmt: skip
    assert [(m.first, m.end, m.on, m.jaccard) for m in found.matches] == [
        (700, 705, 3, 1.0), (1500, 1505, 3, 1.0),
    ]  # fmt: skip
    assert found.stretches == 2000 - 4 - 9
    assert found.found[3] == 2
    assert found.luck[3] < 1e-3
    assert found.need == 2
    assert all(on.share == pytest.approx(3 / 1996, abs=2e-3) for on in found.units)


def test_the_highest_level_with_enough_units_is_taken(values):
    assert search(values, COLUMNS, 100, 105).above == LEVELS[0]  # three units, at any level
    values[:5, 100:105] = values[:, :600:2].max() + 0.01
    found = search(values, COLUMNS, 100, 105)
    assert len(found.units) >= ENOUGH
    higher = [level for level in LEVELS if level > found.above]
    assert all(len(search(values, COLUMNS, 100, 105, above=x).units) < ENOUGH for x in higher)
    assert search(values, COLUMNS, 100, 105, above=0.5).above == 0.5


def test_alone_are_units_that_are_off_beside_the_stretch(values):
    values[4, 99] = 2.0
    found = search(values, COLUMNS, 100, 105, above=1.0, alone=True)
    assert [on.column.place.unit for on in found.units] == [1, 6]
    values[1, 105] = values[6, 105] = 2.0
    found = search(values, COLUMNS, 100, 105, above=1.0, alone=True)
    assert [(on.column.place.unit, on.high) for on in found.units] == [(6, False)]


def test_stretches_that_follow_one_another_are_one_match(values):
    values[[1, 4], 704:712] = 2.0
    values[6, 704:712] = -2.0
    found = search(values, COLUMNS, 100, 105, above=1.0)
    assert (found.matches[0].first, found.matches[0].end) == (700, 712)
    assert found.spans == 2


def test_more_units_come_first_then_fewer_others(values):
    values[6, 700:705] = 0.0
    values[2, 1500:1505] = 2.0
    first, second = search(values, COLUMNS, 100, 105, above=1.0).matches
    assert (first.first, first.on, first.jaccard) == (1500, 3, 3 / 4)
    assert (second.first, second.on, second.jaccard) == (700, 2, 2 / 3)
    assert len(search(values, COLUMNS, 100, 105, above=1.0, most=1).matches) == 1


def test_luck_is_what_shifting_each_unit_gives():
    rng = np.random.default_rng(1)
    made = np.zeros((8, 1500))
    for t in range(1, 1500):
        made[:, t] = 0.9 * made[:, t - 1] + rng.normal(size=8)
    made[:4, 500:503] = 9.0
    found = search(made, COLUMNS, 500, 503, above=0.5)
    assert len(found.units) >= 4
    counts = np.zeros(len(found.units) + 1)
    low, high = (made.mean(1) + sign * 0.5 * made.std(1) for sign in (-1, 1))
    for _ in range(400):
        together = np.zeros(1498)
        for on in found.units:
            k = on.column.place.unit
            held = made[k] > high[k] if on.high else made[k] < low[k]
            through = np.all([held[i : i + 1498] for i in range(3)], 0)
            together += np.roll(through, rng.integers(1498))
        counts += [(together >= k).mean() for k in range(len(counts))]
    wanted = counts / 400 * found.stretches
    np.testing.assert_allclose(found.luck[:4], wanted[:4], rtol=0.1)


def test_chances_of_independent_events():
    assert _at_least([]) == [1.0]
    assert _at_least([0.25]) == [1.0, 0.25]
    assert _at_least([0.5, 0.25]) == pytest.approx([1.0, 0.625, 0.125])


def test_a_unit_that_never_moves_is_never_on(values):
    values[:] = np.array([1.0, 0.1, -0.3, 1e-9, 7.7, 0.0, 1e6 + 0.1, -1 / 3])[:, None]
    with pytest.raises(InspectError, match=r"no unit is on throughout tokens 100:105"):
        search(values, COLUMNS, 100, 105, above=1.0)
    assert not beyond(values).any()


def test_levels_are_counted_on_the_side_of_the_mean(values):
    counts = beyond(values)
    for k, level in enumerate(LEVELS):
        low, high = (values.mean(1) + sign * level * values.std(1) for sign in (-1, 1))
        need = len(LEVELS) - k
        np.testing.assert_array_equal(counts >= need, values > high[:, None])
        np.testing.assert_array_equal(counts <= -need, values < low[:, None])


@pytest.mark.parametrize(("first", "end"), [(-1, 3), (5, 5), (7, 6), (0, 5000)])
def test_a_stretch_must_be_in_the_text(first, end):
    states = read_states(latch(), tokens(latch(), quoted(400)).ids)
    with pytest.raises(InspectError, match="expected A:B"):
        find_pattern(states, first, end, state="h")
    with pytest.raises(InspectError, match="the model has no 'q'"):
        find_pattern(states, 0, 5, state="q")


def test_quotes_are_found_by_their_unit():
    model, text = latch(), quoted(3000)
    states = read_states(model, tokens(model, text).ids)
    at = text.index("“")
    end = text.index("”", at)
    found = find_pattern(states, at, end, state="h", alone=True)
    assert (Unit(0, UNIT), True) in [(on.column.place, on.high) for on in found.units]
    assert float(states.column(Column("h", Unit(0, UNIT)))[at]) == pytest.approx(0.7616, abs=1e-3)


@pytest.mark.parametrize(
    ("pieces", "level", "phrase", "span"),
    [
        (tuple("a cat sat"), "char", "cat", (2, 5)),
        (("the", "cat", "\n", "sat", "down"), "word", "sat down", (3, 5)),
        (("the", "cat", "\n", "sat", "down"), "word", "at", (1, 2)),
        (("the", " c", "at sat"), "bpe", "cat", (1, 3)),
    ],
)
def test_a_phrase_is_found_by_its_tokens(pieces, level, phrase, span):
    read = Tokens(pieces, tuple(range(len(pieces))), level != "word", level)
    assert span_of(read, phrase) == span


@pytest.mark.parametrize("phrase", ["dog", ""])
def test_a_phrase_that_is_not_there_is_refused(phrase):
    with pytest.raises(InspectError, match="not in these 3 tokens"):
        span_of(Tokens(tuple("cat"), (1, 2, 3), True, "char"), phrase)
