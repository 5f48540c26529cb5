"""Trace frames: a trace as a table of pandas or a dataset of xarray, where they are installed."""

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cellwright.nn.trace_names import parts
from cellwright.runtime.trail import TraceError

if TYPE_CHECKING:
    from cellwright.nn.trace import Trace

IN_ORDER = ("time", "batch", "unit")


def table(trace: "Trace") -> dict[str, Any]:
    """Return the columns of `Trace.table`."""
    rows = [_rows(trace, name) for name in trace.values]
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def _rows(trace: "Trace", name: str) -> dict[str, np.ndarray]:
    """Return the part of the table that one name takes."""
    numbers = _numbers(trace, name)
    inside = _inside(trace, numbers.shape)
    labels = {"time": trace.time, "batch": trace.batch or (0,), "unit": trace.units[name]}
    layer, reverse, gate = parts(name)
    count = int(inside.sum())
    made: dict[str, np.ndarray] = {
        "name": np.full(count, name, dtype=object),
        "layer": np.full(count, layer),
        "direction": np.full(count, "reverse" if reverse else "forward", dtype=object),
        "gate": np.full(count, gate, dtype=object),
    }
    grid = np.indices(numbers.shape)
    for axis, dim in enumerate(IN_ORDER):
        if dim in trace.dims:
            made[dim] = np.asarray(labels[dim])[grid[axis][inside]]
        if dim == "time" and trace.tokens is not None:
            made["token"] = np.asarray(trace.tokens, dtype=object)[grid[axis][inside]]
    return made | {"value": numbers[inside]}


def _numbers(trace: "Trace", name: str) -> np.ndarray:
    """Return a value as [time, batch, unit], of length 1 where it has no such dimension."""
    v = trace.values[name].detach().cpu()
    v = v.float() if v.dtype in (torch.bfloat16, torch.float16) else v
    order = [trace.dims.index(dim) for dim in IN_ORDER if dim in trace.dims]
    v = v.permute(order)
    for axis, dim in enumerate(IN_ORDER):
        if dim not in trace.dims:
            v = v.unsqueeze(axis)
    return v.numpy()


def _inside(trace: "Trace", shape: tuple[int, ...]) -> np.ndarray:
    """Tell of each number whether it lies within its row's length."""
    if trace.lengths is None:
        return np.ones(shape, dtype=bool)
    within = np.asarray(trace.time)[:, None] < np.asarray(trace.lengths)[None, :]
    return np.broadcast_to(within[:, :, None], shape)


def to_pandas(trace: "Trace") -> Any:
    """Return `Trace.to_pandas`."""
    return _optional("pandas", "to_pandas").DataFrame(table(trace))


def to_xarray(trace: "Trace") -> Any:
    """Return `Trace.to_xarray`."""
    xarray = _optional("xarray", "to_xarray")
    gates = dict.fromkeys(parts(name)[2] for name in trace.values)
    arrays = [_array(xarray, trace, gate) for gate in gates]
    aligned = xarray.align(*arrays, join="outer")
    made = xarray.Dataset(dict(zip(gates, aligned, strict=True)))
    if trace.tokens is not None and "time" in trace.dims:
        made = made.assign_coords(token=("time", list(trace.tokens)))
    return made.assign_attrs(source=trace.source)


def _array(xarray: Any, trace: "Trace", gate: str) -> Any:
    """Put an equation of all layers side by side."""
    layers = []
    for name in trace.values:
        layer, reverse, own = parts(name)
        if own != gate:
            continue
        numbers = np.where(_inside(trace, (n := _numbers(trace, name)).shape), n, np.nan)
        coords = {"time": trace.time, "batch": trace.batch or (0,), "unit": trace.units[name]}
        made = xarray.DataArray(
            numbers, dims=IN_ORDER, coords={dim: list(labels) for dim, labels in coords.items()}
        )
        gone = [dim for dim in IN_ORDER if dim not in trace.dims]
        made = made.squeeze(gone, drop=True)
        layers.append(made.expand_dims(layer=[f"{layer}{'_reverse' * reverse}"]))
    joined = xarray.concat(layers, dim="layer", join="outer")
    return joined.transpose("layer", *trace.dims)


def _optional(package: str, verb: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise TraceError(
            f"{verb} needs {package}, which is not installed: pip install {package}; "
            "table() gives the same numbers as arrays"
        ) from error
