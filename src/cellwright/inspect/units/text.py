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

from cellwright.inspect.units.features import probe
from cellwright.inspect.units.features_text import Marks
from cellwright.inspect.units.probes import Probed
from cellwright.inspect.units.read import Unit, UnitsError, ablated, output_state, units, untied
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
MARGIN: Final = 0.02  # of AUC: less than that apart is as good as equal
STREAMS: Final = 20  # chunks of the held-out half on which units are ablated


@dataclass(frozen=True)
class Effect:
    """What nothing reading a unit does to the loss, in nats per token, on held-out text.

    where, elsewhere   the rise at tokens after which the feature holds, `tokens` of them, and at
                       all others
    error              the standard error of `where`; stretches of the text are its samples
    controls           `where` of the random units of the same layer
    """

    where: float
    elsewhere: float
    tokens: int
    error: float
    controls: tuple[float, ...]

    @property
    def needed(self) -> bool:
        """Whether the rise is beyond every control's and beyond three standard errors."""
        return self.where > max(0.0, ERRORS * self.error, *self.controls)


@dataclass(frozen=True)
class TextFinding:
    """A feature, the unit that tells it best, and what its ablation does (None: not measured).

    `matched` is "luck" where it tells no more than luck does, "token" where the current token alone
    tells it as well, "untrained" where a unit of the untrained model does, or "" beyond all three:
    then it remembers. `verdict` says so in a sentence or two.
    """

    probed: Probed
    effect: Effect | None
    matched: str
    verdict: str

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
    able = _widths(model)
    places = {p.feature: Unit(p.layer, p.unit) for p in found.probed if (p.layer, p.state) in able}
    others = _others(model, set(places.values()), drawn, seed)
    whole, rises = _ablations(model, stretches, [*places.values(), *_all(others)])
    findings = []
    for probed in found.probed:
        effect = None
        if probed.feature in places:
            place = places[probed.feature]
            held = stretches.labels(found.labels[probed.feature])
            effect = _effect(rises[place], [rises[o] for o in others[place.layer]], held)
        findings.append(_finding(probed, effect))
    loss = float(whole.mean()) if rises else math.nan
    return TextReport(
        tokens=found.tokens,
        columns=len(states.columns),
        level=read.level,
        findings=tuple(findings),
        left_out=found.left_out,
        loss=loss,
        ablated=whole.numel(),
        drawn=tuple(_all(others)),
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
        logits = model(self.ids, self.starts)[0].float()  # [B, T, V]
        made = cross_entropy(logits.transpose(1, 2), self.following, reduction="none")
        return made.double()


def _widths(model: LanguageModel) -> set[tuple[int, str]]:
    """Layers and states a unit of which is a unit of the layer's output, so that it can be cut."""
    try:
        output_state(model)
    except UnitsError:
        return set()
    found = set()
    for k, layer in enumerate(model.recurrent._layers):
        program = layer.plan.program
        width = program.widths()[program.outputs[0][1]]
        found |= {(k, state.name) for state in program.states if state.width == width}
    return found


def _others(
    model: LanguageModel, chosen: set[Unit], drawn: int, seed: int
) -> dict[int, list[Unit]]:
    """So many random units of each layer that has chosen ones, none of these."""
    rng, made = random.Random(seed), {}
    for layer in sorted({place.layer for place in chosen}):
        free = [u for u in units(model) if u.layer == layer and u not in chosen]
        made[layer] = rng.sample(free, min(drawn, len(free)))
    return made


def _all(others: Mapping[int, Sequence[Unit]]) -> list[Unit]:
    return [place for layer in others.values() for place in layer]


def _ablations(
    model: LanguageModel, stretches: Stretches, places: Sequence[Unit]
) -> tuple[Tensor, dict[Unit, Tensor]]:
    """The whole model's losses, and how much more each is without a unit, [B, T]."""
    if not len(stretches.ids):
        return torch.empty(0), {}
    model = untied(model)
    whole, rises = stretches.losses(model), {}
    for place in dict.fromkeys(places):
        with ablated(model, place):
            rises[place] = stretches.losses(model) - whole
    return whole, rises


def _effect(own: Tensor, others: Sequence[Tensor], held: Tensor) -> Effect | None:
    """None where the feature holds nowhere in the stretches."""
    count = int(held.sum())
    if not count:
        return None
    where = float(own[held].mean())
    # neighbouring tokens are not independent: a stretch is one sample of a ratio
    sums = (own * held).sum(1) - where * held.sum(1)
    many = len(sums)
    error = math.sqrt(float((sums**2).sum()) * many / max(1, many - 1)) / count
    return Effect(
        where=where,
        elsewhere=float(own[~held].mean()) if count < held.numel() else 0.0,
        tokens=count,
        error=error,
        controls=tuple(float(other[held].mean()) for other in others),
    )


def _finding(probed: Probed, effect: Effect | None) -> TextFinding:
    name = f"unit {probed.layer}:{probed.unit}"
    if probed.auc <= max(probed.shuffled, default=0.5):
        return TextFinding(probed, effect, "luck", "No single unit tells it better than luck.")
    if probed.auc <= probed.token + MARGIN:
        said = "tells it, and so does the current token alone."
        return TextFinding(probed, effect, "token", f"{name} {said}")
    if probed.auc <= probed.untrained + MARGIN:
        said = "tells it, and so does a unit of the untrained model."
        return TextFinding(probed, effect, "untrained", f"{name} {said}")
    said = f"{name} remembers it."
    if effect is not None:
        said = f"{said} {_lost(effect)}"
    return TextFinding(probed, effect, "", said)


def _lost(effect: Effect) -> str:
    luck = max(0.0, *effect.controls) if effect.controls else 0.0
    there = f"{effect.where:+.3f} nats there, {effect.elsewhere:+.3f} elsewhere"
    random = f"without a random unit up to {luck:+.3f} there"
    if effect.needed:
        return f"The model needs it: without it the loss is {there}; {random}."
    return f"It is not shown to be needed: without it the loss is {there}; {random}."
