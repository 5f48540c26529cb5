"""Where a run goes when nobody said, and the commands to go on with it."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

RUNS = Path("runs")


def free_run(*words: str) -> Path:
    """A directory under runs/ that does not exist: runs/book-lstm, runs/book-lstm-2, ..."""
    name = "-".join(filter(None, (re.sub(r"[^\w.]+", "-", word).strip("-.") for word in words)))
    return free(RUNS / (name or "run"))


def free(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that is not there or is an empty directory."""
    return next(candidate for candidate in _numbered(path) if _is_free(candidate))


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1


def _is_free(path: Path) -> bool:
    if not path.exists():
        return not path.is_symlink()
    return path.is_dir() and not any(path.iterdir())


def quoted(*words: object) -> str:
    """A command as one could paste it into a shell."""
    return shlex.join(str(word) for word in words)
