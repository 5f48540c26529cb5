"""The plot of many cells: order, marks, and what lies too far out."""

import re
from xml.etree import ElementTree

from cellwright.lm.dots import Line, Mark, plot_dots

LINES = [Line("c", (3.0, 3.2)), Line("a", (1.0,)), Line("b", (2.0, 2.5, 1.5)), Line("d", (2.6,))]


def texts_of(tmp_path, lines, marks=()):
    png, svg = plot_dots(tmp_path / "plot", lines, marks, "nats", "what was equal")
    assert png.read_bytes().startswith(b"\x89PNG")
    drawn = svg.read_text()
    ElementTree.fromstring(drawn)
    return re.findall(r"<!-- (.*?) -->", drawn), drawn


def test_the_least_mean_is_on_top(tmp_path):
    texts, _ = texts_of(tmp_path, LINES)
    assert [text for text in texts if text in "abcd"] == ["a", "b", "d", "c"]
    assert {"nats", "what was equal"} <= set(texts)
    assert not [text for text in texts if "→" in text]


def test_marks_are_named_with_their_values(tmp_path):
    texts, drawn = texts_of(tmp_path, LINES, (Mark("Somebody 1999", 2.1), Mark("Other", 9.0)))
    assert {" Somebody 1999 2.10", " Other 9.00"} <= {f" {text.strip()}" for text in texts}
    assert drawn.count("stroke-dasharray") == 2


def test_what_lies_far_out_does_not_press_the_rest_together(tmp_path):
    texts, _ = texts_of(tmp_path, [*LINES, Line("far", (60.0, 62.0))])
    assert "61.00 →" in texts
    assert not [text for text in texts if text in ("50", "60")]  # the axis ends long before


def test_the_same_values_give_the_same_file(tmp_path):
    first = texts_of(tmp_path, LINES, (Mark("m", 2.0),))[1]
    assert texts_of(tmp_path, LINES, (Mark("m", 2.0),))[1] == first


def test_one_line_of_one_seed_is_a_plot(tmp_path):
    texts, _ = texts_of(tmp_path, [Line("alone", (1.0,))])
    assert "alone" in texts
