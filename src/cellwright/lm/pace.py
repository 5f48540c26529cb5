"""How fast training goes and how well: clocks and running means."""

import math
import time
from dataclasses import dataclass
from typing import final

STEP_SECONDS = 0.1  # between two reports: no terminal shows more
MEMORY = 0.9  # how much of the rate shown is the rate shown before


@dataclass(frozen=True)
class EpochMean:
    """The mean loss of an epoch's windows so far, each token with equal weight."""

    total: float = 0.0
    tokens: int = 0

    def plus(self, nats: float, tokens: int) -> "EpochMean":
        """With one more window of `tokens` tokens whose mean loss is `nats`."""
        return EpochMean(self.total + nats * tokens, self.tokens + tokens)

    @property
    def nats(self) -> float:
        """Nats per token; NaN before the first window."""
        return self.total / self.tokens if self.tokens else math.nan


def reached(epochs: int, window: int, windows: int) -> str:
    """How far a training is, in words: '3 epochs', 'no epoch', '2 epochs and 45 % of the next'."""
    whole = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    if window == 0:
        return whole if epochs else "no epoch"
    share = f"{100 * window // windows} % of the {'next' if epochs else 'first epoch'}"
    return f"{whole} and {share}" if epochs else share


@final
class Pace:
    """Seconds spent, since the last report and the last save; tokens per second."""

    def __init__(self, seconds_before: float) -> None:
        now = time.perf_counter()
        self._origin = now - seconds_before
        self._reported = self._saved = now
        self._since = EpochMean()
        self._rate: float | None = None

    def seconds(self) -> float:
        """All the time of the training, that before it was resumed included."""
        return time.perf_counter() - self._origin

    def count(self, nats: float, tokens: int) -> None:
        """Add a window of `tokens` tokens whose mean loss is `nats`."""
        self._since = self._since.plus(nats, tokens)

    def due(self) -> bool:
        """Whether it is time for a report."""
        return time.perf_counter() - self._reported >= STEP_SECONDS

    def take(self) -> tuple[float, float]:
        """The mean loss since the last report, and the smoothed rate in tokens per second."""
        now = time.perf_counter()
        rate = self._since.tokens / max(now - self._reported, 1e-9)
        self._rate = rate if self._rate is None else MEMORY * self._rate + (1 - MEMORY) * rate
        loss, self._since, self._reported = self._since.nats, EpochMean(), now
        return loss, self._rate

    def since_save(self) -> float:
        """Seconds since the last save."""
        return time.perf_counter() - self._saved

    def saved(self) -> None:
        """A save has just ended; its time, and a validation's before it, is not training's."""
        self._saved = self._reported = time.perf_counter()
        self._since = EpochMean()
