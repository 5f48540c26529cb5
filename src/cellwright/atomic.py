"""Files that appear whole or not at all."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write in the place of `path`; it takes that place only when the block ends.

    The bytes go to a hidden file in the same directory, are forced to the disk, and then renamed
    over `path`. If the block fails, or the machine stops, the old file is untouched. A link stays
    one, the file that it leads to is replaced; permissions stay. Raises OSError where the directory
    cannot be written, the disk is full, or there is something that is no regular file.
    """
    place = Path(os.path.realpath(path))
    mode = _mode(place)
    draft = place.with_name(f".{place.name[:40]}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            if mode is not None:
                draft.chmod(mode)
            os.fsync(file.fileno())
        draft.replace(place)
        sync_directory(place.parent)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _mode(place: Path) -> int | None:
    """The permissions of a file that is there; OSError if it is a device, a pipe or the like."""
    try:
        found = place.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):
        raise OSError(errno.EINVAL, "it is no regular file")
    return stat.S_IMODE(found)


def sync_directory(directory: Path) -> None:
    """Force a directory's entries to the disk; without it a power cut can undo a rename."""
    if os.name != "posix":  # Windows cannot open a directory
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
