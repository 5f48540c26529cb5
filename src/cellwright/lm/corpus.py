"""Texts of any size as token ids on disk, and the windows that training and scoring read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch

from cellwright.lm.atomic import replacing
from cellwright.lm.errors import CorpusError, RunError
from cellwright.lm.fields import Rule, one_of, read_fields, text, whole
from cellwright.lm.storage import read_json, write_json
from cellwright.lm.text import Passage, TextSize, as_passages, check_name, read_check, split_tail
from cellwright.lm.tokenizer import Tokenizer

__all__ = [
    "Passage",
    "TextSize",
    "TokenFile",
    "Windows",
    "check_name",
    "encode_files",
    "read_check",
    "split_tail",
    "text_digest",
]

FORMAT: Final = 2
OLD_FORMAT: Final = 1  # has no `ids_digest`
HASHED: Final = 1 << 20  # bytes read at a time
_DTYPES: Final = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class TokenFile:
    """A text as ids in a file, and what is known of the text.

    `characters` are code points, `bytes` the text's length in UTF-8, `unknown` how many ids are
    `<unk>`, `text_digest` a hash of the text, `tokenizer_digest` that of the tokenizer and
    `ids_digest` that of the file (None if it was made before this was noted). A line end that the
    word level supplied counts as a character, as it does as a token.
    """

    path: Path
    dtype: str
    tokens: int
    characters: int
    bytes: int
    unknown: int
    text_digest: str
    tokenizer_digest: str
    ids_digest: str | None = None

    @property
    def ids(self) -> np.memmap:
        """The ids, [tokens], mapped from the disk and read-only."""
        return np.memmap(self.path, dtype=_DTYPES[self.dtype], mode="r", shape=(self.tokens,))

    @staticmethod
    def open(
        path: Path, tokenizer: Tokenizer | None = None, remedy: str = "encode the text again"
    ) -> "TokenFile":
        """Open what `encode_files` wrote at `path`; with a tokenizer, check that it wrote the ids.

        The file is read once. CorpusError, which ends in the `remedy`, for a file that is missing,
        damaged, or another tokenizer's.
        """
        path = Path(path)
        try:
            opened = _opened(path)
            found, expected = path.stat().st_size, opened.tokens * _DTYPES[opened.dtype].itemsize
        except (OSError, RunError) as error:
            raise CorpusError(f"{path}: no usable token file here ({error}); {remedy}") from error
        fault = None
        if found != expected:
            fault = f"expected {expected} bytes of token ids, got {found}"
        elif tokenizer is not None and tokenizer.digest != opened.tokenizer_digest:
            fault = "its ids were made by another tokenizer"
        elif opened.ids_digest is not None and opened.ids_digest != _digest(path):
            fault = "damaged: its ids are not the ones that were written"
        elif tokenizer is not None and (largest := _largest(opened.ids)) >= tokenizer.size:
            fault = f"damaged: expected ids below {tokenizer.size}, got {largest}"
        if fault is not None:
            raise CorpusError(f"{path}: {fault}; {remedy}")
        return opened


_COUNT: Final = whole()
_FACTS: Final = {
    "format": Rule(lambda v: type(v) is int and v in (OLD_FORMAT, FORMAT), f"format {FORMAT}"),
    "dtype": one_of(*_DTYPES),
    "tokens": whole(1),
    "characters": _COUNT,
    "bytes": _COUNT,
    "unknown": _COUNT,
    "text_digest": text(),
    "tokenizer_digest": text(),
    "ids_digest": text(),
}


def _opened(path: Path) -> TokenFile:
    """What stands beside `path`; RunError if it is missing or damaged."""
    facts = read_json(_side(path))
    lacking = ("ids_digest",) if facts.get("format") == OLD_FORMAT else ()
    facts = read_fields(_side(path).name, facts, _FACTS, may_lack=lacking)
    del facts["format"]
    return TokenFile(path, **facts)


def _digest(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as file:
        while raw := file.read(HASHED):
            made.update(raw)
    return made.hexdigest()


def _largest(ids: np.ndarray) -> int:
    """The largest of `ids`, read a part at a time: a mapped file may be larger than memory."""
    parts = (ids[first : first + HASHED] for first in range(0, len(ids), HASHED))
    return max(int(part.max()) for part in parts)


def text_digest(files: Sequence[Path | Passage], tokenizer: Tokenizer) -> str:
    """The `text_digest` that `encode_files` would note, without encoding anything."""
    made = hashlib.sha256()
    for passage in as_passages(files):
        for piece in tokenizer.pieces(passage):
            made.update(piece.encode())
    return made.hexdigest()


def encode_files(files: Sequence[Path | Passage], tokenizer: Tokenizer, out: Path) -> TokenFile:
    """Write the ids of texts, one after another, to `out` (and what is known of them beside it).

    The text is read as a stream and never held. Ids take two bytes, or four when the vocabulary
    is larger than 65536. Facts go to `out` with the suffix `.json`, last: it marks a whole file.

    Errors: CorpusError for a file that is not text or gives no tokens; RunError for a full disk.
    """
    out, passages = Path(out), as_passages(files)
    name = "uint16" if tokenizer.size <= 1 << 16 else "uint32"
    tokens = characters = size = unknown = 0
    text_hash, ids_hash = hashlib.sha256(), hashlib.sha256()
    with replacing(out) as file:
        for piece in (piece for passage in passages for piece in tokenizer.pieces(passage)):
            raw = piece.encode()
            text_hash.update(raw)
            ids = np.asarray(tokenizer.encode(piece), dtype=_DTYPES[name])
            file.write(ids.tobytes())
            ids_hash.update(ids.tobytes())
            tokens += len(ids)
            characters += len(piece)
            size += len(raw)
            if tokenizer.unknown_id is not None:
                unknown += int(np.count_nonzero(ids == tokenizer.unknown_id))
        if tokens == 0:
            named = ", ".join(str(p.path) for p in passages) or "no files"
            raise CorpusError(f"{named}: no tokens in this text; give a longer one")
        _side(out).unlink(missing_ok=True)  # never the facts of one text beside another's ids
    counts = (tokens, characters, size, unknown)
    digests = (text_hash.hexdigest(), tokenizer.digest, ids_hash.hexdigest())
    made = TokenFile(out, name, *counts, *digests)
    _write_facts(made)
    return made


def _write_facts(made: TokenFile) -> None:
    facts = {key: value for key, value in vars(made).items() if key != "path"}
    write_json(_side(made.path), {"format": FORMAT, **facts})


def _side(path: Path) -> Path:
    return path.with_suffix(".json")


@final
class Windows:
    """A token sequence as `batch` parallel streams, read in windows of `steps` tokens.

    With n = (tokens - 1) // batch, stream b reads the tokens b n .. b n + n - 1 and predicts
    b n + 1 .. b n + n, so the last token a stream predicts is the first that the next one reads.
    Every token but the text's first is therefore predicted exactly once, the last, shorter window
    included; only the (tokens - 1) mod batch tokens at the very end, fewer than a batch, are left
    out (`dropped`). With batch=1 nothing is: score a text that way. The state of one window's end
    is the start of the next in the same row.
    """

    def __init__(self, ids: np.ndarray, batch: int, steps: int) -> None:
        """`ids`: [tokens] of any integer type, a memory map too.

        Errors: CorpusError when a stream would have fewer than two tokens.
        """
        if batch < 1 or steps < 1:
            raise CorpusError(
                f"windows: batch and steps must be at least 1, got batch {batch}, steps {steps}"
            )
        if len(ids) < 2 * batch:
            raise CorpusError(
                f"windows: a batch of {batch} needs at least {2 * batch} tokens, the text has "
                f"{len(ids)}; " + _remedy(len(ids))
            )
        self.ids: Final = ids
        self.batch: Final = batch
        self.steps: Final = steps
        self.length: Final = (len(ids) - 1) // batch

    def __len__(self) -> int:
        """How many windows one pass takes."""
        return -(-self.length // self.steps)

    @property
    def scored(self) -> int:
        """How many tokens one pass predicts."""
        return self.length * self.batch

    @property
    def dropped(self) -> int:
        """How many tokens at the end no stream predicts; fewer than `batch`."""
        return len(self.ids) - 1 - self.scored

    def window(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The window's inputs and targets, int64 [B, T] each; the last may have a smaller T."""
        if not 0 <= index < len(self):
            raise IndexError(f"window: expected 0 to {len(self) - 1}, got {index}")
        first = index * self.steps
        return self.between(first, min(first + self.steps, self.length))

    def between(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, int64 [B, T] each, of the streams' places `first` to `last` - 1."""
        rows = [
            self.ids[b * self.length + first : b * self.length + last + 1]
            for b in range(self.batch)
        ]
        block = torch.from_numpy(np.stack(rows).astype(np.int64))  # [B, T + 1]
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()

    def from_window(self, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Windows `start`, `start` + 1, ... to the end of the pass: how a run resumes."""
        return (self.window(index) for index in range(start, len(self)))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self.from_window(0)


def _remedy(tokens: int) -> str:
    if tokens < 2:
        return "give more text"
    return f"lower the batch to {tokens // 2} or less (--batch), or give more text"
