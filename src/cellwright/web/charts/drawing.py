"""The strokes of a chart: text, lines, shapes, and the frame that names it."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

SIZE = 13  # of letters, in units of the drawing; charts.css has the same number
ADVANCE = 0.56  # of its size: about what a letter of a sans-serif takes
Place = tuple[float, float]


class Tone(IntEnum):
    """A colour with a dash and a shape of its own; charts.css says which colour."""

    TEAL = 0
    ORANGE = 1
    BLUE = 2
    GREY = 3


DASHES = {Tone.TEAL: "", Tone.ORANGE: "9 4", Tone.BLUE: "2 3.5", Tone.GREY: "8 3 2 3"}
SHAPES = {
    Tone.TEAL: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    Tone.ORANGE: "M-3.6-3.6h7.2v7.2h-7.2z",
    Tone.BLUE: "M0-4.8 4.6 3.6h-9.2z",
    Tone.GREY: "M0-5 5 0 0 5-5 0z",
}


@dataclass(frozen=True)
class Words:
    """What a picture is called, and what it shows, for those who do not see it.

    `name` is part of the ids in the picture: no other picture of the page has it.
    """

    name: str
    title: str
    shows: str


def picture(words: Words, size: Place, parts: Iterable[str]) -> str:
    """Return a whole drawing: it scales with its place, and says what it is."""
    title, shows = f"{words.name}-title", f"{words.name}-shows"
    head = (
        f'<svg class="chart" role="img" viewBox="0 0 {px(size[0])} {px(size[1])}" '
        f'aria-labelledby="{html.escape(title)}" aria-describedby="{html.escape(shows)}">'
    )
    told = (
        f'<title id="{html.escape(title)}">{html.escape(words.title)}</title>'
        f'<desc id="{html.escape(shows)}">{html.escape(words.shows)}</desc>'
    )
    return "\n".join((head, told, *parts, "</svg>"))


def px(value: float) -> str:
    """Return a length with one decimal at most."""
    return f"{round(value, 1) + 0:g}"  # + 0: no minus before a zero


def width_of(text: str) -> float:
    """Return about how wide a text is in a drawing."""
    return len(text) * SIZE * ADVANCE


def text(
    at: Place, words: str, look: str = "", side: str = "start", tone: Tone | None = None
) -> str:
    """Return a line of text; `side` is which end of it lies at the place."""
    looks = " ".join(filter(None, (look, "" if tone is None else tone_class(tone))))
    kind = f' class="{looks}"' if looks else ""
    anchor = "" if side == "start" else f' text-anchor="{side}"'
    return f'<text x="{px(at[0])}" y="{px(at[1])}"{anchor}{kind}>{html.escape(words)}</text>'


def line(start: Place, end: Place, look: str) -> str:
    """Return a straight line."""
    (a, b), (c, d) = start, end
    return f'<path class="{look}" d="M{px(a)} {px(b)}L{px(c)} {px(d)}"/>'


def path(places: Sequence[Place], look: str, tone: Tone) -> str:
    """Return a line through places, dashed as its tone is; where there is one place, a dot."""
    if len(places) == 1:
        places = (*places, *places)
    dash = f' stroke-dasharray="{DASHES[tone]}"' if DASHES[tone] else ""
    return f'<path class="{look} {tone_class(tone)}"{dash} d="{route(places)}"/>'


def route(places: Iterable[Place]) -> str:
    """Return the way through places as a path's commands, each from the place before.

    Steps are differences of rounded places, so that rounding does not add up.
    """
    tenths = [(round(10 * x), round(10 * y)) for x, y in places]
    made = [f"M{_tenths(tenths[0][0])} {_tenths(tenths[0][1])}"]
    for (a, b), (c, d) in pairwise(tenths):
        right, down = _tenths(c - a), _tenths(d - b)
        made.append(f"l{right}{'' if down.startswith('-') else ' '}{down}")
    return "".join(made)


def _tenths(count: int) -> str:
    """Return tenths as a decimal number: 12 is 1.2, -3 is -.3."""
    return (
        f"{count / 10:g}".replace("0.", ".", 1) if abs(count) < 10 and count else f"{count / 10:g}"
    )


def mark(at: Place, tone: Tone, told: str, look: str = "point") -> str:
    """Return a tone's shape with what it stands for, which browsers show under the pointer."""
    return (
        f'<g class="{look} {tone_class(tone)}" transform="translate({px(at[0])} {px(at[1])})">'
        f'<title>{html.escape(told)}</title><circle class="reach" r="10"/>'
        f'<path d="{SHAPES[tone]}"/></g>'
    )


def tone_class(tone: Tone) -> str:
    """Return the class that gives an element its colour."""
    return f"tone-{tone.value}"
