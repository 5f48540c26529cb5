"""Files that a verb writes: where they may stand, and what they may replace."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from cellwright.cli.faults import UsageFault

PNG: Final = b"\x89PNG\r\n\x1a\n"
START: Final = 1024  # bytes of a file in which its kind is to be seen

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="replace the file of -o whatever it holds")
]


def check_place(out: Path, example: str) -> None:
    """UsageFault where no file can stand; `example` is a name for one in a directory."""
    if out.is_dir():
        raise UsageFault(f"-o: {out}: is a directory; name a file in it, such as {out / example}")
    if not out.parent.is_dir():
        raise UsageFault(f"-o: {out}: there is no directory {out.parent}; make it first")
    if out.exists() and not out.is_file():
        raise UsageFault(f"-o: {out}: is no regular file; name one that may be written to")


def check_ending(out: Path, form: str, endings: Mapping[str, tuple[str, ...]]) -> None:
    """UsageFault for an ending that says another form; `endings` are the forms that each says."""
    said = endings.get(out.suffix.lower())
    if said is not None and form not in said:
        own = next((ending for ending, forms in endings.items() if forms[:1] == (form,)), ".txt")
        raise UsageFault(
            f"-o: {out}: expected a name that ends in {own} for --as {form}, got {out.suffix!r}"
        )


def check_ours(out: Path, is_ours: Callable[[bytes], bool], kind: str) -> None:
    """UsageFault for a file that holds anything but `kind`; an empty one holds nothing."""
    if not out.exists():
        return
    try:
        held = out.read_bytes()
    except OSError as error:
        raise UsageFault(f"-o: {out}: cannot be read: {error.strerror or error}") from error
    if held and not is_ours(held):
        raise UsageFault(
            f"-o: {out}: holds something that is not {kind}; name another file, or give "
            "--overwrite to replace it"
        )


def is_png(held: bytes) -> bool:
    """Whether a file is a PNG of ours."""
    return held.startswith(PNG) and b"Software\0Cellwright" in held[:START]


def is_svg(held: bytes) -> bool:
    """Whether a file is a cell's diagram of ours."""
    return held.startswith(b"<svg ") and b'class="cellwright-' in held[:START]
