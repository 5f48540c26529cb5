"""Report: everything that a benchmark found, its means and its worst shapes, and its JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from cellwright.bench.cases import KINDS, Case
from cellwright.bench.first import FirstCall
from cellwright.bench.machine import Host
from cellwright.bench.shapes import Shape
from cellwright.bench.steps import ONE_STEP, OneStep

FORMAT = "cellwright-bench-1"
SHARE, OF_LSTM = "share of peak", "rate over LSTM"


@dataclass(frozen=True)
class Heading:
    """What is measured on what: the dtype, and the peak in FLOP/s on one thread and on all."""

    host: Host
    dtype: str
    peak_one: float
    peak_all: float


@dataclass(frozen=True)
class Note:
    """Something that the reader of a table must know, in one line."""

    text: str


Event = Heading | Note | Case | OneStep | FirstCall


@dataclass(frozen=True)
class Summary:
    """One number of all shapes of a cell: its geometric mean, and where it is least."""

    cell: str
    kind: str
    what: str  # a peer's name, SHARE or OF_LSTM
    mean: float
    worst: float
    worst_shape: Shape


@dataclass(frozen=True)
class Worst:
    """The least ratio to a peer of all rows, those of single steps included, and its row."""

    peer: str
    ratio: float
    cell: str
    kind: str  # one of KINDS, or `steps.ONE_STEP`
    place: str  # the shape, or the way that the step was taken

    def __str__(self) -> str:
        return f"{self.cell}, {self.kind}, {self.place}"


@dataclass
class Report:
    """Gathers events in the order in which they come."""

    heading: Heading | None = None
    notes: list[Note] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    steps: list[OneStep] = field(default_factory=list)
    firsts: list[FirstCall] = field(default_factory=list)
    stopped: bool = False

    def add(self, event: Event) -> None:
        """Keep an event in its place."""
        if isinstance(event, Heading):
            self.heading = event
        elif isinstance(event, Note):
            self.notes.append(event)
        elif isinstance(event, Case):
            self.cases.append(event)
        elif isinstance(event, OneStep):
            self.steps.append(event)
        else:
            self.firsts.append(event)

    def summaries(self) -> list[Summary]:
        """Sum up the shapes of each cell, inference and training apart."""
        found = []
        for cell in dict.fromkeys(case.cell for case in self.cases):
            for kind in KINDS:
                found += _summed([c for c in self.cases if (c.cell, c.kind) == (cell, kind)])
        return found

    def worst(self) -> list[Worst]:
        """Find the least ratio to each peer."""
        rows = [(c.ratios, c.cell, c.kind, str(c.shape)) for c in self.cases]
        rows += [(s.ratios, s.cell, ONE_STEP, s.way) for s in self.steps]
        found = [Worst(peer, r, *row) for ratios, *row in rows for peer, r in ratios.items()]
        return [
            min((w for w in found if w.peer == peer), key=lambda w: w.ratio)
            for peer in dict.fromkeys(w.peer for w in found)
        ]

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON; times in ms, rates in GFLOP/s."""
        head = self.heading
        return {
            "format": FORMAT,
            "machine": asdict(head.host) if head else None,
            "dtype": head.dtype if head else None,
            "peak_gflops": (
                {"one_thread": head.peak_one / 1e9, "all_threads": head.peak_all / 1e9}
                if head
                else None
            ),
            "notes": [note.text for note in self.notes],
            "cases": [case.to_dict() for case in self.cases],
            "one_step": [step.to_dict() for step in self.steps],
            "first_call": [first.to_dict() for first in self.firsts],
            "summary": [{**asdict(s), "worst_shape": str(s.worst_shape)} for s in self.summaries()],
            "worst": [asdict(w) for w in self.worst()],
            "stopped": self.stopped,
        }


def _summed(cases: Sequence[Case]) -> list[Summary]:
    """Sum up cases of one cell and kind; a peer counts where it was timed."""
    if not cases:
        return []
    numbers = [{**c.ratios, SHARE: c.share, OF_LSTM: c.of_lstm} for c in cases]
    found = []
    for what in dict.fromkeys(name for row in numbers for name in row):
        pairs = [(row[what], c.shape) for row, c in zip(numbers, cases, strict=True) if what in row]
        worst, shape = min(pairs, key=lambda pair: pair[0])
        mean = statistics.geometric_mean([number for number, _ in pairs])
        found.append(Summary(cases[0].cell, cases[0].kind, what, mean, worst, shape))
    return found
