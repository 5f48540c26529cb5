"""Charts: scales that keep order, ticks that are round, and pictures that hide nothing."""

import html
import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwright.web import asset
from cellwright.web.charts import (
    Axis,
    Bar,
    Dot,
    DotRow,
    Level,
    Mark,
    Scale,
    Series,
    Tone,
    Words,
    bar_chart,
    dot_chart,
    key,
    limits,
    line_chart,
    number,
    percent,
    table,
)
from cellwright.web.charts.drawing import DASHES, SHAPES, SIZE, route
from cellwright.web.charts.lines import spread
from cellwright.web.charts.scales import labels

WORDS = Words("one", "A picture", "What it shows.")
LOSS = Axis("loss", 0, 4)
LAG = Axis("lag", 0, 10)
NORM = Axis("norm", 1e-6, 1, log=True)
ODD = "</svg><b>\"x\" & 'y' 😀"
sizes = st.floats(-1e6, 1e6, allow_nan=False)


def line(x: tuple[float, ...] = (0, 5, 10), y: tuple[float, ...] = (1, 2, 3), **more) -> Series:
    return Series("one", Tone.TEAL, x, y, **more)


def attributes(picture: str, kind: str, name: str) -> list[float]:
    return [float(v) for v in re.findall(rf"<{kind} [^>]*\b{name}=\"([-\d.]+)\"", picture)]


def places(way: str) -> list[tuple[float, float]]:
    """The places of a path that was written as one move and steps from place to place."""
    first, *steps = way[1:].split("l")
    x, y = (float(v) for v in first.split())
    made = [(x, y)]
    for step in steps:
        right, down = (float(v) for v in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", step))
        x, y = x + right, y + down
        made.append((x, y))
    return made


@pytest.mark.parametrize(
    ("low", "high", "most", "wanted"),
    [
        (0, 1, 6, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (0, 1, 3, (0, 0.5, 1)),
        (-1.3, 1.3, 6, (-1, -0.5, 0, 0.5, 1)),
        (0, 100, 11, tuple(range(0, 101, 10))),
        (3.1, 3.4, 4, (3.1, 3.2, 3.3, 3.4)),
        (1_234, 1_239, 3, (1_234, 1_236, 1_238)),
        (0, 3e-7, 4, (0, 1e-7, 2e-7, 3e-7)),
    ],
)
def test_ticks_are_round(low, high, most, wanted):
    assert Scale(low, high, 0, 1).ticks(most) == pytest.approx(wanted, abs=1e-12)


@given(sizes, st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_are_inside_and_not_too_many(low, width, most):
    if not low < low + width or width < 1e-9 * abs(low):
        return
    ticks = Scale(low, low + width, 0, 1).ticks(most)
    assert len(ticks) <= most
    assert all(low <= v <= low + width for v in ticks)
    assert all(a < b for a, b in pairwise(ticks))
    told = labels(ticks)
    assert len(set(told)) == len(told)  # no two ticks with one label


@pytest.mark.parametrize(
    ("low", "high", "most", "wanted"),
    [
        (1, 512, 10, ("1", "2", "5", "10", "20", "50", "100", "200", "500")),
        (1, 512, 5, ("1", "10", "100")),
        (1e-9, 1, 4, ("10⁻⁹", "10⁻⁶", "10⁻³", "10⁰")),
        (1e-9, 1e-8, 4, ("10⁻⁹", "2·10⁻⁹", "5·10⁻⁹", "10⁻⁸")),
        (0.1, 1000, 5, ("0.1", "1", "10", "100", "1,000")),
    ],
)
def test_log_ticks_are_powers(low, high, most, wanted):
    assert labels(Scale(low, high, 0, 1, log=True).ticks(most), log=True) == wanted


@given(st.lists(st.floats(1e-8, 1e8), min_size=2, max_size=9, unique=True), st.booleans())
def test_scales_keep_order_and_ends(values, log):
    low, *_, high = ordered = sorted(values)
    if high - low < 1e-9 * high:
        return
    scale = Scale(low, high, 300, 20, log)
    assert (scale(low), scale(high)) == pytest.approx((300, 20))
    made = [scale(v) for v in ordered]
    assert all(a >= b for a, b in pairwise(made))
    assert all(20 - 1e-6 <= at <= 300 + 1e-6 for at in made)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0, 11.0])
def test_a_scale_refuses_what_lies_outside(value):
    with pytest.raises(ValueError, match="is not between"):
        Scale(0.1, 10, 0, 1, log=True)(value)


@pytest.mark.parametrize(
    ("low", "high", "log"), [(1, 1, False), (0, 1, True), (math.nan, 1, False)]
)
def test_a_scale_refuses_limits_that_are_none(low, high, log):
    with pytest.raises(ValueError, match="scale: "):
        Scale(low, high, 0, 1, log)


def test_limits_are_around_all_values():
    low, high = limits([1.5, 2.5])
    assert low < 1.5 and 2.5 < high < 2.6
    assert limits([0.0, 3e-5, 0.2], log=True) == pytest.approx((1e-5, 1))
    assert limits([1.0], log=True) == pytest.approx((1, 10))
    low, high = limits([5e-324, 1.7e308], log=True)
    assert Scale(low, high, 0, 1, log=True)(1.7e308) == pytest.approx(1, abs=1e-3)
    assert limits([2.0])[0] < 2 < limits([2.0])[1]
    with pytest.raises(ValueError, match="at least one"):
        limits([0.0, -1.0], log=True)
    with pytest.raises(ValueError, match="finite"):
        limits([1.0, math.nan, 2.0])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.031623, "0.0316"), (-1.5, "−1.50"), (2.5e-7, "2.50·10⁻⁷"), (0.0, "0"), (7, "7"),
        (12_345.6, "12,346"), (0.9996, "1.00"), (99_999.6, "1.00·10⁵"), (1_234_567, "1,234,567"),
    ],
)  # fmt: skip
def test_numbers_are_told_as_people_read_them(value, told):
    assert number(value) == told


@pytest.mark.parametrize(
    ("share", "told"),
    [(0, "0 %"), (1, "100 %"), (0.313, "31 %"), (0.0004, "< 0.1 %"), (0.9999, "> 99.9 %"),
     (0.004, "0.4 %"), (0.994, "99.4 %")],
)  # fmt: skip
def test_no_share_is_rounded_to_nothing_or_all(share, told):
    assert percent(share).replace("\u00a0", " ") == told


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_curve_refuses_what_is_no_number(bad):
    for values in ({"y": (1, bad, 3)}, {"low": (0, 0, bad), "high": (1, 1, 1)}, {"strip": (bad,)}):
        with pytest.raises(ValueError, match="expected finite numbers"):
            line(**values)


@pytest.mark.parametrize(
    "values", [{"y": (1, 2)}, {"low": (1, 1, 1)}, {"x": (0, 0, 1)}, {"x": (), "y": ()}]
)
def test_a_curve_refuses_what_does_not_fit(values):
    with pytest.raises(ValueError, match="one: expected"):
        line(**values)


def test_a_curve_outside_its_axes_is_refused():
    with pytest.raises(ValueError, match="9 is not between"):
        line_chart(WORDS, LAG, LOSS, [line(y=(1, 9, 3))])
    with pytest.raises(ValueError, match="-1 is not between"):
        line_chart(WORDS, LAG, LOSS, [line(x=(-1, 2, 3))])


def test_a_curve_lies_where_its_numbers_are():
    made = line_chart(WORDS, LAG, LOSS, [line(y=(0, 4, 1))], size=(400, 300))
    (way,) = re.findall(r'class="curve tone-0" d="([^"]+)"', made)
    (a, foot), (b, top), (c, last) = places(way)
    assert b - a == pytest.approx(c - b, abs=0.2)
    assert (foot - last) / (foot - top) == pytest.approx(1 / 4, abs=1e-3)


def test_a_second_unit_lies_beside_the_first():
    loss = Axis("nats", 1, 4, also=("bits", 1 / math.log(2)))
    made = line_chart(WORDS, LAG, loss, [line()])
    written = [
        (float(y), "text-anchor" in how, float(label))
        for y, how, label in re.findall(r'<text x="[\d.]+" y="([\d.]+)"(.*?)>([\d.]+)<', made)
        if "middle" not in how
    ]
    ours = [(y, label) for y, left, label in written if left]
    (low, a), (high, b) = ours[0], ours[-1]
    bits = [(y, label) for y, left, label in written if not left]
    assert len(bits) > 2
    for y, label in bits:
        assert a + (b - a) * (y - low) / (high - low) == pytest.approx(
            label * math.log(2), abs=0.01
        )


def test_zeros_on_a_log_axis_are_shown_at_its_foot():
    zeros = line(tuple(range(0, 10, 2)), (1, 1e-3, 0, 1e-3, 1e-9))
    made = line_chart(WORDS, LAG, NORM, [zeros], size=(400, 300))
    curves = [places(way) for way in re.findall(r'class="curve tone-0" d="([^"]+)"', made)]
    assert [len(curve) for curve in curves] == [2, 2]  # a point alone is a line onto itself
    assert made.count('class="below tone-0"') == 2
    assert "one: 0 at 4: below the axis" in made
    assert "one: 1.000·10⁻⁹ at 8: below the axis" in made


def test_a_band_ends_at_the_foot_of_a_log_axis():
    band = line(y=(1, 1e-3, 1e-5), low=(0.1, 1e-9, 0), high=(1, 1e-2, 1e-4))
    made = line_chart(WORDS, LAG, NORM, [band], size=(400, 300))
    (way,) = re.findall(r'class="band tone-0" d="([^"Z]+)Z"', made)
    base = re.search(r'class="base" d="M[\d.]+ ([\d.]+)L', made)
    assert base
    downs = [y for _, y in places(way)]
    assert max(downs) == pytest.approx(float(base[1]), abs=0.2)


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900)), min_size=1, max_size=40))
def test_ways_do_not_drift(wanted):
    found = places(route(wanted))
    assert len(found) == len(wanted)
    for (a, b), (c, d) in zip(found, wanted, strict=True):
        assert abs(a - c) < 0.051 and abs(b - d) < 0.051


def test_a_stepped_curve_falls_where_its_values_lie():
    steps = Series("s", Tone.TEAL, (1, 10, 100), (1, 0.5, 0), stepped=True, strip=(10, 100, 5000))
    made = line_chart(
        WORDS, Axis("steps", 1, 100, log=True), Axis("share", 0, 1, share=True), [steps]
    )
    (way,) = re.findall(r'class="curve tone-0" d="([^"]+)"', made)
    at = places(way)
    assert [b > a for (_, a), (_, b) in pairwise(at)] == [False, True, False, True]
    assert [d > c for (c, _), (d, _) in pairwise(at)] == [True, False, True, False]
    (strip,) = re.findall(r'class="strip tone-0" d="([^"]+)"', made)
    assert strip.count("M") == 2  # 5000 lies outside
    assert ">40 %<" in made


def test_steps_too_close_to_see_end_at_the_same_height():
    x = tuple(1 + k / 10_000 for k in range(1, 10_000))
    falling = Series("s", Tone.TEAL, (1, *x), (1, *(2 - v for v in x)), stepped=True)
    made = line_chart(WORDS, Axis("x", 1, 2), Axis("y", 0, 1), [falling], size=(300, 200))
    (way,) = re.findall(r'class="curve tone-0" d="([^"]+)"', made)
    at = places(way)
    assert len(at) < 1500
    last = Scale(0, 1, at[-1][1], at[0][1])
    assert last(1 - 0.0001) == pytest.approx(at[0][1], abs=0.5)
    for (_, a), (_, b) in pairwise(at):
        assert b >= a


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12))
def test_names_lie_apart_in_order_and_inside(at):
    made = spread(sorted(at), 17, 0, 300)
    assert len(made) == len(at)
    assert all(b - a >= 17 - 1e-6 for a, b in pairwise(made))
    assert made[0] >= -1e-6
    assert made[-1] <= 300 + 1e-6


def test_names_that_need_no_room_are_not_moved():
    assert spread([10, 40, 80], 17, 0, 300) == [10, 40, 80]


def test_marks_levels_and_names_are_written():
    made = line_chart(
        WORDS, LAG, LOSS, [line()], marks=[Mark(5, "window 5"), Mark(9.9, "the far end")],
        levels=[Level(2.5, "guessing")], named=True,
    )  # fmt: skip
    for told in ("window 5", "the far end", "guessing", ">one<", ">lag<", ">loss<"):
        assert told in made
    made = line_chart(WORDS, LAG, LOSS, [line()], marks=[Mark(9.9, "the far end")])
    assert 'text-anchor="end" class="note">the far end' in made  # it would not fit at the right


def test_bars_are_as_high_as_their_shares():
    bars = [Bar(0, 0.5, 0.1, Tone.ORANGE), Bar(0.5, 1, 0.3, Tone.GREY)]
    share = Axis("share", 0, 0.4, share=True)
    made = bar_chart(WORDS, Axis("value", 0, 1), share, bars)
    full, first, _, second = attributes(made, "rect", "height")
    assert (first / full, second / full) == pytest.approx((0.25, 0.75), abs=2e-3)
    assert "0 to 0.5: 10\u00a0%" in made and "0.5 to 1: 30\u00a0%" in made
    with pytest.raises(ValueError, match="begin at 0"):
        bar_chart(WORDS, Axis("value", 0, 1), Axis("share", 0.1, 1), bars)


def test_dots_lie_on_their_scale():
    row = DotRow("f", "n", (Dot("a", Tone.TEAL, 0.5), Dot("b", Tone.GREY, 1.0)), ("r", 0.6, 0.7))
    made = dot_chart(WORDS, Axis("AUC", 0.5, 1), [row, row], width=400)
    found = [float(v) for v in re.findall(r"translate\(([\d.]+) ", made)]
    assert sorted(set(found)) == [12, 384]
    assert made.count("f, a: 0.500") == 2 and made.count("r: 0.600 to 0.700") == 2
    with pytest.raises(ValueError, match="is not between"):
        dot_chart(WORDS, Axis("AUC", 0.6, 1), [row])


def test_what_is_written_is_not_read_as_markup():
    odd = Series(ODD, Tone.TEAL, (0, 5), (1, 2))
    made = [
        line_chart(
            Words("w", ODD, ODD), Axis(ODD, 0, 5), Axis(ODD, 0, 4, also=(ODD, 2)), [odd],
            marks=[Mark(1, ODD)], levels=[Level(1, ODD)], named=True,
        ),
        dot_chart(WORDS, LOSS, [DotRow(ODD, ODD, (Dot(ODD, Tone.BLUE, 1),), (ODD, 1, 2))]),
        key([(ODD, Tone.BLUE)], band=ODD),
        table(ODD, [ODD], [[ODD]]),
    ]  # fmt: skip
    for drawn in made:
        assert "<b>" not in drawn
        assert html.escape(ODD) in drawn


def test_a_picture_is_the_same_each_time_and_says_what_it_is():
    first, second = (line_chart(WORDS, LAG, LOSS, [line()]) for _ in range(2))
    assert first == second
    assert '<title id="one-title">A picture</title><desc id="one-shows">What it shows.' in first
    assert 'role="img"' in first and 'aria-labelledby="one-title"' in first


def test_every_tone_has_a_colour_a_dash_and_a_shape_of_its_own():
    style = asset("charts.css")
    colours = re.findall(r"\.chart \.tone-(\d) \{ --tone: (var\(--[a-z]+\))", style)
    assert {int(tone) for tone, _ in colours} == set(Tone)
    assert len({colour for _, colour in colours}) == len(Tone)
    for own in (DASHES, SHAPES):
        assert set(own) == set(Tone)
        assert len(set(own.values())) == len(Tone)
    assert f"font: {SIZE}px" in style


def test_a_table_holds_its_rows():
    made = table("Losses", ["context", "loss"], [["1", "2.50"], ["2", "2.25"]])
    assert re.findall(r'<th scope="row">(\w+)</th><td>([\d.]+)</td>', made) == [
        ("1", "2.50"), ("2", "2.25"),
    ]  # fmt: skip
    assert made.count('scope="col"') == 2 and "<caption>Losses</caption>" in made
    assert 'role="region" tabindex="0" aria-label="Losses"' in made
