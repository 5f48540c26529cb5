"""What goes wrong in a benchmark: a wish that cannot be met, or two sides that differ."""

from cellwright.language.errors import CellwrightError, SettingError


class BenchError(CellwrightError):
    """A cell, shape or machine that cannot be timed; the text says which and why."""


class WishError(BenchError, SettingError):
    """A setting of a benchmark that cannot be used; the text begins with its name."""


class Disagreement(BenchError):
    """Two sides that should compute the same numbers do not: there is nothing to time."""
