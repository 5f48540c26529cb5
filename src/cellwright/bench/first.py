"""First: how long the first call of a cell takes, in a process that has just begun.

Twice for each cell: with an empty cache, where machine code is made, and then with that cache.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cellwright.bench.errors import BenchError
from cellwright.bench.measure import Stop
from cellwright.bench.sides import Subject, one_or_all, total
from cellwright.language import cell_from_json, cell_to_json

WIDTH = 256
SHAPE = (10, 16)  # T, B of the first call
OTHERS = ((7, 3), (21, 1), (30, 64))  # of later ones, which must not compile; T = 1 is a step's
PROGRAM = "from cellwright.bench.first import child; child()"


@dataclass(frozen=True)
class FirstCall:
    """Seconds of the first inference and of the first training step after it.

    `compiled`: with an empty cache; `cached`: with what that left; `again`: whether another T or B
    made code once more, where T is more than one.
    """

    cell: str
    width: int
    compiled: tuple[float, float]
    cached: tuple[float, float]
    again: bool

    def to_dict(self) -> dict[str, object]:
        """All of it as JSON."""

        def both(pair: tuple[float, float]) -> dict[str, float]:
            return {"inference_ms": 1e3 * pair[0], "training_ms": 1e3 * pair[1]}

        return {
            "cell": self.cell,
            "width": self.width,
            "empty_cache": both(self.compiled),
            "cached": both(self.cached),
            "compiled_again": self.again,
        }


def first_call(subject: Subject, dtype: torch.dtype, stop: Stop, width: int = WIDTH) -> FirstCall:
    """Start two processes, one after the other, on a cache of their own.

    Raises BenchError where one ends badly, and Stopped where that was asked.
    """
    wish = {
        "cell": cell_to_json(subject.cell),
        "width": width,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory(prefix="cellwright-bench-") as folder:
        cold, warm = (_asked(wish, folder, stop) for _ in range(2))
    compiled, cached = ((found["seconds"][0], found["seconds"][1]) for found in (cold, warm))
    return FirstCall(subject.name, width, compiled, cached, cold["again"])


def _asked(wish: dict[str, Any], folder: str, stop: Stop) -> dict[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CELLWRIGHT_CACHE": folder},
        start_new_session=True,  # Ctrl-C is ours to hear
    )
    given: str | None = json.dumps(wish)
    try:
        while True:
            stop.heed()
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(given, timeout=0.2)
                break
            given = None
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode:
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        raise BenchError(f"the process that times a first call ended badly: {last}")
    return json.loads(out)


def child() -> None:
    """Time the first calls that standard input asks for; print JSON."""
    wish = json.load(sys.stdin)
    dtype = getattr(torch, wish["dtype"])
    torch.set_num_threads(wish["threads"])
    torch.nn.Linear(64, 64)(torch.randn(64, 64)).sum().backward()  # torch's own first call
    subject, width = Subject("first", cell_from_json(wish["cell"])), wish["width"]
    layer = subject.layer(width, dtype, "llvm")
    widths = [port.width for port in subject.plan(width).program.inputs]

    def call(steps: int, batch: int) -> list[float]:
        x = one_or_all([torch.randn(steps, batch, w, dtype=dtype) for w in widths])
        mine = one_or_all(
            [torch.zeros(steps, batch, w, dtype=dtype).requires_grad_() for w in widths]
        )
        times = [time.perf_counter()]
        with torch.inference_mode():
            layer(x)
        times.append(time.perf_counter())
        total(layer(mine)[0]).backward()
        times.append(time.perf_counter())
        return [b - a for a, b in itertools.pairwise(times)]

    seconds = call(*SHAPE)
    before = _entries()
    for shape in OTHERS:
        call(*shape)
    print(json.dumps({"seconds": seconds, "again": _entries() != before}))  # noqa: T201


def _entries() -> int:
    """Files in the cache."""
    return sum(path.is_file() for path in Path(os.environ["CELLWRIGHT_CACHE"]).rglob("*"))
