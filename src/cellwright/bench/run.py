"""Run: a whole benchmark, one event after another, so that what is there can be shown."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from cellwright.bench import jax_peer, onnx_peer
from cellwright.bench.cases import YARDSTICK, Cases
from cellwright.bench.errors import BenchError, WishError
from cellwright.bench.first import first_call
from cellwright.bench.machine import checked_threads, host
from cellwright.bench.measure import Pace, Stop
from cellwright.bench.memory import check_memory
from cellwright.bench.peak import rates
from cellwright.bench.report import Event, Heading, Note
from cellwright.bench.shapes import DEFAULT, Shape
from cellwright.bench.sides import LOOP, NN, Subject
from cellwright.bench.steps import one_step
from cellwright.runtime import native

DTYPES = {"float32": torch.float32, "float64": torch.float64}
FURTHER = (jax_peer, onnx_peer)


@dataclass(frozen=True)
class Wish:
    """What to measure. `peers` adds JAX and ONNX Runtime, where they are installed.

    `threads` None: torch's number. `first_calls` starts two processes for each cell.
    """

    cells: tuple[Subject, ...]
    shapes: tuple[Shape, ...] = DEFAULT
    dtype: str = "float32"
    threads: int | None = None
    pace: Pace = field(default_factory=Pace)
    peers: bool = False
    first_calls: bool = True

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise WishError(f"dtype: expected one of {', '.join(DTYPES)}, got {self.dtype!r:.40}")
        if self.threads is not None:
            checked_threads(self.threads)

    def peer_names(self) -> list[str]:
        """The peers that some cell is compared with, in the order of the tables."""
        names = [NN] if any(subject.has_layer for subject in self.cells) else []
        return [*names, LOOP, *(peer for peer, lack in self.further().items() if lack is None)]

    def further(self) -> dict[str, str | None]:
        """JAX and ONNX Runtime, where they are asked for, and why one cannot be compared with."""
        dtype = DTYPES[self.dtype]
        return {peer.NAME: peer.missing(dtype) for peer in FURTHER if self.peers}


def bench(wish: Wish, stop: Stop | None = None) -> Iterator[Event]:
    """Measure; yields the machine and its peak, then each cell at each shape, then the rest.

    Raises BenchError where there is no machine code to measure, a shape is too large for this
    machine or two sides disagree, and Stopped after `stop` was asked.
    """
    stop = stop or Stop()
    reason = native.missing()
    if reason is not None:
        raise BenchError(f"machine code cannot be made here: {reason}")
    dtype = DTYPES[wish.dtype]
    for shape, subject in itertools.product(wish.shapes, (*wish.cells, YARDSTICK)):
        check_memory(subject, shape, dtype)
    with _threads(wish.threads):
        count = torch.get_num_threads()
        one, every = rates(dtype, (1, count))
        yield Heading(host(), wish.dtype, one, every)
        further = wish.further()
        yield from (Note(lack) for lack in further.values() if lack is not None)
        extras = [name for name, lack in further.items() if lack is None]
        if jax_peer.NAME in extras:
            jax_peer.start(count, dtype)
        cases = Cases(dtype, extras, wish.pace, stop)
        for subject in wish.cells:
            for shape in wish.shapes:
                yield from cases.of(subject, shape)
        for subject in wish.cells:
            yield from one_step(subject, dtype, extras, wish.pace, stop)
        for subject in wish.cells if wish.first_calls else ():
            yield first_call(subject, dtype, stop)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute on a number of threads, and put torch's back."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if number is None else number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
