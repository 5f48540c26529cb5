"""The text that a memory report reads, and the states of a model at places in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.inspect.errors import InspectError
from cellwright.lm.corpus import Passage
from cellwright.lm.model import LanguageModel
from cellwright.lm.run import read_config, read_text_digests
from cellwright.lm.texts import open_texts
from cellwright.lm.tokenizer import Tokenizer
from cellwright.nn.running import Rows, Tensors
from cellwright.nn.states import Start

MOST_TOKENS = 50_000  # read of a text: a report on more says no more
LEAST_TOKENS = 200
CALL_TOKENS = 1024  # of one call: bounds the memory, does not change the result


@dataclass(frozen=True)
class Source:
    """Token ids [N] of the beginning of a text; `whole` says that this is all of it."""

    name: str
    ids: Tensor
    whole: bool
    unknown: int


def source(run: Path, text: str | Path | None, tokenizer: Tokenizer) -> Source:
    """Read a text, a file, or (None) the run's validation text, its training text if it has none.

    InspectError for a text that is too short, or mostly of tokens that the model does not know;
    the errors of a run or text that cannot be read.
    """
    if text is None:
        texts = open_texts(read_config(run), run, read_text_digests(run))
        file, kind = (texts.valid, "validation") if texts.valid else (texts.train, "training")
        name, ids = f"{run}: its {kind} text", file.ids[: MOST_TOKENS + 1].astype("int64").tolist()
    elif isinstance(text, Path):
        name, ids = f"{text}", _head(text, tokenizer)
    else:
        name, ids = "the text", tokenizer.encode(text)
    whole, ids = len(ids) <= MOST_TOKENS, ids[:MOST_TOKENS]
    if len(ids) < LEAST_TOKENS:
        raise InspectError(
            f"{name}: expected at least {LEAST_TOKENS} tokens, got {len(ids)}; give a longer text"
        )
    unknown = sum(1 for number in ids if number == tokenizer.unknown_id)
    if 2 * unknown > len(ids):
        raise InspectError(
            f"{name}: {unknown} of {len(ids)} tokens are not in the model's vocabulary; give a "
            "text of the kind that it was trained on"
        )
    return Source(name, torch.tensor(ids), whole, unknown)


def _head(path: Path, tokenizer: Tokenizer) -> list[int]:
    """The first ids of a file, one more than are read; the rest is left on the disk."""
    ids: list[int] = []
    for piece in tokenizer.pieces(Passage(path)):
        ids += tokenizer.encode(piece)
        if len(ids) > MOST_TOKENS:
            break
    return ids


@dataclass(frozen=True)
class Read:
    """A model that has read a text once, from zero states on.

    `losses` [N] are those of each token in nats, given all before it (of the first: NaN); `states`
    the layers' states [places, width] after the first `places` tokens of the text.
    """

    model: LanguageModel
    ids: Tensor
    losses: Tensor
    places: Tensor
    states: tuple[Tensors, ...]

    def at(self, places: Sequence[int] | Tensor) -> tuple[Tensors, ...]:
        """The states [len, width] of each layer after so many tokens of the text, each."""
        rows = torch.searchsorted(self.places, torch.as_tensor(places).contiguous())
        return tuple(tuple(s[rows] for s in layer) for layer in self.states)


def zeros(model: LanguageModel, rows: int) -> tuple[Tensors, ...]:
    """The states [rows, width] of each layer that a text begins with."""
    like = model.embedding.weight
    return tuple(
        tuple(like.new_zeros(rows, width) for _, width in layer.states)
        for layer in model.recurrent._layers
    )


def read_on(
    model: LanguageModel, ids: Tensor, start: Sequence[Tensors], *, paths: bool = False
) -> tuple[Tensor, Sequence[Tensors]]:
    """Read ids [B, T] from states [B, width]; return the outputs [T, B, W] and the final states.

    With `paths`, the states after each step, [T, B, width], in place of the final ones.
    """
    x = model.embedding(ids).transpose(0, 1)  # [T, B, E]
    module = model.recurrent
    first = Start(start, [() for _ in start])
    none = Rows(None, None)
    (output,), final, trails = module._run((x,), first, none, module._layers, paths)
    return output, trails if paths else final


@torch.no_grad()  # inference mode's tensors could not be where a gradient begins
def read(model: LanguageModel, ids: Tensor, places: Sequence[int]) -> Read:
    """Read a text [N] once, and note the states after so many tokens, each of `places`."""
    wanted = torch.tensor(sorted(set(places)))
    state: Sequence[Tensors] = zeros(model, 1)
    found = [[[s[0:0]] for s in layer] for layer in state]
    losses = [torch.full((1,), torch.nan)]
    if wanted[0] == 0:
        found = [[[s] for s in layer] for layer in state]
    for first in range(0, len(ids) - 1, CALL_TOKENS):
        last = min(first + CALL_TOKENS, len(ids) - 1)
        h, paths = read_on(model, ids[None, first:last], state, paths=True)
        logits = model.decoder(h[:, 0])  # [T, V]
        losses.append(cross_entropy(logits.float(), ids[first + 1 : last + 1], reduction="none"))
        inside = wanted[(wanted > first) & (wanted <= last)] - first - 1
        for kept, layer in zip(found, paths, strict=True):
            for parts, path in zip(kept, layer, strict=True):
                parts.append(path[inside, 0])
        state = tuple(tuple(path[-1] for path in layer) for layer in paths)
    states = tuple(tuple(torch.cat(parts) for parts in kept) for kept in found)
    return Read(model, ids, torch.cat(losses), wanted, states)
