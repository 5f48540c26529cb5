"""A text in the terminal with a unit's values: colours, and signs for where there are none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

TENTHS = 9  # the highest of the digits that stand for values
BLANKS = {"\n": "⏎", "\t": "⇥", "": "…"}


def coloured(
    out: "Console", pieces: Sequence[str], values: Sequence[float], title: str, *, exact: bool
) -> None:
    """Tokens with a unit's value under each: blue below zero, orange above.

    `exact`: the tokens, joined, are the text: under each stands a digit instead of the number, or
    the text could not be read.
    """
    from cellwright.lm.attribution.html import shade

    largest = max(*(abs(value) for value in values), 1e-9)
    if exact:
        told = f"0 is {-largest:+.2f}, {TENTHS} is {largest:+.2f}"
    else:
        told = f"the largest is {largest:.2f}"
    out.print(f"\n{title}, after each token; {told}", style="bold", soft_wrap=True)
    first, second, used = Text(), Text(), 0
    for piece, value in zip(pieces, values, strict=True):
        shown = _shown(piece, exact)
        digit = f"{round((value / largest + 1) / 2 * TENTHS)}"
        number = digit * max(1, cell_len(shown)) if exact else f"{value:+.2f}"
        width = max(cell_len(shown), len(number)) + (not exact)
        if used and used + width > out.width:
            _put(out, first, second)
            first, second, used = Text(), Text(), 0
        first.append(shown, style=f"black on {shade(value / largest)}")
        first.append(" " * (width - cell_len(shown)))
        second.append(number.ljust(width), style="label")
        used += width
        if exact and piece.endswith("\n"):
            _put(out, first, second)
            first, second, used = Text(), Text(), 0
    if used:
        _put(out, first, second)


def _put(out: "Console", first: Text, second: Text) -> None:
    out.print(first, second, sep="\n", soft_wrap=True)


def _shown(piece: str, exact: bool) -> str:
    """A token in a line of its own kind: line ends and lone accents as signs that take a place."""
    made = "".join(BLANKS.get(sign, sign if sign.isprintable() else "·") for sign in piece)
    if not made:
        return BLANKS[""]
    if exact and cell_len(made) == 0:
        return f"◌{made}"
    return made
