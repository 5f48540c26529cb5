"""The walkthrough page in a browser: PyTorch's numbers, for everybody to use."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.inspect.walk import page as pages
from cellwright.inspect.walk.back import look_back
from cellwright.inspect.walk.page import build_page, write_page
from cellwright.inspect.walk.rows import Spot, number, rows
from cellwright.inspect.walk.values import read
from cellwright.language.regularise import zoneout
from cellwright.lm import LanguageModel, ModelShape, Tokenizer
from tests.inspect.readers import READERS, reader
from tests.web.chromium import Chromium, Tab

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
TEXT = "the bed is not/a cod"
ODD = "</script><b>é\u0301 😀 \u05d0\u05d1\n\u202eabc<!--<script>"
STEPS = range(9)
LIVE = 'document.getElementById("live")'
VALUES = """[...document.querySelectorAll("#story .item .lines li")].map((line) =>
  [line.querySelector(".numbers > span").textContent, line.querySelector(".value").textContent])"""


def no_room(patch: pytest.MonkeyPatch, agrees: float) -> None:
    """Leave no room for float32, and accept rounded weights up to such a difference."""
    patch.setattr(pages, "ROOM_FOR_REST", pages.LARGEST)
    patch.setattr(pages, "AGREES", agrees)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "page.html"
    write_page(out, reader("lstm"), TEXT, reader("rnn"))
    return out


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """The same as `file`, on a page that a model of its size does not fit into."""
    out = tmp_path_factory.mktemp("page") / "stored.html"
    with pytest.MonkeyPatch.context() as patch:
        no_room(patch, agrees=0.0)
        made = write_page(out, reader("lstm"), TEXT, reader("rnn"))
    assert not made.live and "does not fit" in made.why
    return out


@pytest.fixture(scope="module")
def kept(browser: Chromium, file: Path) -> Iterator[Tab]:
    """One page for the tests that only look."""
    tab = browser.open(file.as_uri())
    yield tab
    tab.close()


def look(tab: Tab, **at: int) -> None:
    tab.run(f"location.hash = '#' + {json.dumps('&'.join(f'{k}={v}' for k, v in at.items()))}")
    tab.until(f"location.hash.includes('step={at['step']}') && {title_is(at['step'])}")
    tab.run("new Promise((done) => setTimeout(done))")


def title_is(step: int) -> str:
    return f"document.querySelector('.step-number').textContent.trim() === '{step}'"


def test_it_opens_from_a_file_and_asks_for_nothing(browser, file):
    tab = browser.open(file.as_uri())
    for step in STEPS:
        look(tab, t=5, step=step, unit=3)
    assert [url for url in tab.requests() if url != "about:blank"] == [file.as_uri()]
    assert tab.complaints() == []
    tab.close()


def test_it_checks_itself_against_pytorch(kept):
    assert kept.run(f"{LIVE}.textContent").startswith("Live: this page computes the model itself")
    assert 0 < float(kept.run(f"{LIVE}.dataset.difference")) < 1e-4


def test_it_says_when_it_is_not_the_model(browser, file, tmp_path):
    """One weight of the page changed: it must see that, and say so."""
    text, model = file.read_text(encoding="utf-8"), reader("lstm")
    before = sum(w.numel() for w in (model.embedding.weight, *model.decoder.parameters()))
    at = text.index('id="floats">') + len('id="floats">') + 5 * before  # five signs a number
    broken = tmp_path / "broken.html"
    broken.write_text(text[:at] + "0" * 5 + text[at + 5 :], encoding="utf-8")
    tab = browser.open(broken.as_uri())
    assert tab.run(f"{LIVE}.textContent").startswith("Do not trust this page")
    tab.close()


def test_all_steps_can_be_walked_by_keyboard(browser, file):
    tab = browser.open(file.as_uri())
    tab.run("document.getElementById('after').focus()")
    titles = []
    for step in STEPS:
        tab.until(title_is(step))
        titles.append(tab.run("document.getElementById('story-title').textContent"))
        assert tab.run("document.activeElement.id") == "after"
        tab.press("Enter", 13, "\r")
    assert titles == [
        "0 Your text", "1 What comes in", "2 Forget", "3 Write", "4 Update", "5 Reveal",
        "6 Predict", "7 Look back", "8 Compare",
    ]  # fmt: skip
    for _ in range(3):
        tab.press("ArrowRight", 39)
    tab.press("ArrowLeft", 37)
    assert "t=2&step=8" in tab.run("location.hash")
    assert tab.run("document.getElementById('status').textContent").startswith(
        "Step 8, Compare. Token 2, e."
    )
    tab.close()


def test_focus_is_always_seen(browser, file):
    """Tab reaches every control, each shows where it is, and the end of the page is reached."""
    tab = browser.open(file.as_uri())
    look(tab, t=5, step=2, unit=3)
    reached = []
    for _ in range(60):
        tab.press("Tab", 9)
        reached.append(
            tab.run(
                "(() => { const e = document.activeElement, s = getComputedStyle(e); return "
                "[e.id || e.tagName + e.textContent.slice(0, 20), s.outlineStyle, "
                "parseFloat(s.outlineWidth)]; })()"
            )
        )
        if reached[-1][0] == "unit":
            break
    names = [name for name, _, _ in reached]
    for wanted in ("before", "after", "strip", "back-token", "next-token", "unit"):
        assert wanted in names
    assert [e for e in reached if e[1] == "none" or e[2] < 2] == []
    tab.close()


@pytest.mark.parametrize(("layer", "t", "unit"), [(0, 7, 3), (1, 19, 15), (0, 0, 0)])
def test_numbers_on_screen_are_the_models(kept, layer, t, unit):
    found = rows(read(reader("lstm"), TEXT), Spot(layer, t, unit))
    for step, key in ((2, "forget"), (3, "write"), (5, "reveal")):
        look(kept, t=t, step=step, unit=unit, layer=layer)
        wanted = [[row.numbers, number(row.value)] for row in found if row.step == key]
        assert kept.run(VALUES) == wanted
    look(kept, t=t, step=4, unit=unit, layer=layer)
    wanted = [[row.numbers, number(row.value)] for row in found if row.step == "update"]
    assert kept.run(VALUES) == wanted


def test_the_prediction_is_the_models(kept):
    look(kept, t=7, step=6, unit=3)
    found = read(reader("lstm"), TEXT)
    p = np.exp(found.log_probabilities()[7])
    best = np.argsort(-p)[:10]
    cells = kept.run(
        "[...document.querySelectorAll('#story table tbody')][0].innerText.split('\\n')"
    )
    told = " ".join(cells)
    assert all(f"{100 * p[k]:.2f} %" in told for k in best)
    parts = kept.run(
        "[...[...document.querySelectorAll('#story table')][1].tBodies[0].rows]"
        ".map((row) => row.cells[3].textContent)"
    )
    numbers = [float(part.replace("−", "-")) for part in parts]
    assert sum(numbers[:-1]) == pytest.approx(numbers[-1], abs=2e-5)
    assert numbers[-1] == pytest.approx(found.logits[7, found.ids[8]], abs=1e-4)


def test_looking_back_agrees_with_pytorch(kept):
    model = reader("lstm")
    ids = read(model, TEXT).ids
    found = look_back(model, ids, 12, ids[13])
    got = kept.run(f"walkthrough.text.lookBack(12, {ids[13]})")
    assert got["first"] == found.first
    np.testing.assert_allclose(got["effects"], found.effects, atol=1e-4)
    np.testing.assert_allclose(got["slopes"], found.slopes, atol=1e-4)


@pytest.mark.parametrize("cell", READERS)
def test_typed_text_agrees_with_pytorch(browser, cell, tmp_path):
    """Every cell: another text is typed into the page, and all its logits are PyTorch's."""
    model = reader(cell)
    out = tmp_path / "page.html"
    assert write_page(out, model, TEXT).live
    tab = browser.open(out.as_uri())
    typed = "then the cub</é😀"
    tab.run(f"document.getElementById('typed').value = {json.dumps(typed)}")
    tab.run("document.querySelector('.retype button').click()")
    tab.until(f"walkthrough.text.pieces.join('') === {json.dumps(typed)}")
    got = np.asarray(tab.run("walkthrough.text.reading.map(({ logits }) => [...logits])"))
    with torch.no_grad():
        wanted, _ = model(torch.tensor([model.tokenizer.encode(typed)]))  # type: ignore[union-attr]
    np.testing.assert_allclose(got, wanted[0].numpy(), atol=1e-4, rtol=1e-4)
    for step in STEPS:  # each step can be shown of each cell
        look(tab, t=4, step=step, unit=7)
    assert tab.complaints() == []
    tab.close()


def test_a_regularised_cell_is_walked_too(browser, tmp_path):
    base = reader("lstm")
    model = LanguageModel(base.shape, zoneout(CATALOGUE["lstm"], 0.2), base.tokenizer).eval()
    write_page(tmp_path / "page.html", model, TEXT)
    tab = browser.open((tmp_path / "page.html").as_uri())
    assert float(tab.run(f"{LIVE}.dataset.difference")) < 1e-4
    for step in STEPS:
        look(tab, t=4, step=step, unit=7)
    look(tab, t=4, step=4, unit=7)
    wanted = [
        [row.numbers, number(row.value)]
        for row in rows(read(model, TEXT), Spot(0, 4, 7))
        if row.step == "update"
    ]
    assert tab.run(VALUES) == wanted
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_words_and_byte_pairs_are_read_too(browser, tmp_path, level):
    text = "the cat sat on\nthe mat, naïve \u05e9\u05dc\u05d5\u05dd"
    (tmp_path / "text.txt").write_text(f"{text}\n" * 9, encoding="utf-8")
    tokenizer = Tokenizer.train([tmp_path / "text.txt"], level, 400 if level == "bpe" else None)
    shape = ModelShape(vocab=tokenizer.size, hidden=8, embed=6)
    model = LanguageModel(shape, "gru", tokenizer).eval()
    write_page(tmp_path / "page.html", model, text)
    tab = browser.open((tmp_path / "page.html").as_uri())
    assert tab.run("walkthrough.text.ids") == tokenizer.encode(text)
    for step in STEPS:
        look(tab, t=3, step=step, unit=2)
    if level == "word":
        typed = "  a cat\u2003sat\x1fon \n\n the\ufeffmat \xa0 naïve"
        tab.run("walkthrough.go({ step: 0 })")
        tab.run(f"document.getElementById('typed').value = {json.dumps(typed)}")
        tab.run("document.querySelector('.retype button').click()")
        assert tab.run("walkthrough.text.ids") == tokenizer.encode(typed)
    else:
        assert "byte pairs" in tab.run("walkthrough.go({ step: 0 }), story.innerText").lower()
        guesses = tab.run("walkthrough.text.best(0).map(({ id }) => walkthrough.name(id))")
        assert "\u0120" not in "".join(guesses)  # the vocabulary's mark of a blank
    assert tab.complaints() == []
    tab.close()


def test_a_link_leads_to_its_place_and_text(browser, file):
    tab = browser.open(f"{file.as_uri()}#t=4&step=3&unit=9&layer=1&text=the%20cod%20%F0%9F%98%80")
    assert tab.run("walkthrough.text.pieces.join('')") == "the cod 😀"
    assert tab.run(
        "[walkthrough.at.t, walkthrough.at.step, walkthrough.at.unit, walkthrough.at.layer]"
    ) == [4, 3, 9, 1]
    tab.go(f"{file.as_uri()}#t=999&step=99&unit=x")
    assert tab.run("[walkthrough.at.t, walkthrough.at.step, walkthrough.at.unit]") == [
        len(TEXT) - 1,
        8,
        0,
    ]
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("live", [True, False])
def test_text_is_shown_as_it_is(browser, tmp_path, monkeypatch, live):
    """Tags, accents, pictures, right to left: nothing of it is read as page."""
    if not live:
        no_room(monkeypatch, agrees=0.0)
    out = tmp_path / "odd.html"
    assert write_page(out, reader("gru"), ODD).live == live
    tab = browser.open(out.as_uri())
    assert tab.run("walkthrough.text.pieces.join('')") == ODD
    strip = tab.run(
        "[...document.querySelectorAll('#strip [role=option]')].map((e) => e.textContent).join('')"
    )
    assert strip == ODD.replace("\n", "⏎")
    assert tab.run("document.querySelectorAll('b:not(td b)').length") == 0
    for step in STEPS:
        look(tab, t=3, step=step, unit=2)
    assert tab.complaints() == []
    tab.close()


def test_a_page_without_its_model_shows_the_same(kept, browser, stored):
    tab = browser.open(stored.as_uri())
    assert tab.run(f"{LIVE}.textContent").startswith("Stored: with")
    tab.run("location.hash = '#text=another'")
    tab.until("story.innerText.includes('names another text')")
    for step in (2, 3, 4, 5, 7, 8):
        for other in (kept, tab):
            look(other, t=9, step=step, unit=3)
        story = "document.getElementById('story').innerText"
        same = [close(a, b) for a, b in words(kept.run(story), tab.run(story))]
        assert all(same), step
    assert tab.complaints() == []
    tab.close()


def words(a: str, b: str) -> list[tuple[str, str]]:
    """Two texts word by word, without what only a page with its model can tell."""
    parts = [text.replace("Where the products with matrices come from", "") for text in (a, b)]
    left, right = (part.replace("(", " ").replace(")", " ").split() for part in parts)
    return list(itertools.zip_longest(left, right, fillvalue=""))


def close(a: str, b: str) -> bool:
    """Equal words, or numbers that agree to what float32 keeps."""
    if a == b:
        return True
    try:
        x, y = (float(text.replace("−", "-").rstrip(".,;:")) for text in (a, b))
    except ValueError:
        return False
    return abs(x - y) <= 2e-4


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(browser, file, width, dark):
    tab = browser.open(file.as_uri(), width=width, dark=dark)
    for step in STEPS:
        look(tab, t=9, step=step, unit=3)
        tab.run("for (const e of document.querySelectorAll('details')) e.open = true")
        assert tab.run(CHECKS) == [], f"step {step}"
    tab.close()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("document.documentElement.lang = ''", "no language"),
        ("document.getElementById('unit').labels[0].remove()", "no label"),
        ("document.querySelector('h2').outerHTML = '<h4>x</h4>'", "skips a level"),
        ("document.querySelector('#story .say').style.color = '#bbb'", "contrast"),
        ("document.getElementById('after').textContent = ''", "without a name"),
        ("document.querySelector('#story h2').id = 'strip'", "id twice"),
        ("document.querySelector('.timeline').caption.remove()", "without a caption"),
    ],
)
def test_the_checks_see_what_is_wrong(browser, file, harm, told):
    tab = browser.open(file.as_uri())
    tab.run(f"{harm}, 0")
    assert any(told in fault for fault in tab.run(CHECKS))
    tab.close()


def test_a_page_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(pages, "LARGEST", 250_000)
    with pytest.raises(pages.InspectError, match=r"make a page of .* give a text of about \d+ tok"):
        build_page(reader(layers=3, hidden=64), TEXT * 10)


def test_the_default_model_is_live():
    """A model of the sizes that `train` has unless told otherwise fits into its page."""
    signs = "".join(map(chr, range(32, 96))) + "\n"
    model = reader("lstm", hidden=256, embed=256, layers=1, signs=signs)
    made, live, _ = build_page(model, "THE CAT SAT ON THE MAT")
    assert live
    assert len(made.encode()) <= 3_000_000


def test_a_page_may_send_nothing_and_stays_where_it_is(file):
    policy = file.read_text(encoding="utf-8")[:600]
    assert "base-uri 'none'; form-action 'none'" in policy


def test_one_token_is_a_text_too(browser, tmp_path):
    write_page(tmp_path / "one.html", reader("lstm"), "a")
    tab = browser.open((tmp_path / "one.html").as_uri())
    for step in STEPS:
        look(tab, t=0, step=step, unit=2)
        assert tab.run(CHECKS) == []
        assert "1 tokens" not in tab.run("document.body.innerText")
    assert tab.complaints() == []
    tab.close()


def test_runs_beside_it_are_named():
    made, _, _ = build_page(reader("lstm"), TEXT, beside=["rnn"])
    assert "Beside this run lie others that read the same tokens: rnn." in made
