"""The page of units in a browser: the model's values, and the search that Python makes."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cellwright.inspect.errors import InspectError
from cellwright.inspect.units import page as units_page
from cellwright.inspect.units.page import (
    Listed,
    Shown,
    Table,
    build_units_page,
    quantised,
    write_units_page,
)
from cellwright.inspect.units.pattern import beyond, find_pattern
from cellwright.inspect.units.read import Column, Unit
from cellwright.inspect.units.states import read_states, tokens
from tests.inspect.latch import UNIT, latch, quoted
from tests.inspect.readers import reader
from tests.web.chromium import Chromium, Tab

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
ODD = "</script><b>é\u0301 😀 \u05d0\u05d1\n\u202eabc<!--<script>"
TEXT = quoted(900)
QUOTE = Column("h", Unit(0, UNIT))
TABLE = Table(
    heads=("AUC", "loss"),
    rows=(
        Listed("in quotes", QUOTE, ("0.999", "-0.012"), "unit 0:2 remembers it: -0.5 nats."),
        Listed(
            "</script><i>", Column("c", Unit(0, 1)), ("0.5", "+0.1"), "No unit <b>tells</b> it."
        ),
    ),
    caption="How well a unit tells & what it costs.",
    left_out={"in a number": "it holds nowhere in the text"},
)


def written(out: Path, model, text: str, column: Column, stretch=None) -> Path:
    read = tokens(model, text)
    states = read_states(model, read.ids)
    write_units_page(out, "Units", read, states, TABLE, Shown(column, stretch), "h")
    return out


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("page") / "units.html", latch(), TEXT, QUOTE)


@pytest.fixture(scope="module")
def kept(browser: Chromium, file: Path) -> Iterator[Tab]:
    tab = browser.open(file.as_uri())
    yield tab
    tab.close()


def test_it_opens_from_a_file_and_asks_for_nothing(browser, file):
    tab = browser.open(file.as_uri())
    tab.run("units.select(40, 44)")
    tab.run("document.querySelectorAll('button.pick')[1].click()")
    assert [url for url in tab.requests() if url != "about:blank"] == [file.as_uri()]
    assert tab.complaints() == []
    tab.close()


def test_numbers_are_the_models(kept):
    values = read_states(latch(), tokens(latch(), TEXT).ids)
    for column in (QUOTE, Column("c", Unit(0, 4))):
        place = {"layer": column.place.layer, "state": column.state}
        block = kept.run(f"units.blockOf({place['layer']}, {json.dumps(place['state'])})")
        kept.run(f"units.go({{ block: {block}, unit: {column.place.unit} }})")
        got = np.array(kept.run("units.spans.map((_, t) => units.value(t))"))
        wanted = values.column(column).numpy()
        np.testing.assert_allclose(got, wanted, atol=np.abs(wanted).max() / 127)
        told = kept.run(
            "[...document.querySelectorAll('#strip [role=option]')].map((e) => e.title)"
        )
        numbers = [float(title.split(": ")[1].replace("−", "-")) for title in told]
        np.testing.assert_allclose(numbers, got, atol=0.0051)
    kept.run("units.cursor(7)")
    said = kept.run("document.getElementById('here').textContent")
    assert f"token 7 {TEXT[7] if TEXT[7] != ' ' else '␣'} unit 0:4 c = " in said


STRETCHES = [(0, 1), (40, 44), (100, 112), (895, 900), (300, 301)]
STRETCHES += [(at, at + 1 + at % 7) for at in range(3, 880, 25)]
NONE_ON = [(178, 182), (803, 809)]  # the unit of quotes changes within them


@pytest.mark.parametrize(("first", "end"), STRETCHES)
@pytest.mark.parametrize("state", ["h", "c"])
def test_the_search_is_that_of_python(kept, state, first, end):
    """The model's own values, searched in Python: every number of the page's answer is the same."""
    states = read_states(latch(), tokens(latch(), TEXT).ids)
    kept.run(f"units.go({{ block: units.blockOf(0, '{state}'), unit: 0 }})")
    kept.run(f"units.select({first}, {end})")
    got = kept.run("units.found")
    if (first, end) in NONE_ON:
        assert got is None
        with pytest.raises(InspectError, match="no unit is on"):
            find_pattern(states, first, end, state=state)
        return
    wanted = find_pattern(states, first, end, state=state)
    assert [(u["k"], u["up"]) for u in got["units"]] == [
        (on.column.place.unit, on.high) for on in wanted.units
    ]
    assert [u["share"] for u in got["units"]] == [on.share for on in wanted.units]
    for name in ("above", "stretches", "need", "spans", "first", "end"):
        assert got[name] == getattr(wanted, name), name
    assert got["found"] == list(wanted.found)
    np.testing.assert_allclose(got["luck"], wanted.luck, rtol=1e-9)
    assert [(m["first"], m["end"], m["best"], m["on"], m["jaccard"]) for m in got["matches"]] == [
        (m.first, m.end, m.best, m.on, m.jaccard) for m in wanted.matches
    ]
    listed = kept.run("[...document.querySelectorAll('.matches button')].map((b) => b.textContent)")
    assert listed == [f"token {m.best}" for m in wanted.matches]


def test_a_stretch_is_selected_by_keyboard(browser, file):
    tab = browser.open(file.as_uri())
    tab.run("document.getElementById('strip').focus()")
    for _ in range(4):
        tab.press("ArrowRight", 39)
    assert tab.run("units.at.t") == 4
    for _ in range(3):
        tab.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight",
                windowsVirtualKeyCode=39, modifiers=8)  # fmt: skip
    assert tab.run("units.at.stretch") == [4, 8]
    chosen = "[...document.querySelectorAll('[aria-selected=true]')].map((e) => e.dataset.t)"
    assert tab.run(chosen) == ["4", "5", "6", "7"]
    assert "on throughout" in tab.run("document.getElementById('status').textContent")
    tab.press("End", 35)
    assert tab.run("units.at.t") == len(TEXT) - 1
    tab.press("Home", 36)
    tab.press("ArrowDown", 40)
    below = tab.run("[units.spans[0].offsetTop, units.spans[units.at.t].offsetTop]")
    assert below[1] > below[0]
    tab.press("ArrowUp", 38)
    assert tab.run("units.spans[units.at.t].offsetTop") == below[0]
    assert tab.complaints() == []
    tab.close()


def test_a_stretch_is_selected_by_mouse(browser, file):
    tab = browser.open(file.as_uri())
    boxes = tab.run(
        "[10, 16].map((t) => { const r = units.spans[t].getBoundingClientRect();"
        " return [r.x + r.width / 2, r.y + r.height / 2]; })"
    )
    mouse = {"button": "left", "clickCount": 1}
    (x, y), (to_x, to_y) = boxes
    tab.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **mouse)
    tab.ask("Input.dispatchMouseEvent", type="mouseMoved", x=to_x, y=to_y, buttons=1, **mouse)
    tab.ask("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, **mouse)
    assert tab.run("units.at.stretch") == [10, 17]
    tab.close()


def test_a_stretch_is_selected_by_two_taps(browser, file):
    tab = browser.open(file.as_uri(), width=390)
    tap = (
        "units.spans[{}].dispatchEvent(new PointerEvent('click',"
        " {{ pointerType: 'touch', bubbles: true }}))"
    )
    selected = []
    for at in (20, 26, 31):
        tab.run(tap.format(at))
        selected.append(tab.run("units.at.stretch"))
    assert selected == [[20, 21], [20, 27], [31, 32]]
    tab.close()


def test_units_are_chosen_by_number_and_from_the_table(browser, file):
    tab = browser.open(file.as_uri())
    assert tab.run("units.name()") == f"0:{UNIT} h"
    tab.run("document.getElementById('after').click()")
    assert tab.run("units.name()") == f"0:{UNIT + 1} h"
    tab.run("document.querySelectorAll('#probes button')[1].click()")
    assert tab.run("units.name()") == "0:1 c"
    assert (
        tab.run("document.querySelectorAll('#probes button')[1].getAttribute('aria-pressed')")
        == "true"
    )
    tab.run("unit.value = 999; unit.dispatchEvent(new Event('change'))")
    assert tab.run("units.name()") == "0:5 c"
    tab.close()


def test_the_table_says_what_was_measured_and_what_was_not(kept):
    said = kept.run("document.getElementById('probes').innerText")
    for part in (
        "in quotes",
        "0.999",
        "−0.012",
        "Unit 0:2 remembers it: −0.5 nats.",
        TABLE.caption,
    ):
        assert part in said
    assert "</script><i>" in said and "No unit <b>tells</b> it." in said
    left = kept.run("document.getElementById('left').textContent")
    assert left == "1 feature left outin a number: it holds nowhere in the text"


def test_a_stretch_may_be_shown_first(browser, tmp_path):
    out = written(tmp_path / "units.html", latch(), TEXT, QUOTE, stretch=(500, 506))
    tab = browser.open(out.as_uri())
    assert tab.run("[units.at.stretch, units.at.t]") == [[500, 506], 505]
    assert tab.run("units.found.first") == 500
    tab.close()


def test_text_is_shown_as_it_is(browser, tmp_path):
    model = reader("gru")
    out = written(tmp_path / "odd.html", model, ODD, Column("h", Unit(1, 3)))
    tab = browser.open(out.as_uri())
    assert tab.run("units.facts.pieces.join('')") == ODD
    strip = "[...document.querySelectorAll('#strip [role=option]')].map((e) => e.textContent)"
    assert "".join(tab.run(strip)) == ODD.replace("\n", "⏎")
    tab.run("units.select(3, 9)")
    assert ODD[3:9] in tab.run("document.getElementById('pattern').textContent")
    assert tab.run("document.querySelectorAll('b:not(.token b), i').length") == 0
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(browser, file, width, dark):
    tab = browser.open(file.as_uri(), width=width, dark=dark)
    tab.run("units.select(40, 44)")
    tab.run("for (const e of document.querySelectorAll('details')) e.open = true")
    assert tab.run(CHECKS) == []
    tab.close()


def test_what_does_not_fit_is_left_out_and_told(monkeypatch):
    model, text = latch(), quoted(4000)
    read = tokens(model, text)
    states = read_states(model, read.ids)
    made = build_units_page("t", read, states, TABLE, Shown(QUOTE), "h")
    assert made[1:] == (3000, ("The text has 4,000 tokens; the first 3,000 of them are here.",))
    assert len(made[0].encode()) < 3_000_000
    monkeypatch.setattr(units_page, "ROOM_FOR_REST", units_page.LARGEST - 9000)
    _, size, left_out = build_units_page("t", read, states, TABLE, Shown(QUOTE), "h")
    assert size == 4800 // 6
    assert left_out[0] == "The states c do not fit and are left out."
    with pytest.raises(InspectError, match="state c: does not fit"):
        build_units_page("t", read, states, TABLE, Shown(Column("c", Unit(0, 1))), "h")
    with pytest.raises(InspectError, match="beyond the 800 tokens"):
        build_units_page("t", read, states, TABLE, Shown(QUOTE, (790, 801)), "h")


def test_values_take_a_byte_and_the_page_reads_them(kept, file):
    text = file.read_text(encoding="utf-8")
    blob = text.partition('id="values">')[2].partition("<")[0].replace(",", "<")
    raw = np.frombuffer(base64.b85decode(blob), dtype=np.int8)
    got = np.array(kept.run("[...units.values]"), dtype=np.int8)
    np.testing.assert_array_equal(got, raw)
    states = read_states(latch(), tokens(latch(), TEXT).ids)
    whole, scales = quantised(states.values.double().numpy())
    np.testing.assert_array_equal(raw[: whole.size], whole.ravel())
    np.testing.assert_allclose(
        whole * scales[:, None] / 127, states.values, atol=float(scales.max()) / 254 + 1e-6
    )


def test_how_far_beyond_its_mean_a_value_is_takes_half_a_byte(kept):
    values = read_states(latch(), tokens(latch(), TEXT).ids).values.double().numpy()
    got = np.array(kept.run("[...units.beyond]"), dtype=np.int8)
    np.testing.assert_array_equal(got[: values.size], beyond(values).ravel())
    assert len(set(got.tolist())) > 8


def test_another_page_is_not_written_over(tmp_path):
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(InspectError, match="not a page of ours"):
        written(tmp_path / "mine.html", latch(), "abc", QUOTE)
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
