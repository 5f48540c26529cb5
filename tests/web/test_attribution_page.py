"""The page of an attribution in a browser: still, complete, and readable by everybody."""

from pathlib import Path

import numpy as np
import pytest

from cellwright.cli import main
from cellwright.inspect.walk.back import look_back
from cellwright.inspect.walk.page import write_page
from cellwright.inspect.walk.values import read
from cellwright.lm.attribution import METHODS, signed
from tests.inspect.readers import reader
from tests.web.chromium import Chromium, Tab

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
TEXT = "the bed is not/a cod</script>é\u0301 \u05d0\u05d1\n\u202eabc"


class StillTab(Tab):
    """A page without a script cannot say that it is ready: its document does."""

    def go(self, url: str) -> None:
        self.ask("Page.navigate", url=url)
        self.until(f"location.href === {url!r} && document.readyState === 'complete'")


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    reader("lstm").save_pretrained(folder / "run")
    words = ["--text", TEXT, "--target", "t", "--against", "e", "--method", "all"]
    assert (
        main(["inspect", "attribute", str(folder / "run"), *words, "-o", str(folder / "a.html")])
        == 0
    )
    return folder / "a.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(browser: Chromium, file, width, dark, monkeypatch):
    monkeypatch.setattr("tests.web.chromium.Tab", StillTab)
    tab = browser.open(file.as_uri(), width=width, dark=dark)
    assert tab.run(CHECKS) == []
    assert tab.complaints() == []
    assert {url for url in tab.requests() if url != "about:blank"} == {file.as_uri()}
    tab.close()


def test_its_numbers_are_the_models(browser, file, monkeypatch):
    monkeypatch.setattr("tests.web.chromium.Tab", StillTab)
    tab = browser.open(file.as_uri())
    found = reader("lstm").attribute(TEXT, "t", METHODS[-1], against="e")
    strips = tab.run(
        "[...document.querySelectorAll('p')].map((p) => "
        "[...p.querySelectorAll('bdi')].map((b) => b.title.split(': ').pop()))"
        ".filter((titles) => titles.length)"
    )
    assert strips == [
        [f"{signed(score, 3)} nats" for score in scores] for scores in found.by_method.values()
    ]
    rows = tab.run(
        "[...document.querySelectorAll('tbody tr')].map((r) => "
        "[r.cells[1].textContent, r.cells[2].textContent])"
    )
    top = found.top(len(rows))
    assert rows == [[str(part.start), signed(part.score, 3)] for part in top]
    assert len(rows) == 24
    tab.close()


def test_the_walkthrough_puts_nothing_unknown_into_a_text(browser, tmp_path):
    """A short text, most of which the model has never seen: others come of the vocabulary."""
    model = reader("lstm")
    assert write_page(tmp_path / "page.html", model, "a,,b,").live
    tab = browser.open((tmp_path / "page.html").as_uri())
    found = look_back(model, read(model, "a,,b,").ids, 4, 3)
    got = tab.run("walkthrough.text.lookBack(4, 3)")
    np.testing.assert_allclose(got["effects"], found.effects, atol=1e-4)
    np.testing.assert_allclose(got["slopes"], found.slopes, atol=1e-4)
    tab.close()
