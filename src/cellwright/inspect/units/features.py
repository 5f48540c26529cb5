"""Probes of any text: how well single units tell where its features hold, against luck.

The text's first half chooses a unit and the sign of its values, the second measures it: the halves
are stretches, not draws, because neighbouring tokens are not independent. For the same reason the
control shifts the labels round in a circle instead of shuffling them: what holds over long
stretches is met by luck far more often than shuffled labels would say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from cellwright.inspect.units.features_text import Marks, labels
from cellwright.inspect.units.probes import Probed
from cellwright.inspect.units.states import (
    States,
    Text,
    Tokens,
    read_states,
    tokens,
)
from cellwright.lm import LanguageModel

FEWEST: Final = 30  # tokens with a feature, and without it, in each half
STRETCHES: Final = 5  # of neighbouring tokens with a feature, in each half
NEAREST: Final = 20  # a shift is by a twentieth of the half at least
BLOCK: Final = 64  # columns that are ranked at a time
PARTS: Final = 10  # of the held-out half, each left out once to tell an error


@dataclass(frozen=True)
class Probes:
    """What was probed on so many tokens, and what could not be, by feature and why.

    `labels` are where the features probed hold, [tokens] each.
    """

    tokens: int
    probed: tuple[Probed, ...]
    left_out: Mapping[str, str]
    labels: Mapping[str, Marks]


def probe_text(
    model: LanguageModel,
    text: Text,
    *,
    untrained: LanguageModel | None = None,
    shuffles: int = 50,
    seed: int = 0,
) -> tuple[Probed, ...]:
    """Find for each feature of a text, or token ids, the one unit that tells best where it holds.

    The most selective features come first. `untrained` is the model as its training began (None:
    one of the same shape with torch's initial weights). A feature is left out, as `probe` says,
    where it holds too seldom, and tokens beyond `most_tokens`. The model is not changed.
    InspectError for a text without tokens, or a model without a tokenizer.
    """
    return probe(model, text, untrained=untrained, shuffles=shuffles, seed=seed).probed


def probe(
    model: LanguageModel,
    text: Text,
    *,
    untrained: LanguageModel | None = None,
    shuffles: int = 50,
    seed: int = 0,
    states: States | None = None,
) -> Probes:
    """As `probe_text`, with what was left out. `states` are `read_states` of this text, if known.

    A feature is measured where each half has FEWEST tokens with it and without it, and with it in
    STRETCHES places.
    """
    read = tokens(model, text)
    found, left_out = labels(read.pieces, read.level)
    kept: dict[str, Marks] = {}
    for name, held in found.items():
        if reason := too_few(held):
            left_out[name] = reason
        else:
            kept[name] = held
    if not kept:
        return Probes(len(read), (), left_out, {})
    truths = torch.stack([torch.from_numpy(held) for held in kept.values()])
    first = _untrained(untrained if untrained is not None else _fresh(model, seed), read, truths)
    if states is None:
        states = read_states(model, read.ids)
    fit, held_out = _aucs(states.values, _shifted(truths, shuffles, seed))
    alone, places = _token_alone(truths, torch.tensor(read.ids)), states.columns
    middle, made = truths.shape[1] // 2, []
    for k, name in enumerate(kept):
        best, auc, high = _best(fit[k][0], held_out[k][0])
        own = states.values[best, middle:] * (1 if high else -1)
        scores = torch.stack([own, alone[k], first[k]])
        truth = truths[k, middle:]
        aucs = _aucs_of(scores[1:], truth[None, None])[0, 0].tolist()
        luck = torch.where(fit[k][1:] >= 0.5, held_out[k][1:], 1 - held_out[k][1:])
        made.append(
            Probed(
                feature=name,
                share=float(truths[k].double().mean()),
                layer=places[best].place.layer,
                state=places[best].state,
                unit=places[best].place.unit,
                auc=auc,
                high=high,
                shuffled=tuple(luck.max(-1).values.tolist()) if shuffles else (),
                untrained=aucs[1],
                token=aucs[0],
                errors=_errors(scores, truth),
            )
        )
    made.sort(key=lambda probed: -probed.auc)
    return Probes(len(read), tuple(made), left_out, kept)


def _untrained(model: LanguageModel, read: Tokens, truths: Tensor) -> list[Tensor]:
    """The best unit's values for each feature, in a model that has not learnt, high where it holds.

    They are of the second half, for which the first half chose the unit.
    """
    values, middle = read_states(model, read.ids).values, truths.shape[1] // 2
    fit, held_out = _aucs(values, _shifted(truths, 0, 0))
    made = []
    for k in range(len(truths)):
        best, _, high = _best(fit[k][0], held_out[k][0])
        made.append(values[best, middle:] * (1 if high else -1))
    return made


def _errors(scores: Tensor, truth: Tensor) -> tuple[float, float]:
    """The standard errors of how much better the first of three scores tells than the others.

    scores [3, tokens], truth [tokens]; each of PARTS blocks is left out once (the jackknife).
    """
    leads = []
    for block in torch.arange(len(truth)).tensor_split(PARTS):
        kept = torch.ones_like(truth)
        kept[block] = False
        held = truth[kept]
        if not truth[block].any() or held.all() or not held.any():
            leads.append(torch.full((2,), math.nan))
            continue
        aucs = _aucs_of(scores[:, kept], held[None, None])[0, 0].double()
        leads.append(aucs[0] - aucs[1:])
    known = torch.stack([lead for lead in leads if not lead.isnan().any()] or [leads[0]])
    if len(known) < STRETCHES:
        return math.inf, math.inf
    spread = (known - known.mean(0)).square().sum(0) * (len(known) - 1) / len(known)
    token, untrained = spread.sqrt().tolist()
    return token, untrained


def too_few(held: Marks) -> str | None:
    """Why a feature that holds at these tokens cannot be measured; None if it can."""
    if not held.any():
        return "it holds nowhere in the text"
    middle = len(held) // 2
    for half, marks in (("first", held[:middle]), ("second", held[middle:])):
        count = int(marks.sum())
        if count < FEWEST:
            return f"it holds at {count} tokens of the {half} half, fewer than {FEWEST}"
        if (without := len(marks) - count) < FEWEST:
            return f"{without} tokens of the {half} half are without it, fewer than {FEWEST}"
        stretches = int(marks[0]) + int((marks[1:] & ~marks[:-1]).sum())
        if stretches < STRETCHES:
            return f"it holds in {stretches} places of the {half} half, fewer than {STRETCHES}"
    return None


def _shifted(truths: Tensor, shuffles: int, seed: int) -> tuple[Tensor, Tensor]:
    """Labels of both halves, [features, 1 + shuffles, tokens of the half], the true ones first.

    The others are the true ones moved round in a circle, each by an offset of its own that is
    neither short nor nearly the whole way: as they hold in stretches, so do the controls.
    """
    rng = torch.Generator().manual_seed(seed)
    middle = truths.shape[1] // 2
    halves = []
    for half in (truths[:, :middle], truths[:, middle:]):
        least = max(1, half.shape[1] // NEAREST)
        drawn = torch.randint(least, half.shape[1] - least, (shuffles,), generator=rng)
        moved = [half, *(half.roll(int(offset), 1) for offset in drawn)]
        halves.append(torch.stack(moved, 1))
    return halves[0], halves[1]


def _aucs(values: Tensor, truths: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """AUC of every column for every row of labels, [features, rows, columns] of both halves."""
    middle = truths[0].shape[-1]
    return (
        _aucs_of(values[:, :middle], truths[0]),
        _aucs_of(values[:, middle:], truths[1]),
    )


def _aucs_of(values: Tensor, truths: Tensor) -> Tensor:
    made = torch.empty(*truths.shape[:2], len(values))
    size = truths.shape[-1]
    ones = truths.sum(-1, keepdim=True).double()  # [features, rows, 1]
    scale = (size / (ones * (size - ones))).float()
    for at in range(0, len(values), BLOCK):
        ranked = centred_ranks(values[at : at + BLOCK]).T
        for k, rows in enumerate(truths):
            made[k, :, at : at + BLOCK] = 0.5 + scale[k] * (rows.float() @ ranked)
    return made


def centred_ranks(values: Tensor) -> Tensor:
    """Rank each row of [columns, tokens]: from -1/2 to 1/2, equal values share their mean rank."""
    size = values.shape[1]
    ordered, order = values.sort(dim=1)
    places = torch.arange(size).expand_as(order)
    new = torch.ones_like(order, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(new, places, 0).cummax(1).values
    ends = torch.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = torch.where(ends, places, size).flip(1).cummin(1).values.flip(1)
    middle = (first + last).double() / 2  # from 0 to size - 1
    made = torch.empty(values.shape)
    return made.scatter_(1, order, ((middle - (size - 1) / 2) / size).float())


def _best(fit: Tensor, held_out: Tensor) -> tuple[int, float, bool]:
    """The column that the first half chooses, its AUC on the second, and which way is up."""
    best = int((fit - 0.5).abs().argmax())
    up = bool(fit[best] >= 0.5)
    auc = float(held_out[best])
    return best, auc if up else 1 - auc, up


def _token_alone(truths: Tensor, ids: Tensor) -> list[Tensor]:
    """Each feature's rate given the token, learnt on the first half, at the second's tokens."""
    middle = truths.shape[1] // 2
    vocab = int(ids.max()) + 1
    seen = torch.bincount(ids[:middle], minlength=vocab).double()
    made = []
    for truth in truths:
        held = truth[:middle].double()
        with_it = torch.bincount(ids[:middle], held, minlength=vocab)
        rate = (with_it + held.mean()) / (seen + 1)  # a token not seen has the base rate
        made.append(rate[ids[middle:]].float())
    return made


def _fresh(model: LanguageModel, seed: int) -> LanguageModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LanguageModel(model.shape, model.cell, model.tokenizer).eval()
