"""Trace files: a trace as one safetensors file, written whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor

from cellwright.atomic import replacing
from cellwright.nn.trace_names import SPELLED
from cellwright.runtime.trail import TraceError

if TYPE_CHECKING:
    from cellwright.nn.trace import Trace

ABOUT, DIGEST, VERSION = "cellwright.trace", "cellwright.sha256", 1
DIMS = ("time", "batch", "unit")
FIELDS = ("source", "dims", "time", "batch", "units", "tokens", "lengths", "bent", "nested")
REMEDY = "trace again, or take the file from a copy"


def mapped(values: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of nested tuples."""
    if isinstance(values, Tensor):
        return change(values)
    return tuple(mapped(v, change) for v in values) if isinstance(values, tuple) else values


def save(trace: "Trace", path: Path) -> None:
    """Write a trace in the place of `path`; TraceError where that cannot be."""
    tensors: dict[str, Tensor] = {f"value:{n}": v for n, v in trace.values.items()}
    nested = {
        part: _flat(held, part, tensors)
        for part, held in (("output", trace.output), ("state", trace.state))
    }
    held = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    about = {f: getattr(trace, f) for f in FIELDS if f != "nested"}
    about |= {"nested": nested, "names": list(trace.values), "version": VERSION}
    about = json.dumps(about, ensure_ascii=True)
    _replace(path, as_safetensors(held, {ABOUT: about, DIGEST: _digest(about, held)}))


def _flat(values: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """Put nested tuples of tensors into a table, and return how they nest."""
    if isinstance(values, Tensor):
        tensors[place] = values
        return place
    if values is None:
        return None
    return [_flat(v, f"{place}.{k}", tensors) for k, v in enumerate(values)]


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    made = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        t = tensors[name]
        made.update(f"{name}\0{t.dtype}\0{list(t.shape)}\0".encode())
        made.update(t.flatten().view(torch.uint8).numpy().data)
    return made.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise TraceError(
            f"{path}: could not be written ({error.strerror or error}); what was there before is "
            "unchanged: make room or choose another folder"
        ) from error


def load(path: Path, kind: type["Trace"]) -> "Trace":
    """Read a trace; TraceError says what is wrong with the file."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise TraceError(f"{path}: not a trace, damaged or cut short: {said}; {REMEDY}") from error
    if ABOUT not in meta:
        raise TraceError(f"{path}: a safetensors file, but no trace; expected one of Trace.save")
    if meta.get(DIGEST) != _digest(meta[ABOUT], tensors):
        raise TraceError(f"{path}: damaged: its numbers are not the ones written; {REMEDY}")
    try:
        return _read(json.loads(meta[ABOUT]), tensors, kind)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TraceError(f"{path}: no trace that this version reads ({error}); {REMEDY}") from error


def _read(about: Any, tensors: Mapping[str, Tensor], kind: type["Trace"]) -> "Trace":
    """Check every field of a file and make the trace; ValueError for one that is not as it was."""
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise ValueError(f"version {VERSION} expected")
    names = _texts(about["names"])
    values = {name: tensors[f"value:{name}"] for name in names}
    units = {name: _numbers(about["units"][name]) for name in names}
    dims, time, batch = _texts(about["dims"]), _numbers(about["time"]), _numbers(about["batch"])
    tokens = None if about["tokens"] is None else _texts(about["tokens"])
    lengths = None if about["lengths"] is None else _numbers(about["lengths"])
    bent = {str(n): str(f) for n, f in dict(about["bent"]).items() if n in values}
    if not names or not all(SPELLED.fullmatch(n) for n in names) or not set(dims) <= set(DIMS):
        raise ValueError("names or dimensions that no trace has")
    if tokens is not None and len(tokens) != len(time):
        raise ValueError(f"{len(tokens)} tokens for {len(time)} steps")
    for name, value in values.items():
        sizes = {"time": len(time), "batch": len(batch), "unit": len(units[name])}
        if list(value.shape) != [sizes[dim] for dim in dims]:
            raise ValueError(f"{name}: shape {list(value.shape)}")
    if lengths is not None and len(lengths) != max(1, len(batch)):
        raise ValueError(f"{len(lengths)} lengths for {len(batch)} rows")
    output, state = (_nested(about["nested"][part], tensors) for part in ("output", "state"))
    source = str(about["source"])
    return kind(source, values, dims, time, batch, units, tokens, lengths, bent, output, state)


def _texts(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(v, str) for v in given):
        raise ValueError(f"expected texts, got {given!r:.40}")
    return tuple(given)


def _numbers(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(type(v) is int and v >= 0 for v in given):
        raise ValueError(f"expected numbers from 0, got {given!r:.40}")
    return tuple(given)


def _nested(how: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(how, str):
        return tensors[how]
    return None if how is None else tuple(_nested(part, tensors) for part in _list(how))


def _list(given: Any) -> Sequence[Any]:
    if not isinstance(given, list):
        raise ValueError(f"expected a list, got {given!r:.40}")
    return given
