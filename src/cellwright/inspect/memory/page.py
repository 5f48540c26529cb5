"""The memory report as one page: six screens, each with its pictures and how they were made."""

import hashlib
import html
import re
import shlex
from pathlib import Path
from typing import Final

from cellwright.inspect.errors import InspectError
from cellwright.inspect.files import put_page
from cellwright.inspect.memory.report import SCREENS, Facts, MemoryReport
from cellwright.inspect.memory.screens import SCREENS as DRAWN
from cellwright.inspect.memory.tables import plural
from cellwright.web import LARGEST, asset, page
from cellwright.web.charts import number

NOTEBOOK: Final = 200_000  # bytes of a report in a notebook
NAMELESS: Final = "the text"  # what a report calls a text that came from no file
STYLES: Final = ("page.css", "charts.css", "report.css")
TITLES: Final = {
    "verdict": "Verdict",
    "context": "Context actually used",
    "gradients": "Gradient by lag",
    "half-lives": "Half-lives of the memory",
    "gates": "Gates and dead units",
    "units": "What single units know",
}
NUMBER: Final = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?: %)?(?!\w)")


def write_report(out: Path, report: MemoryReport) -> int:
    """Write the page of a report into the file `out`, whole or not at all; return its bytes.

    Errors: InspectError for a file that holds something else, or a report too large for a page;
    RunError where it cannot be written.
    """
    made = page(
        f"Memory report: {report.facts.cell}, {report.facts.run}",
        styles=STYLES,
        body=f'{_nav()}\n<main id="main">{body(report)}</main>',
        data={},
        blobs={},
        scripts=("report.js",),
    )
    if (size := len(made.encode("utf-8", "replace"))) > LARGEST:
        raise InspectError(
            f"{out}: expected a page of at most {LARGEST / 1e6:.0f} MB, got {size / 1e6:.1f} MB: "
            f"{plural(len(report.gradients), 'gradient')} and {plural(len(report.gates), 'gate')} "
            "are too many for one page; have the numbers as JSON instead"
        )
    return put_page(out, made)


def notebook(report: MemoryReport) -> str:
    """Return the report for a notebook: no script, no request, no style beyond its own element.

    It shows as many pictures of each kind as fit into NOTEBOOK bytes.
    """
    palette, _, _ = asset("page.css").partition("* {")
    style = palette.replace(":root", ".report") + asset("charts.css") + asset("report.css")
    made = ""
    for most in (8, 6, 4, 2, 1, 0):
        made = f"<style>{style}</style>\n{body(report, most)}"
        if len(made.encode("utf-8", "replace")) < NOTEBOOK:
            break
    return made


def body(report: MemoryReport, most: int | None = None) -> str:
    """Return the report as an element of HTML.

    `most` limits it to so many pictures of each kind, leaves out the longest tables, and gives
    ids that no other report has.
    """
    digest = hashlib.sha256(repr(report).encode("utf-8", "backslashreplace")).hexdigest()
    at = "" if most is None else f"memory-{digest[:8]}-"
    screens = [_screen(report, name, k, at, most) for k, name in enumerate(SCREENS, start=1)]
    return "\n".join(
        ('<div class="report">', _header(report.facts), *screens, _made(report, at, most), "</div>")
    )


def _nav() -> str:
    links = "".join(
        f'<li><a href="#{name}"><span class="n">{k}</span> {html.escape(TITLES[name])}</a></li>'
        for k, name in enumerate(SCREENS, start=1)
    )
    made = '<li><a href="#made">How this was made</a></li>'
    return (
        '<a class="skip" href="#main">To the report</a>\n'
        f'<nav class="screens" aria-label="Screens"><ol>{links}{made}</ol></nav>'
    )


def _header(facts: Facts) -> str:
    read = html.escape(plural(facts.tokens, facts.unit))
    return (
        "<header><h1>Does it remember, and how far?</h1>"
        f"<p>Memory report of {_model(facts)}, from <bdi>{html.escape(facts.run)}</bdi>, reading "
        f"{read} of <bdi>{html.escape(facts.text)}</bdi>.</p></header>"
    )


def _model(facts: Facts) -> str:
    sizes = f"{plural(facts.layers, 'layer')} of {plural(facts.hidden, 'unit')}"
    return f"<bdi>{html.escape(facts.cell)}</bdi>, {sizes}"


def _screen(report: MemoryReport, name: str, k: int, at: str, most: int | None) -> str:
    title = f'<span class="n">{k}</span> {html.escape(TITLES[name])}'
    if name == "verdict":
        inside = _verdict(report, at)
    else:
        said = [f"<p>{emphasise(s.text)}</p>" for s in report.verdict if s.screen == name]
        inside = "\n".join((*said, DRAWN[name](report, at, most)))
    missing = report.left_out.get(name)
    left = f'<p class="left-out">Left out: {html.escape(missing)}</p>' if missing else ""
    return (
        f'<section id="{at}{name}" aria-labelledby="{at}{name}-head">'
        f'<h2 id="{at}{name}-head">{title}</h2>\n{inside}\n{left}</section>'
    )


def _verdict(report: MemoryReport, at: str) -> str:
    items = "\n".join(
        f'<li><p>{emphasise(said.text)}</p><a href="#{at}{said.screen}">'
        f'<span class="n">{SCREENS.index(said.screen) + 1}</span> '
        f'<span class="to">{html.escape(TITLES[said.screen])}</span></a></li>'
        for said in report.verdict
    )
    how = html.escape(report.methods["verdict"])
    return f'<ul class="verdict">{items}</ul>\n<p class="note">{how}</p>'


def emphasise(text: str) -> str:
    """Return a sentence as HTML, its numbers set off from its words."""
    made, last = [], 0
    for found in NUMBER.finditer(text):
        made.append(html.escape(text[last : found.start()]))
        made.append(f'<span class="figure">{html.escape(found[0])}</span>')
        last = found.end()
    return "".join((*made, html.escape(text[last:])))


def _made(report: MemoryReport, at: str, most: int | None) -> str:
    facts = report.facts
    # A text of the run's own has no name on the command line; one that has no file is piped in.
    own = facts.text.startswith(f"{facts.run}: ")
    text = () if own else ("-",) if facts.text == NAMELESS else (facts.text,)
    command = shlex.join(("cellwright", "inspect", "memory", facts.run, *text, *facts.options))
    read, window = (
        html.escape(plural(count, facts.unit)) for count in (facts.tokens, facts.window)
    )
    rows = [
        ("Run", f"<bdi>{html.escape(facts.run)}</bdi>"),
        ("Text", f"<bdi>{html.escape(facts.text)}</bdi>"),
        ("Read", f"{read}, {facts.unknown:,} of them unknown to the model"),
        ("Model", f"{_model(facts)}, {plural(facts.parameters, 'parameter')}"),
        ("Trained with", f"windows of {window}"),
        (
            "Controls",
            "the same model as training began with it (untrained); other text before the context, "
            "earlier text shuffled; labels shuffled, the token alone",
        ),
        ("Took", f"{number(facts.seconds)} seconds with {plural(facts.threads, 'thread')}"),
        ("Again", f'<code dir="ltr">{html.escape(command)} -o report.html</code>'),
    ]
    if most is not None:
        rows.append(("Left out here", "the longest tables, which that page has"))
    items = "\n".join(f"<div><dt>{name}</dt><dd>{said}</dd></div>" for name, said in rows)
    return (
        f'<section id="{at}made" aria-labelledby="{at}made-head">'
        f'<h2 id="{at}made-head">How this was made</h2>\n<dl>{items}</dl></section>'
    )
