"""Context actually used: a model's loss against how much of the text before it has been shown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.inspect.errors import InspectError
from cellwright.inspect.memory.report import Context, Losses
from cellwright.inspect.memory.text import Read, read_on, zeros
from cellwright.nn.running import Tensors

LONGEST = 512  # tokens of context, unless asked for more
SHUFFLED = 64  # tokens before the context that change places, or as many as the context has
BEYOND_CHANCE = 3.0  # standard errors
LEAST_GAIN = 0.005  # nats: what is less is not worth a word
CONTROLS = 256  # places of the controls, or all, where that is fewer
CALL_TOKENS = 32_768  # of one batch: bounds the memory, does not change the result
CALL_NUMBERS = 16_000_000  # of logits at a time: the same

Contexts = Sequence[int]


@dataclass(frozen=True)
class Places:
    """Which tokens of a text are predicted, and after how many tokens of context each."""

    contexts: tuple[int, ...]
    targets: Tensor  # [M], ascending
    controls: Tensor  # [C]: those of the targets at which the controls are measured
    strangers: Tensor  # [C]: where the other text ends that stands before a context

    def shuffled_from(self, context: int) -> int:
        """How far before a target the tokens in another order begin."""
        return context + max(context, SHUFFLED)

    @property
    def starts(self) -> set[int]:
        """After how many tokens of the text a state is wanted."""
        shuffled = [self.controls - self.shuffled_from(k) for k in self.contexts]
        return {int(p) for part in (*shuffled, self.strangers) for p in part}


def places(tokens: int, count: int, contexts: Contexts | None) -> Places:
    """Choose `count` places, evenly spread over a text; contexts 1, 2, 4, ... where none are given.

    InspectError for contexts that the text is too short for.
    """
    if contexts is None:
        longest = min(LONGEST, tokens // 4)
        contexts = [1 << k for k in range(longest.bit_length())]
    made = tuple(contexts)
    if not made or made[0] < 1 or any(a >= b for a, b in pairwise(made)):
        raise InspectError(f"contexts: expected numbers from 1, each above the last, got {made}")
    first = made[-1] + max(made[-1], SHUFFLED)
    if first + 1 >= tokens:
        raise InspectError(
            f"contexts: {made[-1]} tokens of context need a text of at least {first + 2}, got "
            f"{tokens}; give a longer one, or shorter contexts"
        )
    targets = spread(first, tokens - 1, count)
    span = tokens - first
    controls = targets[:: max(1, len(targets) // CONTROLS)]
    strangers = first + (controls - first + span // 2) % span
    return Places(made, targets, controls, strangers)


def spread(first: int, last: int, count: int) -> Tensor:
    """Up to `count` whole numbers from `first` to `last`, evenly spread."""
    count = min(count, last - first + 1)
    return torch.linspace(first, last, count, dtype=torch.float64).round().long().unique()


def measure(
    trained: Read,
    untrained: Read | None,
    chosen: Places,
    seed: int,
    on_context: Callable[[int], None],
) -> Context:
    """Measure the losses at the chosen places; `on_context` hears of each context before it."""
    kinds: dict[str, list[Tensor]] = {k: [] for k in ("reset", "stranger", "shuffled")}
    fresh: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    for context in chosen.contexts:
        on_context(context)
        kinds["reset"].append(_reset(trained, chosen.targets, context))
        kinds["stranger"].append(_stranger(trained, chosen, context))
        kinds["shuffled"].append(_shuffled(trained, chosen, context, generator))
        if untrained is not None:
            fresh.append(_reset(untrained, chosen.controls, context))
    losses = {
        name: _losses(
            rows, trained, chosen.targets if name == "reset" else chosen.controls, chosen.targets
        )
        for name, rows in kinds.items()
    }
    full = trained.losses[chosen.targets]
    known = guesses(trained.ids, chosen.targets, trained.model.shape.vocab)
    lacking, enough = bracket(chosen.contexts, losses["reset"])
    return Context(
        contexts=chosen.contexts,
        places=len(chosen.targets),
        controls=len(chosen.controls),
        **losses,
        untrained=(
            None
            if untrained is None
            else _losses(fresh, untrained, chosen.controls, chosen.targets)
        ),
        guessing=known.mean().item(),
        guessing_error=_paired(known, full)[1],
        lacking=lacking,
        enough=enough,
    )


def guesses(ids: Tensor, targets: Tensor, vocab: int) -> Tensor:
    """Losses [M] of guessing by how often each token occurs in the rest of the text, plus one."""
    counts = ids.bincount(minlength=vocab)
    return -(counts[ids[targets]].double() / (len(ids) - 1 + vocab)).log()


def bracket(contexts: Contexts, losses: Losses) -> tuple[int | None, int | None]:
    """Return the longest context that is shown to lack something, and the first shown to be enough.

    Between the two lies what the places cannot tell. None: no context is shown to be so.
    """
    excess = [
        (loss - losses.full, error) for loss, error in zip(losses.loss, losses.error, strict=True)
    ]
    lacking = [k for k, one in zip(contexts, excess, strict=True) if above(*one)]
    enough = None
    for context, one in zip(reversed(contexts), reversed(excess), strict=True):
        if not negligible(*one):
            break
        enough = context
    return (lacking[-1] if lacking else None), enough


def above(excess: float, error: float) -> bool:
    """Whether a loss is above another beyond chance, and by enough to matter."""
    return excess > max(BEYOND_CHANCE * error, LEAST_GAIN)


def negligible(excess: float, error: float) -> bool:
    """Whether a loss is shown to be above another by too little to matter, or not at all."""
    return excess + BEYOND_CHANCE * error < LEAST_GAIN


def _paired(a: Tensor, b: Tensor) -> tuple[float, float]:
    """The mean of a - b, and its standard error."""
    difference = a.double() - b.double()
    error = difference.std() / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return difference.mean().item(), float(error)


def _losses(rows: Sequence[Tensor], r: Read, here: Tensor, everywhere: Tensor) -> Losses:
    """Rows of losses, one for each context, at the places `here` among those `everywhere`."""
    full = r.losses[everywhere].double().mean().item()
    pairs = [_paired(row, r.losses[here]) for row in rows]
    return Losses(tuple(full + p[0] for p in pairs), tuple(p[1] for p in pairs), full)


def _reset(r: Read, targets: Tensor, context: int) -> Tensor:
    rows = _before(r.ids, targets, context)
    return last_losses(r, rows, zeros(r.model, len(rows)), targets)


def _stranger(r: Read, chosen: Places, context: int) -> Tensor:
    rows = _before(r.ids, chosen.controls, context)
    return last_losses(r, rows, r.at(chosen.strangers), chosen.controls)


def _shuffled(r: Read, chosen: Places, context: int, generator: torch.Generator) -> Tensor:
    begin = chosen.shuffled_from(context)
    rows = _before(r.ids, chosen.controls, begin)
    count = begin - context
    order = torch.rand(len(rows), count, generator=generator).argsort(1)
    rows = torch.cat([rows[:, :count].gather(1, order), rows[:, count:]], 1)
    return last_losses(r, rows, r.at(chosen.controls - begin), chosen.controls)


def _before(ids: Tensor, targets: Tensor, count: int) -> Tensor:
    """The `count` tokens before each target, [M, count]."""
    return ids[targets[:, None] + torch.arange(-count, 0)]


@torch.inference_mode()
def last_losses(r: Read, rows: Tensor, start: Sequence[Tensors], targets: Tensor) -> Tensor:
    """Losses [M] of the targets after rows of tokens [M, T], from states [M, width]."""
    size = max(1, CALL_TOKENS // rows.shape[1])
    found = []
    for at in range(0, len(rows), size):
        part = slice(at, at + size)
        here = [tuple(s[part] for s in layer) for layer in start]
        h, _ = read_on(r.model, rows[part], here)
        wanted = r.ids[targets[part]]
        # after a context of one token there are as many rows as tokens in a batch: with a large
        # vocabulary the logits of all would be gigabytes
        some = max(1, CALL_NUMBERS // r.model.shape.vocab)
        for last, ids in zip(h[-1].split(some), wanted.split(some), strict=True):
            logits = r.model.decoder(last)  # [rows, V]
            found.append(cross_entropy(logits.float(), ids, reduction="none"))
    return torch.cat(found)
