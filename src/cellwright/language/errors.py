"""Errors a person is meant to read: what was expected, what came, what to do."""


class CellwrightError(Exception):
    """Base of every error that Cellwright raises on purpose; the command line prints its text."""


class CellError(CellwrightError):
    """A declaration that cannot mean anything; the text begins `Cell.equation:`."""


class CellFileError(CellwrightError):
    """A `cell.json` that is damaged, hostile or of another version."""


class UnsupportedOp(CellwrightError):
    """A target has no entry for an operation of the language."""
