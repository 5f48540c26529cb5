"""One step of any cell as a module; drop-ins for torch.nn's `LSTMCell`, `GRUCell`, `RNNCell`."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from cellwright import cells
from cellwright.language import Cell
from cellwright.nn import checks, parameters
from cellwright.nn.layers import at_means
from cellwright.nn.masks import draw, draws, once_per_sequence
from cellwright.nn.recurrent import States
from cellwright.nn.running import How, Tensors, apply, parameters_of, weights_of
from cellwright.nn.torch_like import Device, simple_cell
from cellwright.runtime import Call, checked_backend, plan
from cellwright.runtime.describe import said


class RecurrentCell(nn.Module):
    """One step of a recurrent cell: `cell(x, state) -> state`, in the way of torch.nn.LSTMCell.

    cell: a `Cell` class, a name of the catalogue or `"file.py:Class"`. `proj_size`, `widths`,
    `split_bias` and `backend` are those of `Recurrent`; in a compiled or exported graph a step is
    torch operations, with `backend="llvm"` one operator. Parameters are named as a layer's are,
    without the `_l0`; without biases their names are there and hold None, as in torch.nn.

    Raises CellError for a cell or width that cannot be, and torch's own kinds of error (TypeError,
    ValueError, RuntimeError) for the rest.
    """

    __constants__: ClassVar[list[str]] = ["input_size", "hidden_size", "bias"]
    _shows_cell = True  # a drop-in's own name says which cell it is

    def __init__(
        self,
        cell: type[Cell] | str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        widths: Mapping[str, int] | None = None,
        split_bias: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        checks.flags(bias=bias)
        checks.sizes(input_size, hidden_size, proj_size)
        self.cell = checks.cell(cell)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self.proj_size = proj_size
        self.widths = dict(widths or {})
        self.split_bias = split_bias
        self.backend = checked_backend(backend)
        graph = at_means(self.cell).graph
        sizes = checks.widths(graph, input_size, hidden_size, proj_size, self.widths)
        source = checks.with_second_bias(self.cell) if split_bias else self.cell
        self._plan = plan(at_means(source), sizes, bias)
        self._drawn = plan(source, sizes, bias) if draws(source.graph) else None
        self._names = parameters_of(self._plan, "")
        parameters.register(self, self._plan.program.params, "", device=device, dtype=dtype)
        for param in plan(source, sizes, True).program.params if not bias else ():
            name = parameters.attribute(param, "")
            if name not in self._parameters:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew: U(-1/sqrt(H), 1/sqrt(H)), norms aside."""
        parameters.initialise(self, [(self._plan.program.params, "", self.hidden_size)])

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the cell's states, in the order in which `hx` holds them."""
        return self.cell.graph.state_names

    def blocks(self) -> dict[str, Tensor]:
        """Return views into the packed parameters, by equation and operand; see `Recurrent`."""
        return parameters.views(self, self._plan.program.params, "")

    def explain(self) -> str:
        """Say which path a step takes and why, and of what its machine code is made."""
        weights = weights_of(self, self._names)
        return said(self.cell.__name__, self.backend, [("cell", self._plan)], weights, inline=True)

    def extra_repr(self) -> str:
        """List what differs from the defaults, as torch.nn's cells do."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if type(self)._shows_cell:
            shown.insert(0, self.cell.__name__)
        defaults = {"bias": True, "nonlinearity": "tanh", "proj_size": 0, "widths": {}}
        defaults |= {"backend": "auto"}
        for key, default in defaults.items():
            value = getattr(self, key, default)
            if value != default:
                shown.append(f"{key}={value}")
        return ", ".join(shown)

    def forward(self, input: Tensor | Tensors, hx: States | None = None) -> States:
        """Return the state after one step: a tensor [B, width], or a tuple for several states.

        input: [B, input_size] or [input_size], a tuple for a cell with several inputs; hx: the
        state before, of the returned form, zero where it is None.
        """
        _, final, batched = self._advance(input, hx)
        state = final if batched else tuple([s[0] for s in final])
        return state[0] if len(state) == 1 else state

    def step(self, input: Tensor | Tensors, hx: States | None = None) -> tuple:
        """Take one step; returns the output, a tuple for a cell with several, and the state.

        The output is the first state where the cell does not declare another.
        """
        outputs, final, batched = self._advance(input, hx)
        output = tuple([y[0] if batched else y[0, 0] for y in outputs])
        state = final if batched else tuple([s[0] for s in final])
        one = len(output) == 1, len(state) == 1
        return output[0] if one[0] else output, state[0] if one[1] else state

    def _advance(self, input: Tensor | Tensors, hx: States | None) -> tuple[Tensors, Tensors, bool]:
        """Return outputs [1, B, width], states [B, width] and whether there was a batch."""
        name = type(self).__name__
        values = input if isinstance(input, tuple) else (input,)
        checks.dims(name, values, (1, 2))
        batched = values[0].dim() == 2
        values = values if batched else tuple([v.unsqueeze(0) for v in values])
        checks.features(name, self._plan, values)
        weights = weights_of(self, self._names)
        self._check_alike(values, weights)
        start = self._start(hx, values[0], batched)
        sequence = tuple([v.unsqueeze(0) for v in values])  # of one step: [1, B, width]
        how = How(self.backend, False, True)
        made = self._plan
        if self.training and self._drawn is not None:
            made, sequence = self._drawn, (*sequence, *self._draw(sequence[0]))
        return *apply(made, Call(sequence, start, weights), how), batched

    def _draw(self, like: Tensor) -> Tensors:
        """Draw the masks of one step; RuntimeError where one holds for a whole sequence."""
        assert self._drawn is not None
        held = once_per_sequence(self.cell.graph)
        if held:
            raise RuntimeError(
                f"{type(self).__name__}: {held} is drawn once for a whole sequence, which a single "
                "step is not; call eval() first, or train a layer (Recurrent)"
            )
        ports = self._drawn.program.inputs[len(self._plan.program.inputs) :]
        return draw(self.cell.graph, [port.width for port in ports], like)

    def _check_alike(self, values: Tensors, weights: Tensors) -> None:
        """Check that the inputs have the weights' dtype, which autocast alone may change."""
        for value in values:
            if (
                weights
                and value.dtype != weights[0].dtype
                and not torch._C._is_any_autocast_enabled()
            ):
                wanted = weights[0].dtype
                said = checks.unlike(value.dtype, wanted, "cell")
                raise RuntimeError(f"{type(self).__name__}: {said}")

    def _start(self, hx: States | None, like: Tensor, batched: bool) -> Tensors:
        carries = self._plan.program.states
        if hx is None:
            return tuple([like.new_zeros(like.shape[0], c.width) for c in carries])
        names = self.state_names
        given = checks.split(names, hx)
        made = []
        for name, carry, state in zip(names, carries, given, strict=True):
            if state.dim() not in (1, 2):
                raise ValueError(
                    f"{type(self).__name__}: the state {name} is 1-D or 2-D, got {state.dim()}-D"
                )
            state = state if batched else state.unsqueeze(0)
            checks.alike(name, state, (like.shape[0], carry.width), like)
            made.append(state)
        return tuple(made)


class LSTMCell(RecurrentCell):
    """torch.nn.LSTMCell's arguments, parameters and numbers: `cell(x, (h, c)) -> (h, c)`."""

    _shows_cell = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        cell = cells.CATALOGUE["lstm"]
        options = {"split_bias": True, "backend": backend}
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **options)


class GRUCell(RecurrentCell):
    """torch.nn.GRUCell's arguments, parameters and numbers: `cell(x, h) -> h`."""

    _shows_cell = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        cell = cells.CATALOGUE["gru"]
        options = {"split_bias": True, "backend": backend}
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **options)


class RNNCell(RecurrentCell):
    """torch.nn.RNNCell's arguments, parameters and numbers: `cell(x, h) -> h`.

    `nonlinearity`, `"tanh"` or `"relu"`, is the fourth argument; another is refused here, not at
    the first step.
    """

    __constants__: ClassVar[list[str]] = [*RecurrentCell.__constants__, "nonlinearity"]
    _shows_cell = False

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        backend: str = "auto",
    ) -> None:
        cell = simple_cell(nonlinearity)
        options = {"split_bias": True, "backend": backend}
        super().__init__(cell, input_size, hidden_size, bias, device, dtype, **options)
        self.nonlinearity = nonlinearity
