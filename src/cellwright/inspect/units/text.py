"""Which units of a language model tell where in a text something holds, and what it loses without.

As for the agreement language, two things are asked of a unit: whether it tells, and whether the
model needs it. What the current token tells by itself, what a unit of the untrained model tells
and what shifted labels give stand beside every number.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cellwright.inspect.units.cuts import Cut, UnitsError, cut
from cellwright.inspect.units.features import probe
from cellwright.inspect.units.features_text import Marks
from cellwright.inspect.units.probes import Probed
from cellwright.inspect.units.read import Column, Unit, ablated, output_state, refusal, untied
from cellwright.inspect.units.states import (
    States,
    Text,
    Tokens,
    read_states,
    stacked,
    tokens,
)
from cellwright.lm import LanguageModel

ERRORS: Final = 3  # standard errors that a rise of the loss must be above
MARGIN: Final = 0.02  # of AUC: what is less than that apart is as good as equal
STREAMS: Final = 20  # chunks of the held-out half on which units are ablated
FEWEST: Final = 5  # of these with the feature; of fewer no error can be told
MOST_LOGITS: Final = 8_000_000  # at a time, 4 bytes each
# As many errors as ERRORS are where they are known: one-sided 0.00135 of Student's t, by samples.
BEYOND: Final = {
    5: 6.62, 6: 5.51, 7: 4.90, 8: 4.53, 9: 4.28, 10: 4.09, 11: 3.96, 12: 3.85, 13: 3.76, 14: 3.69,
    15: 3.64, 16: 3.59, 17: 3.54, 18: 3.51, 19: 3.48, 20: 3.45,
}  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What nothing reading a unit does to the loss, in nats per token, on held-out text.

    where, elsewhere   the rise at tokens after which the feature holds, `tokens` of them, and at
                       all others
    error              the standard error of `where`; its samples are the `stretches` of the text
                       that have such a token
    controls           `where` of the random units of the same layer
    """

    where: float
    elsewhere: float
    tokens: int
    error: float
    controls: tuple[float, ...]
    stretches: int = STREAMS

    @property
    def needed(self) -> bool:
        """Whether the rise is beyond every control's and beyond three standard errors.

        Where few stretches tell the error it is more of them, by Student's t.
        """
        beyond = BEYOND.get(self.stretches, ERRORS) * self.error
        return self.where > max(0.0, beyond, *self.controls)


@dataclass(frozen=True)
class TextFinding:
    """A feature, the unit that tells it best, and what its ablation does.

    `effect` is None where that was not measured, `unmeasured` says why.
    `matched` is "luck" where it tells no more than luck does, "token" where the current token alone
    tells it as well, "untrained" where a unit of the untrained model does, or "" beyond all three:
    then it remembers. `verdict` says so in a sentence or two.
    """

    probed: Probed
    effect: Effect | None
    matched: str
    verdict: str
    unmeasured: str = ""

    @property
    def place(self) -> Unit:
        """The unit, as a place of a layer's output."""
        return Unit(self.probed.layer, self.probed.unit)


@dataclass(frozen=True)
class TextReport:
    """What was found in so many tokens, among so many columns: units times states.

    left_out   features that were not measured, and why
    loss       of the whole model in nats per token, where units were `ablated` on so many tokens
    drawn      random units whose ablation is the control, of all layers
    shuffles   how often the labels were shifted
    """

    tokens: int
    columns: int
    level: str
    findings: tuple[TextFinding, ...]
    left_out: Mapping[str, str]
    loss: float
    ablated: int
    drawn: tuple[Unit, ...]
    shuffles: int

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return asdict(self)


def find_in_text(
    model: LanguageModel,
    text: Text,
    *,
    untrained: LanguageModel | None = None,
    drawn: int = 40,
    shuffles: int = 50,
    seed: int = 0,
    states: States | None = None,
) -> TextReport:
    """Find the units that tell a text's features best, and what the model loses without each.

    text: a text, or token ids; what is beyond `most_tokens` is left out. The first half chooses
    the units, the second measures them; the loss is on stretches of the second half, `drawn`
    random units of the same layer beside each. `untrained` and `states` as for `probe`.
    InspectError for a text without tokens. The
    model is not changed.
    """
    read = tokens(model, text)
    states = states if states is not None else read_states(model, read.ids)
    found = probe(model, read, untrained=untrained, shuffles=shuffles, seed=seed, states=states)
    stretches = Stretches.of(read, states)
    chosen = {p.feature: Column(p.state, Unit(p.layer, p.unit)) for p in found.probed}
    refused = {column: refusal(model, column) for column in chosen.values()}
    others = _others(model, {c for c in refused if not refused[c]}, drawn, seed)
    able = [column for column in chosen.values() if not refused[column]]
    whole, rises = _ablations(model, stretches, [*able, *_all(others)])
    findings = []
    for probed in found.probed:
        column, effect = chosen[probed.feature], None
        held = stretches.labels(found.labels[probed.feature])
        if not (why := refused[column] or _unmeasured(held)):
            controls = [rises[other] for other in others[_group(model, column)]]
            effect = _effect(rises[column], controls, held)
        findings.append(_finding(probed, effect, why))
    loss = float(whole.mean()) if whole.numel() else math.nan
    return TextReport(
        tokens=found.tokens,
        columns=len(states.columns),
        level=read.level,
        findings=tuple(findings),
        left_out=found.left_out,
        loss=loss,
        ablated=whole.numel(),
        drawn=tuple(column.place for column in _all(others)),
        shuffles=shuffles,
    )


@dataclass(frozen=True)
class Stretches:
    """Stretches of a text's second half, each read from the state that the whole text gave.

    ids, following [B, T]: what is read, and the token after each; starts: their states, None for
    zeros; at: the tokens' places in the text.
    """

    ids: Tensor
    following: Tensor
    starts: Any
    at: Tensor

    @staticmethod
    def of(read: Tokens, states: States) -> "Stretches":
        """At most STREAMS chunks, evenly spread, all of them whole."""
        size, ids = states.chunk, torch.tensor(read.ids)
        middle = -(-(len(ids) // 2) // size)  # the first chunk of the second half
        whole = range(max(1, middle), (len(ids) - 1) // size)
        step = max(1, math.ceil(len(whole) / STREAMS))
        chosen = list(whole)[::step]
        at = torch.tensor([[k * size + t for t in range(size)] for k in chosen]).long()
        at = at.reshape(len(chosen), size)
        starts = stacked([states.starts[k] for k in chosen]) if chosen else None
        return Stretches(ids[at], ids[at + 1], starts, at)

    def labels(self, held: Marks) -> Tensor:
        """Where a feature of the text holds in them, [B, T]."""
        return torch.from_numpy(held)[self.at]

    @torch.inference_mode()
    def losses(self, model: LanguageModel) -> Tensor:
        """The loss of the token after each, in nats, [B, T] in float64."""
        embedded = model.embedding(self.ids)
        read = model.recurrent(embedded, self.starts)[0].flatten(0, 1)  # [B * T, H]
        size = max(1, MOST_LOGITS // model.shape.vocab)  # tokens of which all logits are held
        made = [
            cross_entropy(model.decoder(part).float(), after, reduction="none")
            for part, after in zip(
                read.split(size), self.following.flatten().split(size), strict=True
            )
        ]
        return torch.cat(made).double().reshape(self.ids.shape)


def _unmeasured(held: Tensor) -> str:
    """Why what a feature's tokens lose cannot be told in these stretches; empty if it can."""
    count = int(held.any(1).sum()) if held.numel() else 0
    if count < FEWEST:
        return (
            f"it holds in {count} of the {len(held)} stretches read without the unit, fewer than "
            f"{FEWEST}"
        )
    return ""


Group = tuple[int, str]  # units of a layer's state


def _group(model: LanguageModel, column: Column) -> Group:
    """The units whose ablations are its controls: the output's, where its own is one of them."""
    place = column.place
    try:
        out = output_state(model)
        if _cut(model, Column(out, place)) == _cut(model, column):
            return place.layer, out
    except UnitsError:
        pass  # the output is no state, or is read mixed with others
    return place.layer, column.state


def _cut(model: LanguageModel, column: Column) -> Cut:
    return cut(model, column.place.layer, column.state, column.place.unit)


def _others(
    model: LanguageModel, chosen: set[Column], drawn: int, seed: int
) -> dict[Group, list[Column]]:
    """So many random units of each layer's state that has chosen ones, none of these."""
    rng, made = random.Random(seed), {}
    taken = {(_group(model, column), column.place.unit) for column in chosen}
    for group in sorted({group for group, _ in taken}):
        layer, state = group
        width = dict(model.recurrent._layers[layer].states)[state]
        free = [
            Column(state, Unit(layer, unit)) for unit in range(width) if (group, unit) not in taken
        ]
        free = [column for column in free if not refusal(model, column)]
        made[group] = rng.sample(free, min(drawn, len(free)))
    return made


def _all(others: Mapping[Group, Sequence[Column]]) -> list[Column]:
    return [column for group in others.values() for column in group]


def _ablations(
    model: LanguageModel, stretches: Stretches, columns: Sequence[Column]
) -> tuple[Tensor, dict[Column, Tensor]]:
    """The whole model's losses, and how much more each is without a unit, [B, T]."""
    if not len(stretches.ids):
        return torch.empty(0), {}
    model = untied(model)
    whole, made = stretches.losses(model), {}
    cuts = {column: _cut(model, column) for column in dict.fromkeys(columns)}
    for column, found in cuts.items():  # of an LSTM's c and h it is the same
        if found not in made:
            with ablated(model, column.place, column.state):
                made[found] = stretches.losses(model) - whole
    return whole, {column: made[found] for column, found in cuts.items()}


def _effect(own: Tensor, others: Sequence[Tensor], held: Tensor) -> Effect:
    """What is lost where the feature holds, in FEWEST stretches or more."""
    counts = held.sum(1).double()
    count = int(counts.sum())
    where = float(own[held].mean())
    # neighbouring tokens are not independent: a stretch is one sample of a ratio; those that hold
    # much of the feature pull the ratio to themselves (the jackknife's share)
    sums = ((own * held).sum(1) - where * counts) / (1 - counts / count)
    many = int((counts > 0).sum())
    error = math.sqrt(float((sums**2).sum()) * (many - 1) / many) / count
    return Effect(
        where=where,
        elsewhere=float(own[~held].mean()) if count < held.numel() else 0.0,
        tokens=count,
        error=error,
        controls=tuple(float(other[held].mean()) for other in others),
        stretches=many,
    )


def _finding(probed: Probed, effect: Effect | None, why: str = "") -> TextFinding:
    matched, said = _said(probed)
    if not matched and effect is not None:
        said = f"{said} {_lost(effect)}"
    elif not matched:
        said = f"{said} What the model loses without it was not measured: {why}."
    return TextFinding(probed, effect, matched, said, why)


def _said(probed: Probed) -> tuple[str, str]:
    """What tells the feature as well as the unit, and a sentence about that."""
    name = f"unit {probed.layer}:{probed.unit} {probed.state}"
    if probed.auc <= max(probed.shuffled, default=0.5):
        return "luck", "No single unit tells it better than luck."
    rivals = (
        ("token", "the current token alone", probed.token),
        ("untrained", "a unit of the untrained model", probed.untrained),
    )
    for (matched, who, auc), error in zip(rivals, probed.errors, strict=True):
        lead = probed.auc - auc
        if lead <= MARGIN:
            return matched, f"{name} tells it, and so does {who}."
        if lead <= ERRORS * error:
            told = f"its AUC is {lead:.3f} higher, with a standard error of {error:.3f}"
            return matched, f"{name} is not shown to tell it better than {who}: {told}."
    return "", f"{name} remembers it."


def _lost(effect: Effect) -> str:
    luck = max(0.0, *effect.controls) if effect.controls else 0.0
    there = f"{effect.where:+.3f} nats there, {effect.elsewhere:+.3f} elsewhere"
    random = f"without a random unit up to {luck:+.3f} there"
    if effect.needed:
        return f"The model needs it: without it the loss is {there}; {random}."
    return f"It is not shown to be needed: without it the loss is {there}; {random}."
