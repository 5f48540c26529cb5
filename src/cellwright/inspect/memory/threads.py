"""Threads for many small operations: one, because more of them wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cellwright.lm.model import LanguageModel

WIDE = 1024  # units from which on one operation has work for several threads


@contextmanager
def few_threads(model: LanguageModel) -> Iterator[None]:
    """Within the block a narrow model's torch operations take one thread; then as many as before.

    A step of a few hundred units is over sooner than two threads have met, and where something
    else computes on the machine they wait for each other at every one of thousands of steps.
    """
    threads = torch.get_num_threads()
    widest = max(width for layer in model.recurrent._layers for _, width in layer.states)
    try:
        if widest < WIDE:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)
