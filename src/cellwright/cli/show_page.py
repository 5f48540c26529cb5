"""`cellwright show --as html`: all that is known of a cell on one page, without a script."""

import ast
import html
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellwright.cli.cells import OTHER, WIDTH, Entry, entry
from cellwright.cli.show_picture import View
from cellwright.targets import counts, mathml, spoken
from cellwright.targets.formulas import lines
from cellwright.targets.svg import Picture, svg, unrolled, versus
from cellwright.web import page

if TYPE_CHECKING:
    from cellwright.language import Cell

STYLES = ("page.css", "cell.css")
SMALLEST = 0.7  # of a picture's own size
LETTERS = {"hidden": "H the units", "input": "I the inputs", "proj": "P the width of the output"}

COUNTED = (
    "Parameters are the weights that are not zero by construction, each bias once. FLOPs are those "
    "of the matrix products for one row in one step, a multiply-add being two."
)


def cell_page(
    cell: "type[Cell]",
    view: View,
    sizes: Mapping[str, int] | None = None,
    specs: Sequence[str] = (),
) -> str:
    """Return a cell's page.

    `sizes` are the widths to count at, 128 inputs and units by default; `specs` are the names by
    which the cell, and the one beside it, were asked for: they lead to the source of a user's own.
    """
    cells = [cell, *([view.versus] if view.versus is not None else [])]
    named = zip(cells, (*specs, "", ""), strict=False)
    shown = [_Shown(one, entry(one.__name__, one), spec) for one, spec in named]
    title = " and ".join(one.name for one in shown)
    body = "\n".join(
        [
            f"<header><h1>{html.escape(title)}</h1>",
            *(_about(one, alone=len(shown) == 1) for one in shown),
            "</header><main>",
            *_pictures(cell, view),
            *(_equations(one, view.focus, alone=len(shown) == 1) for one in shown),
            _counted(shown, sizes),
            *(_declared(one) for one in shown),
            "</main>",
            "<footer>Made by Cellwright from the cell's declaration; "
            "this page asks no other machine for anything.</footer>",
        ]
    )
    return page(f"{title}: equations and diagram", styles=STYLES, body=body, data={}, blobs={},
                scripts=())  # fmt: skip


@dataclass(frozen=True)
class _Shown:
    """One cell of the page, and what the catalogue's card would say of it."""

    cell: "type[Cell]"
    known: Entry
    spec: str

    @property
    def name(self) -> str:
        return self.known.name

    def source(self) -> str | None:
        """The lines of Python that declare it; None for a cell that came as data."""
        file, colon, name = self.spec.rpartition(":")
        try:
            if not colon:
                return textwrap.dedent(inspect.getsource(self.cell))
            text = Path(file).read_text(encoding="utf-8")
            declared = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
            node = declared[name]
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
        except (OSError, TypeError, KeyError, SyntaxError, UnicodeDecodeError):
            return None


def _about(one: _Shown, alone: bool) -> str:
    """What a cell is, what it is good for, and who described it."""
    known = one.known
    purpose = f"Good for: {known.purpose}." if known.purpose else ""
    source = "; ".join(known.papers) or known.source
    said = [f"{known.summary}." if known.summary else "", purpose, *known.notes]
    first = "" if alone else f"<strong>{html.escape(one.name)}.</strong> "
    made = [f"<p>{_prose(text)}</p>" for text in said if text]
    if made:
        made[0] = made[0].replace("<p>", f"<p>{first}", 1)
    if source:
        made.append(f'<p class="source">Source: {html.escape(source)}</p>')
    return "\n".join(made)


def _prose(text: str) -> str:
    """A docstring's text as HTML: what stands between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _pictures(cell: "type[Cell]", view: View) -> Iterator[str]:
    """Yield the picture that was asked for, and three steps in a row."""
    graph, theme = cell.graph, view.theme or "auto"
    first = "The diagram"
    if view.versus is not None:
        first = f"{graph.cell} beside {view.versus.graph.cell}"
    elif view.focus:
        first = f"The diagram, {' and '.join(view.focus)} in full colour"
    if view.versus is not None and not view.unrolled:
        beside, below = view.picture(cell), versus(graph, view.versus.graph, widest=0)
        yield _figure(first, beside, theme, "where-wide")
        yield _figure(first, below, theme, "where-narrow")
    elif not view.unrolled:
        yield _figure(first, view.picture(cell), theme)
    for one in (cell, view.versus):
        if one is not None:
            alone = "" if view.versus is None else f" of {one.graph.cell}"
            yield _figure(f"Three steps{alone} in a row", unrolled(one.graph), theme)


def _figure(title: str, picture: Picture, theme: str, where: str = "") -> str:
    """A picture shrinks to the window, as long as its letters can be read; then it is scrolled.

    `where` is a class that leaves it out of windows that another picture is for.
    """
    kind = f' class="{where}"' if where else ""
    name, least = html.escape(title), round(SMALLEST * picture.width)
    return (
        f'<section{kind}><h2>{name}</h2><div class="picture" role="region" tabindex="0" '
        f'aria-label="{name}"><div style="min-width: {least}px">{svg(picture, theme)}</div>'
        "</div></section>"
    )


def _equations(one: _Shown, focus: Sequence[str], alone: bool) -> str:
    """Each equation as a formula, and below it as one would read it aloud."""
    graph = one.cell.graph
    items = []
    pairs = zip(lines(graph, mathml.NOTATION), lines(graph, spoken.NOTATION), strict=True)
    for formula, words in pairs:
        lit = ' class="lit"' if set(focus) & set(formula.names) else ""
        items.append(
            f'<li{lit}><div class="formula"><math>{formula.left}<mo>=</mo>{formula.right}</math>'
            f"</div><p>{html.escape(f'{words.left} equals {words.right}')}</p></li>"
        )
    legend = f'<p class="note">{html.escape(" ".join(one.known.legend))}</p>'
    title = "The equations" if alone else f"The equations of {html.escape(one.name)}"
    return f'<section><h2>{title}</h2><ul class="equations">{"".join(items)}</ul>{legend}</section>'


def _counted(shown: Sequence[_Shown], sizes: Mapping[str, int] | None) -> str:
    """Parameters and FLOPs as functions of the widths, and as numbers at some."""
    symbols = {symbol for one in shown for symbol in one.cell.graph.symbols}
    at = dict.fromkeys(symbols, OTHER) | {"input": WIDTH, "hidden": WIDTH, "proj": WIDTH // 2}
    at = {name: width for name, width in {**at, **(sizes or {})}.items() if name in symbols}
    rows = []
    for one in shown:
        graph, name = one.cell.graph, "" if len(shown) == 1 else f"{one.name}: "
        for label, made in (
            ("parameters", counts.parameters(graph)),
            ("FLOPs of a step", counts.flops(graph)),
        ):
            rows.append(
                f'<tr><th scope="row">{html.escape(name + label)}</th>'
                f"<td>{html.escape(str(made))}</td><td>{made.at(at):,}</td></tr>"
            )
    letters = [LETTERS[s] for s in counts.ORDER if s in symbols]
    where = ", ".join(f"{counts.LETTERS.get(s, s)} = {at[s]}" for s in _order(symbols))
    note = (f"With {', '.join(letters)}. " if letters else "") + COUNTED
    return (
        '<section><h2>Size</h2><div class="wide" role="region" tabindex="0" aria-label="Size">'
        f"<table><caption>Counted from the equations</caption><thead><tr>"
        f'<th scope="col">what</th><th scope="col">as a function of the widths</th>'
        f'<th scope="col">at {html.escape(where)}</th></tr></thead><tbody>{"".join(rows)}</tbody>'
        f'</table></div><p class="note">{html.escape(note)}</p></section>'
    )


def _order(symbols: set[str]) -> list[str]:
    return [s for s in counts.ORDER if s in symbols] + sorted(symbols - set(counts.ORDER))


def _declared(one: _Shown) -> str:
    """The declaration, where the cell has one."""
    source = one.source()
    if source is None:
        return ""
    name = html.escape(one.name)
    return (
        f"<section><h2>{name} as it is declared</h2>"
        f'<pre role="region" tabindex="0" aria-label="Declaration of {name}">'
        f"<code>{html.escape(source.rstrip())}</code></pre></section>"
    )
