"""What a view cannot show, and what to do about it."""

from cellwright.language.errors import CellwrightError


class InspectError(CellwrightError):
    """A text, a place or a model that a view cannot show."""
