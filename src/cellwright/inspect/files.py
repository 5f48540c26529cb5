"""Pages in files: written whole or not at all, and never over what somebody may miss."""

from pathlib import Path

from cellwright.inspect.errors import InspectError
from cellwright.lm.atomic import replacing
from cellwright.web import is_page


def check_replaceable(out: Path) -> None:
    """Refuse to write over anything but a page of ours; call it before long work begins.

    Errors: InspectError if `out` is a directory, is in none, or holds something else.
    """
    if out.is_dir():
        raise InspectError(f"{out}: is a directory; name a file in it, such as {out / 'page.html'}")
    if not out.parent.is_dir():
        raise InspectError(
            f"{out}: could not be written: there is no directory {out.parent}; make it first"
        )
    if not out.exists():
        return
    if not out.is_file():
        raise InspectError(f"{out}: is no regular file; name one that a page may be written to")
    if not out.stat().st_size:
        return
    with out.open("rb") as file:
        if not is_page(file.read(1024)):
            raise InspectError(f"{out}: holds something that is not a page of ours; name another")


def put_page(out: Path, made: str) -> int:
    """Write a page into the file `out`, whole or not at all, and return its size in bytes.

    Errors: InspectError for a file that holds something else; RunError where it cannot be
    written.
    """
    check_replaceable(out)
    data = made.encode("utf-8", "replace")  # a path may hold what is no text
    with replacing(out) as file:
        file.write(data)
    return len(data)
