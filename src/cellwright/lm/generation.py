"""Text from a language model, one token at a time, in constant memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellwright.lm.config import ConfigError
from cellwright.lm.errors import VocabularyError
from cellwright.lm.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cellwright.lm.model import LanguageModel, States

PROMPT_STEPS = 512  # a long prompt is read in pieces: its activations stay small


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from p = softmax(logits / temperature).

    temperature 0 takes the likeliest. `top_k` keeps the k likeliest tokens, `top_p` the fewest
    likeliest whose probabilities reach p; with both, the tokens that both keep. `seed` makes the
    text repeatable; None draws a new one. Raises ConfigError for a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature: expected 0 or more, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k: expected a whole number of at least 1, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p: expected above 0 and at most 1, got {self.top_p}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: expected 0 or more, got {self.seed}")

    def draw(self, logits: Tensor, generator: torch.Generator) -> int:
        """One token id from `logits`, [vocab] on the CPU."""
        if self.temperature == 0:
            return int(logits.argmax())
        p = torch.softmax(logits.double() / self.temperature, dim=0)
        p, ids = p.sort(descending=True, stable=True)
        if self.top_p is not None:
            p = p.where(p.cumsum(0) - p < self.top_p, 0.0)  # the likeliest always stays
        if self.top_k is not None:
            p[self.top_k :] = 0.0
        return int(ids[torch.multinomial(p, 1, generator=generator)])


def stream_ids(
    model: "LanguageModel", ids: Sequence[int], length: int, sampling: Sampling
) -> Iterator[int]:
    """Yield the `length` token ids that follow `ids`; arguments are checked at once."""
    if not ids:
        raise ConfigError("prompt: expected at least one token")
    if min(ids) < 0 or max(ids) >= model.shape.vocab:
        raise VocabularyError(f"prompt: expected token ids from 0 to {model.shape.vocab - 1}")
    if length < 0:
        raise ConfigError(f"length: expected 0 or more, got {length}")
    return _stream_ids(model, ids, length, sampling)


def _stream_ids(
    model: "LanguageModel", ids: Sequence[int], length: int, sampling: Sampling
) -> Iterator[int]:
    generator = torch.Generator()
    generator.seed() if sampling.seed is None else generator.manual_seed(sampling.seed)
    device = model.embedding.weight.device
    barred = _barred(model.tokenizer)
    state, logits = None, None
    for first in range(0, len(ids), PROMPT_STEPS):
        piece = torch.tensor([ids[first : first + PROMPT_STEPS]], device=device)  # [1, T]
        logits, state = _predict(model, piece, state)
    for _ in range(length):
        assert logits is not None  # the prompt is not empty
        if barred is not None:
            logits[barred] = -math.inf
        drawn = sampling.draw(logits, generator)
        yield drawn
        logits, state = _predict(model, torch.tensor([[drawn]], device=device), state)


def _predict(
    model: "LanguageModel", ids: Tensor, state: "States | None"
) -> "tuple[Tensor, States]":
    """Logits [vocab] after the last of `ids` [1, T], in float32 on the CPU, and the new state."""
    training = model.training
    model.eval()  # at each step: the caller may train between two tokens
    try:
        with torch.no_grad():
            h, after = model.recurrent(model.embedding(ids), state)
            return model.decoder(h[0, -1]).float().cpu(), after
    finally:
        model.train(training)


def _barred(tokenizer: Tokenizer | None) -> int | None:
    """The id never to draw: the unknown character, which is no character."""
    return tokenizer.unknown_id if tokenizer is not None and tokenizer.level == "char" else None


def stream_text(
    model: "LanguageModel", prompt: str, length: int, sampling: Sampling
) -> Iterator[str]:
    """Yield the text of the `length` tokens that follow `prompt`, in pieces that can be shown."""
    if model.tokenizer is None:
        raise VocabularyError("this model has no tokenizer: use generate_ids")
    prompt_ids = encode_prompt(model.tokenizer, prompt)
    return _pieces(model.tokenizer, prompt_ids, stream_ids(model, prompt_ids, length, sampling))


def _pieces(tokenizer: Tokenizer, prompt_ids: Sequence[int], ids: Iterator[int]) -> Iterator[str]:
    stream = tokenizer.decode_stream(prompt_ids)
    for token_id in ids:
        if piece := stream.feed(token_id):
            yield piece
    if rest := stream.finish():
        yield rest


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Token ids of `prompt`; of a line end if it is empty.

    VocabularyError names the characters or words that the model has never seen.
    """
    if prompt:
        parts = {"char": prompt, "word": prompt.split()}.get(tokenizer.level, ())
        unknown = [part for part in dict.fromkeys(parts) if tokenizer.token_id(part) is None]
        if unknown:
            kind = "characters" if tokenizer.level == "char" else "words"
            named = " ".join(repr(part) for part in unknown[:10])
            raise VocabularyError(
                f"prompt: {kind} that the model has never seen: {named}; leave them out"
            )
    ids = tokenizer.encode(prompt)
    if ids:
        return ids
    if tokenizer.line_end_id is None:
        raise VocabularyError("prompt: this vocabulary has no line end to start from; give a text")
    return [tokenizer.line_end_id]
