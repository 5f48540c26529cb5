"""Threads: a loop's rows divided among torch's own threads.

Torch's operations run on the threads of an OpenMP library, which wait for more work by spinning.
Threads of our own would have to share the processor with them, so the loop goes to the same team.
Where that library cannot be found, and in a forked process, whose team its parent kept, the loop
goes to a pool of Python threads; ctypes lets go of the interpreter while it runs. For a team that
stayed behind it would wait without end.
"""

import ctypes
import functools
import os
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from cellwright.runtime.native import Code
from cellwright.targets.llvm.share import GATE, YIELD

FORKED = 0x40  # Linux's PF_FORKNOEXEC: forked, and no program has been started since


def _was_forked() -> bool:
    """Say whether this process is a fork of another one's program; False without a /proc.

    A torch that the parent imported cannot be told from one of our own, so neither is its team.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & FORKED)
    except (OSError, IndexError, ValueError):
        return False


# The process whose team the loop may go to: the one that imports this, unless torch may have been
# imported, and its threads started, before that was forked.
TEAM_OF = None if _was_forked() else os.getpid()


def divided(rows: int, threads: int) -> list[int]:
    """Cut a number of rows into a range for each thread; returns the edges."""
    threads = max(1, min(threads, rows))
    return [rows * k // threads for k in range(threads + 1)]


def share(
    code: Code,
    pointers: Sequence[int],
    numbers: Sequence[int],
    edges: Sequence[int],
    chunk: int,
) -> None:
    """Run a loop on every range of rows between edges, `chunk` rows at a time."""
    parts = len(edges) - 1
    block, place = _block(pointers, numbers, edges, parts, chunk, 0, 0)
    if parts == 1:
        code.share(place)
        return
    team = _team() if os.getpid() == TEAM_OF else None
    if team is not None:
        team.parallel(code.share_address, place, parts, 0)
        return
    pool = _pool(os.getpid(), parts - 1)
    waiting = [pool.submit(code.share, place) for _ in range(parts - 1)]
    code.share(place)
    for future in waiting:
        future.result()
    del block


def share_units(
    code: Code, pointers: Sequence[int], numbers: Sequence[int], rows: int, count: int
) -> None:
    """Run a loop on all rows, its units divided among `count` threads that wait for each other."""
    team = _team()
    assert team is not None, "asked of `can_share_units`"
    gate = array("q", [0] * GATE)
    gate[YIELD] = team.offer
    rest = team.count, gate.buffer_info()[0]
    block, place = _block(pointers, numbers, (0, rows), 1, max(1, rows), *rest)
    team.parallel(code.share_address, place, count, 0)
    del block


def _block(
    pointers: Sequence[int],
    numbers: Sequence[int],
    edges: Sequence[int],
    parts: int,
    chunk: int,
    team: int,
    gate: int,
) -> tuple[array, int]:
    """Lay out what `targets.llvm.share` reads; returns what holds it, and where its fields begin.

    It is one array, since each costs a microsecond.
    """
    own = (0, 0, 0, parts, chunk, 0, team, gate)  # in the order of `share.FIELDS`
    block = array("q", (*pointers, *numbers, *edges, *own))
    first, size = block.buffer_info()[0], block.itemsize
    at = len(block) - len(own)
    block[at] = first
    block[at + 1] = first + len(pointers) * size
    block[at + 2] = first + (len(pointers) + len(numbers)) * size
    return block, first + at * size


def can_share_units() -> bool:
    """Say whether threads may wait for each other: a pool might not run all of them at once."""
    return os.getpid() == TEAM_OF and _team() is not None


def describe() -> str:
    """Say which threads run a loop in this process."""
    return "torch's OpenMP threads" if can_share_units() else "a pool of Python threads"


def dividing() -> str:
    """Say what the threads of this process divide among them, and why not more."""
    if can_share_units():
        return "they divide the rows of a batch, or the units where the rows are few"
    why = "no OpenMP library of torch's was found"
    if os.getpid() != TEAM_OF:
        why = "this process was forked, and torch's OpenMP threads stayed in its parent"
    return f"they divide the rows of a batch, and never the units: {why}"


@dataclass(frozen=True)
class _Team:
    """OpenMP's entry for a parallel region, and where its count of threads and a yield lie."""

    parallel: Callable[..., None]
    count: int
    offer: int


@functools.cache
def _team() -> _Team | None:
    """Return the OpenMP library that torch runs on, by GNU's names, which LLVM's has too."""
    folder = Path(torch.__file__).parent
    places = [*folder.glob("lib/lib*omp*.so*"), *folder.parent.glob("torch.libs/lib*omp*.so*")]
    loaded = Path("/proc/self/maps")
    mapped = loaded.read_text() if loaded.exists() else ""
    for place in places:
        if place.name not in mapped:  # a second OpenMP library would bring threads of its own
            continue
        try:
            library = ctypes.CDLL(str(place))
            entry, count = library.GOMP_parallel, library.omp_get_num_threads
            offer = ctypes.CDLL(None).sched_yield
        except (OSError, AttributeError):
            continue
        entry.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        entry.restype = None
        return _Team(entry, *(ctypes.cast(f, ctypes.c_void_p).value or 0 for f in (count, offer)))
    return None


@functools.lru_cache(maxsize=8)
def _pool(process: int, workers: int) -> ThreadPoolExecutor:
    """Return a process's own threads: a fork starts without its parent's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="cellwright")
