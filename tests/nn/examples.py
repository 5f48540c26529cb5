"""What the tests of layers share: the cells to run, sizes, and the values of a run as a list."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cellwright.language import Cell, Input, State, affine, concat, diagonal, hidden, linear, tanh
from cellwright.language import sigmoid as squash
from cellwright.nn import Recurrent
from tests.cases import CELLS

T, B, I, H, P = 5, 3, 4, 9, 2  # H: odd, and more than clockwork's eight modules
TORCH_LIKE = ("LSTM", "GRU", "RNN")


class TwoStreams(Cell):
    """Two inputs and two outputs: a layer above reads both the state and the memory."""

    x, m, h, c = Input(), Input("stream"), State(), State("memory")

    f = squash(affine(x, m, h))
    g = tanh(affine(x, h) + linear(m))
    c.next = tanh(linear(h, "memory") + linear(m, "memory") + diagonal(c))
    h.next = f * h + (1 - f) * g
    outputs = h.next, c.next


class Delay(Cell):
    """Its states become an input, another state and a constant as they are."""

    x, h, last, older, one = Input(hidden), State(), State(), State(), State()

    last.next = x
    older.next = last
    one.next = 1.0
    h.next = tanh(affine(x, concat(h, older)) + diagonal(one))


OWN = {"two streams": TwoStreams, "delay": Delay}
ALL_CELLS = (*CELLS, *OWN)
# Their second input is as wide as the state: a layer above cannot read both directions' outputs.
STREAMED = ("depth-gated", "grid", "grid-priority")
SEVERAL = (*STREAMED, "depth-gated-lowest", "ea-lstm", "two streams")  # inputs or outputs
ONE_TENSOR = tuple(name for name in ALL_CELLS if name not in SEVERAL)


def build(name: str, num_layers: int = 1, dtype: torch.dtype = torch.float64, **options) -> Any:
    """Build a layer of a cell of the catalogue or of this file, all its weights different."""
    if name == "delay":
        options["num_layers"] = 1
        return Recurrent(Delay, H, H, dtype=dtype, **options)
    if name == "two streams":
        options["widths"] = {"stream": 7, "memory": 6}
    if name == "lstm-projected":
        options["proj_size"] = P
    if name == "ea-lstm":  # its second input comes from outside alone
        options["widths"] = {"static": 3}
        num_layers = 1
    if (name in STREAMED and options.get("bidirectional")) or name == "depth-gated-lowest":
        num_layers = 1
    cell = OWN.get(name, name)
    return Recurrent(cell, I, H, num_layers, dtype=dtype, **options)


def inputs_for(layer: Recurrent, *leading: int) -> Any:
    """Draw the inputs that a layer reads, [*leading, width] each."""
    dtype = next(layer.parameters()).dtype
    made = tuple(
        torch.randn(*leading, port.width, dtype=dtype) for port in layer._plans[0].program.inputs
    )
    return made[0] if len(made) == 1 else made


def start_for(layer: Recurrent, *batch: int) -> Any:
    """Draw start states for a layer, [D * num_layers, *batch, width] each."""
    dtype = next(layer.parameters()).dtype
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    carries = layer._plans[0].program.states
    made = tuple(torch.randn(count, *batch, c.width, dtype=dtype) for c in carries)
    return made[0] if len(made) == 1 else made


def flat(values: object) -> list[Tensor]:
    """List the tensors of nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    assert isinstance(values, Sequence)
    return [tensor for value in values for tensor in flat(value)]


def pick(values: Any, dim: int, index: Any) -> Any:
    """Take the same part, along one dimension, of every tensor of nested tuples."""
    if isinstance(values, Tensor):
        return values[(slice(None),) * dim + (index,)]
    assert isinstance(values, tuple)
    return tuple(pick(value, dim, index) for value in values)


def gradients(
    values: Sequence[Tensor], leaves: Sequence[Tensor], *, again: bool = False
) -> list[Tensor]:
    """Differentiate values under random cotangents, the same at each call; zero where unused."""
    source = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(v.shape, generator=source, dtype=v.dtype) for v in values]
    reached = [k for k, v in enumerate(values) if v.requires_grad]
    return list(
        torch.autograd.grad(
            [values[k] for k in reached],
            leaves,
            [cotangents[k] for k in reached],
            retain_graph=again,
            allow_unused=True,
            materialize_grads=True,
        )
    )
