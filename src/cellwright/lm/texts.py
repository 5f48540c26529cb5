"""The texts of a run as token files: training, validation and test, under tokens/."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.corpus import Passage, TokenFile, Windows, encode_files, read_check, split_tail
from cellwright.lm.errors import CorpusError, RunError
from cellwright.lm.evaluation import check_vocabulary
from cellwright.lm.storage import reason
from cellwright.lm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Texts:
    """Token files made by one tokenizer; None for a text that the run does without."""

    tokenizer: Tokenizer
    train: TokenFile
    valid: TokenFile | None
    test: TokenFile | None


def check_files(config: TrainConfig) -> None:
    """Read every text once; CorpusError for the first that cannot be used. Writes nothing."""
    if not config.files:
        raise ConfigError("files: expected at least one text file, got none")
    named = [name for name in (config.valid, config.test) if isinstance(name, str)]
    for name in (*config.files, *named):
        read_check(Path(name))


def split_texts(config: TrainConfig) -> tuple[tuple[Path | Passage, ...], ...]:
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
    train, valid = split_texts(config)
    tokenizer = Tokenizer.train(train, config.level, config.vocab)
    texts = Texts(
        tokenizer,
        encode_files(train, tokenizer, out / "train.bin"),
        encode_files(valid, tokenizer, out / "valid.bin") if valid else None,
        encode_files((Path(config.test),), tokenizer, out / "test.bin") if config.test else None,
    )
    _check(config, texts, on_warning)
    return texts


def _check(config: TrainConfig, texts: Texts, on_warning: Callable[[str], None]) -> None:
    Windows(texts.train.ids, config.batch, config.steps)  # long enough for the batch
    for name, text in (("validation", texts.valid), ("test", texts.test)):
        if text is None:
            continue
        if text.tokens < 2:
            raise CorpusError(f"{name} text: expected at least 2 tokens, got {text.tokens}")
        if warning := check_vocabulary(text, f"{name} text"):
            on_warning(warning)


def open_texts(config: TrainConfig, run: Path) -> Texts:
    """The texts that `prepare_texts` made for the run in `run`; errors say what is damaged."""
    tokenizer = Tokenizer.load(run / "tokenizer.json")
    tokens = run / "tokens"
    return Texts(
        tokenizer,
        TokenFile.open(tokens / "train.bin", tokenizer),
        TokenFile.open(tokens / "valid.bin", tokenizer) if config.valid is not None else None,
        TokenFile.open(tokens / "test.bin", tokenizer) if config.test is not None else None,
    )
