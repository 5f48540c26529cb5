"""A run directory: what it holds, who may write in it, and how a save stays whole.

config.json        the model's shape, and every flag of the training
cell.json          the cell's equations as data
tokenizer.json     the vocabulary
model.safetensors  the weights of the best validation; the latest while none was made
metrics.jsonl      one JSON object a line: training, validation and test losses
tensorboard/       the same as event files, where they were asked for
tokens/            the texts as ids, so that resuming does not need the texts
last/              all that is needed to go on: weights, optimizer, random state, position
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, final

from torch import Tensor

from cellwright.language.errors import NOT_JSON
from cellwright.lm.config import ConfigError, TrainConfig
from cellwright.lm.errors import RunError
from cellwright.lm.fields import read_fields, shown
from cellwright.lm.lock import LOCK, acquire, remove
from cellwright.lm.records import (
    FACTS,
    LATER_FACTS,
    LATER_POSITION,
    POSITION,
    STATE,
    VERSION,
    read_metric,
)
from cellwright.lm.storage import (
    clear_curves,
    clear_temporaries,
    file_digest,
    read_json,
    read_tensors,
    reason,
    replace_directory,
    settle_directory,
    write_json,
    write_tensors,
)

REPLACED = "replaced"
ASIDE = "bring the file back from a copy, or move it away to go on without its lines"
FORMAT = "cellwright language model"
# What a run writes, and so all that replacing a run removes; the configuration goes first,
# because it is what makes the directory a run.
_OURS = ("config.json", "last", "model.safetensors", "metrics.jsonl", "cell.json")
_OURS += ("tokenizer.json", "tokens")


@dataclass(frozen=True)
class Position:
    """How far a run has come: `window` windows into `epoch` (from 1), after `seconds` of work."""

    epoch: int = 1
    window: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_nats: float | None = None
    finished: bool = False
    metrics_bytes: int = 0
    metrics_digest: str | None = None  # of so many bytes; None in the first runs


@dataclass(frozen=True)
class Snapshot:
    """All that training needs to go on exactly: the position and named tensors, in two sets.

    `model` is the model's state, `training` the optimizer's, the random generators' and the
    carried recurrent state; `facts` holds what is not a tensor.
    """

    position: Position
    model: Mapping[str, Tensor]
    training: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunInfo:
    """What can be read of a run without disturbing it; `metrics` are its lines, in order."""

    config: TrainConfig
    position: Position
    metrics: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self.position.finished


def read_run(path: Path) -> RunInfo:
    """Read a run that may be in use; RunError if there is none or it is damaged."""
    path = Path(path)
    config = read_config(path)
    try:
        position = _position(path / "last")
    except RunError:  # a save is under way, or was cut short
        position = _position(_candidate(path))
    metrics = read_metrics(path / "metrics.jsonl")
    check_metrics(path / "metrics.jsonl", position)
    return RunInfo(config, position, metrics)


def read_text_digests(path: Path) -> dict[str, str]:
    """The checksums of a run's texts, by part; empty if neither its save nor its tokens have them.

    The last save notes them; in runs of early versions only the token files do.
    """
    last = _candidate(path)
    rules = {name: FACTS[name] for name in LATER_FACTS}
    noted = read_fields(
        f"{last / 'state.json'}: facts", _state(last)["facts"], rules, may_lack=rules, more=True
    )
    if "texts" in noted:
        return noted["texts"]
    sides = {part: path / "tokens" / f"{part}.json" for part in ("train", "valid", "test")}
    found = {part: read_json(side) for part, side in sides.items() if side.exists()}
    digests = {part: facts.get("text_digest") for part, facts in found.items()}
    return {part: digest for part, digest in digests.items() if isinstance(digest, str)}


def read_config(path: Path) -> TrainConfig:
    """The training configuration of the run in `path`; RunError if it is no trained run."""
    file = _described(path) / "config.json"
    values = read_json(file)
    check_format(path, values)
    if "training" not in values:
        raise RunError(f"{path}: a model without its training: it cannot be resumed")
    try:
        return TrainConfig.from_dict(values["training"])
    except ConfigError as error:
        raise RunError(f"{file}: training: {error}") from error


def check_format(path: Path, values: Mapping[str, Any]) -> None:
    """RunError unless `values`, from config.json, are of the format this version reads."""
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        raise RunError(
            f"{path / 'config.json'}: expected {FORMAT!r} version {VERSION}, got "
            f"{shown(values.get('format'))} version {shown(values.get('version'))}"
        )


def _described(path: Path) -> Path:
    if not path.is_dir():
        raise RunError(f"{path}: no such directory; a run is made by `cellwright train`")
    if not (path / "config.json").is_file():
        raise RunError(f"{path}: holds no run (config.json is missing)")
    return path


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `path`; a last line cut short by a crash is left out.

    RunError for a line that is not JSON or whose kind lacks a field that is read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {reason(error)}") from error
    records = []
    for number, line in enumerate(lines[:-1], start=1):  # the last has no line end: incomplete
        place = f"{path}: line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RunError(f"{place}: {NOT_JSON}: {reason(error)}; {ASIDE}") from error
        records.append(read_metric(place, record))
    return records


def check_metrics(path: Path, position: Position) -> None:
    """RunError if `path` no longer begins with the lines that were saved with `position`.

    Lines after them are of the work since that save. A file that is not there was moved away.
    """
    size = position.metrics_bytes
    try:
        found = path.stat().st_size
        digest = file_digest(path, size)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {reason(error)}") from error
    if found < size:
        raise RunError(f"{path}: cut short: expected at least {size} bytes, got {found}; {ASIDE}")
    if position.metrics_digest not in (None, digest):
        raise RunError(f"{path}: damaged: its lines are not the ones that were written; {ASIDE}")


@final
class RunDirectory:
    """A run directory open for training: locked until closed, by this process or its death."""

    def __init__(self, path: Path, lock: BinaryIO) -> None:
        self.path = path
        self._lock = lock
        self._metrics: BinaryIO | None = None

    @classmethod
    def create(cls, path: Path, overwrite: bool = False) -> "RunDirectory":
        """Lock `path` for a new run.

        A directory that holds a run is refused unless `overwrite`, which removes that run; one
        that holds anything else is always refused. RunError says which, and what to do.
        """
        path = Path(path)
        _refuse_foreign(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{path}: cannot be used: {reason(error)}") from error
        locked_before = (path / LOCK).exists()
        run = cls(path, acquire(path))
        try:
            run._set_aside(overwrite)
        except BaseException:
            run.close() if locked_before else remove(path, run._lock)
            raise
        return run

    def withdraw(self) -> None:
        """After `abandon`: take the lock away too, unless the directory holds a run again."""
        if not (self.path / "config.json").exists():
            remove(self.path, self._lock)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Lock the run in `path` to go on with it, and clear what a crash left there."""
        path = _described(Path(path))
        run = cls(path, acquire(path))
        try:
            settle_directory(run.path / "last")
            clear_temporaries(run.path)
        except OSError as error:
            run.close()
            raise RunError(f"{path}: cannot be used: {reason(error)}") from error
        return run

    def _set_aside(self, overwrite: bool) -> None:
        """Move the run that is to be replaced into replaced/, until the new one has begun."""
        if not (self.path / "config.json").exists():
            self.abandon()  # what a start cut short left
        if (self.path / "config.json").exists():
            if not overwrite:
                raise _holds_a_run(self.path)
            settle_directory(self.path / "last")
            clear_temporaries(self.path)
            self._move(self.path, self.path / REPLACED)

    def describe(self, model: Mapping[str, Any], config: TrainConfig) -> None:
        """Write config.json: from now on the directory holds this run and no other."""
        values = {"format": FORMAT, "version": VERSION, "model": dict(model)}
        write_json(self.path / "config.json", values | {"training": config.to_dict()})
        if (self.path / REPLACED).exists():
            clear_curves(self.path)  # they show the run that is gone
            shutil.rmtree(self.path / REPLACED, ignore_errors=True)

    def abandon(self) -> None:
        """Undo a start that came to nothing: remove its files, bring back the run set aside."""
        for name in (*_OURS, "last.new"):
            entry = self.path / name
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        clear_temporaries(self.path)
        if (self.path / REPLACED).is_dir():
            self._move(self.path / REPLACED, self.path)
            (self.path / REPLACED).rmdir()

    def _move(self, source: Path, target: Path) -> None:
        # the configuration moves last in and first out: a run is whole where it stands
        target.mkdir(exist_ok=True)
        names = _OURS if target.name == REPLACED else _OURS[::-1]
        for name in names:
            if (source / name).exists():
                (source / name).rename(target / name)

    def save(self, snapshot: Snapshot, publish: bool) -> None:
        """Replace last/ by `snapshot`, as one set; with `publish`, model.safetensors too.

        RunError, with the previous save intact, if the disk is full or refuses.
        """
        position = asdict(snapshot.position) | self._metrics_saved()

        def fill(directory: Path) -> None:
            write_tensors(directory / "model.safetensors", dict(snapshot.model))
            write_tensors(directory / "training.safetensors", dict(snapshot.training))
            state = {"version": VERSION, "position": position, "facts": dict(snapshot.facts)}
            write_json(directory / "state.json", state)

        try:
            if publish:
                write_tensors(self.path / "model.safetensors", dict(snapshot.model))
            replace_directory(self.path / "last", fill)
        except RunError as error:
            why = reason(error.__cause__ or error)
            if not (self.path / "config.json").exists():
                raise RunError(f"{self.path}: no room to begin a run ({why})") from error
            raise RunError(
                f"{self.path}: not saved ({why}); the save before it is intact: make room, then "
                f"go on with --resume {self.path}"
            ) from error

    def load(self, model: Mapping[str, Tensor]) -> Snapshot:
        """The last save, its tensors on the CPU; `model` gives the names and shapes expected.

        RunError too if the published weights or the metrics are not the ones that were written:
        to go on would hide it, and the weights of the best validation are nowhere else.
        """
        last = self.path / "last"
        state, position = _state(last), _position(last)
        saved = Snapshot(
            position,
            read_tensors(last / "model.safetensors", dict(model)),
            read_tensors(last / "training.safetensors"),
            state["facts"],
        )
        check_metrics(self.path / "metrics.jsonl", position)
        published = self.path / "model.safetensors"
        if position.best_nats is not None or published.exists():
            latest = f"put {last / 'model.safetensors'}, the latest weights, in its place"
            read_tensors(published, dict(model), f"bring the file back from a copy, or {latest}")
        return saved

    def log(self, **record: Any) -> None:
        """Append one line to metrics.jsonl."""
        try:
            if self._metrics is None:
                path = self.path / "metrics.jsonl"
                self._metrics = path.open("ab", buffering=0)
            self._metrics.write(json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise RunError(
                f"{self.path}: metrics.jsonl: cannot be written: {reason(error)}; "
                f"make room, then go on with --resume {self.path}"
            ) from error

    def rewind_metrics(self, size: int) -> None:
        """Drop the lines written after the save that training goes on from, whole or cut short."""
        path = self.path / "metrics.jsonl"
        if path.exists() and path.stat().st_size > size:
            os.truncate(path, size)

    def _metrics_saved(self) -> dict[str, Any]:
        """What a save notes of metrics.jsonl as it is on the disk."""
        path = self.path / "metrics.jsonl"
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())
        size = path.stat().st_size if path.exists() else 0
        return {
            "metrics_bytes": size,
            "metrics_digest": file_digest(path, size) if size else hashlib.sha256().hexdigest(),
        }

    def close(self) -> None:
        """Release the lock."""
        if self._metrics is not None:
            self._metrics.close()
        self._lock.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_free(path: Path, overwrite: bool = False) -> None:
    """RunError if `RunDirectory.create` would refuse this directory; changes nothing."""
    _refuse_foreign(path)
    if not overwrite and any((place / "config.json").exists() for place in (path, path / REPLACED)):
        raise _holds_a_run(path)


def _refuse_foreign(path: Path) -> None:
    """RunError for a directory with something in it that no run of ours has put there."""
    if not path.exists():
        return
    try:
        held = sorted(entry.name for entry in path.iterdir() if entry.name != "corpus")
    except OSError as error:
        raise RunError(f"{path}: cannot be used: {reason(error)}") from error
    if held and not {LOCK, "config.json"} & {*held}:
        raise RunError(
            f"{path}: expected an empty directory, found {held[0]!r}; choose another for the run"
        )


def _holds_a_run(path: Path) -> RunError:
    return RunError(
        f"{path}: holds a run already: go on with it by --resume {path}, replace it by "
        "--overwrite, or choose another directory"
    )


def _candidate(path: Path) -> Path:
    """The save that `settle_directory` would keep, found without changing anything."""
    names = ("last", "last.new", "last.old")
    return next((path / name for name in names if (path / name).exists()), path / "last")


def _state(last: Path) -> dict[str, Any]:
    if not last.is_dir():
        raise RunError(f"{last}: missing: the run ended before its first save; train it anew")
    file = last / "state.json"
    return read_fields(f"{file}", read_json(file), STATE)


def _position(last: Path) -> Position:
    place = f"{last / 'state.json'}: position"
    values = read_fields(place, _state(last)["position"], POSITION, may_lack=LATER_POSITION)
    return Position(**values)
