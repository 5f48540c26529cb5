"""Grid: rows of text in columns where a window is wide enough, in lines of pairs where not."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

GAPS = ("  ", " ")  # the wider one where there is room


@dataclass(frozen=True)
class Column:
    """A column's head, and the characters that its longest value takes; `left`: words."""

    head: str
    width: int
    left: bool = False

    @property
    def size(self) -> int:
        """Characters of the column: of its head, or of its values."""
        return max(self.width, len(self.head))

    def put(self, text: str) -> str:
        """A text on its side of the column."""
        return text.ljust(self.size) if self.left else text.rjust(self.size)


@dataclass(frozen=True)
class Grid:
    """Columns, and the width of the window. An empty value is left out of a narrow one."""

    columns: tuple[Column, ...]
    window: int

    @property
    def gap(self) -> str | None:
        """What stands between two columns; None where a row is more than one line."""
        sizes = sum(column.size for column in self.columns)
        gaps = len(self.columns) - 1
        return next((gap for gap in GAPS if sizes + gaps * len(gap) <= self.window), None)

    def head(self) -> list[str]:
        """Lines above the rows."""
        if self.gap is None:
            return []
        line = self.gap.join(column.put(column.head) for column in self.columns)
        return [line.rstrip(), "-" * len(line)]

    def row(self, values: Sequence[str]) -> list[str]:
        """The lines of a row."""
        pairs = list(zip(self.columns, values, strict=True))
        if self.gap is not None:
            return [self.gap.join(column.put(value) for column, value in pairs).rstrip()]
        title = " ".join(value for column, value in pairs if column.left and value)
        rest = [f"{column.head} {value}" for column, value in pairs if not column.left and value]
        return [*wrapped(title, self.window), *wrapped(", ".join(rest), self.window, "  ")]

    def markdown_head(self) -> list[str]:
        """The head of a Markdown table."""
        marks = ["---" if column.left else "--:" for column in self.columns]
        return [f"| {' | '.join(column.head for column in self.columns)} |", f"|{'|'.join(marks)}|"]

    @staticmethod
    def markdown_row(values: Sequence[str]) -> str:
        """A row of a Markdown table."""
        return f"| {' | '.join(values)} |"


def wrapped(text: str, window: int, indent: str = "") -> list[str]:
    """A text in lines of the window's width."""
    return textwrap.wrap(
        text, max(20, window), initial_indent=indent, subsequent_indent=indent,
        break_on_hyphens=False,
    )  # fmt: skip
