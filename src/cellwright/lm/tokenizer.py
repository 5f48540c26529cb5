"""Text to token ids and back, at the level of characters, words or byte pairs.

All three are Hugging Face `tokenizers` models, and a saved file is one of that library's own:

- `char`: each Unicode code point is a token, newlines too; what was never seen is `<unk>`.
- `word`: the convention of the Penn Treebank files. Words stand between white space, each line
  ends in `<eos>`, and `<unk>` written in the text is the unknown word.
- `bpe`: byte-level byte pair encoding. Any text can be encoded, and nothing is lost.
"""

import codecs
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from cellwright.language.errors import NOT_JSON
from cellwright.lm.atomic import replacing
from cellwright.lm.errors import VocabularyError
from cellwright.lm.fields import FROM_A_COPY
from cellwright.lm.text import Passage, as_passages, read_text, read_words

UNKNOWN: Final = "<unk>"
LINE_END: Final = "<eos>"
BPE_SIZE: Final = 8000
LEVELS: Final = ("char", "word", "bpe")

_SMALLEST: Final = {"char": 2, "word": 3, "bpe": 257}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Unicode's White_Space, as the library splits words; Python's own str.split has four more
_WORD: Final = re.compile(
    r"[^\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+", re.UNICODE
)


@final
class Tokenizer:
    """Token ids for a text and text for token ids; made by `train` or `load`."""

    def __init__(
        self, level: str, tokens: Sequence[str], merges: Sequence[tuple[str, str]] = ()
    ) -> None:
        """The tokenizer of a level with these tokens, by id; `merges` are for `bpe`, in order.

        Errors: VocabularyError for an unknown level, a token twice, or a basic token missing.
        """
        if level not in LEVELS:
            raise VocabularyError(f"level: expected {', '.join(LEVELS)}, got {level!r}")
        _check_vocabulary(level, tokens, merges)
        self.level: Final = level
        self._tokens: Final = tuple(tokens)
        self._merges: Final = tuple(merges)
        self._model: Final = _build(level, self._tokens, self._merges)

    @staticmethod
    def train(
        files: Sequence[Path | Passage], level: str, vocab_size: int | None = None
    ) -> "Tokenizer":
        """Learn a vocabulary from text files, read as a stream; the same text gives the same ids.

        `char` sorts by code point and `word` by count, then alphabetically; `<unk>` is 0. With a
        `vocab_size` (which counts `<unk>` and `<eos>`) the most frequent are kept. `bpe` learns
        8000 tokens unless told otherwise, fewer when the text has no more pairs to merge.

        Errors: VocabularyError for an unknown level or a size too small for it; CorpusError for a
        file that is not text.
        """
        if level not in LEVELS:
            raise VocabularyError(f"level: expected {', '.join(LEVELS)}, got {level!r}")
        if vocab_size is not None and vocab_size < _SMALLEST[level]:
            raise VocabularyError(
                f"vocabulary size: {level} needs at least {_SMALLEST[level]}, got {vocab_size}"
            )
        pieces = (piece for p in as_passages(files) for piece in _pieces(p, level))
        if level == "bpe":
            return Tokenizer(level, *_train_bpe(pieces, vocab_size or BPE_SIZE))
        if level == "char":
            return Tokenizer(level, _frequent_characters(pieces, vocab_size))
        return Tokenizer(level, _frequent_words(pieces, vocab_size))

    @staticmethod
    def load(path: Path) -> "Tokenizer":
        """Read a tokenizer that `save` wrote.

        Errors: VocabularyError for a file that is missing, damaged or not a tokenizer of ours.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise VocabularyError(f"{path}: no such tokenizer file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise VocabularyError(f"{path}: the tokenizer cannot be read ({error})") from error
        try:
            return Tokenizer.from_json(text)
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error

    @staticmethod
    def from_json(text: str) -> "Tokenizer":
        """The tokenizer that `to_json` described; only its level, tokens and merges are read.

        Errors: VocabularyError when the text does not describe one.
        """
        try:
            return Tokenizer(*_read(json.loads(text)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise VocabularyError(f"{NOT_JSON}: {error}; {FROM_A_COPY}") from error
        except ValueError as error:
            raise VocabularyError(f"not a tokenizer of ours ({error}); {FROM_A_COPY}") from error

    def to_json(self) -> str:
        """The tokenizer as one JSON document, in the format of the `tokenizers` library."""
        return self._model.to_str(pretty=True)

    def save(self, path: Path) -> None:
        """Write `to_json` to a file, whole or not at all."""
        with replacing(Path(path)) as file:
            file.write(self.to_json().encode())

    @property
    def size(self) -> int:
        """How many tokens there are, `<unk>` and `<eos>` included."""
        return len(self._tokens)

    @property
    def unknown_id(self) -> int | None:
        """The id of `<unk>`; None for `bpe`, which knows every text."""
        return None if self.level == "bpe" else 0

    @property
    def line_end_id(self) -> int | None:
        """The token that ends a line: `<eos>` of words, the newline of characters, if known."""
        name = LINE_END if self.level == "word" else "\n" if self.level == "char" else "\u010a"
        return self._model.token_to_id(name)

    @property
    def digest(self) -> str:
        """A hash of what decides the ids; equal digests encode alike."""
        facts = json.dumps([self.level, self._tokens, self._merges])
        return hashlib.sha256(facts.encode()).hexdigest()

    def token(self, token_id: int) -> str:
        """The token's own name, as the vocabulary has it (`bpe` shows a space as U+0120).

        Errors: VocabularyError for an id outside the vocabulary.
        """
        if not 0 <= token_id < len(self._tokens):
            raise VocabularyError(
                f"token id: expected 0 to {len(self._tokens) - 1}, got {token_id}; the model and "
                "the tokenizer do not belong together"
            )
        return self._tokens[token_id]

    def token_id(self, token: str) -> int | None:
        """The id of a token by its own name; None when the vocabulary lacks it."""
        return self._model.token_to_id(token)

    def pieces(self, passage: Passage) -> Iterator[str]:
        """A text file in pieces whose ids, joined, are the ids of the whole.

        `word` supplies the newline that the last line may lack, because every line ends in `<eos>`.

        Errors: CorpusError for a file that is not text.
        """
        return _pieces(passage, self.level)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; `word` gives `<eos>` only where the text has a newline.

        Errors: VocabularyError for text that no UTF-8 can hold (a lone surrogate).
        """
        if surrogate := _SURROGATE.search(text):
            raise VocabularyError(
                f"character {surrogate.start()} of the text is half of a surrogate pair, which is "
                "not valid Unicode; check how the text was decoded"
            )
        return self._model.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids: exact for `char` and `bpe`; `word` puts one space between words.

        Errors: VocabularyError for an id outside the vocabulary.
        """
        stream = self.decode_stream()
        return "".join([stream.feed(token_id) for token_id in ids]) + stream.finish()

    def decode_stream(self, prompt: Iterable[int] = ()) -> "DecodeStream":
        """A decoder for ids that arrive one by one; it goes on from `prompt`, which it omits."""
        stream = DecodeStream(self)
        for token_id in prompt:
            stream.feed(token_id)
        return stream


@final
class DecodeStream:
    """Text from token ids as they arrive: what can be printed already, and no more."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._space = ""

    def feed(self, token_id: int) -> str:
        """The text that this token completes; "" while a character waits for its other bytes."""
        token = self._tokenizer.token(token_id)
        if self._tokenizer.level == "char":
            return token
        if self._tokenizer.level == "bpe":
            return self._bytes.decode(bytes(_BYTE_OF[mark] for mark in token))
        if token == LINE_END:
            self._space = ""
            return "\n"
        text, self._space = self._space + token, " "
        return text

    def finish(self) -> str:
        """What is left: U+FFFD for a character whose last bytes never came, else ""."""
        return self._bytes.decode(b"", final=True)


def _pieces(passage: Passage, level: str) -> Iterator[str]:
    if level == "char":
        return read_text(passage)
    return read_words(passage, end_line=level == "word")


def _build(
    level: str, tokens: Sequence[str], merges: Sequence[tuple[str, str]]
) -> tokenizers.Tokenizer:
    vocabulary = {token: at for at, token in enumerate(tokens)}
    if level == "bpe":
        model = tokenizers.Tokenizer(models.BPE(vocabulary, list(merges)))
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = decoders.ByteLevel()
        return model
    model = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    if level == "char":
        model.pre_tokenizer = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")  # m: newlines too
        model.decoder = decoders.Fuse()
    else:
        model.normalizer = normalizers.Replace("\n", f" {LINE_END} ")
        model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return model


def _train_bpe(pieces: Iterator[str], size: int) -> tuple[list[str], list[tuple[str, str]]]:
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=sorted(_BYTE_OF),
    )
    model.train_from_iterator(pieces, trainer)
    _, tokens, merges = _read(json.loads(model.to_str()))
    return tokens, merges


def _frequent_characters(pieces: Iterator[str], size: int | None) -> list[str]:
    kept = _most_frequent(pieces, None if size is None else size - 1)
    return [UNKNOWN, *sorted(kept)]


def _frequent_words(pieces: Iterator[str], size: int | None) -> list[str]:
    words = (_WORD.findall(piece) for piece in pieces)
    kept = _most_frequent(words, None if size is None else size - 2, (UNKNOWN, LINE_END))
    return [UNKNOWN, LINE_END, *kept]


def _most_frequent(
    groups: Iterable[Iterable[str]], size: int | None, besides: tuple[str, ...] = ()
) -> list[str]:
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group)
    for token in besides:
        counts.pop(token, None)
    return sorted(counts, key=lambda token: (-counts[token], token))[:size]


def _byte_marks() -> dict[str, int]:
    """The printable character by which byte-level BPE names each byte (GPT-2's table).

    Printable Latin-1 bytes stand for themselves; the others take the code points from 256 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    marks = {chr(byte): byte for byte in printable}
    return marks | {chr(256 + k): byte for k, byte in enumerate(others)}


_BYTE_OF: Final[Mapping[str, int]] = _byte_marks()
_LEVEL_OF: Final[Mapping[tuple[str, str], str]] = {
    ("WordLevel", "Split"): "char",
    ("WordLevel", "WhitespaceSplit"): "word",
    ("BPE", "ByteLevel"): "bpe",
}


def _read(described: Any) -> tuple[str, list[str], list[tuple[str, str]]]:
    """Level, tokens in the order of their ids, and merges of a tokenizer's JSON."""
    try:
        model = described["model"]
        kind = str(model["type"]), str(described["pre_tokenizer"]["type"])
        ids = dict(model["vocab"])
        merges = [(str(left), str(right)) for left, right in model.get("merges", ())]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VocabularyError(
            "not a tokenizer, or a damaged one: expected `model` with `type` and `vocab`, and "
            "`pre_tokenizer` with `type`"
        ) from error
    if kind not in _LEVEL_OF:
        raise VocabularyError(f"not a tokenizer that Cellwright makes: {kind[0]} with {kind[1]}")
    by_id = {at: token for token, at in ids.items() if type(at) is int}
    if sorted(by_id) != list(range(len(ids))):
        raise VocabularyError(
            f"damaged vocabulary: expected the ids 0 to {len(ids) - 1}, each once"
        )
    return _LEVEL_OF[kind], [by_id[at] for at in range(len(ids))], merges


def _check_vocabulary(level: str, tokens: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
    known = set(tokens)
    basic = [UNKNOWN, LINE_END] if level == "word" else [UNKNOWN]
    problem = None
    if len(known) != len(tokens):
        problem = "a token stands in it twice"
    elif level == "bpe":
        if not (known >= set(_BYTE_OF) >= {mark for token in tokens for mark in token}):
            problem = "expected a token for each byte, and no other characters"
        elif not all({a, b, a + b} <= known for a, b in merges):
            problem = "a merge has parts or a result that are no tokens"
    elif [*tokens[:2]][: len(basic)] != basic:
        problem = f"a {level} tokenizer lacks its basic tokens"
    elif level == "char" and not all(len(token) == 1 for token in tokens[1:]):
        problem = "a char token is longer than one character"
    if problem or any(_SURROGATE.search(token) for token in tokens):
        raise VocabularyError(f"damaged vocabulary: {problem or 'a token is not valid Unicode'}")
