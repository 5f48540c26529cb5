"""The texts of a run as token files: training, validation and test, under tokens/."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.corpus import (
    Passage,
    TokenFile,
    Windows,
    check_name,
    encode_files,
    read_check,
    split_tail,
    text_digest,
)
from cellwright.lm.errors import CorpusError, RunError
from cellwright.lm.evaluation import check_vocabulary
from cellwright.lm.storage import reason, replace_directory, settle_directory
from cellwright.lm.tokenizer import Tokenizer

PARTS = ("train", "valid", "test")


Passages = tuple[Path | Passage, ...]


@dataclass(frozen=True)
class Texts:
    """Token files made by one tokenizer; None for a text that the run does without."""

    tokenizer: Tokenizer
    train: TokenFile
    valid: TokenFile | None
    test: TokenFile | None

    @property
    def digests(self) -> dict[str, str]:
        """A checksum of each text, by the name of its part: what `text_digests` gives."""
        parts = {name: getattr(self, name) for name in PARTS}
        return {name: made.text_digest for name, made in parts.items() if made is not None}


def check_files(config: TrainConfig) -> None:
    """Read every text once; CorpusError for the first that cannot be used. Writes nothing."""
    if not config.files:
        raise ConfigError("files: expected at least one text file, got none")
    for name in _named(config):
        read_check(Path(name))


def check_names(config: TrainConfig) -> None:
    """CorpusError for the first text that is not there; nothing is read."""
    for name in _named(config):
        check_name(Path(name))


def _named(config: TrainConfig) -> list[str]:
    """All files that a training reads."""
    return [*config.files, *(n for n in (config.valid, config.test) if isinstance(n, str))]


def split_texts(config: TrainConfig) -> tuple[Passages, Passages]:
    """What is trained on and what is validated on; the second is empty if there is none."""
    train = tuple(Path(name) for name in config.files)
    if isinstance(config.valid, float):
        return split_tail(train, config.valid)
    return train, (Path(config.valid),) if isinstance(config.valid, str) else ()


def prepare_texts(config: TrainConfig, out: Path, on_warning: Callable[[str], None]) -> Texts:
    """Learn the vocabulary from the training text alone and encode the texts into `out`.

    CorpusError for a text that is too short for the batch or to be scored; VocabularyError if
    more than half of a text is unknown.
    """
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: cannot be made: {reason(error)}") from error
    parts = parts_of(config)
    tokenizer = Tokenizer.train(parts["train"], config.level, config.vocab)
    texts = _encoded(parts, tokenizer, out)
    _check(config, texts, on_warning)
    return texts


def parts_of(config: TrainConfig) -> dict[str, Passages]:
    """The passages of each part that the run has: train, valid, test."""
    train, valid = split_texts(config)
    test = (Path(config.test),) if config.test else ()
    parts = {"train": train, "valid": valid, "test": test}
    return {name: passages for name, passages in parts.items() if passages}


def text_digests(config: TrainConfig, tokenizer: Tokenizer) -> dict[str, str]:
    """A checksum of each text as it is now; CorpusError for one that cannot be read."""
    return {name: text_digest(files, tokenizer) for name, files in parts_of(config).items()}


def _encoded(parts: Mapping[str, Passages], tokenizer: Tokenizer, out: Path) -> Texts:
    made = {
        name: encode_files(files, tokenizer, out / f"{name}.bin") for name, files in parts.items()
    }
    return Texts(tokenizer, made["train"], made.get("valid"), made.get("test"))


def _check(config: TrainConfig, texts: Texts, on_warning: Callable[[str], None]) -> None:
    Windows(texts.train.ids, config.batch, config.steps)  # long enough for the batch
    for name, text in (("validation", texts.valid), ("test", texts.test)):
        if text is None:
            continue
        if text.tokens < 2:
            raise CorpusError(
                f"{name} text: expected at least 2 tokens, got {text.tokens}; give more text"
            )
        if warning := check_vocabulary(text, f"{name} text"):
            on_warning(warning)


def open_texts(config: TrainConfig, run: Path, known: Mapping[str, str] | None = None) -> Texts:
    """The texts that `prepare_texts` made for the run in `run`; errors say what is damaged.

    Where the folder tokens/ is not there, it is made again from the texts, which must be the ones
    of the checksums `known` (None: a run that did not note them, taken at its word).
    """
    tokenizer = Tokenizer.load(run / "tokenizer.json")
    tokens = run / "tokens"
    try:
        settle_directory(tokens)
    except OSError as error:
        raise RunError(f"{tokens}: cannot be used: {reason(error)}") from error
    if not tokens.exists():
        _make_again(config, tokens, tokenizer, known)
    remedy = f"delete the folder {tokens} and go on: it is made again from the text"
    wanted = {"valid": config.valid is not None, "test": config.test is not None, "train": True}
    opened = {
        name: TokenFile.open(tokens / f"{name}.bin", tokenizer, remedy)
        for name in PARTS
        if wanted[name]
    }
    return Texts(tokenizer, opened["train"], opened.get("valid"), opened.get("test"))


def _make_again(
    config: TrainConfig, tokens: Path, tokenizer: Tokenizer, known: Mapping[str, str] | None
) -> None:
    """Encode the texts of a run into `tokens`, whole or not at all; RunError for other texts."""
    check_files(config)

    def fill(folder: Path) -> None:
        made = _encoded(parts_of(config), tokenizer, folder).digests
        changed = next((name for name in made if known and made[name] != known.get(name)), None)
        if changed is not None:
            raise RunError(
                f"{tokens}: cannot be made again: the {changed} text is not the one that the run "
                "was trained on; bring that one back, or train anew"
            )

    replace_directory(tokens, fill)
