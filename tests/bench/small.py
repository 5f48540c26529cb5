"""Events and sides that the tests of the bench share."""

from cellwright.bench.agree import Agreement
from cellwright.bench.cases import Case
from cellwright.bench.first import FirstCall
from cellwright.bench.machine import Host
from cellwright.bench.measure import Timing
from cellwright.bench.report import Event, Heading, Note, Report
from cellwright.bench.shapes import Shape
from cellwright.bench.steps import OneStep

HOST = Host("AMD EPYC 7R13", "znver3", 2, "Linux x86_64", 2, "0.1.0", "2.13.0", "0.50.0")


def timing(seconds: float) -> Timing:
    return Timing(seconds, (seconds * 0.9, seconds * 1.1), (seconds * 0.8, seconds * 2), 9)


def case(cell: str, shape: Shape, kind: str, ours: float, loop: float, nn: float | None) -> Case:
    peers = {} if nn is None else {"torch.nn": timing(nn)}
    peers["loop"] = timing(loop)
    found = dict.fromkeys(peers, Agreement(1e-7, 2e-7))
    return Case(cell, shape, kind, 2_000_000_000, timing(ours), peers, found, 200e9, 0.9)


def events() -> list[Event]:
    """What a run of two cells at two shapes tells."""
    told: list[Event] = [Heading(HOST, "float32", 98e9, 190e9), Note("without JAX: not installed")]
    for k, shape in enumerate((Shape(100, 1, 64), Shape(100, 16, 128))):
        for kind in ("inference", "training"):
            told.append(case("lstm", shape, kind, 0.1, 0.4 * (k + 1), 0.08 * (1 + k)))
            told.append(case("layernorm-lstm", shape, kind, 0.1, 0.9, None))
    for cell, peers in (("lstm", ("torch.nn", "loop")), ("layernorm-lstm", ("loop",))):
        for way in ("Recurrent.step", "RecurrentCell"):
            told.append(OneStep(cell, 256, way, timing(3e-5), {p: timing(9e-5) for p in peers}))
    told += [FirstCall(c, 256, (0.3, 0.6), (0.02, 0.03), False) for c in ("lstm", "layernorm-lstm")]
    return told


def report() -> Report:
    made = Report()
    for event in events():
        made.add(event)
    return made
