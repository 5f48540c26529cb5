"""`cellwright show --as svg|png|html`: which picture of a cell was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli.faults import UsageFault
from cellwright.targets.svg import Picture, focused, single, svg, unrolled, versus

if TYPE_CHECKING:
    from cellwright.language import Cell

THEMES = ("light", "dark")

Unrolled = Annotated[
    bool, typer.Option("--unrolled", help="for svg, png, html: three steps in a row")
]
Focus = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="for svg, png, html: this equation, the others faded"),
]
Versus = Annotated[
    str | None,
    typer.Option(
        metavar="CELL", help="for svg, png, html: beside this cell, with rings around what differs"
    ),
]
Theme = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="for svg, png, html: light or dark; svg and html without it follow their reader's",
    ),
]


@dataclass(frozen=True)
class View:
    """What was typed about a picture."""

    unrolled: bool
    focus: Sequence[str]
    versus: "type[Cell] | None"
    theme: str | None

    @property
    def flags(self) -> list[str]:
        """Return the options that were given."""
        given = {
            "--unrolled": self.unrolled,
            "--focus": bool(self.focus),
            "--versus": self.versus is not None,
            "--theme": self.theme is not None,
        }
        return [flag for flag, is_given in given.items() if is_given]

    def picture(self, cell: "type[Cell]") -> Picture:
        """Draw a cell as it was asked for."""
        chosen = [flag for flag in self.flags if flag != "--theme"]
        if len(chosen) > 1:
            raise UsageFault(f"{' and '.join(chosen)}: a picture is one of these; give one")
        if self.unrolled:
            return unrolled(cell.graph)
        if self.focus:
            return focused(cell.graph, self.focus)
        if self.versus is not None:
            return versus(cell.graph, self.versus.graph)
        return single(cell.graph)

    def svg(self, cell: "type[Cell]") -> str:
        """Return the picture as the text of an SVG file."""
        return svg(self.picture(cell), self._theme() or "auto")

    def png(self, cell: "type[Cell]") -> bytes:
        """Return the picture as the bytes of a PNG file, two dots for each of its units."""
        from cellwright.cli.show_png import png

        return png(self.picture(cell), self._theme() == "dark")

    def _theme(self) -> str | None:
        if self.theme is not None and self.theme not in THEMES:
            raise UsageFault(f"--theme: expected {' or '.join(THEMES)}, got {self.theme!r:.40}")
        return self.theme
