"""Where text goes: consoles that respect NO_COLOR, pipes and narrow windows."""

import os
import sys
import textwrap
from typing import IO

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.theme import Theme

# The house's two colours follow the cells through tables and plots; the rest is plain.
THEME = Theme({"label": "dim", "number": "bold", "good": "green", "warn": "yellow"})


MIN_WIDTH, MAX_WIDTH = 30, 80  # of a paragraph, in characters
UNBOUNDED = 10_000  # wider than any table


class QuietConsole(Console):
    """A console that lets a closed pipe be seen by its caller, who ends the verb in order."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError instead of leaving the process from inside a print."""
        raise BrokenPipeError


def console(stream: IO[str] | None = None) -> Console:
    """A console on `stream` (None: standard output) that does not decorate what it is given."""
    stream = sys.stdout if stream is None else stream
    return QuietConsole(
        file=stream, theme=THEME, highlight=False, markup=False, emoji=False, soft_wrap=False
    )


def fits(out: Console, table: Table) -> bool:
    """Whether a table stands in the window as it is, with nothing folded or cut."""
    wide = out.options.update(width=UNBOUNDED)
    return Measurement.get(out, wide, table).maximum <= out.width


def paragraph(out: Console, text: str, indent: str = "", first: str | None = None) -> None:
    """Print a text in lines that fit; `first` is the first line's own indent."""
    width = max(MIN_WIDTH, min(out.width, MAX_WIDTH))
    start = indent if first is None else first
    for line in textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
    ):
        out.print(line, soft_wrap=True)


def is_live(stream: IO[str]) -> bool:
    """Whether a display on `stream` can be redrawn in place."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def tolerate_encoding() -> None:
    """Let a terminal that cannot show a character show an escape, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
