"""`cellwright cache`: the machine code that is kept on disk between runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellwright.cli import flags
from cellwright.cli.quantities import count
from cellwright.cli.terminal import console

if TYPE_CHECKING:
    from cellwright.runtime.cache import Cleared, Holding

EXAMPLES = """
cellwright cache
cellwright cache --json
cellwright cache --clear
"""

Clear = Annotated[
    bool, typer.Option("--clear", help="remove the code; it is made again when it is next wanted")
]


def cache(clear: Clear = False, as_json: flags.Json = False) -> None:
    """Show the machine code kept for the layers that have run here, or remove it."""
    from cellwright.runtime import cache as kept

    found = kept.clear() if clear else kept.survey()
    text = cleared(found) if isinstance(found, kept.Cleared) else held(found)
    if as_json:
        text = json.dumps(asdict(found), indent=2, default=_path)
    console().file.write(text + "\n")


def held(found: "Holding") -> str:
    """What lies in the cache, as text."""
    if found.folder is None:
        return "no cache: there is no home folder; CELLWRIGHT_CACHE names one for it"
    lines = [str(found.folder), f"{entries(found.entries)}, {size(found.size)}"]
    if found.damaged:
        lines.append(f"{entries(found.damaged)} damaged: made again when next wanted")
    if found.outdated:
        lines.append(f"{entries(found.outdated)} of an earlier version: --clear removes them too")
    if not found.writable:
        lines.append("it cannot be written, so every process makes its code anew")
    if found.unfinished:
        lines.append(f"{entries(found.unfinished)} being written, or left unfinished")
    return "\n".join(lines)


def cleared(found: "Cleared") -> str:
    """What was removed, as text."""
    if not found.entries:
        return f"{found.folder or 'no cache'}: nothing to remove"
    return f"{found.folder}: removed {entries(found.entries)}, {size(found.size)} freed"


def entries(number: int) -> str:
    """1 -> '1 entry', 1234 -> '1,234 entries'."""
    return f"{count(number)} {'entry' if number == 1 else 'entries'}"


def size(number: int) -> str:
    """Bytes as a person reads them: 999 -> '999 B', 1234567 -> '1.2 MB'."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"


def _path(value: object) -> str:
    assert isinstance(value, Path)  # the one field that JSON has no word for
    return str(value)
