"""Errors a person is meant to read: what was expected, what came, what to do."""

NOT_JSON = "not JSON, damaged or cut short"  # of any file of ours that should be


class CellwrightError(Exception):
    """Base of every error that Cellwright raises on purpose; the command line prints its text."""


class SettingError(CellwrightError):
    """A setting whose value cannot be used; the text begins with its name: `lr_decay: ...`.

    The command line shows the name as the flag that sets it.
    """


class CellError(CellwrightError):
    """A declaration that cannot mean anything; the text begins `Cell.equation:`."""


class CellFileError(CellwrightError):
    """A `cell.json` that is damaged, hostile or of another version."""


class UnsupportedOp(CellwrightError):
    """A target has no entry for an operation of the language."""
