"""Steps: one step of one row, as a program that streams takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cellwright.bench import onnx_peer
from cellwright.bench.agree import TOLERANCE, difference
from cellwright.bench.errors import Disagreement
from cellwright.bench.measure import Pace, Run, Stop, Timing, interleaved
from cellwright.bench.sides import LAYERS, LOOP, NN, Subject, one_or_all
from cellwright.nn import RecurrentCell

WIDTH = 256
CALLS = 20  # in a row for one sample: a call takes some tens of microseconds
ONE_STEP = "one step"
STEP, CELL = "Recurrent.step", "RecurrentCell"


@dataclass(frozen=True)
class OneStep:
    """One step at B = 1 by a way of ours, `STEP` or `CELL`, beside its peers."""

    cell: str
    width: int
    way: str
    ours: Timing
    peers: Mapping[str, Timing]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times faster than each peer."""
        return {name: peer.median / self.ours.median for name, peer in self.peers.items()}

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON."""
        peers = {n: {**t.to_dict(), "ratio": self.ratios[n]} for n, t in self.peers.items()}
        return {
            "cell": self.cell,
            "width": self.width,
            "way": self.way,
            "ours": self.ours.to_dict(),
            "peers": peers,
        }


def one_step(
    subject: Subject,
    dtype: torch.dtype,
    extras: Sequence[str],
    pace: Pace,
    stop: Stop,
    width: int = WIDTH,
) -> tuple[OneStep, ...]:
    """Check that all ways to take a step agree, then time them in turn.

    Raises Disagreement, and Stopped where that was asked.
    """
    torch.manual_seed(0)
    program = subject.plan(width).program
    x = tuple(torch.randn(1, port.width, dtype=dtype) for port in program.inputs)
    state = tuple(torch.randn(1, carry.width, dtype=dtype) for carry in program.states)
    with torch.inference_mode():
        found = _ways(subject, dtype, extras, x, state)
        for name, way in found.items():
            _agree(f"{subject.name}, one step", name, found[STEP](), way(), TOLERANCE[dtype])
        timings = interleaved(list(found.values()), pace, stop, CALLS)
    made = dict(zip(found, timings, strict=True))
    ours = {way: made.pop(way) for way in (STEP, CELL)}
    return tuple(OneStep(subject.name, width, way, t, made) for way, t in ours.items())


def _ways(
    subject: Subject,
    dtype: torch.dtype,
    extras: Sequence[str],
    x: tuple[Tensor, ...],
    state: tuple[Tensor, ...],
) -> dict[str, Run]:
    """Functions that take one step and return the new states, by name."""
    width = x[0].shape[1]
    layer = subject.layer(width, dtype, "llvm")
    loop = subject.layer(width, dtype, "reference")
    loop.load_state_dict(layer.state_dict())
    cell = RecurrentCell(
        subject.cell, width, width, proj_size=subject.projection(width), dtype=dtype,
        split_bias=subject.has_layer,
    )  # fmt: skip
    weights = {name.removesuffix("_l0"): w for name, w in layer.state_dict().items()}
    cell.load_state_dict({_in_a_cell(name): w for name, w in weights.items()})
    given, flat = one_or_all(x), one_or_all(state)
    stacked = one_or_all([s[None] for s in state])
    ways: dict[str, Run] = {
        STEP: lambda: layer.step(given, stacked)[1],
        CELL: lambda: cell(given, flat),
    }
    if subject.has_layer and not subject.projection(width):  # torch's cells have no projection
        name, options = LAYERS[subject.known or ""]
        theirs = getattr(nn, f"{name}Cell")(width, width, dtype=dtype, **options)
        theirs.load_state_dict(weights)
        ways[NN] = lambda: theirs(given, flat)
    ways[LOOP] = lambda: loop.step(given, stacked)[1]
    if onnx_peer.NAME in extras and subject.known in onnx_peer.OPERATORS:
        ways[onnx_peer.NAME] = _onnx(subject.known, layer, x[0], state)
    return ways


def _in_a_cell(name: str) -> str:
    """A bias of no matrix has a suffix in a cell, whose `bias` says whether it has any."""
    return "bias_h" if name == "bias" else name


def _onnx(cell: str, layer: nn.Module, x: Tensor, state: tuple[Tensor, ...]) -> Run:
    weights = dict(layer.named_parameters())
    run = onnx_peer.session(cell, weights, torch.get_num_threads(), begin=True)
    names = onnx_peer.STATES[cell]
    feeds = {"X": x[None].numpy()}
    feeds |= {f"first_{n}": s[None].numpy() for n, s in zip(names, state, strict=True)}
    return lambda: [torch.from_numpy(made) for made in run(feeds)[1:]]


def _agree(place: str, name: str, ours: Any, theirs: Any, limit: float) -> None:
    """Compare the states after a step, whatever lengths of one their shapes have."""
    for mine, other in zip(_listed(ours), _listed(theirs), strict=True):
        gap = difference(mine.flatten(), other.flatten())
        if not gap <= limit:
            raise Disagreement(f"{place}: {STEP} and {name} differ by {gap:.1e}")


def _listed(made: Any) -> list[Tensor]:
    return [made] if isinstance(made, Tensor) else list(made)
