"""Checks: what a layer is given, refused early and with torch's own kinds of error."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellwright.language import CellError
from cellwright.language.graph import Graph

if TYPE_CHECKING:
    from cellwright.nn.recurrent import Recurrent

PACKAGE = str(Path(__file__).parent)


def outside() -> int:
    """Return the `stacklevel` at which a warning points at the user's own line."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def sizes(
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    proj_size: int,
) -> None:
    """Check the constructor's numbers, as torch.nn does."""
    numeric = isinstance(dropout, int | float) and not isinstance(dropout, bool)
    if not numeric or not 0 <= dropout <= 1:
        raise ValueError(f"dropout is a probability between 0 and 1, got {dropout!r:.40}")
    for name, flag in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} is True or False, got {type(flag).__name__}")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} is a whole number, got {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero, got {size}")
    if num_layers <= 0:
        raise ValueError(f"num_layers must be greater than zero, got {num_layers}")
    if proj_size < 0:
        raise ValueError(f"proj_size is zero (none) or positive, got {proj_size}")
    if proj_size >= hidden_size:
        raise ValueError(f"proj_size {proj_size} must be smaller than hidden_size {hidden_size}")


def widths(graph: Graph, given: Mapping[str, int], proj_size: int) -> None:
    """Check that every width of a cell has a size, and that no size is for nothing."""
    known = {"input", "hidden", *given} | ({"proj"} if proj_size else set())
    missing = [symbol for symbol in graph.symbols if symbol not in known]
    if "proj" in missing:
        raise CellError(f"{graph.cell}: has a projection; give proj_size, smaller than hidden_size")
    if missing:
        example = ", ".join(f'"{symbol}": 16' for symbol in missing)
        raise CellError(f"{graph.cell}: needs sizes for its widths; give widths={{{example}}}")
    if proj_size and "proj" not in graph.symbols:
        raise CellError(
            f"{graph.cell}: has no width proj, so proj_size={proj_size} means nothing; "
            "lstm-projected has one"
        )
    unused = [name for name in given if name not in graph.symbols]
    if unused:
        raise CellError(f"{graph.cell}: has no width {', '.join(unused)}")


def stacked(graph: Graph, below: Mapping[str, int], directions: int) -> dict[str, int]:
    """Return the sizes of a layer that reads the outputs of a layer of sizes `below`."""
    if len(graph.outputs) != len(graph.inputs):
        raise CellError(
            f"{graph.cell}: {len(graph.inputs)} inputs but {len(graph.outputs)} outputs, so one "
            "layer cannot feed the next; use num_layers=1"
        )
    sizes = dict(below)
    for source, target in zip(graph.outputs, graph.inputs, strict=True):
        width, wanted = graph.nodes[source].width, graph.nodes[target].width
        assert width is not None and wanted is not None
        size = width.resolve(below) * directions
        free = len(wanted.terms) == 1 and wanted.terms[0][1] == 1 and wanted.symbols
        if free and wanted.symbols[0] != "hidden":
            sizes[wanted.symbols[0]] = size
        elif wanted.resolve(below) != size:
            raise CellError(
                f"{graph.cell}.{graph.nodes[target].name}: is {wanted} wide, the layer below "
                f"gives {size}; use num_layers=1 or another width"
            )
    return sizes


def inputs(layer: "Recurrent", values: tuple[Tensor, ...]) -> None:
    """Check the inputs [T, B, width] of a forward pass."""
    name = type(layer).__name__
    ports = layer._plans[0].program.inputs
    if len(values) != len(ports):
        wanted = ", ".join(p.name for p in ports)
        raise ValueError(f"{name}: the cell reads {len(ports)} inputs ({wanted}), got {len(values)}")
    weight = layer.all_weights[0][0] if layer.all_weights[0] else None
    for port, value in zip(ports, values, strict=True):
        if value.shape[:2] != values[0].shape[:2]:
            raise RuntimeError(f"{name}: inputs differ in time or batch")
        if value.shape[-1] != port.width:
            raise RuntimeError(
                f"{name}: {port.name} must have {port.width} features, got {value.shape[-1]}"
            )
        if weight is not None and value.dtype != weight.dtype and not _autocast():
            raise ValueError(
                f"{name}: the input is {value.dtype}, the weights are {weight.dtype}; convert "
                f"one: input.to({weight.dtype}) or layer.to({value.dtype})"
            )
    if values[0].shape[0] == 0:
        raise RuntimeError(f"{name}: the sequence has no steps; it needs at least one")


def _autocast() -> bool:
    return torch._C._is_any_autocast_enabled()


def states(
    layer: "Recurrent", hx: Tensor | Sequence[Tensor], batch: int, batched: bool
) -> tuple[Tensor, ...]:
    """Check `hx` and return the states [D * num_layers, B, width]."""
    carries = layer._plans[0].program.states
    given = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if len(given) != len(carries):
        wanted = ", ".join(layer.state_names)
        raise RuntimeError(f"hx holds the states ({wanted}), got {len(given)} tensors")
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    made = []
    for name, carry, state in zip(layer.state_names, carries, given, strict=True):
        if state.dim() != (3 if batched else 2):
            form = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(
                f"for {form} input the state {name} is {3 if batched else 2}-D too, "
                f"got {state.dim()}-D"
            )
        state = state if batched else state.unsqueeze(1)
        want = (count, batch, carry.width)
        if tuple(state.shape) != want:
            raise RuntimeError(f"state {name}: expected size {want}, got {tuple(state.shape)}")
        made.append(state)
    return tuple(made)


def lengths(
    given: Tensor | Sequence[int] | None, steps: int, batch: int, device: torch.device
) -> Tensor | None:
    """Check lengths and return them as [B] on the input's device; 0 is a row with no steps."""
    if given is None:
        return None
    made = torch.as_tensor(given, device=device)
    if made.dtype.is_floating_point or made.dtype == torch.bool or made.shape != (batch,):
        raise ValueError(
            f"lengths are {batch} whole numbers, one for each row, got {made.dtype} "
            f"of shape {tuple(made.shape)}"
        )
    if not torch.compiler.is_compiling() and made.device.type != "meta" and batch:
        low, high = int(made.min()), int(made.max())
        if low < 0 or high > steps:
            raise ValueError(f"lengths lie between 0 and {steps} steps, got {low} to {high}")
    return made.to(torch.int64)


def reset(
    given: Tensor, batch_first: bool, batched: bool, steps: int, batch: int
) -> Tensor:
    """Check a reset mask and return it as [T, B]."""
    mask = given if batched else given.unsqueeze(1)
    mask = mask.transpose(0, 1) if batch_first and batched else mask
    if mask.dtype != torch.bool or tuple(mask.shape) != (steps, batch):
        form = f"[{batch}, {steps}]" if batch_first and batched else f"[{steps}, {batch}]"
        raise ValueError(
            f"reset is a bool tensor {form if batched else f'[{steps}]'}, True where an episode "
            f"begins, got {given.dtype} of shape {tuple(given.shape)}"
        )
    return mask
