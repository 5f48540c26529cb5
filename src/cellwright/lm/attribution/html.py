"""An attribution in a notebook or on a page: coloured tokens and a table, no script, no network."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cellwright.lm.attribution import signed

if TYPE_CHECKING:
    from cellwright.lm.attribution import Attribution

# What is drawn of a long text: a page stays below 200 kB.
MOST_COLOURED, MOST_ROWS, MOST_SIGNS = 240, 24, 40
BLUE, WHITE, ORANGE = (80, 150, 230), (255, 255, 255), (230, 130, 40)  # black is read on all
VISIBLE = {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "␣"}
TOKEN = "color:#111;white-space:pre-wrap"
WORD = f"{TOKEN};padding:.1em .2em;border-radius:.2em"
CELL = "text-align:{};padding:.15em .6em;white-space:nowrap"


def html_of(found: "Attribution") -> str:
    """Return an attribution as HTML: the text in colour for each method, and the strongest."""
    strips = "".join(_strip(found, name, scores) for name, scores in found.by_method.items())
    return (
        f'<div class="cellwright-attribution"><p><b>{html.escape(found.headline)}</b><br>'
        f"{html.escape(probabilities(found))}</p>{_warning(found)}{strips}{_table(found)}"
        f"{_small_print(found)}</div>"
    )


def _warning(found: "Attribution") -> str:
    if not found.warning:
        return ""
    style = "border-left:.3em solid #d97706;padding-left:.6em"
    return f'<p style="{style}"><b>{html.escape(found.warning)}</b></p>'


def _small_print(found: "Attribution") -> str:
    others = [found.how(companion.method) for companion in found.companions]
    spread = "Spread: the least and the most that one of the replacements gives."
    lines = "<br>".join(map(html.escape, [found.how(), *others, spread]))
    return f'<p style="margin-top:1em"><small>{lines}</small></p>'


def probabilities(found: "Attribution") -> str:
    """The probabilities that the score is made of, in words."""
    pairs = [(found.target, found.probability)]
    pairs += zip(found.against, found.against_probabilities, strict=True)
    return ", ".join(f"p({token!r}) = {p:.3g}" for token, p in pairs)


def shade(share: float) -> str:
    """Return a colour between blue (-1), white (0) and orange (1), as #rrggbb."""
    depth = min(1.0, abs(share))
    full = ORANGE if share > 0 else BLUE
    mixed = (round(w + depth * (c - w)) for w, c in zip(WHITE, full, strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def visible(text: str) -> str:
    """A token with its white space as signs, cut where it is long."""
    shown = "".join(VISIBLE.get(c, c if c.isprintable() or ord(c) > 127 else "␦") for c in text)
    return shown if len(shown) <= MOST_SIGNS else shown[: MOST_SIGNS - 1] + "…"


def _strip(found: "Attribution", method: str, scores: Sequence[float]) -> str:
    """The text, each part on the colour of its score, which is its title too."""
    largest = max(max(map(abs, scores)), 1e-9)
    begin = max(0, len(scores) - MOST_COLOURED)
    joined = found.level in ("char", "bpe")  # the parts, one after the other, are the text
    style = TOKEN if joined else WORD
    pieces = []
    for part, score in zip(found.parts[begin:], scores[begin:], strict=True):
        said = html.escape(f"{part.text[:MOST_SIGNS]!r} at {part.start}: {signed(score, 3)} nats")
        # a space is coloured as a space; other white space is shown as a sign
        text = part.text if part.text == " " else visible(part.text)
        after = "\n" if "\n" in part.text else "" if joined else " "
        pieces.append(
            f'<bdi style="{style};background:{shade(score / largest)}" title="{said}">'
            f"{html.escape(text)}</bdi>{after}"
        )
    pieces.append(f" → {html.escape(visible(found.target))}")
    rest = f" (the last {MOST_COLOURED} of {len(scores)})" if begin else ""
    scale = f"{method}{rest}: blue −{largest:.2f}, white 0, orange +{largest:.2f} nats"
    return (
        f'<p style="line-height:1.8;white-space:pre-wrap;overflow-wrap:anywhere">'
        f"<small>{html.escape(scale)}</small>\n{''.join(pieces)}</p>"
    )


def _table(found: "Attribution") -> str:
    shown = found.top(MOST_ROWS)
    methods = list(found.by_method)
    heads = "".join(
        f'<th scope="col" style="{CELL.format(side)}">{head}</th>' for head, side in _heads(methods)
    )
    places = {part.start: k for k, part in enumerate(found.parts)}
    rows = []
    for part in shown:
        others = [found.by_method[name][places[part.start]] for name in methods[1:]]
        cells = [
            (str(part.start), "right"),
            (signed(part.score, 3), "right"),
            (f"{signed(part.low)} to {signed(part.high)}", "right"),
            *((signed(value, 3), "right") for value in others),
            (", ".join(map(visible, part.replacements[:3])), "left"),
        ]
        columns = "".join(
            f'<td style="{CELL.format(side)}"><bdi>{html.escape(text)}</bdi></td>'
            for text, side in cells
        )
        head = f'<th scope="row" style="{CELL.format("left")}"><bdi>'
        rows.append(f"<tr>{head}{html.escape(visible(part.text))}</bdi></th>{columns}</tr>")
    most = len(shown) < len(found.parts)
    few = f"The strongest {len(shown)} of {len(found.parts)}" if most else "All that was looked at"
    return (
        '<div style="overflow-x:auto" role="region" tabindex="0" aria-label="the numbers"><table>'
        f'<caption style="text-align:left">{few}, in nats</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heads(methods: Sequence[str]) -> list[tuple[str, str]]:
    return [
        ("token", "left"),
        ("place", "right"),
        (methods[0], "right"),
        ("spread", "right"),
        *((name, "right") for name in methods[1:]),
        ("replaced by", "left"),
    ]
