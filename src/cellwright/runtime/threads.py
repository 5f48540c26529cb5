"""Threads: a loop's rows divided among torch's own threads.

Torch's operations run on the threads of an OpenMP library, which wait for more work by spinning.
Threads of our own would have to share the processor with them, so the loop goes to the same team.
Where that library cannot be found, and in a forked process, whose team its parent kept, the loop
goes to a pool of Python threads; ctypes lets go of the interpreter while it runs.
"""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from cellwright.runtime.native import Code

FIRST_PROCESS = os.getpid()


def divided(rows: int, threads: int) -> list[int]:
    """Cut a number of rows into a range for each thread; returns the edges."""
    threads = max(1, min(threads, rows))
    return [rows * k // threads for k in range(threads + 1)]


def share(
    code: Code,
    pointers: Sequence[int | None],
    numbers: Sequence[int],
    edges: Sequence[int],
    chunk: int,
) -> None:
    """Run a loop on every range of rows between edges, `chunk` rows at a time."""
    first = (ctypes.c_void_p * len(pointers))(*pointers)
    second = (ctypes.c_int64 * len(numbers))(*numbers)
    third = (ctypes.c_int64 * len(edges))(*edges)
    parts = len(edges) - 1
    data = (ctypes.c_int64 * 6)(
        ctypes.addressof(first), ctypes.addressof(second), ctypes.addressof(third), parts, chunk, 0
    )
    place = ctypes.addressof(data)
    if parts == 1:
        code.share(place)
        return
    team = _team() if os.getpid() == FIRST_PROCESS else None
    if team is not None:
        team(code.share_address, place, parts, 0)
        return
    pool = _pool(os.getpid(), parts - 1)
    waiting = [pool.submit(code.share, place) for _ in range(parts - 1)]
    code.share(place)
    for future in waiting:
        future.result()


def describe() -> str:
    """Say which threads run a loop."""
    return "torch's OpenMP threads" if _team() is not None else "a pool of Python threads"


@functools.cache
def _team() -> Callable[..., None] | None:
    """Return GNU OpenMP's entry for a parallel region, from the library that torch runs on."""
    folder = Path(torch.__file__).parent
    places = [*folder.glob("lib/lib*omp*.so*"), *folder.parent.glob("torch.libs/lib*omp*.so*")]
    loaded = Path("/proc/self/maps")
    mapped = loaded.read_text() if loaded.exists() else ""
    for place in places:
        if place.name not in mapped:  # a second OpenMP library would bring threads of its own
            continue
        try:
            entry = ctypes.CDLL(str(place)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
        return entry
    return None


@functools.lru_cache(maxsize=8)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Return a process's own threads: a fork starts without its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="cellwright")
