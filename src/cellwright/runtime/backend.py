"""Backend: which execution path a layer is to take."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

BACKENDS = ("auto", "reference", "llvm")
_CHOSEN: ContextVar[str | None] = ContextVar("cellwright_backend", default=None)


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

    A `use_backend` block comes first, then the layer's own choice, and for "auto" the environment
    variable CELLWRIGHT_BACKEND.
    """
    inside = _CHOSEN.get()
    if inside is not None:
        return inside
    return checked_backend(os.environ.get("CELLWRIGHT_BACKEND", own)) if own == "auto" else own
