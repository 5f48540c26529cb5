"""Cache: machine code kept on disk between runs, in entries that say whether they are whole.

An entry is a file `<64 hex digits>.o`: a header of our own, a digest, the code. It is written
beside its place and moved there in one go, so a reader sees all of it or nothing, however many
processes write. Losing one costs a fraction of a second; nothing here needs to survive a crash.
"""

import functools
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellwright.language.errors import CellwrightError

FAMILY = b"cellwright-object-"  # as every entry begins, of whatever version
MAGIC = FAMILY + b"3\n"
DIGEST = 32  # bytes
ENTRY = re.compile(r"[0-9a-f]{64}\.o")
UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.\w+\.tmp")
MEND = "set CELLWRIGHT_CACHE to a folder, or unset it for the one in the user's cache folder"
ABANDONED = 3600  # seconds after which an unfinished entry has no writer any more


class CacheError(CellwrightError):
    """What CELLWRIGHT_CACHE names cannot be a folder."""


def folder() -> Path | None:
    """Return where machine code is kept: `CELLWRIGHT_CACHE`, or the user's cache folder.

    None where there is neither: a user without a home, in a container for example.
    """
    given = os.environ.get("CELLWRIGHT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if given:
            return Path(given).expanduser()
        # A relative XDG_CACHE_HOME is to be ignored, says the rule that it comes from.
        return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "cellwright"
    except RuntimeError:
        return None


def entry(key: str) -> Path | None:
    """Return the place of a key of 64 hexadecimal digits, None where there is no cache."""
    place = folder()
    return None if place is None else place / f"{key}.o"


def read(place: Path | None) -> bytes | None:
    """Return an entry's code, or None where there is none or it is damaged."""
    try:
        data = b"" if place is None else place.read_bytes()
    except OSError:
        return None
    body = data.removeprefix(MAGIC)
    digest, code = body[:DIGEST], body[DIGEST:]
    whole = place is not None and len(body) < len(data) and _digest(place, code) == digest
    return code if whole else None


def write(place: Path | None, code: bytes) -> None:
    """Keep code for the next run; where that cannot be, say so once and go on without."""
    if place is None:
        _say_once("the user's home", "there is none")
        return
    unfinished = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=place.parent, prefix=f".{place.stem}.", suffix=".tmp", delete=False
        ) as file:
            unfinished = Path(file.name)
            file.write(MAGIC + _digest(place, code) + code)
        unfinished.replace(place)
    except OSError as error:
        if unfinished is not None:
            _remove(unfinished)
        if read(place) is None:  # else another process has been quicker
            _say_once(str(place.parent), error.strerror or str(error))


def _digest(place: Path, code: bytes) -> bytes:
    """Hash an entry's code with its name: whole code under the name of other code is damage."""
    return hashlib.sha256(place.stem.encode() + code).digest()


@functools.cache
def _say_once(where: str, reason: str) -> None:
    logging.getLogger("cellwright").warning(
        "machine code cannot be kept in %s (%s), so every process makes it anew; "
        "set CELLWRIGHT_CACHE to a folder that can be written",
        where,
        reason,
    )


@dataclass(frozen=True)
class Holding:
    """What lies in the cache; `size` in bytes counts all of it, also what is damaged.

    `damaged` entries are made again when they are next wanted; `outdated` ones are of an earlier
    Cellwright, which no one will want. `unfinished` ones are being written now, or were left behind
    by a process that was ended. Nothing is kept in a folder that is not `writable`.
    """

    folder: Path | None
    entries: int
    size: int
    damaged: int
    outdated: int
    unfinished: int
    writable: bool


def survey() -> Holding:
    """Look through the cache. CacheError where it cannot be a folder, OSError where not read."""
    _checked()
    entries = damaged = outdated = unfinished = size = 0
    for path in _ours():
        try:
            size += path.stat().st_size
        except OSError:
            continue  # another process has removed it
        if path.suffix == ".tmp":
            unfinished += 1
        else:
            entries += 1
            old = _is_outdated(path)
            outdated += old
            damaged += not old and read(path) is None
    place = folder()
    return Holding(place, entries, size, damaged, outdated, unfinished, _can_be_written(place))


@dataclass(frozen=True)
class Cleared:
    """What `clear` removed, and how many bytes that freed."""

    folder: Path | None
    entries: int
    size: int


def clear() -> Cleared:
    """Remove our entries, and no other file. OSError where one of them cannot be removed.

    CacheError where the cache cannot be a folder. Code that a process has loaded stays loaded; an
    entry that is being written stays.
    """
    _checked()
    entries = size = 0
    for path in _ours():
        try:
            status = path.stat()
            if path.suffix == ".tmp" and time.time() - status.st_mtime < ABANDONED:
                continue
            path.unlink()
        except FileNotFoundError:
            continue  # another process was quicker
        entries += 1
        size += status.st_size
    return Cleared(folder(), entries, size)


def _ours() -> Iterator[Path]:
    """Find the files that are ours by name and by header: the folder may hold others."""
    place = folder()
    if place is None or not place.is_dir():
        return
    with os.scandir(place) as found:
        names = sorted(
            item.name
            for item in found
            if (ENTRY.fullmatch(item.name) or UNFINISHED.fullmatch(item.name))
            and item.is_file(follow_symlinks=False)
        )
    for name in names:
        head = _head(place / name, len(FAMILY))
        if head is not None and FAMILY.startswith(head):  # one cut short may hold a part of it
            yield place / name


def _is_outdated(path: Path) -> bool:
    """Tell whether a file is an entry of another version, as its header says."""
    head = _head(path, len(MAGIC)) or b""
    return head.startswith(FAMILY) and head.endswith(b"\n") and head != MAGIC


def _head(path: Path, length: int) -> bytes | None:
    """Return the first bytes of a file, None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(length)
    except OSError:
        return None


def _checked() -> None:
    """Raise CacheError where the environment names what is, or leads through, no folder."""
    given, place = os.environ.get("CELLWRIGHT_CACHE"), folder()
    if given and place is None:
        raise CacheError(f"CELLWRIGHT_CACHE: {given!r} names a home that there is not; {MEND}")
    for path in [] if place is None else [place, *place.parents]:
        if path.exists() and not path.is_dir():
            raise CacheError(f"{path}: expected a folder for machine code, got a file; {MEND}")


def _can_be_written(place: Path | None) -> bool:
    """Tell whether entries can be made in a folder, or the folder itself where it is to come."""
    if place is None:
        return False
    there = next((path for path in (place, *place.parents) if path.exists()), place)
    return os.access(there, os.W_OK | os.X_OK)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # it cannot be removed where it could not be written
