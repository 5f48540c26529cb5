"""Backend: which execution path a layer is to take."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cellwright.language.errors import CellwrightError

BACKENDS = ("auto", "reference", "llvm")
VARIABLE = "CELLWRIGHT_BACKEND"
_CHOSEN: ContextVar[str | None] = ContextVar("cellwright_backend", default=None)


class BackendError(CellwrightError):
    """The environment names a backend that there is not."""


def checked_backend(name: str) -> str:
    """Return the name of a backend, or raise ValueError that lists them."""
    if name not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(BACKENDS)}, got {name!r:.40}")
    return name


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every layer inside the block on a backend: "auto", "reference" or "llvm".

    It overrides the layers' own `backend`. Raises ValueError for another name.
    """
    token = _CHOSEN.set(checked_backend(name))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen_backend(own: str) -> str:
    """Return the backend in force for a layer whose own is `own`.

    The first of these that there is: a `use_backend` block, the layer's own choice if that is not
    "auto", the environment variable CELLWRIGHT_BACKEND if that is not empty, "auto". A block of
    "auto" is that, whatever the layer or the variable says. BackendError where the variable is
    asked and names no backend.
    """
    inside = _CHOSEN.get()
    if inside is not None:
        return inside
    return own if own != "auto" else _of_environment()


def _of_environment() -> str:
    name = os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise BackendError(
            f"{VARIABLE}: expected {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}, got {name!r:.40}; "
            "set it to one of them, or unset it"
        )
    return name
