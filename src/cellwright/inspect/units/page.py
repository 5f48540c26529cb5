"""A page: a text coloured by any unit, and stretches of it searched for elsewhere."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cellwright.inspect.errors import InspectError
from cellwright.inspect.files import check_replaceable, put_page
from cellwright.inspect.units.pattern import ENOUGH, LEVELS, MOST, beyond
from cellwright.inspect.units.read import Column
from cellwright.inspect.units.states import States, Tokens
from cellwright.web import LARGEST, page

MOST_TOKENS: Final = 3000  # shown on a page
WHOLE: Final = 1000  # tokens for which all states must fit; else the output's states alone are kept
FEWEST: Final = 16  # tokens that a page is worth
ROOM_FOR_REST: Final = 400_000  # bytes of a page that are not values
STEPS: Final = 127  # of a value's size, on either side of zero
STYLES: Final = ("page.css", "units.css")
SCRIPTS: Final = ("page.js", "units.js")


@dataclass(frozen=True)
class Listed:
    """A row of the page's table: what is asked, the unit that tells it best, and its numbers."""

    asked: str
    column: Column
    cells: tuple[str, ...]
    verdict: str


@dataclass(frozen=True)
class Table:
    """The table of probes: the heads of its cells, its rows, and how all that was computed."""

    heads: tuple[str, ...]
    rows: tuple[Listed, ...]
    caption: str
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """What the page shows first: a column, and a stretch of tokens as find_pattern takes it."""

    column: Column
    stretch: tuple[int, int] | None = None


@dataclass(frozen=True)
class WrittenUnits:
    """A page that was written: its bytes, the tokens on it, and what of the rest is left out."""

    size: int
    tokens: int
    left_out: tuple[str, ...]


def write_units_page(
    out: Path, title: str, read: Tokens, states: States, table: Table, shown: Shown, output: str
) -> WrittenUnits:
    """Write a text and the values of its units into the file `out`, whole or not at all.

    `states` are of the tokens `read`; `output` is the state that is kept where not all fit. A
    page has at most MOST_TOKENS tokens and LARGEST bytes: later tokens are left out first.
    Errors: InspectError for a file that holds something else, a stretch beyond the tokens that
    fit, or a model of which none fit; RunError where it cannot be written.
    """
    check_replaceable(out)
    made, tokens, left_out = build_units_page(title, read, states, table, shown, output)
    return WrittenUnits(put_page(out, made), tokens, left_out)


def build_units_page(
    title: str, read: Tokens, states: States, table: Table, shown: Shown, output: str
) -> tuple[str, int, tuple[str, ...]]:
    """Return the page, how many tokens it has, and sentences about what was left out."""
    kept, size, left_out = _fitting(read, states, output)
    if shown.stretch is not None and shown.stretch[1] > size:
        raise InspectError(
            f"the stretch {shown.stretch[0]}:{shown.stretch[1]} is beyond the {size} tokens that "
            "fit into a page; give the text around it"
        )
    if states.columns.index(shown.column) not in kept:
        raise InspectError(
            f"state {shown.column.state}: does not fit into a page of {LARGEST / 1e6:.0f} MB; "
            f"choose {output}"
        )
    numbers = states.values[kept, :size].double().numpy()
    values, scales = quantised(numbers)
    facts = {
        "pieces": list(read.pieces[:size]),
        "exact": read.exact,
        "blocks": _blocks([states.columns[k] for k in kept]),
        "scales": [float(f"{scale:.6g}") for scale in scales],
        "table": {
            "heads": list(table.heads),
            "caption": table.caption,
            "rows": [_row(row) for row in table.rows],
            "left": [[name, why] for name, why in table.left_out.items()],
        },
        "shown": _place(shown.column),
        "stretch": list(shown.stretch) if shown.stretch else None,
        "output": output,
        "steps": STEPS,
        "levels": list(LEVELS),
        "enough": ENOUGH,
        "most": MOST,
    }
    made = page(
        title,
        styles=STYLES,
        body=_body(title, read, size, len(kept), left_out),
        data={"facts": facts},
        blobs={"values": _words(values.tobytes()), "beyond": _words(halves(beyond(numbers)))},
        scripts=SCRIPTS,
    )
    if len(made.encode("utf-8")) > LARGEST:  # pieces of a text can be of any length
        raise InspectError(
            f"the page would be larger than {LARGEST / 1e6:.0f} MB; give a shorter text"
        )
    return made, size, left_out


def quantised(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Values [columns, tokens] as whole numbers from -127 to 127, and what 127 stands for."""
    scales = np.abs(values).max(1)
    scales[scales == 0] = 1.0
    return np.rint(values / scales[:, None] * STEPS).astype(np.int8), scales


def halves(counts: NDArray[np.int8]) -> bytes:
    """What `beyond` counts in half a byte each, -len(LEVELS) as 0, the low half first."""
    found = (counts.ravel() + len(LEVELS)).astype(np.uint8)
    found = np.append(found, np.zeros(len(found) % 2, np.uint8))
    return (found[::2] | found[1::2] << 4).tobytes()


def _words(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 4)


def _fitting(read: Tokens, states: States, output: str) -> tuple[list[int], int, tuple[str, ...]]:
    """The columns and how many tokens fit into a page, and what is said of the others."""
    # base 85: five signs for four bytes; a byte and a half for each value
    room = (LARGEST - ROOM_FOR_REST) * 4 // 5 * 2 // 3
    wanted = min(len(read), MOST_TOKENS)
    kept, said = list(range(len(states.columns))), []
    if room // len(kept) < min(WHOLE, wanted):
        own = [k for k, column in enumerate(states.columns) if column.state == output]
        others = dict.fromkeys(c.state for c in states.columns if c.state != output)
        if others and own:
            kept = own
            said.append(f"The states {', '.join(others)} do not fit and are left out.")
    size = min(wanted, room // len(kept))
    if size < min(FEWEST, len(read)):
        raise InspectError(f"units: {len(kept)} units do not fit into a page; look at fewer")
    if size < len(read):
        said.append(f"The text has {len(read):,} tokens; the first {size:,} of them are here.")
    return kept, size, tuple(said)


def _blocks(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Runs of columns of one state of one layer, units from 0 on."""
    found: dict[tuple[int, str], list[int]] = {}
    for k, column in enumerate(columns):
        found.setdefault((column.place.layer, column.state), []).append(k)
    return [
        {"layer": layer, "state": state, "first": rows[0], "units": len(rows)}
        for (layer, state), rows in found.items()
    ]


def _row(row: Listed) -> dict[str, Any]:
    return {
        "asked": row.asked,
        "place": _place(row.column),
        "cells": list(row.cells),
        "verdict": row.verdict,
    }


def _place(column: Column) -> dict[str, Any]:
    return {"layer": column.place.layer, "state": column.state, "unit": column.place.unit}


def _body(title: str, read: Tokens, size: int, columns: int, left_out: Sequence[str]) -> str:
    kind = {"char": "characters", "word": "words"}.get(read.level, "tokens")
    facts = " ".join([f"{size:,} {kind}, {columns:,} values after each.", *left_out])
    return f"""\
<a class="skip" href="#strip">Skip to the text</a>
<header>
<h1>{html.escape(title)}</h1>
<p>{html.escape(facts)}</p>
</header>
<main class="columns">
<div>
<section aria-labelledby="text-title">
<h2 id="text-title">The text</h2>
<p class="note">The colour of a token is the unit's value after it. Arrow keys go from token to
token; with Shift, or with the mouse, you select a stretch. On a touch screen: tap its first token,
then its last.</p>
<div id="strip" class="strip" role="listbox" tabindex="0" dir="auto" aria-multiselectable="true"
 aria-label="Tokens; arrow keys move, with Shift they select"></div>
</section>
<section aria-labelledby="pattern-title">
<h2 id="pattern-title">Pattern search</h2>
<p id="status" class="unseen" role="status" aria-live="polite"></p>
<div id="pattern"></div>
</section>
</div>
<section aria-labelledby="probes-title">
<h2 id="probes-title">Units that tell something</h2>
<div id="probes" class="wide" role="region" tabindex="0" aria-labelledby="probes-title"></div>
<div id="left"></div>
</section>
</main>
<div id="bar" role="group" aria-label="The unit, and the token under the cursor">
<div id="controls">
<span><label for="block">state</label><select id="block"></select></span>
<span><label for="unit">unit</label><input id="unit" type="number" min="0" value="0"></span>
<span><button type="button" id="before" aria-label="Unit before">◂</button>
<button type="button" id="after" aria-label="Next unit">▸</button></span>
<p id="here" role="status" aria-live="polite"></p>
</div>
<p id="legend"></p>
</div>
<footer>Values are shown in steps of a 127th of each unit's largest value in the text shown here.
A unit is on beyond so many standard deviations from its own mean over that text; where it is was
computed from the exact values.</footer>"""
