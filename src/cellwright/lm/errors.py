"""What can go wrong with a text, a vocabulary, a run directory or a training run."""

from cellwright.language.errors import CellwrightError


class CorpusError(CellwrightError):
    """A text or token file that cannot be used: missing, binary, not UTF-8, too short, damaged."""


class VocabularyError(CellwrightError):
    """A tokenizer that cannot be made, read or applied to this text."""


class RunError(CellwrightError):
    """A run directory that is damaged, incomplete, in use, or not a run."""


class TrainingError(CellwrightError):
    """Training that cannot start or go on: settings that exclude each other, a loss not finite."""
