"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cellwright.lm.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write in the place of `path`; it takes that place only when the block ends.

    The bytes go to a hidden file in the same directory, are forced to the disk, and then renamed
    over `path`. If the block fails, or the machine stops, the old file is untouched.

    Errors: RunError when the directory cannot be written or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise RunError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is "
            "unchanged: make room or choose another directory, and try again"
        ) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


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


def sync_directory(directory: Path) -> None:
    """Force a directory's entries to the disk; without it a power cut can undo a rename."""
    if os.name != "posix":  # Windows cannot open a directory
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
