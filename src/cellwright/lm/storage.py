"""JSON, tensors and sets of files: written whole or not at all, checked when they are read."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cellwright.atomic import sync_directory
from cellwright.language.errors import NOT_JSON
from cellwright.lm.atomic import replacing
from cellwright.lm.errors import RunError
from cellwright.lm.fields import FROM_A_COPY

CHECKSUM: Final = "cellwright.sha256"  # names the checksum within a file of tensors
CURVES: Final = "tensorboard"  # the folder of a run for TensorBoard's event files
CURVES_END: Final = ".cellwright"  # of the names of those that training wrote


def write_json(path: Path, value: Any) -> None:
    """Replace the file `path` by `value` as JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text`; a lone surrogate, as in a file's odd name, is escaped."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace the file `path` by `tensors` and their checksum in the safetensors format."""
    held = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path) as file:
        file.write(save(held, {CHECKSUM: checksum(held)}))


def checksum(tensors: dict[str, Tensor]) -> str:
    """A SHA-256 of tensors on the CPU: their names, dtypes, shapes and numbers."""
    made = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        made.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        made.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return made.hexdigest()


def file_digest(path: Path, size: int) -> str:
    """A SHA-256 of the first `size` bytes of a file, or of all it has if they are fewer."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (raw := file.read(min(size, 1 << 20))):
            made.update(raw)
            size -= len(raw)
    return made.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; RunError if it is missing, cut short or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: missing") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: {NOT_JSON}: {reason(error)}; {FROM_A_COPY}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value


def read_tensors(
    path: Path, expected: dict[str, Tensor] | None = None, remedy: str = FROM_A_COPY
) -> dict[str, Tensor]:
    """The tensors in `path`, on the CPU; with `expected`, of exactly those names and shapes.

    Shapes are compared before any tensor is read, and then the checksum, which the first files
    do not have. RunError says what is wrong with the file, and ends in the `remedy`.
    """
    if not path.is_file():
        raise RunError(f"{path}: missing; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if expected is not None:
                found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
                _compare(path, found, {name: tuple(t.shape) for name, t in expected.items()})
            tensors = {name: file.get_tensor(name) for name in names}
            noted = (file.metadata() or {}).get(CHECKSUM)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: damaged or cut short: {reason(error)}; {remedy}") from error
    if noted not in (None, checksum(tensors)):
        raise RunError(f"{path}: damaged: its numbers are not the ones written; {remedy}")
    return tensors


def _compare(path: Path, found: dict[str, tuple], expected: dict[str, tuple]) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise RunError(
                f"{path}: tensor {name}: expected {_shape(expected.get(name))}, "
                f"got {_shape(found.get(name))}; the files are not of one model"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"shape {list(shape)}"


def replace_directory(final: Path, fill: Callable[[Path], None]) -> None:
    """Put the directory that `fill` writes in place of `final`, as one set.

    The new one is complete on disk before the old one moves aside, so at every moment one of
    `newest_directory`'s candidates is whole. On an error the new one is removed.
    """
    new, old = _beside(final, "new"), _beside(final, "old")
    settle_directory(final)
    try:
        new.mkdir()
        fill(new)
        sync_directory(new)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(error, OSError):
            raise RunError(f"{final}: cannot be written: {reason(error)}") from error
        raise
    if final.exists():
        final.rename(old)
    new.rename(final)
    sync_directory(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def settle_directory(final: Path) -> None:
    """Finish or undo a replacement that a crash cut short, and clear what it left.

    last + last.new: the new one may be incomplete: drop it. last.old + last.new without last:
    the new one is complete: it becomes last. last.old alone: the old one comes back.
    """
    new, old = _beside(final, "new"), _beside(final, "old")
    if not final.exists() and old.exists():
        (new if new.exists() else old).rename(final)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def clear_temporaries(directory: Path) -> None:
    """Remove the temporary files that a killed process left in `directory`."""
    for leftover in directory.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def clear_curves(run: Path) -> None:
    """Remove the event files that a run's training wrote for TensorBoard, and no others.

    A link is not followed: what it leads to belongs to more than this run.
    """
    folder = run / CURVES
    if folder.is_symlink() or not folder.is_dir():
        return
    for old in folder.glob(f"events.out.tfevents.*{CURVES_END}"):
        old.unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's files are in it
        folder.rmdir()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def reason(error: BaseException) -> str:
    """One line that says what went wrong, without the path that an OSError repeats."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
