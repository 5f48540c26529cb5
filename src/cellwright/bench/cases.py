"""Cases: one cell at one shape beside its peers, the LSTM's rate and the processor's peak."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from cellwright import cells
from cellwright.bench import jax_peer, onnx_peer
from cellwright.bench.agree import STEPS, Agreement, agreement
from cellwright.bench.flops import TRAINING, flops
from cellwright.bench.measure import Pace, Stop, Timing, interleaved
from cellwright.bench.peak import Peak
from cellwright.bench.shapes import Shape
from cellwright.bench.sides import LOOP, Drawn, Side, Sides, Subject, build, draws

KINDS = ("inference", "training")
YARDSTICK = Subject("lstm", cells.CATALOGUE["lstm"])


@dataclass(frozen=True)
class Case:
    """One cell at one shape, inference or training; `flops` of one call, `peak` in FLOP/s.

    `of_lstm` is the cell's FLOP/s over the LSTM's at the same shape. All was timed in turn.
    """

    cell: str
    shape: Shape
    kind: str
    flops: int
    ours: Timing
    peers: Mapping[str, Timing]
    agreement: Mapping[str, Agreement]
    peak: float
    of_lstm: float

    @property
    def rate(self) -> float:
        """FLOP/s of Cellwright's side."""
        return self.flops / self.ours.median

    @property
    def share(self) -> float:
        """That rate over the peak on as many threads."""
        return self.rate / self.peak

    @property
    def ratios(self) -> dict[str, float]:
        """How many times faster than each peer."""
        return {name: peer.median / self.ours.median for name, peer in self.peers.items()}

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON."""
        found = {
            name: {
                **timing.to_dict(),
                "ratio": self.ratios[name],
                "value_difference": self.agreement[name].values,
                "gradient_difference": self.agreement[name].gradients,
            }
            for name, timing in self.peers.items()
        }
        return {
            "cell": self.cell,
            "steps": self.shape.steps,
            "batch": self.shape.batch,
            "width": self.shape.width,
            "kind": self.kind,
            "flops": self.flops,
            "ours": self.ours.to_dict(),
            "peers": found,
            "gflops": self.rate / 1e9,
            "peak_gflops": self.peak / 1e9,
            "share_of_peak": self.share,
            "rate_over_lstm": self.of_lstm,
        }


class Cases:
    """Times cells at shapes; keeps the LSTM of each shape, and the peak, for all of them."""

    def __init__(self, dtype: torch.dtype, extras: Sequence[str], pace: Pace, stop: Stop) -> None:
        self.dtype, self.extras, self.pace, self.stop = dtype, extras, pace, stop
        self.peak = Peak(dtype, torch.get_num_threads())
        self._lstm: dict[Shape, Side] = {}

    def of(self, subject: Subject, shape: Shape) -> tuple[Case, ...]:
        """Check that all sides agree, then time inference and training.

        Raises Disagreement, and Stopped where that was asked.
        """
        with _quiet():
            made = build(subject, shape, self.dtype)
            peers = [*made.peers, *self._extra(subject, shape, made)]
            found = self._agreed(subject, shape, made.ours, peers)
            if subject.known == YARDSTICK.known:
                self._lstm[shape] = made.ours
            return tuple(
                self._case(subject, shape, kind, made.ours, peers, found) for kind in KINDS
            )

    def _agreed(
        self, subject: Subject, shape: Shape, ours: Side, peers: Sequence[Side]
    ) -> dict[str, Agreement]:
        drawn = draws(subject, shape, self.dtype, min(STEPS, shape.steps))
        found = {}
        for peer in peers:
            self.stop.heed()
            found[peer.name] = agreement(ours, peer, drawn, f"{subject.name} {shape}")
        return found

    def _extra(self, subject: Subject, shape: Shape, made: Sides) -> list[Side]:
        x = Drawn.of(subject, shape, self.dtype, shape.steps).inputs[0]
        found = []
        if jax_peer.NAME in self.extras:
            found.append(jax_peer.side(subject, made.layer, x))
        if onnx_peer.NAME in self.extras:
            count = torch.get_num_threads()
            found.append(onnx_peer.side(subject, made.layer, x, count))
        return [side for side in found if side is not None]

    def _yardstick(self, shape: Shape) -> Side:
        """The LSTM at a shape; agreed with the loop before its rate means anything."""
        if shape not in self._lstm:
            made = build(YARDSTICK, shape, self.dtype)
            loop = [peer for peer in made.peers if peer.name == LOOP]
            self._agreed(YARDSTICK, shape, made.ours, loop)
            self._lstm[shape] = made.ours
        return self._lstm[shape]

    def _case(
        self,
        subject: Subject,
        shape: Shape,
        kind: str,
        ours: Side,
        peers: Sequence[Side],
        found: Mapping[str, Agreement],
    ) -> Case:
        training = kind == "training"
        lstm = self._yardstick(shape)
        present = [peer for peer in peers if not training or peer.train]
        sides = [ours, *present, *([] if lstm is ours else [lstm])]
        runs = [side.train if training else side.infer for side in sides]
        timings = interleaved([*filter(None, runs), self.peak], self.pace, self.stop)
        mine, peak = timings[0], timings[-1]
        yard = mine if lstm is ours else timings[-2]
        times = TRAINING if training else 1
        count, other = (
            times * shape.rows * flops(s.plan(shape.width).program) for s in (subject, YARDSTICK)
        )
        return Case(
            cell=subject.name,
            shape=shape,
            kind=kind,
            flops=count,
            ours=mine,
            peers={p.name: t for p, t in zip(present, timings[1:], strict=False)},
            agreement={p.name: found[p.name] for p in present},
            peak=self.peak.flops / peak.extremes[0],  # a limit: the fastest of its turns
            of_lstm=(count / mine.median) / (other / yard.median),
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from remarking on the speed of its own projected LSTM."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections")
        yield
