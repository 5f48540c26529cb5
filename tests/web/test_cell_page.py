"""`show --as html` in a browser: for everybody to read, and no request."""

from pathlib import Path

import pytest

from cellwright.cells import CATALOGUE
from cellwright.cli.show_page import cell_page
from cellwright.cli.show_picture import View

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["lstm", "slstm", "gru"])
def test_everybody_can_read_it(browser, tmp_path, name, width, dark):
    view = View(False, (), CATALOGUE["lstm"] if name == "gru" else None, None)
    file = tmp_path / "cell.html"
    made = cell_page(
        CATALOGUE[name], view, None
    )  # without a script, it cannot say that it is ready
    file.write_text(made.replace("<html ", '<html data-ready="true" ', 1), encoding="utf-8")
    tab = browser.open(file.as_uri(), width=width, dark=dark)
    assert tab.run(CHECKS) == []
    assert tab.complaints() == []
    assert [url for url in tab.requests() if url != "about:blank"] == [file.as_uri()]
    tab.close()


@pytest.mark.parametrize("width", [1280, 700, 500, 390])
def test_both_cells_are_in_sight(browser, tmp_path, width):
    """Beside one another in a wide window, below one another in a narrow one."""
    view = View(False, (), CATALOGUE["gru-cho"], None)
    made = cell_page(CATALOGUE["gru"], view, None)
    file = tmp_path / "cells.html"
    file.write_text(made.replace("<html ", '<html data-ready="true" ', 1), encoding="utf-8")
    tab = browser.open(file.as_uri(), width=width)
    shown = tab.run(
        "[...document.querySelectorAll('.picture')].filter((e) => e.getClientRects().length)"
        ".map((e) => [e.ariaLabel, e.scrollWidth - e.clientWidth])"
    )
    assert [name for name, _ in shown].count("GRU beside GRUCho") == 1
    assert width < 500 or dict(shown)["GRU beside GRUCho"] <= 0
    wider = tab.run(
        "[...document.querySelectorAll('.picture svg')].map((e) => e.getBoundingClientRect())"
        ".filter((r) => r.width).map((r) => r.width > r.height)"
    )
    assert wider[0] == (width == 1280)
    tab.close()
