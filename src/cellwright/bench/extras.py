"""Extras: packages that a comparison can use and that nobody has to have."""

import importlib
from types import ModuleType


def found(name: str) -> ModuleType | None:
    """A package, or None where it is not installed; one that is broken says so itself."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        return None


def lacking(title: str, *names: str) -> str | None:
    """Say in one line which packages a comparison lacks; None where they are all there."""
    missing = [name for name in names if found(name) is None]
    if not missing:
        return None
    return f"without {title}: not installed (pip install {' '.join(missing)})"
