"""Files that appear whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write in the place of `path`; it takes that place only when the block ends.

    The bytes go to a hidden file in the same directory, are forced to the disk, and then renamed
    over `path`. If the block fails, or the machine stops, the old file is untouched. Raises OSError
    where the directory cannot be written or the disk is full.
    """
    draft = path.with_name(f".{path.name[:80]}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Force a directory's entries to the disk; without it a power cut can undo a rename."""
    if os.name != "posix":  # Windows cannot open a directory
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
