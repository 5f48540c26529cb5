"""Checks: what a layer is given, refused early and with torch's own kinds of error."""

import numbers
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellwright import cells
from cellwright.language import Cell, CellError
from cellwright.language.graph import Graph
from cellwright.language.transform import with_split_biases
from cellwright.nn import parameters
from cellwright.runtime import Plan

if TYPE_CHECKING:
    from cellwright.nn.recurrent import Recurrent

PACKAGE = str(Path(__file__).parent)


def outside() -> int:
    """Return the `stacklevel` at which a warning points at the user's own line."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


# -- at construction ----------------------------------------------------------------------


def cell(given: type[Cell] | str) -> type[Cell]:
    """Return the Cell class that a name, `file.py:Class` or the class itself stands for."""
    found = cells.find(given) if isinstance(given, str) else given
    if not (isinstance(found, type) and issubclass(found, Cell)) or found is Cell:
        raise CellError(f"a cell is a Cell class or a name, got {given!r:.60}")
    return found


def probability(dropout: float) -> None:
    """Check a rate of dropout."""
    numeric = isinstance(dropout, numbers.Real) and not isinstance(dropout, bool)
    if not numeric or not 0 <= dropout <= 1:
        raise ValueError(f"dropout is a probability between 0 and 1, got {dropout!r:.40}")


def flags(**given: bool) -> None:
    """Check arguments that are True or False."""
    for name, flag in given.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} is True or False, got {type(flag).__name__}")


def sizes(input_size: int, hidden_size: int, proj_size: int = 0, num_layers: int = 1) -> None:
    """Check a constructor's whole numbers."""
    positive = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, size in {**positive, "proj_size": proj_size}.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} is a whole number, got {type(size).__name__}")
    for name, size in positive.items():
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero, got {size}")
    if proj_size < 0:
        raise ValueError(f"proj_size is zero (none) or positive, got {proj_size}")
    if proj_size >= hidden_size:
        raise ValueError(f"proj_size {proj_size} must be smaller than hidden_size {hidden_size}")


def with_second_bias(made: type[Cell]) -> type[Cell]:
    """Return a cell with torch's second bias; CellError for one that has no place for it."""
    split = with_split_biases(made)
    if len(split.graph.nodes) == len(made.graph.nodes):
        graph = made.graph
        raise CellError(
            f"{graph.cell}: split_bias=True adds a second bias to sums of projections of "
            f"{graph.input_names[0]} and {graph.state_names[0]}, and it has none; leave it out"
        )
    return split


def hidden_sizes(given: object, layers: int) -> tuple[int, ...]:
    """Return the hidden width of each layer, of one number or of a list with one for each."""
    if not isinstance(given, list | tuple):
        return (given,) * layers  # type: ignore[return-value]  # what else it is, `sizes` says
    if len(given) != layers:
        raise ValueError(f"hidden_size has {len(given)} widths for {layers} layers; give {layers}")
    return tuple(given)


def layers(num_layers: object) -> int:
    """Return a number of layers that can be built, 1 for what `sizes` will refuse."""
    wrong = isinstance(num_layers, bool) or not isinstance(num_layers, int) or num_layers < 1
    return 1 if wrong else num_layers  # type: ignore[return-value]


def widths(
    graph: Graph, input_size: int, hidden_size: int, proj_size: int, given: Mapping[str, int]
) -> dict[str, int]:
    """Return a size for every width of a cell; none may be missing, none be for nothing."""
    made = {"hidden": hidden_size, "input": input_size, **given}
    if proj_size:
        made["proj"] = proj_size
    missing = [symbol for symbol in graph.symbols if symbol not in made]
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
    for symbol, argument in (("input", "input_size"), ("hidden", "hidden_size")):
        if symbol in given:
            raise CellError(f"{graph.cell}: width {symbol} is {argument}; leave it out of widths")
    first = graph.nodes[graph.inputs[0]]
    assert first.width is not None
    if "input" not in graph.symbols and first.width.resolve(made) != input_size:
        raise CellError(
            f"{graph.cell}: its input {first.name} is {first.width} wide, "
            f"{first.width.resolve(made)} here, so input_size={input_size} means nothing"
        )
    return made


def fed(
    graph: Graph, own: Mapping[str, int], given: Mapping[str, int], below: Sequence[int]
) -> dict[str, int]:
    """Return the sizes of a layer that reads what is `below` by order and `given` by name.

    graph, own: the layer's cell and the widths that were asked for. below: the widths of the
    outputs of the layer below; given: those of the stack's inputs. An input that has a width
    symbol to itself is as wide as it has to be. CellError where they do not go together.
    """
    read: dict[str, int] = {}
    sizes = [_size_read(graph, k, given, below) for k in range(len(graph.inputs))]
    for position, (index, size) in enumerate(zip(graph.inputs, sizes, strict=True)):
        node = graph.nodes[index]
        assert node.width is not None
        symbol, factor = node.width.terms[0]
        alone = len(node.width.terms) == 1 and factor == 1 and symbol not in ("", "hidden")
        if alone and read.setdefault(symbol, size) == size:
            continue
        wanted = node.width.resolve({**own, **read})
        if wanted != size:
            source = "the layer below" if position < len(below) else "the first layer's input"
            raise CellError(
                f"{graph.cell}.{node.name}: is {node.width} wide, {wanted} here, {source} gives "
                f"{size}; use num_layers=1 or another width"
            )
    made = {**own, **read}
    missing = [symbol for symbol in graph.symbols if symbol not in made]
    if missing:
        raise CellError(f'{graph.cell}: needs a size; give widths={{"{missing[0]}": 16}}')
    return made


def _size_read(graph: Graph, position: int, given: Mapping[str, int], below: Sequence[int]) -> int:
    """Return the width of what a layer reads in one place."""
    name = graph.input_names[position]
    if position < len(below):
        return below[position]
    if name not in given:
        raise CellError(
            f"{graph.cell}.{name}: {len(graph.inputs)} inputs but {len(below)} outputs below, and "
            f"no input {name} of the first layer, so one layer cannot feed the next; use "
            "num_layers=1 or another cell below"
        )
    return given[name]


# -- at a call ----------------------------------------------------------------------------


def dims(name: str, values: tuple[Tensor, ...], allowed: tuple[int, int]) -> None:
    """Check that inputs are tensors of one of two numbers of dimensions, all of the same."""
    low, high = allowed
    for v in values:
        if not isinstance(v, Tensor):
            raise TypeError(f"{name}: input is a tensor, got {type(v).__name__}")
        if v.dim() not in allowed:
            raise ValueError(f"{name}: input is {low}-D or {high}-D, got {v.dim()}-D")
        if v.dim() != values[0].dim():
            raise ValueError(
                f"{name}: inputs are {values[0].dim()}-D and {v.dim()}-D; give all alike"
            )


def inputs(layer: "Recurrent", values: tuple[Tensor, ...]) -> None:
    """Check the inputs [T, B, width] of a forward pass."""
    name = type(layer).__name__
    features(name, layer._plans[0], values)
    for weight in parameters.weights(layer, layer._plans[0].program.params[:1], "_l0"):
        for value in values:
            if value.dtype != weight.dtype and not _autocast():
                raise ValueError(f"{name}: {unlike(value.dtype, weight.dtype, 'layer')}")
            if value.device != weight.device:
                raise RuntimeError(
                    f"{name}: the input is on {value.device}, the weights are on {weight.device}"
                )
    if values[0].shape[0] == 0:
        raise RuntimeError(f"{name}: the sequence has no steps; it needs at least one")


def unlike(given: torch.dtype, own: torch.dtype, what: str) -> str:
    """Say that an input is of another dtype than the weights, and what to do."""
    advice = f"convert one: input.to({own}) or {what}.to({given})"
    if not given.is_floating_point:
        advice = f"convert it: input.to({own}); token ids go through an nn.Embedding first"
    return f"the input is {given}, the weights are {own}; {advice}"


def features(name: str, made: Plan, values: tuple[Tensor, ...]) -> None:
    """Check how many inputs there are, their widths, and that time and batch agree."""
    ports = made.program.inputs
    if len(values) != len(ports):
        wanted = ", ".join(p.name for p in ports)
        raise ValueError(
            f"{name}: the cell reads {len(ports)} inputs ({wanted}), got {len(values)}"
        )
    for port, value in zip(ports, values, strict=True):
        if value.shape[:-1] != values[0].shape[:-1]:
            raise RuntimeError(
                f"{name}: {port.name} is {tuple(value.shape)}, {ports[0].name} is "
                f"{tuple(values[0].shape)}; they must agree in all but the last"
            )
        if value.shape[-1] != port.width:
            raise RuntimeError(
                f"{name}: {port.name} must have {port.width} features, got {value.shape[-1]}"
            )


def _autocast() -> bool:
    return torch._C._is_any_autocast_enabled()


def states(
    wanted: Sequence[tuple[str, int]], count: int, hx: object, like: Tensor, batched: bool
) -> tuple[Tensor, ...]:
    """Check states of these names and widths, and return them as [count, B, width]."""
    given = split([name for name, _ in wanted], hx)
    made = []
    for (name, width), state in zip(wanted, given, strict=True):
        if state.dim() != (3 if batched else 2):
            form = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(
                f"for {form} input the state {name} is {3 if batched else 2}-D too, "
                f"got {state.dim()}-D"
            )
        state = state if batched else state.unsqueeze(1)
        alike(name, state, (count, like.shape[1], width), like)
        made.append(state)
    return tuple(made)


def split(names: Sequence[str], hx: object) -> tuple[Tensor, ...]:
    """Return the states that `hx` holds: one tensor, or a tuple or list of them."""
    held = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
    given = tuple([v for v in held if isinstance(v, Tensor)])
    if len(given) != len(held):
        raise RuntimeError(f"hx holds the states ({', '.join(names)}) as tensors")
    if len(given) != len(names):
        raise RuntimeError(
            f"hx holds the states ({', '.join(names)}), got {len(given)} tensor"
            f"{'s' if len(given) != 1 else ''}"
        )
    return given


def alike(name: str, state: Tensor, want: tuple[int, ...], like: Tensor) -> None:
    """Check a state's size, and its dtype and device by the input's."""
    if tuple(state.shape) != want:
        raise RuntimeError(f"state {name}: expected size {want}, got {tuple(state.shape)}")
    if state.dtype != like.dtype and not _autocast():
        raise RuntimeError(f"state {name} is {state.dtype}, the input is {like.dtype}")
    if state.device != like.device:
        raise RuntimeError(f"state {name} is on {state.device}, the input is on {like.device}")


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
    if _has_values(made) and batch:
        low, high = int(made.min()), int(made.max())
        if low < 0 or high > steps:
            raise ValueError(f"lengths lie between 0 and {steps} steps, got {low} to {high}")
    return made.to(torch.int64)


def _has_values(tensor: Tensor) -> bool:
    """Tell whether a tensor's numbers can be looked at: not while tracing nor under vmap."""
    if torch.compiler.is_compiling() or tensor.device.type == "meta":
        return False
    return not torch._C._are_functorch_transforms_active()


def reset(given: Tensor, batch_first: bool, batched: bool, steps: int, batch: int) -> Tensor:
    """Check a reset mask and return it as [T, B]."""
    want = (batch, steps) if batch_first and batched else (steps, batch) if batched else (steps,)
    if not isinstance(given, Tensor) or given.dtype != torch.bool or tuple(given.shape) != want:
        kind = getattr(given, "dtype", type(given).__name__)
        raise ValueError(
            f"reset is a bool tensor {list(want)}, True where an episode begins, got {kind} "
            f"of shape {tuple(getattr(given, 'shape', ()))}"
        )
    if not batched:
        return given.unsqueeze(1)
    return given.transpose(0, 1) if batch_first else given
