"""Measure: several functions timed in one process, in turn, so that all meet the same machine."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Run = Callable[[], object]
LEAST, MOST = 3, 101  # rounds, where no number is asked for
SLOW = 0.5  # seconds of a first round after which one is warm-up enough


class Stopped(Exception):
    """Raised between two runs after somebody asked to stop."""


class Stop:
    """A wish to stop, which a signal handler can make."""

    def __init__(self) -> None:
        self.asked = False

    def set(self) -> None:
        """Ask to stop."""
        self.asked = True

    def heed(self) -> None:
        """Raise Stopped where it has been asked."""
        if self.asked:
            raise Stopped


@dataclass(frozen=True)
class Pace:
    """How long to measure: `repeats` rounds, or, for None, as many as fit `seconds`."""

    repeats: int | None = None
    seconds: float = 0.5


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median, the quartiles and the extremes of `count` of them."""

    median: float
    quartiles: tuple[float, float]
    extremes: tuple[float, float]
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Timing":
        """Sum up samples, of which there is at least one."""
        if len(samples) > 1:
            low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
        else:
            low = middle = high = samples[0]
        return cls(middle, (low, high), (min(samples), max(samples)), len(samples))

    @property
    def spread(self) -> float:
        """The upper quartile over the lower one."""
        return self.quartiles[1] / self.quartiles[0]

    def to_dict(self) -> dict[str, object]:
        """The same in milliseconds, for JSON."""
        return {
            "median_ms": 1e3 * self.median,
            "quartiles_ms": [1e3 * s for s in self.quartiles],
            "extremes_ms": [1e3 * s for s in self.extremes],
            "count": self.count,
        }


def timed(run: Run, calls: int = 1) -> float:
    """Seconds that a call takes, the mean of `calls` in a row."""
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def interleaved(
    runs: Sequence[Run], pace: Pace, stop: Stop | None = None, calls: int = 1
) -> list[Timing]:
    """Time functions in turn, in one order and then in the other; returns one Timing for each.

    Each is called before, untimed. A sample is the mean of `calls` calls. Raises Stopped.
    """
    stop = stop or Stop()
    samples: list[list[float]] = [[] for _ in runs]
    order = list(range(len(runs)))

    def round_of(keep: bool) -> None:
        for k in order:
            stop.heed()
            seconds = timed(runs[k], calls)
            if keep:
                samples[k].append(seconds)
        order.reverse()  # who runs after whom changes: threads that still spin hurt the next

    with _no_collection():
        if timed(lambda: round_of(False)) < SLOW:
            round_of(False)
        begin = time.perf_counter()
        for done in range(pace.repeats or MOST):
            late = time.perf_counter() - begin > pace.seconds
            if pace.repeats is None and late and done >= LEAST:
                break
            round_of(True)
    return [Timing.of(found) for found in samples]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from running inside somebody's turn."""
    gc.collect()
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
