"""Text files read as a stream: checked as they are read, cut only where a tokenizer may cut."""

import codecs
import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cellwright.lm.errors import CorpusError

CHUNK_BYTES = 1 << 16
LONGEST_WORD = 1 << 22  # a longer run without a space is cut anyway, or memory would not be bounded
CUT_SEARCH = 1 << 16

# A word ends here, in the eyes of every tokenizer: the byte-level BPE's too.
_LAST_WORD_END = re.compile(r".*\S(?=[ \n])", re.DOTALL)
_ENCODING_HINT = "convert it first, for example with: iconv -f LATIN1 -t UTF-8"


@dataclass(frozen=True)
class Passage:
    """The bytes `begin` to `end` of a text file (`end=None`: to its last byte)."""

    path: Path
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True)
class TextSize:
    """How much text a file holds; `characters` are Unicode code points."""

    characters: int
    bytes: int


def read_check(path: Path, shortest: int = 2) -> TextSize:
    """Read a text once, keep nothing, and say how much there is.

    Errors: CorpusError for a file that is missing, a directory, empty, binary, not UTF-8 (with the
    offset of the first bad byte), or shorter than `shortest` characters.
    """
    characters = size = 0
    for piece in read_text(Passage(Path(path))):
        characters += len(piece)
        size += len(piece.encode())
    if characters < shortest:
        raise CorpusError(
            f"{path}: the text is too short: expected at least {shortest} characters, got "
            f"{characters}; give a longer text"
        )
    return TextSize(characters, size)


def as_passages(files: Sequence[Path | Passage]) -> tuple[Passage, ...]:
    """Whole files for paths; passages as they are."""
    return tuple(f if isinstance(f, Passage) else Passage(Path(f)) for f in files)


def read_text(passage: Passage) -> Iterator[str]:
    """Yield a passage in pieces of about 64 KiB; line ends are left as they are.

    A byte order mark at the start of a file is dropped: it marks the encoding and is not text.

    Errors: CorpusError as for `read_check`.
    """
    size = _length(passage.path)
    decoder = codecs.getincrementaldecoder("utf-8")()
    at, end = passage.begin, size if passage.end is None else passage.end
    with _opened(passage.path) as file:
        file.seek(at)
        while at < end:
            raw = _read(file, min(CHUNK_BYTES, end - at), passage.path)
            if not raw:
                raise CorpusError(
                    f"{passage.path}: ends at byte {at}, expected {end}: the file became shorter "
                    "while it was read; try again when nothing writes to it"
                )
            _refuse_binary(raw, at, passage.path)
            piece = _decoded(decoder, raw, at, at + len(raw) == end, passage.path)
            if at == 0:
                piece = piece.removeprefix("\ufeff")
            at += len(raw)
            if piece:
                yield piece


def read_words(passage: Passage, *, end_line: bool = False) -> Iterator[str]:
    """Yield a passage in pieces that end where a word ends, so tokenizing them one by one is exact.

    `end_line` adds the newline that the passage's last line may lack. A run of 4 Mi characters
    without a space is cut wherever it stands.
    """
    held: list[str] = []
    size, last = 0, ""
    for piece in read_text(passage):
        # what is held has no word end, but its last character may end a word now
        found = _LAST_WORD_END.match(last + piece)
        last, size = piece[-1], size + len(piece)
        held.append(piece)
        if found or size > LONGEST_WORD:
            text = "".join(held)
            cut = len(text) - len(found.string) + found.end() if found else len(text)
            yield text[:cut]
            held, size = [text[cut:]], len(text) - cut
    if end_line and last not in ("", "\n"):
        held.append("\n")
    if rest := "".join(held):
        yield rest


def split_tail(
    files: Sequence[Path | Passage], fraction: float
) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    """Cut the last `fraction` of the text (by bytes, all files taken as one) from the rest.

    The cut moves forward to the next line end, else to the next space, else to the next character;
    it never moves by more than half of the tail. Returns (head, tail).

    Errors: CorpusError for a fraction outside (0, 1) or a text too short to give both parts.
    """
    if not 0.0 < fraction < 1.0:
        raise CorpusError(
            f"validation fraction: expected a number between 0 and 1 (such as 0.1), got {fraction}"
        )
    passages = [_bounded(p) for p in as_passages(files)]
    total = sum(end - begin for _, begin, end in passages)
    tail = round(total * fraction)
    if not 0 < tail < total:
        raise CorpusError(
            f"{_names(passages)}: {total} bytes are too few to hold back a fraction of {fraction} "
            "for validation; give more text, a larger fraction or a validation file"
        )
    return _cut(passages, total - tail, tail // 2)


def _cut(
    passages: list[tuple[Path, int, int]], head: int, slack: int
) -> tuple[tuple[Passage, ...], tuple[Passage, ...]]:
    before: list[Passage] = []
    after: list[Passage] = []
    for path, begin, end in passages:
        at = begin + min(max(head, 0), end - begin)
        if begin < at < end:
            at = _good_cut(path, begin, at, min(end, at + slack))
            if at == begin and not before:  # the first character of all: the head needs it
                at = _next_character(path, at + 1)
        before += [Passage(path, begin, at)] if at > begin else []
        after += [Passage(path, at, end)] if at < end else []
        head -= end - begin
    if not before or not after:
        raise CorpusError(
            f"{_names(passages)}: the text is too short to be cut into training and validation; "
            "give more text or a validation file"
        )
    return tuple(before), tuple(after)


def _good_cut(path: Path, begin: int, at: int, latest: int) -> int:
    """After the next newline or space before `latest`, else before the character at `at`."""
    with _opened(path) as file:
        file.seek(at)
        ahead = file.read(min(CUT_SEARCH, latest - at))
    for mark in (b"\n", b" "):
        if (found := ahead.find(mark)) >= 0:
            return at + found + 1
    while at > begin and _inside_character(path, at):
        at -= 1
    return at


def _next_character(path: Path, at: int) -> int:
    while _inside_character(path, at):
        at += 1
    return at


def _inside_character(path: Path, at: int) -> bool:
    with _opened(path) as file:
        file.seek(at)
        return any(byte & 0xC0 == 0x80 for byte in file.read(1))  # a UTF-8 continuation


def _bounded(passage: Passage) -> tuple[Path, int, int]:
    size = _length(passage.path)
    return passage.path, passage.begin, size if passage.end is None else passage.end


def _names(passages: list[tuple[Path, int, int]]) -> str:
    return ", ".join(str(path) for path, _, _ in passages) or "no files"


def check_name(path: Path) -> None:
    """CorpusError for what cannot be the name of a text file, such as a whole text."""
    try:
        path.stat()
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; check the name") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error
        raise CorpusError(
            f"{str(path)!r:.40}...: {len(str(path))} characters are too many for the name of a "
            "file; if this is the text itself, save it in a file and name that"
        ) from None
    except ValueError:  # a NUL
        raise CorpusError(f"{str(path)!r:.60}: expected the name of a file") from None


def _length(path: Path) -> int:
    """Size in bytes of a file that can be read as text, as far as can be told without reading."""
    check_name(path)
    if path.is_dir():
        raise CorpusError(
            f"{path}: expected a text file, got a directory; name the files, such as {path}/*.txt"
        )
    if not path.is_file():
        raise CorpusError(
            f"{path}: expected a regular file, got a pipe or a device, which cannot be read twice; "
            "save the text in a file"
        )
    size = path.stat().st_size
    if size == 0:
        raise CorpusError(f"{path}: the file is empty; give a text")
    return size


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error


def _read(file: BinaryIO, size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise CorpusError(f"{path}: reading failed ({error.strerror})") from error


def _refuse_binary(raw: bytes, at: int, path: Path) -> None:
    if at == 0 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CorpusError(
            f"{path}: expected UTF-8 text, got UTF-16; convert it first: iconv -f UTF-16 -t UTF-8"
        )
    if (nul := raw.find(b"\0")) >= 0:
        raise CorpusError(
            f"{path}: expected text, got a NUL at byte {at + nul}: this looks like a binary file"
        )


def _decoded(
    decoder: codecs.IncrementalDecoder, raw: bytes, at: int, final: bool, path: Path
) -> str:
    held = len(decoder.getstate()[0])  # bytes of a character cut by the last chunk's border
    try:
        return decoder.decode(raw, final)
    except UnicodeDecodeError as error:
        offset = at - held + error.start
        raise CorpusError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at byte "
            f"{offset} ({error.reason}); {_ENCODING_HINT}"
        ) from error
