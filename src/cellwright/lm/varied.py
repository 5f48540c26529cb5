"""Windows of varied lengths, so that no token always stands at a window's end.

Merity, Keskar & Socher 2018 (arXiv 1708.02182), section 4.1.
"""

import random
from collections.abc import Iterator
from typing import Final, final

import torch

from cellwright.lm.config import LEAST_VARIED
from cellwright.lm.corpus import Windows

OFTEN: Final = 0.95  # how often a length is near `steps`; else it is near half of that
SPREAD: Final = 5.0  # its standard deviation, in tokens


@final
class VariedWindows:
    """The streams of `Windows`, cut anew for each epoch.

    A length is int(N(m, 5)), at least 5, with m = steps (p = 0.95) or steps / 2. The cuts follow
    from the seed and the epoch alone, so a resumed run finds them again; no other random number
    is drawn for them.
    """

    def __init__(self, windows: Windows, seed: int, epoch: int) -> None:
        self.windows: Final = windows
        ends, drawn = [0], random.Random(f"{seed}/{epoch}")
        while ends[-1] < windows.length:
            mean = windows.steps if drawn.random() < OFTEN else windows.steps / 2
            length = max(LEAST_VARIED, int(drawn.gauss(mean, SPREAD)))
            ends.append(min(ends[-1] + length, windows.length))
        self._ends: Final = ends

    def __len__(self) -> int:
        """How many windows this epoch has."""
        return len(self._ends) - 1

    @property
    def scored(self) -> int:
        """How many tokens one pass predicts."""
        return self.windows.scored

    def from_window(self, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs and targets [B, T] of the windows `start`, `start` + 1, ... of the epoch."""
        for first, last in zip(self._ends[start:], self._ends[start + 1 :], strict=False):
            yield self.windows.between(first, last)
