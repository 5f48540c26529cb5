"""Several trainings at the same time, each in a process of its own, watched from here.

Each racer is `cellwright train ... --json`: what the demo shows is what anyone could type. The
processes stand apart from the terminal's Ctrl-C; it reaches them through `Race.stop`.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cellwright.language.errors import CellwrightError


class RaceError(CellwrightError):
    """A training of the demo that ended in an error; the text is the training's own."""


@dataclass
class Racer:
    """One training: what it is, and how far it has come."""

    name: str
    cell: str
    hidden: int
    parameters: int
    run: Path
    epoch: int = 0
    progress: float = 0.0
    eta: float = float("nan")
    seconds: float = 0.0
    tokens: int = 0
    loss: float = float("nan")
    losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    finished: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Take in one event of the training."""
        kind = event["event"]
        if kind == "started":
            self.parameters = event["parameters"]
        elif kind == "step":
            self.epoch, self.progress, self.eta = event["epoch"], event["progress"], event["eta"]
            self.tokens, self.loss = event["tokens"], event["loss"]
            self.losses.append(event["loss"])
        elif kind == "validated" and event["is_best"]:
            self.best_epoch = event["epoch"]
        elif kind == "finished":
            self.finished = not event["stopped"]
            self.seconds, self.tokens = event["seconds"], event["tokens"]
            self.epoch = event["epoch"]


class Race:
    """The processes of one leg; iterate to receive (racer, event) as they come, None when quiet."""

    def __init__(self, racers: Sequence[Racer], flags: Callable[[Racer], Sequence[str]]) -> None:
        self._events: queue.Queue[tuple[Racer, dict[str, Any] | None]] = queue.Queue()
        self._errors: dict[int, IO[str]] = {}
        self._processes: list[tuple[Racer, subprocess.Popen[str]]] = []
        try:
            for racer in racers:
                self._start(racer, flags(racer))
        except BaseException:
            self.kill()
            raise

    def _start(self, racer: Racer, flags: Sequence[str]) -> None:
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cellwright.cli", "train", *flags, "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            start_new_session=True,
        )
        self._errors[process.pid] = errors
        self._processes.append((racer, process))
        threading.Thread(target=self._read, args=(racer, process), daemon=True).start()

    def _read(self, racer: Racer, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # a line that is not an event is not for us
                    self._events.put((racer, json.loads(line)))
        process.wait()
        self._events.put((racer, None))

    def __iter__(self) -> Iterator[tuple[Racer, dict[str, Any]] | None]:
        running = len(self._processes)
        while running:
            try:
                racer, event = self._events.get(timeout=0.25)
            except queue.Empty:
                yield None
                continue
            if event is None:
                running -= 1
                self._check(racer)
            else:
                racer.take(event)
                yield racer, event

    def _check(self, racer: Racer) -> None:
        """RaceError if the training of `racer` ended otherwise than by its end or by our stop."""
        process = next(p for r, p in self._processes if r is racer)
        if process.returncode in (0, 128 + signal.SIGINT):
            return
        errors = self._errors[process.pid]
        errors.seek(0)
        lines = errors.read().strip().splitlines() or [f"exit code {process.returncode}"]
        self.kill()
        raise RaceError(f"the training of {racer.name} failed: {lines[-1]}")

    def stop(self) -> None:
        """Ask every training to finish its step and save."""
        for _, process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End every training at once, and wait until it is gone."""
        for _, process in self._processes:
            if process.poll() is None:
                process.kill()
        for _, process in self._processes:
            process.wait()

    def __enter__(self) -> "Race":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for errors in self._errors.values():
            errors.close()


def race(
    racers: Sequence[Racer],
    flags: Callable[[Racer], Sequence[str]],
    limit: float,
    watch: Callable[[Racer | None, dict[str, Any] | None], None],
    interrupted: Callable[[], bool],
) -> bool:
    """Run one leg to its end; False if it was stopped, by `interrupted` or after `limit` seconds.

    `watch` is called with each event and, while nothing happens, with None four times a second.
    """
    end, stopped = time.monotonic() + limit, False
    with Race(racers, flags) as running:
        for item in running:
            if not stopped and (interrupted() or time.monotonic() > end):
                running.stop()
                stopped = True
            watch(*(item or (None, None)))
    return not stopped
