"""Files that appear whole or not at all, and directories that go again."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cellwright import atomic
from cellwright.lm.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write in the place of `path`, as `cellwright.atomic.replacing` does.

    Errors: RunError when the directory cannot be written or the disk is full.
    """
    try:
        with atomic.replacing(path) as file:
            yield file
    except OSError as error:
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is "
            "unchanged: make room or choose another directory, and try again"
        ) from error


@contextmanager
def new_directory(path: Path) -> Iterator[None]:
    """Make the directory `path`; if the block fails, those made for it that are empty go again.

    Errors: RunError when it cannot be made.
    """
    made = [place for place in (path, *path.parents) if not place.exists()]  # the deepest first
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be used: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        for place in made:
            with suppress(OSError):  # not empty: something of worth was written there
                place.rmdir()
        raise
