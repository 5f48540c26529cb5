"""Gates over a whole text: what they let through, how long they keep, and which units are dead."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cellwright.inspect.memory.report import Dead, Gate, HalfLives
from cellwright.inspect.memory.text import Read
from cellwright.inspect.memory.threads import few_threads
from cellwright.lm.gates import HIGH, LOW, OPEN, SHUT, fading, gated, half_life

STEPS = 128  # of a stretch: stretches are the rows of a batch, each from its own start
ROWS = 32
BINS = 20
DEAD = 0.01  # a unit that stays so near to one value says nothing


def starts(tokens: int) -> set[int]:
    """After how many tokens of a text a state is wanted."""
    return set(range(0, tokens, STEPS))


@dataclass(frozen=True)
class Gating:
    """What was seen of a model's gates over a text; `rates` are nats lost a step, [units].

    `rates` and `keeps` are by layer and state.
    """

    gates: tuple[Gate, ...]
    dead: tuple[Dead, ...]
    rates: dict[tuple[int, str], Tensor]
    keeps: dict[tuple[int, str], str]


@torch.inference_mode()
def look(r: Read) -> Gating:
    """Read the whole text, in stretches that start where the one before has ended."""
    gates: dict[tuple[int, str], _Values] = {}
    outputs: dict[int, _Values] = {}
    rates: dict[tuple[int, str], Tensor] = {}
    keeps: dict[tuple[int, str], str] = {}
    for places, steps in _stretches(len(r.ids)):
        rows = r.ids[torch.tensor(places)[:, None] + torch.arange(steps)]
        with few_threads(r.model):
            layers = enumerate([*gated(r.model, rows, r.at(places))])
        for number, seen in layers:
            for name, values in seen.gates.items():
                gates.setdefault((number, name), _Values()).add(values)
            outputs.setdefault(number, _Values()).add(seen.outputs[0])
            for state, (keep, values) in seen.kept.items():
                here = (number, state)
                share = rows.numel() / len(r.ids)
                rates[here] = rates.get(here, torch.zeros(())) + share * fading(values)
                keeps[here] = keep.label
    return Gating(
        gates=tuple(values.gate(*where) for where, values in gates.items()),
        dead=tuple(values.dead(number) for number, values in outputs.items()),
        rates=rates,
        keeps=keeps,
    )


def half_lives(trained: Gating, untrained: Gating) -> tuple[HalfLives, ...]:
    """Half-lives of all states that are multiplied with something, before and after training."""
    return tuple(
        HalfLives(
            layer=layer,
            state=state,
            keep=trained.keeps[layer, state],
            trained=tuple(half_life(rate) for rate in rates.tolist()),
            untrained=tuple(half_life(rate) for rate in untrained.rates[layer, state].tolist()),
        )
        for (layer, state), rates in trained.rates.items()
    )


def _stretches(tokens: int) -> list[tuple[Sequence[int], int]]:
    """Batches of stretches that cover a text: where they start, and how long all of them are."""
    whole = range(0, tokens - tokens % STEPS, STEPS)
    made: list[tuple[Sequence[int], int]] = [
        (whole[at : at + ROWS], STEPS) for at in range(0, len(whole), ROWS)
    ]
    if tokens % STEPS:
        made.append(([tokens - tokens % STEPS], tokens % STEPS))
    return made


@dataclass
class _Values:
    """Counts and extremes of values [T, B, units], taken in batch by batch."""

    counts: Tensor = field(default_factory=lambda: torch.zeros(BINS))
    low: int = 0
    high: int = 0
    total: int = 0
    least: Tensor = field(default_factory=lambda: torch.tensor(torch.inf))
    most: Tensor = field(default_factory=lambda: torch.tensor(-torch.inf))

    def add(self, values: Tensor) -> None:
        flat = values.flatten(0, 1).float()  # [T B, units]
        self.counts = self.counts + flat.histc(BINS, 0, 1)
        self.low += int((flat < LOW).sum())
        self.high += int((flat > HIGH).sum())
        self.total += flat.numel()
        self.least = torch.minimum(self.least, flat.amin(0))
        self.most = torch.maximum(self.most, flat.amax(0))

    def gate(self, layer: int, name: str) -> Gate:
        return Gate(
            layer=layer,
            name=name,
            low=self.low / self.total,
            high=self.high / self.total,
            histogram=tuple((self.counts.double() / self.total).tolist()),
            shut=_where(self.most < SHUT),
            open=_where(self.least > OPEN),
            units=len(self.least),
        )

    def dead(self, layer: int) -> Dead:
        near = (self.most - self.least) / 2 <= DEAD
        return Dead(layer=layer, dead=_where(near), units=len(self.least))


def _where(units: Tensor) -> tuple[int, ...]:
    return tuple(int(k) for k in units.nonzero().flatten())
