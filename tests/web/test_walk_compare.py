"""The walkthrough page: two models beside one another, and what colours the text."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cellwright.inspect.walk.page import write_page
from cellwright.inspect.walk.values import read
from tests.inspect.readers import reader
from tests.web.chromium import Chromium, Tab
from tests.web.test_walkthrough import STEPS, TEXT, look


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "page.html"
    write_page(out, reader("lstm"), TEXT, reader("rnn"))
    return out


@pytest.fixture(scope="module")
def kept(browser: Chromium, file: Path) -> Iterator[Tab]:
    """One page for the tests that only look."""
    tab = browser.open(file.as_uri())
    yield tab
    tab.close()


def test_it_says_how_far_back_the_model_looks(kept):
    """Mean bits with the last k tokens alone, against windows read one by one."""
    look(kept, t=4, step=8, unit=0)
    rows = kept.run("[...document.querySelectorAll('#story table')].map((table) => "
                    "[...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => "
                    "cell.textContent)))")[0]  # fmt: skip
    for name, column in (("lstm", 1), ("rnn", 2)):
        model = reader(name)
        ids = list(read(model, TEXT).ids)
        for row, last in zip(rows, (1, 2, 4, 8, 16, len(ids)), strict=True):
            bits = []
            for t in range(1, len(ids)):
                with torch.no_grad():
                    logits = model(torch.tensor([ids[max(0, t - last) : t]]))[0][0, -1].double()
                bits.append(-float(torch.log_softmax(logits, 0)[ids[t]]) / np.log(2))
            assert float(row[column]) == pytest.approx(np.mean(bits), abs=0.006)


@pytest.mark.parametrize(
    ("past", "said"),
    [
        ([2.86, 2.91, 2.19, 2.41, 2.17], "RNN must be told of the last 16 tokens."),
        ([2.86, 2.91, 2.26, 2.20, 2.1], "RNN must be told of the last 4 tokens."),
        ([2.0, 2.1, 2.2, 2.2, 2.26], "RNN must be told of the last token."),
        ([2.86, 2.1, 2.1, 2.1, 2.27], "RNN must be told of more than the last 16 tokens, which "
         "leave it 0.11 bits above."),
    ],
)  # fmt: skip
def test_a_memory_is_long_enough_where_it_stays_so(browser, file, past, said):
    """The first row from which on every later one is within 0.1 bits, as the numbers are shown."""
    tab = browser.open(file.as_uri())
    rows = [[2**k, bits] for k, bits in enumerate(past)]
    tab.run(
        f"walkthrough.beside.past = () => {rows}, "
        "walkthrough.beside.bits = (k) => k ? 2.16 : null, walkthrough.go({ step: 8 }), 0"
    )
    assert tab.run("story.innerText.includes('at most 0.1 bits above what all of the past gives')")
    assert said in tab.run("story.innerText")
    tab.close()


@pytest.mark.parametrize("width", [1280, 1100, 900, 700, 500, 390])
def test_both_models_are_in_sight(browser, file, width):
    tab = browser.open(file.as_uri(), width=width)
    look(tab, t=9, step=8, unit=3)
    cut = "[...document.querySelectorAll('#story .wide')].map((e) => e.scrollWidth - e.clientWidth)"
    assert tab.run(cut) == [0, 0]
    tab.close()


def test_differences_are_those_of_the_numbers_shown(kept):
    look(kept, t=4, step=8, unit=0)
    first = kept.run("document.querySelector('#story .say').textContent")
    one, other, apart = (float(word.rstrip(":")) for word in first.split() if word[0].isdigit())
    assert apart == pytest.approx(abs(one - other))
    rows = kept.run("[...[...document.querySelectorAll('#story table')].at(-1).tBodies[0].rows]"
                    ".map((row) => [...row.cells].map((cell) => cell.textContent))")  # fmt: skip
    for row in rows:
        own, beside, _, gain = (float(cell.replace("−", "-")) for cell in row[1:])
        assert gain == pytest.approx(beside - own)


def test_the_text_shows_what_the_unit_holds(kept):
    """Coloured by the unit's state in the steps inside the cell, by surprise in the others."""
    held = read(reader("lstm"), TEXT)
    c = held.layers[1].graph.states[held.layers[1].graph.state_names.index("c")].next
    labels = "[...document.querySelectorAll('#strip [role=option]')].map((e) => e.ariaLabel)"
    colours = (
        "[...document.querySelectorAll('#strip [role=option]')].map((e) => e.style.background)"
    )
    legend = "document.getElementById('legend').textContent"
    for step in STEPS:
        look(kept, t=9, step=step, unit=3, layer=1)
        if step not in range(1, 6):
            assert "of unit" not in kept.run(legend)
            continue
        assert kept.run(legend).startswith("c of unit 3 after each token: orange above 0, blue")
        for label, value in zip(kept.run(labels), held.values[1][c][:, 3], strict=True):
            found = label.rpartition(": c of unit 3 ")[2]
            assert float(found.replace("−", "-")) == pytest.approx(value, abs=0.006)
        for rgb, value in zip(kept.run(colours), held.values[1][c][:, 3], strict=True):
            red, _, blue = map(int, rgb[4:-1].split(", "))
            assert abs(value) < 0.1 or (red > blue) == (value > 0)


@pytest.mark.parametrize("cell", ["rnn", "slstm", "lstm-projected"])
def test_every_unit_has_a_state_to_colour_by(browser, tmp_path, cell):
    write_page(tmp_path / "page.html", reader(cell), TEXT)
    tab = browser.open((tmp_path / "page.html").as_uri())
    for unit in (0, 15):
        look(tab, t=9, step=1, unit=unit)
        assert f"of unit {unit} after each token" in tab.run("legend.textContent")
    assert tab.complaints() == []
    tab.close()


def test_worse_than_a_blind_guess_is_no_number_of_tokens(browser, file):
    tab = browser.open(file.as_uri())
    vocab = reader("lstm").shape.vocab
    told = tab.run("story.innerText")
    assert (
        f"more than the {np.log2(vocab):.2f} bits of a blind guess among the {vocab} tokens" in told
    )
    assert "equally likely ones" not in told
    tab.run("walkthrough.facts.vocab = 64, walkthrough.show()")
    assert "as if it had to guess among 33.6 equally likely ones" in tab.run("story.innerText")
    tab.close()
