"""`show --as html`: a cell on one page."""

import html.parser
import re

import pytest

from cellwright.cells import CATALOGUE
from cellwright.targets import counts, spoken
from cellwright.targets.svg import focused, single, svg, unrolled, versus
from cellwright.web import LARGEST, is_page
from tests.cli.test_train import one_line

CELL = """
from cellwright.language import Cell, Input, State, linear, tanh

class Narrow(Cell):
    \"\"\"A <narrow> cell & more.\"\"\"

    x, h = Input(width="stream"), State()
    h.next = tanh(linear(x) + linear(h))  # <b>
"""


class Reader(html.parser.HTMLParser):
    """A page's text, and whether every element ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.scripts = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts += data
        elif "style" not in self.open:
            self.text += data


def page_of(run, *words: str) -> str:
    shown = run("show", *words, "--as", "html")
    assert (shown.code, shown.err) == (0, "")
    assert is_page(shown.out.encode()[:1024]) and len(shown.out.encode()) < LARGEST
    return shown.out


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_page_holds_all_that_is_known_of_a_cell(run, name):
    graph, text = CATALOGUE[name].graph, page_of(run, name)
    assert svg(single(graph)) in text and svg(unrolled(graph)) in text
    page = Reader(text)
    assert not page.open
    for sentence in spoken.spoken(graph).rstrip(".").split(". "):
        assert sentence in page.text
    assert text.count("<math>") == len(re.findall(" equals ", spoken.spoken(graph)))
    for count in (counts.parameters(graph), counts.flops(graph)):
        assert str(count) in page.text
    assert f"class {CATALOGUE[name].__name__}" in page.text
    assert not re.sub(r'"use strict";|[{}\s]', "", page.scripts)
    assert re.findall(r"(?:src|href)\s*=", text) == []


def test_views_are_honoured(run):
    gru, mgu = CATALOGUE["gru"].graph, CATALOGUE["mgu"].graph
    text = page_of(run, "gru", "--focus", "z")
    assert svg(focused(gru, ["z"])) in text and svg(unrolled(gru)) in text
    assert text.count('<li class="lit">') == 1
    text = page_of(run, "gru", "--versus", "mgu", "--theme", "dark")
    assert svg(versus(gru, mgu), "dark") in text
    assert "MGU: parameters" in text and "class MGU" in text
    text = page_of(run, "gru", "--unrolled")
    assert svg(unrolled(gru)) in text and svg(single(gru)) not in text


def test_it_counts_at_the_sizes_that_were_typed(run):
    sizes = {"input": 3, "hidden": 8, "proj": 5}
    graph = CATALOGUE["lstm-projected"].graph
    text = page_of(run, "lstm-projected", "--input", "3", "--hidden", "8", "--width", "proj=5")
    assert "at H = 8, I = 3, P = 5" in text
    assert f"<td>{counts.parameters(graph).at(sizes):,}</td>" in text
    assert "at H = 128, I = 128, P = 64" in page_of(run, "lstm-projected")


def test_a_users_cell_is_text_and_no_markup(run, tmp_path):
    (tmp_path / "mine.py").write_text(CELL)
    text = page_of(run, "mine.py:Narrow")
    assert "A &lt;narrow&gt; cell &amp; more." in text and "<narrow>" not in text
    assert "# &lt;b&gt;" in text and "at H = 128, stream = 16" in text
    assert not Reader(text).open


def test_it_replaces_pages_of_ours_alone(run, tmp_path):
    file = tmp_path / "gru.html"
    file.write_text("mine")
    said = one_line(run("show", "gru", "--as", "html", "-o", str(file)), "show")
    assert "not a page of ours" in said and file.read_text() == "mine"
    file.unlink()
    for _ in range(2):
        assert page_of_file(run, file)
    assert list(tmp_path.iterdir()) == [file]


def page_of_file(run, file) -> bool:
    shown = run("show", "gru", "--as", "html", "-o", str(file))
    assert (shown.code, shown.out, shown.err) == (0, "", "")
    return is_page(file.read_bytes()[:1024])
