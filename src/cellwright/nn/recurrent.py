"""`Recurrent`: a layer, or a stack of layers, of any cell, at home in PyTorch."""

import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellwright import cells
from cellwright.language import Cell, CellError
from cellwright.language.transform import with_split_biases
from cellwright.nn import checks, parameters, sequences
from cellwright.runtime import Plan, plan, sequence

BACKENDS = ("auto", "reference")

States = Tensor | tuple[Tensor, ...]


class Recurrent(nn.Module):
    """Layers of a recurrent cell; for an LSTM cell, what `torch.nn.LSTM` computes.

    cell: a `Cell` class, a name of the catalogue (`"peephole"`) or `"file.py:Class"`.
    Arguments up to `dtype` are torch.nn.LSTM's, in its order. `proj_size` is for cells with a
    width `proj`; `widths` gives sizes to a cell's other width symbols. `learn_start` makes the
    start state a parameter (`start_h_l0`, ...), used where no `hx` is given. `split_bias` keeps
    torch's second bias.  `backend` is the path that runs: `"auto"` or `"reference"`.

    Input: [T, B, input_size], [B, T, input_size] with `batch_first`, or [T, input_size]; a
    PackedSequence; a tuple of such tensors for a cell with several inputs.
    Output: `(output, state)`; `output` [T, B, D * width] for D directions, a tuple for a cell with
    several outputs; `state` is one tensor [D * num_layers, B, width] for a cell with one state,
    else a tuple in the order of the declaration. `hx` is of that form.

    Raises CellError for a cell or width that cannot be, and torch's own kinds of error (TypeError,
    ValueError, RuntimeError) where torch.nn raises them.
    """

    __constants__ = [
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]

    def __init__(
        self,
        cell: type[Cell] | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        widths: Mapping[str, int] | None = None,
        learn_start: bool = False,
        split_bias: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        checks.sizes(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts on the outputs of all layers but the last, so dropout="
                f"{dropout} does nothing with num_layers={num_layers}",
                stacklevel=checks.outside(),
            )
        if backend not in BACKENDS:
            raise ValueError(f"backend is one of {', '.join(BACKENDS)}, got {backend!r:.40}")
        self.cell = cells.find(cell) if isinstance(cell, str) else cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.widths = dict(widths or {})
        self.learn_start = learn_start
        self.split_bias = split_bias
        self.backend = backend
        self._plans = self._compile()
        factory = {"device": device, "dtype": dtype}
        for k, made in enumerate(self._plans):
            for suffix in self._suffixes(k):
                parameters.register(self, made.program.params, suffix, **factory)
                if learn_start:
                    self._register_start(made, suffix, **factory)
        self.reset_parameters()

    # -- construction ---------------------------------------------------------------------

    def _compile(self) -> list[Plan]:
        """Compile the cell for each layer's widths; layers above the first read outputs."""
        if not (isinstance(self.cell, type) and issubclass(self.cell, Cell)):
            raise CellError(f"a cell is a Cell class or a name, got {self.cell!r:.60}")
        graph = self.cell.graph
        checks.widths(graph, self.widths, self.proj_size)
        source = with_split_biases(self.cell) if self.split_bias else self.cell
        sizes = {"hidden": self.hidden_size, "input": self.input_size, **self.widths}
        if self.proj_size:
            sizes["proj"] = self.proj_size
        plans = [plan(source, sizes, self.bias)]
        for _ in range(1, self.num_layers):
            sizes = checks.stacked(graph, sizes, self._directions)
            plans.append(plan(source, sizes, self.bias))
        return plans

    def _register_start(self, made: Plan, suffix: str, **factory: object) -> None:
        for carry, name in zip(made.program.states, self.state_names, strict=True):
            start = torch.empty(carry.width, **factory)  # type: ignore[call-overload]
            self.register_parameter(f"start_{name}{suffix}", nn.Parameter(start))

    def reset_parameters(self) -> None:
        """Draw the parameters anew: U(-1/sqrt(H), 1/sqrt(H)), norms and start states aside."""
        for k, made in enumerate(self._plans):
            for suffix in self._suffixes(k):
                for param in made.program.params:
                    weight = getattr(self, param.name + suffix)
                    parameters.initialise(weight, param, self.hidden_size)
                if self.learn_start:
                    for name in self.state_names:
                        nn.init.zeros_(getattr(self, f"start_{name}{suffix}"))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_plans"}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        self._plans = self._compile()

    # -- looking --------------------------------------------------------------------------

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the cell's states, in the order in which `hx` holds them."""
        return self.cell.graph.state_names

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, as torch.nn's layers list them."""
        return [
            [getattr(self, p.name + suffix) for p in made.program.params]
            for k, made in enumerate(self._plans)
            for suffix in self._suffixes(k)
        ]

    def blocks(self, layer: int = 0, reverse: bool = False) -> dict[str, Tensor]:
        """Return views into a layer's packed parameters, by equation and operand.

        `{"f.x": [H, I], "f.h": [H, H], "f.bias": [H], ...}`; writing to a view changes the layer:
        `layer.blocks()["f.bias"].fill_(1.0)` sets a forget bias. Views carry no gradient.
        """
        if not 0 <= layer < self.num_layers:
            raise IndexError(f"layer {layer} of {self.num_layers}")
        if reverse and not self.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        suffix = self._suffixes(layer)[int(reverse)]
        params = self._plans[layer].program.params
        return parameters.views(params, [getattr(self, p.name + suffix) for p in params])

    def source(self, layer: int = 0) -> str:
        """Return the torch source that a layer runs: plain torch, to read or to paste elsewhere."""
        return self._plans[layer].source()

    def explain(self) -> str:
        """Say in one line which execution path runs."""
        return (
            f"{self.cell.__name__}: reference path, torch operations in a loop over time "
            f"(backend={self.backend!r}; this version has no other path)"
        )

    def flatten_parameters(self) -> None:
        """Do nothing: parameters are packed already. Here for code written for torch.nn."""

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if type(self) is Recurrent:
            shown.insert(0, self.cell.__name__)
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False}
        defaults |= {"dropout": 0, "bidirectional": False, "widths": {}, "learn_start": False}
        for key, default in defaults.items():
            if getattr(self, key) != default:
                shown.append(f"{key}={getattr(self, key)}")
        return ", ".join(shown)

    # -- running --------------------------------------------------------------------------

    def forward(  # noqa: D102  the class docstring says what it takes and gives
        self,
        input: Tensor | PackedSequence | tuple[Tensor, ...],
        hx: States | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        reset: Tensor | None = None,
        return_states: bool = False,
    ) -> tuple:
        packed = input if isinstance(input, PackedSequence) else None
        if packed is not None:
            if lengths is not None:
                raise ValueError("a PackedSequence has its own lengths; leave lengths out")
            padded, lengths = sequences.unpack(packed)
            values, batched = (padded,), True
        else:
            values, batched = self._time_first(cast("Tensor | tuple[Tensor, ...]", input))
        checks.inputs(self, values)
        steps, batch = values[0].shape[:2]
        given = checks.lengths(lengths, steps, batch, values[0].device)
        mask = None if reset is None else checks.reset(reset, self.batch_first, batched, steps, batch)
        order = packed.sorted_indices if packed is not None else None
        start = self._start_state(hx, values[0], batched, order)
        outputs, final, trail = self._run(values, start, given, mask, return_states)
        if packed is not None:
            assert isinstance(lengths, Tensor)
            made = tuple(sequences.repack(y, lengths, packed) for y in outputs)
            undo = packed.unsorted_indices
            final = final if undo is None else tuple(s.index_select(1, undo) for s in final)
            trail = trail if undo is None else tuple(s.index_select(2, undo) for s in trail)
        else:
            made = tuple(self._time_back(y, batched, 0) for y in outputs)
        final = final if batched else tuple(s.squeeze(1) for s in final)
        result = (_one_or_all(made), _one_or_all(final))
        if not return_states:
            return result
        trail = tuple(self._time_back(s, batched, 1) for s in trail)
        return (*result, dict(zip(self.state_names, trail, strict=True)))

    def step(self, x: Tensor | tuple[Tensor, ...], state: States | None = None) -> tuple:
        """Take one step, for streaming in constant memory.

        x: [B, input_size] or [input_size]; state as `forward` returns it, None at the start.
        Returns the output [B, width] and the new state.
        """
        if self.bidirectional:
            raise RuntimeError("a bidirectional layer reads the whole sequence; it cannot step")
        values = x if isinstance(x, tuple) else (x,)
        dim = 0 if not (self.batch_first and values[0].dim() == 2) else 1
        sequence_of_one = tuple(v.unsqueeze(dim) for v in values)
        output, state = self(_one_or_all(sequence_of_one), state)
        if isinstance(output, tuple):
            return tuple(y.squeeze(dim) for y in output), state
        return output.squeeze(dim), state

    def _time_first(
        self, given: Tensor | tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], bool]:
        values = given if isinstance(given, tuple) else (given,)
        for v in values:
            if not isinstance(v, Tensor):
                raise TypeError(f"{type(self).__name__}: input is a tensor, got {type(v).__name__}")
            if v.dim() not in (2, 3):
                raise ValueError(f"{type(self).__name__}: input is 2-D or 3-D, got {v.dim()}-D")
        batched = values[0].dim() == 3
        if not batched:
            return tuple(v.unsqueeze(1) for v in values), False
        if self.batch_first:
            return tuple(v.transpose(0, 1) for v in values), True
        return values, True

    def _time_back(self, y: Tensor, batched: bool, dim: int) -> Tensor:
        """Put time and batch, at `dim` and `dim + 1`, where the caller wants them."""
        if not batched:
            return y.squeeze(dim + 1)
        return y.transpose(dim, dim + 1) if self.batch_first else y

    def _start_state(
        self, hx: States | None, like: Tensor, batched: bool, order: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the start states, each [D * num_layers, B, width], in the batch's order."""
        batch = like.shape[1]
        if hx is not None:
            states = checks.states(self, hx, batch, batched)
            return states if order is None else tuple(s.index_select(1, order) for s in states)
        count = self.num_layers * self._directions
        carries = self._plans[0].program.states
        if not self.learn_start:
            return tuple(like.new_zeros(count, batch, c.width) for c in carries)
        suffixes = [s for k in range(self.num_layers) for s in self._suffixes(k)]
        return tuple(
            torch.stack([getattr(self, f"start_{name}{s}") for s in suffixes])[:, None].expand(
                -1, batch, -1
            )
            for name in self.state_names
        )

    def _run(
        self,
        values: tuple[Tensor, ...],
        start: tuple[Tensor, ...],
        lengths: Tensor | None,
        reset: Tensor | None,
        return_states: bool,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run all layers and directions over [T, B, ...] inputs."""
        finals: list[tuple[Tensor, ...]] = []
        trails: list[tuple[Tensor, ...]] = []
        for k in range(self.num_layers):
            if k and self.dropout:
                values = tuple(F.dropout(v, self.dropout, self.training) for v in values)
            made = []
            for direction in range(self._directions):
                at = k * self._directions + direction
                states = tuple(s[at] for s in start)
                outputs, final, trail = self._direction(
                    k, direction, values, states, lengths, reset, return_states
                )
                made.append(outputs)
                finals.append(final)
                trails.append(trail)
            values = made[0]
            if self.bidirectional:
                values = tuple(torch.cat(pair, -1) for pair in zip(*made, strict=True))
        stacked = tuple(torch.stack(s) for s in zip(*finals, strict=True))
        paths = tuple(torch.stack(s) for s in zip(*trails, strict=True)) if return_states else ()
        return values, stacked, paths

    def _direction(
        self,
        layer: int,
        direction: int,
        values: tuple[Tensor, ...],
        states: tuple[Tensor, ...],
        lengths: Tensor | None,
        reset: Tensor | None,
        return_states: bool,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run one layer in one direction; a reverse pass reads each row back from its end."""
        if direction:
            values = tuple(sequences.backwards(v, lengths) for v in values)
            reset = None if reset is None else sequences.reset_backwards(reset, lengths)
        valid = None if lengths is None else sequences.valid_mask(lengths, values[0].shape[0])
        made = self._plans[layer]
        suffix = self._suffixes(layer)[direction]
        weights = tuple(getattr(self, p.name + suffix) for p in made.program.params)
        outputs, final, trail = _apply(made, values, states, weights, reset, valid, return_states)
        if direction:
            outputs = tuple(sequences.backwards(y, lengths) for y in outputs)
            trail = tuple(sequences.backwards(s, lengths) for s in trail)
        return outputs, final, trail


def _apply(
    made: Plan,
    values: tuple[Tensor, ...],
    states: tuple[Tensor, ...],
    weights: tuple[Tensor, ...],
    reset: Tensor | None,
    valid: Tensor | None,
    return_states: bool,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Run one layer: in eager mode as torch operations, in a traced graph as one operator."""
    emitted = len(made.program.outputs)
    if torch.compiler.is_compiling() and not return_states:
        results = sequence(made.key, values, states, weights, reset, valid)
        return tuple(results[:emitted]), tuple(results[len(results) - len(states) :]), ()
    names = made.state_values() if return_states else ()
    run = made.forward(names, reset=reset is not None, lengths=valid is not None)
    masks = [mask for mask in (reset, valid) if mask is not None]
    outputs, final = run(*values, *states, *weights, *masks)
    return outputs[:emitted], final, outputs[emitted:]


def _one_or_all(items: tuple[Tensor, ...]) -> States:
    return items[0] if len(items) == 1 else items
