"""All states of a language model after each token of a text, read as one text at fused speed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from cellwright.inspect.errors import InspectError
from cellwright.inspect.units.read import Column, Unit
from cellwright.inspect.walk.values import tokens_of
from cellwright.lm import LanguageModel

CHUNK: Final = 512  # tokens of one call
CHUNKS: Final = 32  # of a short text at least
SHORTEST: Final = 32  # tokens of a chunk
MOST_NUMBERS: Final = 110_000_000  # held at a time, 4 bytes each: 100,000 tokens of 2 x 256 LSTM


@dataclass(frozen=True)
class Tokens:
    """A text as a model reads it: its pieces, a line's end "\\n", and their ids.

    `exact`: whether the pieces, joined, are the text; words have blanks between them.
    """

    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    exact: bool
    level: str

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, first: int, end: int) -> "Tokens":
        """The tokens `first` to `end`, without the last."""
        return Tokens(self.pieces[first:end], self.ids[first:end], self.exact, self.level)


Text = str | Sequence[int] | Tensor | Tokens


@dataclass(frozen=True)
class States:
    """What each column held after each token, [columns, tokens] in float32.

    `starts` are the states from which its chunks of `chunk` tokens began, as `LanguageModel` gives
    them; None for zeros.
    """

    columns: tuple[Column, ...]
    values: Tensor
    chunk: int
    starts: tuple[Any, ...]

    def column(self, column: Column) -> Tensor:
        """The values of one column, [tokens]."""
        return self.values[self.columns.index(column)]


def tokens(model: LanguageModel, text: Text) -> Tokens:
    """A text, or token ids, as a model's tokens; InspectError where there is none.

    What is beyond `most_tokens` is left out.
    """
    read = text if isinstance(text, Tokens) else _tokens(model, text)
    return read.part(0, most_tokens(model))


def _tokens(model: LanguageModel, text: str | Sequence[int] | Tensor) -> Tokens:
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise InspectError("units: the model has no tokenizer, so its tokens have no text")
    if isinstance(text, str):
        pieces, exact, ids = tokens_of(model, text)
        return Tokens(pieces, ids, exact, tokenizer.level)
    ids = tuple(int(token_id) for token_id in text)
    if not ids:
        raise InspectError("text: expected one token at least, got none; give some words to read")
    if tokenizer.level == "bpe":
        stream = tokenizer.decode_stream()
        pieces = tuple(stream.feed(token_id) for token_id in ids)
    else:
        end = tokenizer.line_end_id
        pieces = tuple("\n" if k == end else tokenizer.token(k) for k in ids)
    return Tokens(pieces, ids, tokenizer.level != "word", tokenizer.level)


def most_tokens(model: LanguageModel) -> int:
    """How many tokens' states fit into the memory that is taken for them."""
    return MOST_NUMBERS // len(columns(model))


def columns(model: LanguageModel) -> tuple[Column, ...]:
    """Every unit of every state of every layer, the lowest layer first."""
    found = []
    for k, layer in enumerate(model.recurrent._layers):
        for port in layer.plan.program.states:
            found += [Column(port.name, Unit(k, unit)) for unit in range(port.width)]
    return tuple(found)


@torch.inference_mode()
def read_states(model: LanguageModel, ids: Sequence[int]) -> States:
    """Read token ids from zero states as one text, and note all states.

    The model's mode is left as it is; nothing is dropped. InspectError where it overflows.
    """
    held = columns(model)
    names = list(dict.fromkeys(f"layers.{c.place.layer}.{c.state}" for c in held))
    values = torch.empty(len(held), len(ids))
    chunk = min(CHUNK, max(SHORTEST, len(ids) // CHUNKS))
    starts, state = [], None
    for at in range(0, len(ids), chunk):
        part = ids[at : at + chunk]
        starts.append(state)
        trace = model.trace(part, names, state=state)
        state = trace.state
        made = torch.cat([trace[name].float() for name in names], -1)  # [T, columns]
        if not made.isfinite().all():
            raise InspectError(
                f"token {at}: the model's states are not numbers from there on; it overflows, or "
                "its weights are not finite: train it with a smaller --lr or --clip"
            )
        values[:, at : at + len(part)] = made.T
    return States(held, values, chunk, tuple(starts))


def stacked(starts: Sequence[Any]) -> Any:
    """States of single rows as one state of a batch, in their order; tensors or tuples of them."""
    if isinstance(starts[0], tuple):
        return tuple(stacked([start[k] for start in starts]) for k in range(len(starts[0])))
    return torch.stack(list(starts), -2)
