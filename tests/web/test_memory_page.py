"""The page of a memory report in a browser: whole without script, for everybody to read."""

import html
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cellwright.inspect.memory.page import TITLES, notebook, write_report
from cellwright.inspect.memory.plots import CURVES
from cellwright.inspect.memory.report import SCREENS
from cellwright.web.charts import number
from tests.inspect.memory_example import example
from tests.web.chromium import Chromium, Tab

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
OPEN = "for (const e of document.querySelectorAll('details')) e.open = true"
ODD = "</script><b onclick=x>'\"&\u0301 😀 \u05d0"
SMALLEST = 10  # pixels of a letter that people can read
DRAWN = """[...document.querySelectorAll('svg.chart[role=img]')]
  .filter((e) => e.getClientRects().length)"""
# Texts of one drawing that lie over one another; boxes hold room above and below the letters.
OVERLAPS = f"""{DRAWN}.flatMap((e) => {{
    const boxes = [...e.querySelectorAll('text')].map((t) => [t, t.getBoundingClientRect()]);
    const apart = (p, q) => p.right - 1 <= q.left || p.bottom - 4 <= q.top;
    return boxes.flatMap(([a, p], k) => boxes.slice(k + 1)
      .filter(([, q]) => !apart(p, q) && !apart(q, p))
      .map(([b]) => [a.textContent, b.textContent].join(' | ')));
  }})"""
LETTERS = f"""Math.min(...{DRAWN}
  .map((e) => 13 * e.getBoundingClientRect().width / e.viewBox.baseVal.width))"""
OUTSIDE = f"""{DRAWN}.flatMap((e) => [...e.querySelectorAll('text')])
  .filter((t) => t.getBoundingClientRect().left < 0 || t.getBoundingClientRect().right > innerWidth)
  .map((t) => t.textContent)"""
SEEN = f"{DRAWN}.map((e) => e.getAttribute('aria-labelledby'))"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("memory") / "report.html"
    write_report(out, example())
    return out


def rows(tab: Tab, caption: str) -> list[list[str]]:
    """The cells of the table whose caption begins so, as they stand on the screen."""
    return tab.run(
        "[...[...document.querySelectorAll('table')].find((t) => "
        f"t.caption.innerText.startsWith({caption!r})).rows]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )


def test_it_opens_from_a_file_and_asks_for_nothing(browser, file):
    tab = browser.open(file.as_uri())
    tab.run(OPEN)
    tab.run("scrollTo(0, document.documentElement.scrollHeight)")
    assert [url for url in tab.requests() if url != "about:blank"] == [file.as_uri()]
    assert tab.complaints() == []
    tab.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390])
def test_everybody_can_read_it(browser, file, width, dark):
    tab = browser.open(file.as_uri(), width=width, dark=dark)
    tab.run(OPEN)
    assert tab.run(CHECKS) == []
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(OVERLAPS) == []
    assert tab.run(OUTSIDE) == []
    assert tab.run(LETTERS) >= SMALLEST
    tab.close()


def test_the_checks_see_labels_over_one_another(browser, file):
    tab = browser.open(file.as_uri())
    tab.run("document.querySelectorAll('.chart .tick')[1].setAttribute('y', "
            "document.querySelector('.chart .tick').getAttribute('y')), 0")  # fmt: skip
    assert len(tab.run(OVERLAPS)) == 1
    tab.close()


def test_one_drawing_of_each_is_seen(browser, file):
    """Where two are drawn, for wide and for narrow places, a reader has one of them."""
    for width, size in ((1280, "wide"), (390, "narrow")):
        tab = browser.open(file.as_uri(), width=width)
        found = [name for name in tab.run(SEEN) if name.count("-") == 2 and "life" not in name]
        several = [f"gradient-{k}-title" for k in range(5)] + [f"gate-{k}-title" for k in range(6)]
        wanted = [f"{name}-{size}-title" for name in ("context", "lack", "probes")]
        assert sorted(found) == sorted([*wanted, *several])
        tab.close()


def test_numbers_on_screen_are_the_reports(browser, file):
    report, tab = example(), browser.open(file.as_uri())
    tab.run(OPEN)
    context, gradient = report.context, report.gradients[0]
    assert context.untrained is not None and gradient.untrained is not None
    found = rows(tab, "Mean loss in nats")[1:-1]
    for k, row in enumerate(found):
        assert row[0] == f"{context.contexts[k]:,}"
        assert row[1] == number(context.reset.loss[k] / math.log(2), 4)
        assert row[2] == number(context.reset.loss[k], 4)
        assert row[-2] == number(context.untrained.loss[k], 4)
    assert len(found) == len(context.contexts)
    for k, row in enumerate(rows(tab, "Norm of the gradient: x")[1:]):
        assert row[1] == number(gradient.trained.median[k])
        assert row[6] == number(gradient.untrained.high[k])
    auc = [row[3] for row in rows(tab, "Best unit of each feature")[1:]]
    assert auc == [number(probe.auc) for probe in report.probes]
    tab.close()


def test_curves_lie_where_the_reports_numbers_are(browser, file):
    """The points' places in the drawing, read back through its ticks, are the losses."""
    report, tab = example(), browser.open(file.as_uri())
    ticks = tab.run(
        "[...document.querySelectorAll('#context .for-wide svg')[0].querySelectorAll('text.tick')]"
        ".filter((t) => t.getAttribute('text-anchor') === 'end')"
        ".map((t) => [Number(t.textContent), Number(t.getAttribute('y')) - 4.5])"
    )
    (a, top), (b, bottom) = ticks[0], ticks[-1]
    kinds = (report.context.reset, report.context.stranger, report.context.shuffled,
             report.context.untrained)  # fmt: skip
    for (_, tone), losses in zip(CURVES, kinds, strict=True):
        places = tab.run(
            "[...document.querySelectorAll('#context .for-wide svg')[0].querySelectorAll("
            f"'.point.tone-{tone.value}')].map((e) => e.getAttribute('transform'))"
        )
        heights = [float(re.findall(r" ([\d.]+)\)", place)[0]) for place in places]
        found = [a + (b - a) * (y - top) / (bottom - top) for y in heights]
        assert losses is not None and found == pytest.approx(losses.loss, abs=2e-3)
    tab.close()


def test_the_keyboard_reaches_everything(browser, file):
    tab = browser.open(file.as_uri())
    reached = []
    for _ in range(80):
        tab.press("Tab", 9)
        reached.append(
            tab.run(
                "(() => { const e = document.activeElement, s = getComputedStyle(e); return "
                "[e.tagName, e.getAttribute('href') || e.textContent.slice(0, 12), "
                "s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
            )
        )
        if reached[-1][0] == "BODY":
            break
    links = [href for tag, href, *_ in reached if tag == "A"]
    assert links[: 2 + len(SCREENS)] == ["#main", *(f"#{name}" for name in SCREENS), "#made"]
    assert [tag for tag, *_ in reached].count("SUMMARY") == tab.run(
        "document.querySelectorAll('summary').length"
    )
    assert [e for e in reached if e[0] != "BODY" and (e[2] == "none" or e[3] < 2)] == []
    tab.run("document.querySelector('#context summary').focus()")
    tab.press("Enter", 13, "\r")
    assert tab.run("document.querySelector('#context details').open")
    tab.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_of_screens_leads_and_follows(browser, file, width):
    tab = browser.open(file.as_uri(), width=width)
    assert tab.run("document.querySelector('.screens [aria-current]').hash") == "#verdict"
    for name in SCREENS:
        tab.run(f"document.querySelector('.screens a[href=\"#{name}\"]').click()")
        tab.until(f"document.querySelector('.screens [aria-current]').hash === '#{name}'")
        top = tab.run(f"document.getElementById('{name}-head').getBoundingClientRect().top")
        bar = tab.run("document.querySelector('.screens').getBoundingClientRect().bottom")
        assert top >= (bar if width < 600 else 0)  # the heading is not below the list
        assert tab.run(f"document.getElementById('{name}-head').textContent").endswith(TITLES[name])
    assert tab.run("document.querySelectorAll('.screens [aria-current]').length") == 1
    tab.close()


def test_it_is_whole_without_script(browser, file, tmp_path):
    out = tmp_path / "report.html"
    made = re.sub(r"<script>.*?</script>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    out.write_text(made.replace("<html ", '<html data-ready="true" '), encoding="utf-8")
    tab, other = browser.open(out.as_uri()), browser.open(file.as_uri())
    assert "<script" not in made
    assert tab.run("document.body.innerText") == other.run("document.body.innerText")
    tab.run("location.hash = '#units'")
    tab.until("scrollY > 500")
    for one in (tab, other):
        one.close()


def test_names_are_shown_as_they_are(browser, tmp_path):
    report = example()
    odd = replace(
        report,
        facts=replace(report.facts, run=ODD, cell=ODD, text=ODD),
        probes=tuple(replace(probe, feature=ODD) for probe in report.probes),
        gates=tuple(replace(gate, name=ODD) for gate in report.gates),
    )
    write_report(tmp_path / "report.html", odd)
    tab = browser.open((tmp_path / "report.html").as_uri(), width=390)
    tab.run(OPEN)
    assert tab.run("document.title") == f"Memory report: {ODD}, {ODD}"
    assert tab.run("document.querySelectorAll('b, [onclick]').length") == 0
    told = tab.run("document.querySelector('dl dd').textContent")
    assert told == ODD
    assert tab.run("document.querySelector('#units tspan.name').textContent") == ODD
    assert tab.run(CHECKS) == []
    assert tab.complaints() == []
    tab.close()


def test_a_notebook_keeps_its_own_looks(browser, tmp_path):
    """The report's styles stay in the report: what stands before and after it is as it was."""
    plain = '<p id="a">a</p><table id="t"><tr><td>1</td></tr></table><ul id="u"><li>x</li></ul>'
    frame = '<!DOCTYPE html><html lang="en" data-ready="true"><title>n</title><body>{}{}</body>'
    looks = (
        "[...document.querySelectorAll('body, #a, #t, #t td, #u, #u li')].map((e) => "
        "{ const s = getComputedStyle(e); return [s.color, s.font, s.margin, s.padding, "
        "s.backgroundColor, s.borderBottom, s.listStyle]; })"
    )
    found = []
    for name, inside in (("with.html", notebook(example())), ("without.html", "")):
        (tmp_path / name).write_text(frame.format(plain, inside), encoding="utf-8")
        tab = browser.open((tmp_path / name).as_uri(), dark=True)
        found.append(tab.run(looks))
        if inside:
            assert tab.run(OVERLAPS) == []
            assert tab.requests()[-1] == (tmp_path / name).as_uri()
            assert tab.complaints() == []
        tab.close()
    assert found[0] == found[1]


def test_printed_it_has_its_pictures_and_no_list_of_screens(browser: Chromium, file):
    tab = browser.open(file.as_uri())
    tab.ask("Emulation.setEmulatedMedia", media="print")
    seen = "getClientRects().length > 0"
    assert not tab.run(f"document.querySelector('.screens').{seen}")
    assert not tab.run(f"document.querySelector('summary').{seen}")
    assert tab.run(f"[...document.querySelectorAll('.panel svg')].every((e) => e.{seen})")
    tab.close()


def test_a_name_in_the_title_is_escaped(file):
    run = example().facts.run
    assert f"<title>Memory report: LSTM, {html.escape(run)}" in file.read_text(encoding="utf-8")
