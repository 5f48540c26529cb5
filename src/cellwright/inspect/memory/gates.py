"""Gates over a whole text: what they let through, how long they keep, and which units are dead."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cellwright.inspect.memory.report import Dead, Gate, HalfLives
from cellwright.inspect.memory.text import Read
from cellwright.inspect.memory.threads import few_threads
from cellwright.language.cell import Cell
from cellwright.language.keep import GIVEN, with_keeps
from cellwright.language.ops import LEAVES, PARAMETRIC, Op
from cellwright.lm.gates import HIGH, LOW, OPEN, SHUT, Fading, fading, gated

STEPS = 128  # of a stretch: stretches are the rows of a batch, each from its own start
ROWS = 32
BINS = 20
DEAD = 0.01  # from the middle of a unit's values: one that never leaves it hardly moves


def starts(tokens: int) -> set[int]:
    """After how many tokens of a text a state is wanted."""
    return set(range(0, tokens, STEPS))


@dataclass(frozen=True)
class Gating:
    """What was seen of a model's gates over a text; `faded` and `keeps` are by layer and state."""

    gates: tuple[Gate, ...]
    dead: tuple[Dead, ...]
    faded: dict[tuple[int, str], Fading]
    keeps: dict[tuple[int, str], str]


@torch.inference_mode()
def look(r: Read) -> Gating:
    """Read the whole text, in stretches that start where the one before has ended."""
    gates: dict[tuple[int, str], _Values] = {}
    outputs: dict[int, _Values] = {}
    faded: dict[tuple[int, str], Fading] = {}
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
                # a number that stands once for all steps counts as often as they are
                constant = keep.constant is not None
                found = fading(values.expand(rows.numel(), -1) if constant else values)
                faded[here] = faded[here] + found if here in faded else found
                keeps[here] = keep.label
    return Gating(
        gates=tuple(values.gate(*where) for where, values in gates.items()),
        dead=tuple(values.dead(number) for number, values in outputs.items()),
        faded=faded,
        keeps=keeps,
    )


def half_lives(
    trained: Gating, untrained: Gating | None, silent: Container[str]
) -> tuple[HalfLives, ...]:
    """Half-lives of the states that are multiplied with something, before and after training.

    Left out are states that are `silent`, and those that `unmeasured` names.
    """
    return tuple(
        HalfLives(
            layer=layer,
            state=state,
            keep=trained.keeps[layer, state],
            trained=seen.lives(),
            untrained=None if untrained is None else untrained.faded[layer, state].lives(),
            resets=seen.resets,
        )
        for (layer, state), seen in trained.faded.items()
        if f"layers.{layer}.{state}" not in silent and not _mixed(trained, untrained, layer, state)
    )


def _mixed(trained: Gating, untrained: Gating | None, layer: int, state: str) -> int:
    both = (trained,) if untrained is None else (trained, untrained)
    return max(gating.faded[layer, state].mixed for gating in both)


def unmeasured(trained: Gating, untrained: Gating | None) -> dict[str, str]:
    """States whose half-lives no number tells, by name, and why."""
    return {
        f"layers.{layer}.{state}": (
            f"{trained.keeps[layer, state]} of {units:,} of {len(seen.lost):,} units is exactly 0 "
            "at some steps and fades at others, so it has no geometric mean"
        )
        for (layer, state), seen in trained.faded.items()
        if (units := _mixed(trained, untrained, layer, state))
    }


def why_none(cell: type[Cell], silent: bool) -> str:
    """Say why a cell has no half-life; `silent`: no prediction depends on what it keeps."""
    keeps = with_keeps(cell)[1]
    if keeps and silent:
        kept = " and ".join(keep.state for keep in keeps)
        return (
            f"no gradient of a prediction passes through what {cell.__name__} keeps ({kept}), so "
            "nothing is read of it"
        )
    bent = [slot.name for slot in cell.graph.states if _way(cell, slot.leaf, slot.next)[0]]
    if bent:
        return (
            f"{cell.__name__} bends {' and '.join(bent)} on the way to the next value, as tanh of "
            "a sum does: no gate or number alone multiplies it"
        )
    none = f"{cell.__name__} multiplies no state with a gate or a number on a straight way"
    weights = {op for slot in cell.graph.states for op in _way(cell, slot.leaf, slot.next)[1]}
    if Op.LINEAR in weights:
        return f"{none}: what it remembers goes through its matrices at every step"
    if Op.DIAGONAL in weights:
        return f"{none}: what it remembers goes through one weight for each unit at every step"
    return f"{none} to its next value"


def _way(cell: type[Cell], leaf: int, end: int) -> tuple[bool, set[Op]]:
    """Whether a state leads to a value without a weight, and the kinds of weight it goes through.

    A weight that comes after another is one of them too.
    """
    nodes = cell.graph.nodes
    straight, met = {leaf}, {leaf}
    weights: set[Op] = set()
    for index, node in enumerate(nodes):
        if node.op in LEAVES:
            continue
        if met.intersection(node.args):
            met.add(index)
            if node.op in PARAMETRIC:
                weights.add(node.op)
        if node.op not in GIVEN and straight.intersection(node.args):
            straight.add(index)
    return end in straight, weights if end in met else set()


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
