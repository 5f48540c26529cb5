"""One process at a time in a run directory: a lock that dies with its holder."""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cellwright.lm.errors import RunError
from cellwright.lm.storage import reason

LOCK = "run.lock"


def acquire(path: Path) -> BinaryIO:
    """Open and lock the lock file; the lock goes when the file is closed or the process dies."""
    try:
        lock = _opened(path)
        while not _is_there(path, lock):  # its last holder removed it while we waited
            lock.close()
            lock = _opened(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {reason(error)}") from error
    with suppress(OSError):  # a full disk: the number only helps the message below
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
    return lock


def remove(path: Path, lock: BinaryIO) -> None:
    """Give up a lock and take its file away, for a run that never began."""
    if os.name == "nt":  # an open file cannot be removed there, not even one that others hold
        lock.close()
    with suppress(OSError):
        (path / LOCK).unlink()
    lock.close()


def _opened(path: Path) -> BinaryIO:
    """The lock file, locked; RunError if another process holds it."""
    lock = (path / LOCK).open("a+b", buffering=0)
    try:
        _lock_file(lock)
    except OSError:
        lock.seek(0)
        holder = lock.read(20).decode("ascii", "replace").strip() or "unknown"
        lock.close()
        raise RunError(
            f"{path}: another training (process {holder}) is writing here; wait for its end, stop "
            "it, or choose another directory"
        ) from None
    return lock


def _is_there(path: Path, lock: BinaryIO) -> bool:
    """Whether the locked file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (path / LOCK).stat())
    except FileNotFoundError:
        return False


def _lock_file(lock: BinaryIO) -> None:
    """Take the lock or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        lock.seek(1 << 20)  # Windows locks a range of bytes: one that nobody reads
        msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
