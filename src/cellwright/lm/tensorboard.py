"""TensorBoard: a run's metrics.jsonl as event files in RUN/tensorboard, while it is written."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, final

from cellwright.lm.errors import TrainingError
from cellwright.lm.events import Event, Finished, Saved, Started, Step, Validated
from cellwright.lm.storage import CURVES, CURVES_END, clear_curves, reason

SCALARS: Final[Mapping[str, Mapping[str, str]]] = {
    "train": {
        "nats": "loss/training, nats a token",
        "lr": "optimizer/learning rate",
        "grad_norm": "optimizer/gradient norm",
    },
    "valid": {
        "nats": "loss/validation, nats a token",
        "bits_per_character": "loss/validation, bits a character",
        "perplexity": "loss/validation, perplexity",
    },
    "test": {"nats": "loss/test, nats a token"},
}
LIVES: Final = {"median": "median", "longest_tenth": "longest tenth"}
GATES: Final = {
    "low": "gates, share below 0.1",
    "high": "gates, share above 0.9",
    "shut": "gates, units shut",
    "open": "gates, units open",
}


@final
class TensorBoard:
    """A listener of training that copies each line of metrics.jsonl to TensorBoard's files.

    `train(config, out, on_event=TensorBoard(show))`; each event goes on to `then`. The files hold
    nothing of their own: they are written anew from metrics.jsonl when a run begins or goes on,
    so that lines which a resume took back are not shown. A curve's steps are the tokens trained on.
    TrainingError where the package tensorboard is missing.
    """

    def __init__(self, then: Callable[[Event], None] | None = None) -> None:
        try:
            self._writer_of = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "tensorboard: the package is not installed; pip install 'cellwright[tensorboard]', "
                "or, to go on without it, move the run's folder tensorboard away"
            ) from error
        self._then = then
        self._run: Path | None = None
        self._writer: Any = None
        self._read = 0  # bytes of metrics.jsonl

    def __call__(self, event: Event) -> None:
        """Take note of an event: lines that were written before it are copied."""
        if isinstance(event, Started):
            self._begin(event.out)
        if isinstance(event, Started | Step | Validated | Saved | Finished):
            self._follow()
        if isinstance(event, Finished):
            self.close()
        if self._then is not None:
            self._then(event)

    def close(self) -> None:
        """Write out what is pending, and close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self, run: Path) -> None:
        self.close()
        folder = run / CURVES
        if folder.is_symlink():
            raise TrainingError(
                f"{folder}: is a link, and others may write where it leads; move it away, and give "
                "TensorBoard the folder of the runs as its --logdir"
            )
        try:
            clear_curves(run)
            self._writer = self._writer_of(folder, filename_suffix=CURVES_END)
        except OSError as error:
            raise TrainingError(f"{folder}: cannot be written: {reason(error)}") from error
        self._run, self._read = run, 0

    def _follow(self) -> None:
        """Copy the lines that are new."""
        if self._run is None or not (self._run / "metrics.jsonl").exists():
            return
        with (self._run / "metrics.jsonl").open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")  # what follows is not complete yet
        self._read += len(whole) + len(end)
        for line in whole.splitlines():
            record = json.loads(line)
            step = record.get("tokens", record.get("trained"))
            for name, value in scalars(record):
                self._writer.add_scalar(name, value, step)
            for warning in record.get("warnings", ()):
                self._writer.add_text("training watch", warning, step)
        self._writer.flush()


def scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of one line of metrics.jsonl, each with the name of its curve."""
    for field, name in SCALARS.get(record["kind"], {}).items():
        if record.get(field) is not None:
            yield name, record[field]
    if record["kind"] != "watch":
        return
    for lag, value in zip(record["lags"], record["gradient"], strict=True):
        yield f"gradient norm by lag/{lag:04d} tokens back", value
    for number, layer in enumerate(record["layers"]):
        for gate, shares in layer["gates"].items():
            for field, group in GATES.items():
                yield f"{group}/layers.{number}.{gate}", shares[field]
        for state, life in layer["half_lives"].items():
            for field, name in LIVES.items():
                if life[field] is not None:
                    yield f"half-life in steps, {name}/layers.{number}.{state}", life[field]
