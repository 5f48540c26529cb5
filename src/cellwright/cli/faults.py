"""What went wrong, in one line for the person who can put it right, and the exit code."""

import contextlib
import errno
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields

from cellwright.language.errors import CellwrightError, SettingError

USER = 2  # the exit code of everything a user can put right
INTERNAL = 1
INTERRUPTED = 130
BROKEN_PIPE = 141


class UsageFault(CellwrightError):
    """Flags or arguments that are missing or contradict each other."""


_HINTS = {
    errno.ENOSPC: "the disk is full; make room and try again",
    errno.EDQUOT: "the disk quota is used up; make room and try again",
    errno.EACCES: "permission denied; choose a place you may read and write",
    errno.EPERM: "not permitted; choose a place you may read and write",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOENT: "no such file or directory",
    errno.EISDIR: "this is a directory; a file is expected",
    errno.ENOTDIR: "a part of this path is a file, not a directory",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}
# Flags that are not called as their field is.
FLAG_OF = {"proj_size": "proj"}
# What a ConfigError may name besides the fields of TrainConfig.
_MORE_FLAGS = {"recipe", "budget", "equal", "seeds", "cells", "rates", "patience"}
_MORE_FLAGS |= {"shapes", "dtype", "repeats"}
_MORE_FLAGS |= {"prompt", "length", "temperature", "top_k", "top_p"}
LONGEST = 1000  # characters of a line
_ALLOCATION = re.compile(
    r"can't allocate memory: you tried to allocate (\d+) bytes|out of memory|Storage size calc"
    r"|storage size|numel: integer multiplication overflow",
    re.IGNORECASE,
)


def guard(call: Callable[[], object], argv: Sequence[str]) -> int:
    """Run a verb; turn whatever it raises into an exit code, and one line where that helps."""
    try:
        code = call()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except KeyboardInterrupt:
        _put("")
        return INTERRUPTED
    except BrokenPipeError:
        return close_pipe()
    except Exception as error:  # noqa: BLE001 the last floor: nothing above us would report it
        return _report(error, argv)


def describe(error: BaseException, argv: Sequence[str] = ()) -> str | None:
    """One line that says what a user can do about `error`; None for a defect of ours.

    `argv`, what was typed, tells the value that a message of typer's may leave out.
    """
    text: str | None = None
    if isinstance(error, CellwrightError):
        text = _with_flags(error)
    elif hasattr(error, "format_message"):  # typer's usage errors, in every version of it
        text = _with_value(error, error.format_message(), argv)  # type: ignore[attr-defined]
    elif isinstance(error, OSError):
        text = _os_error(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory; make --hidden, --batch or --steps smaller"
    elif isinstance(error, RuntimeError):
        text = _allocation(error)
    return None if text is None else _shortened(" ".join(text.split()))


def _report(error: Exception, argv: Sequence[str]) -> int:
    if os.environ.get("CELLWRIGHT_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    line = describe(error, argv)
    if line == "":  # a group of verbs was named alone: its help is there, and says it all
        return USER
    if line is not None:
        _put(f"{_command(error, argv)}: {line}")
        return USER
    if os.environ.get("CELLWRIGHT_DEBUG", "0") in ("", "0"):
        traceback.print_exception(error)
    _put(
        f"{_command(error, argv)}: a defect of Cellwright, not of your input; please report the "
        "lines above together with the command"
    )
    return INTERNAL


def _command(error: BaseException, argv: Sequence[str]) -> str:
    """'cellwright VERB', as far as the verb is known."""
    path = getattr(getattr(error, "ctx", None), "command_path", None)
    if isinstance(path, str):
        return path
    verb = next((word for word in argv if not word.startswith("-")), "")
    return f"cellwright {verb}" if verb.isidentifier() else "cellwright"


def _shortened(line: str) -> str:
    """A line without its middle where somebody gave a whole text for a name."""
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST // 2]} [...] {line[-LONGEST // 2 :]}"


def _with_value(error: BaseException, text: str, argv: Sequence[str]) -> str:
    """Typer's message with the value that was typed, which some of its versions leave out."""
    names = {*getattr(getattr(error, "param", None), "opts", ())}
    for word, following in itertools.zip_longest(argv, argv[1:]):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name in names and value is not None and f"'{value}'" not in text:
            return f"{text.rstrip('.')}; got {value!r:.60}"
    return text


def _with_flags(error: CellwrightError) -> str:
    """A setting's error names fields; a user typed flags: 'lr_decay: ...' -> '--lr-decay: ...'."""
    from cellwright.lm.config import ConfigError, TrainConfig
    from cellwright.lm.fields import OR_NULL

    text = str(error)
    if not isinstance(error, ConfigError | SettingError):
        return text
    head, colon, rest = text.partition(": ")
    names = head.split(", ")
    flags = {f.name for f in fields(TrainConfig)} - {"files"} | _MORE_FLAGS
    if not colon or not {*names} <= flags:
        return text
    # nobody can type null: a flag is left out
    return ", ".join(map(flag_of, names)) + ": " + rest.replace(OR_NULL + ", got", ", got")


def flag_of(field: str) -> str:
    """The flag that sets a field: 'lr_decay' -> '--lr-decay'."""
    return "--" + FLAG_OF.get(field, field).replace("_", "-")


def _os_error(error: OSError) -> str:
    reason = _HINTS.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
    names = [
        os.fsdecode(n) for n in (error.filename, error.filename2) if isinstance(n, str | bytes)
    ]
    return f"{names[0]}: {reason}" if names else reason


def _allocation(error: RuntimeError) -> str | None:
    found = _ALLOCATION.search(str(error))
    if found is None:
        return None
    size = f" for one tensor of {int(found[1]) / 1e9:,.1f} GB" if found[1] else ""
    return f"not enough memory{size}; make --hidden, --vocab, --batch or --steps smaller"


def _put(line: str) -> None:
    """Write to standard error, which may be closed as well."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def close_pipe() -> int:
    """Point standard output at nothing, so that the last flush at exit does not complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
