"""The loss of a model on a text: every token is scored."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from cellwright.lm.corpus import Passage, TokenFile, Windows, encode_files
from cellwright.lm.errors import CorpusError, VocabularyError
from cellwright.lm.model import LanguageModel

CALL_TOKENS = 2048  # scored in one call: bounds the memory, does not change the result


@dataclass(frozen=True)
class Evaluation:
    """How well a model predicts a text.

    nats           mean of -ln p over the scored tokens
    perplexity     exp(nats), for each token
    bits_per_character   all bits, over the characters that the scored tokens stand for
    tokens, scored       in the text; predicted (all but the first, which has nothing before it)
    characters, unknown  code points in the text; tokens outside the vocabulary
    """

    nats: float
    perplexity: float
    bits_per_character: float
    tokens: int
    scored: int
    characters: int
    unknown: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        return dataclasses.asdict(self)


def evaluate(
    model: LanguageModel,
    files: Sequence[Path | Passage],
    *,
    on_warning: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score text files, one after another, as one text read from zero states.

    Every token but the first is predicted from all that stand before it. `on_warning` hears of
    tokens that are not in the vocabulary: they are scored as `<unk>`, which makes the bits per
    character too good. VocabularyError if more than half are unknown, CorpusError for bad files.
    """
    if model.tokenizer is None:
        raise VocabularyError("this model has no tokenizer: it cannot read text")
    with tempfile.TemporaryDirectory(prefix="cellwright-") as directory:
        text = encode_files(files, model.tokenizer, Path(directory) / "text.bin")
        named = ", ".join(str(getattr(file, "path", file)) for file in files)
        if text.tokens < 2:
            raise CorpusError(f"{named}: expected at least 2 tokens, got 1; give a longer text")
        if warning := check_vocabulary(text, named):
            (on_warning or (lambda _: None))(warning)
        return evaluate_tokens(model, text)


def check_vocabulary(text: TokenFile, named: str) -> str | None:
    """A warning if some tokens of `text` are unknown; VocabularyError if more than half are."""
    if text.unknown == 0:
        return None
    share = f"{named}: {text.unknown} of {text.tokens} tokens are not in the model's vocabulary"
    if 2 * text.unknown > text.tokens:
        raise VocabularyError(
            f"{share}; this text is not of the kind that the model was trained on"
        )
    return f"{share}; they are scored as <unk>"


def evaluate_tokens(model: LanguageModel, text: TokenFile, streams: int = 1) -> Evaluation:
    """Score a token file, as `streams` parallel texts that each start from zero states.

    More streams take less time. The tokens beyond the last full row, fewer than `streams`, are
    then left out, and the start of each stream is predicted without what stands before it.
    """
    start = time.perf_counter()
    total, scored = score(model, text.ids, streams)
    # word and BPE tokens stand for the characters of the text in proportion
    characters = text.characters * scored / text.tokens
    return Evaluation(
        nats=total / scored,
        perplexity=perplexity(total / scored),
        bits_per_character=total / math.log(2) / characters,
        tokens=text.tokens,
        scored=scored,
        characters=text.characters,
        unknown=text.unknown,
        seconds=time.perf_counter() - start,
    )


def perplexity(nats: float) -> float:
    """exp(nats), infinite where it would overflow."""
    return math.exp(nats) if nats < 700 else math.inf


@torch.inference_mode()
def score(model: LanguageModel, ids: np.ndarray, streams: int = 1) -> tuple[float, int]:
    """The sum of -ln p over the predicted tokens of `ids`, and how many there are."""
    device = model.embedding.weight.device
    training = model.training
    model.eval()
    total, state = 0.0, None
    windows = Windows(ids, streams, max(1, CALL_TOKENS // streams))
    try:
        for x, y in windows:  # [B, T] each
            logits, state = model(x.to(device), state)  # [B, T, V]
            loss = cross_entropy(
                logits.flatten(0, 1).float(), y.flatten().to(device), reduction="sum"
            )
            total += loss.item()
    finally:
        model.train(training)
    return total, windows.scored
