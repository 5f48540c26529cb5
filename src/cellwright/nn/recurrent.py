"""`Recurrent`: a layer, or a stack of layers, of any cell, at home in PyTorch."""

import warnings
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellwright.language import Cell
from cellwright.language.transform import with_split_biases
from cellwright.nn import checks, parameters, sequences
from cellwright.nn.running import (
    How,
    Rows,
    Start,
    Tensors,
    checked_recompute,
    kept_between,
    parameters_of,
    run,
    weights_of,
)
from cellwright.runtime import Plan, checked_backend, chosen_backend, computed_in, plan
from cellwright.runtime.describe import explained

States = Tensor | Tensors
# A forward pass's outputs, final states and, where it was asked for them, all states.
Results = tuple[Tensors, Tensors, Tensors]


class Recurrent(nn.Module):
    """Layers of a recurrent cell; for an LSTM cell, what `torch.nn.LSTM` computes.

    cell: a `Cell` class, a name of the catalogue (`"peephole"`) or `"file.py:Class"`.
    Arguments up to `dtype` are torch.nn.LSTM's, in its order. `proj_size` is for cells with a
    width `proj`; `widths` gives sizes to a cell's other width symbols. `learn_start` makes the
    start state a parameter (`start_h_l0`, ...), used where no `hx` is given and after a reset.
    `split_bias` keeps torch's second bias. `backend` is the path that runs: `"llvm"` is machine
    code for this processor, `"reference"` torch operations, `"auto"` the first that can serve.
    `recompute` is for very long sequences: the training pass keeps the states at every so many
    steps (True: about sqrt(T)) and nothing between them, which backward() computes again.

    Raises CellError for a cell or width that cannot be, and torch's own kinds of error (TypeError,
    ValueError, RuntimeError) where torch.nn raises them.
    """

    __constants__: ClassVar[list[str]] = [
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
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        widths: Mapping[str, int] | None = None,
        learn_start: bool = False,
        split_bias: bool = False,
        backend: str = "auto",
        recompute: bool | int = False,
    ) -> None:
        super().__init__()
        checks.probability(dropout)
        checks.flags(bias=bias, batch_first=batch_first)
        checks.sizes(input_size, hidden_size, proj_size, num_layers)
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout acts on the outputs of all layers but the last, so dropout="
                f"{dropout} does nothing with num_layers={num_layers}",
                stacklevel=checks.outside(),
            )
        self.cell = checks.cell(cell)
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
        self.backend = checked_backend(backend)
        self.recompute = checked_recompute(recompute)
        self._plans = self._compile()
        self._emitting = [made.emitting_states() for made in self._plans]
        self._names = [
            [parameters_of(made, suffix) for suffix in self._suffixes(k)]
            for k, made in enumerate(self._plans)
        ]
        for k, made in enumerate(self._plans):
            for suffix in self._suffixes(k):
                parameters.register(self, made.program.params, suffix, device=device, dtype=dtype)
                if learn_start:
                    self._register_start(made, suffix, device=device, dtype=dtype)
        self.reset_parameters()

    # -- construction ---------------------------------------------------------------------

    def _compile(self) -> list[Plan]:
        """Compile the cell for each layer's widths; layers above the first read outputs."""
        graph = self.cell.graph
        sizes = checks.widths(graph, self.input_size, self.hidden_size, self.proj_size, self.widths)
        source = with_split_biases(self.cell) if self.split_bias else self.cell
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
        groups = [
            (made.program.params, suffix)
            for k, made in enumerate(self._plans)
            for suffix in self._suffixes(k)
        ]
        parameters.initialise(self, groups, self.hidden_size)
        if self.learn_start:
            for name in self.state_names:
                for _, suffix in groups:
                    nn.init.zeros_(getattr(self, f"start_{name}{suffix}"))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    # -- looking --------------------------------------------------------------------------

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the cell's states, in the order in which `hx` holds them."""
        return self.cell.graph.state_names

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction, as torch.nn's layers list them."""
        return [
            list(parameters.weights(self, made.program.params, suffix))
            for k, made in enumerate(self._plans)
            for suffix in self._suffixes(k)
        ]

    def blocks(self, layer: int = 0, reverse: bool = False) -> dict[str, Tensor]:
        """Return views into a layer's packed parameters, by equation and operand.

        `{"f.x": [H, I], "f.h": [H, H], "f.bias": [H], ...}`; writing to a view changes the layer:
        `layer.blocks()["f.bias"].fill_(1.0)` sets a forget bias. Views carry no gradient.
        RuntimeError where a weight is computed from others, by a parametrization for example.
        """
        if not 0 <= layer < self.num_layers:
            raise IndexError(f"layer {layer} of {self.num_layers}")
        if reverse and not self.bidirectional:
            raise ValueError("reverse=True needs a bidirectional layer")
        suffix = self._suffixes(layer)[int(reverse)]
        return parameters.views(self, self._plans[layer].program.params, suffix)

    def source(self, layer: int = 0) -> str:
        """Return the torch source that a layer runs: plain torch, to read or to paste elsewhere."""
        return self._plans[layer].source()

    def explain(self) -> str:
        """Say which execution path runs and why, and of what each layer's machine code is made.

        The first line says the path, a paragraph for each layer the rest. Nothing is compiled for
        it; a layer that has not run yet says so.
        """
        places = [
            (f"layer {k}{' backwards' * reverse}", made)
            for k, made in enumerate(self._plans)
            for reverse in range(self._directions)
        ]
        weights = tuple(weight for group in self.all_weights for weight in group)
        backend = chosen_backend(self.backend)
        computed = weights if backend == "reference" else computed_in(weights)
        said = str(explained(self.cell.__name__, backend, places, computed))
        if computed is not weights:
            said += f"\nbfloat16 and float16 are computed in {computed[0].dtype}"
        return f"{said}\n{kept_between(self.recompute)}" if self.recompute else said

    def flatten_parameters(self) -> None:
        """Do nothing: parameters are packed already. Here for code written for torch.nn."""

    def extra_repr(self) -> str:
        """List what differs from the defaults, as torch.nn's layers do."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if not hasattr(self, "mode"):  # a drop-in's own name says which cell it is
            shown.insert(0, self.cell.__name__)
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False}
        defaults |= {"dropout": 0, "bidirectional": False, "widths": {}, "learn_start": False}
        defaults |= {"recompute": False}
        for key, default in defaults.items():
            if getattr(self, key) != default:
                shown.append(f"{key}={getattr(self, key)}")
        return ", ".join(shown)

    # -- running --------------------------------------------------------------------------

    def forward(
        self,
        input: Tensor | PackedSequence | Tensors,
        hx: States | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        reset: Tensor | None = None,
        return_states: bool = False,
    ) -> tuple:
        """Run all layers over a sequence; returns `(output, state)`, as torch.nn's layers do.

        input: [T, B, input_size], [B, T, input_size] with `batch_first`, or [T, input_size]; a
        PackedSequence; a tuple of such tensors for a cell with several inputs.
        hx, state: [D * num_layers, B, width], one tensor for a cell with one state, else a tuple
        in the order of the declaration; without B for input without B.
        output: [T, B, D * width] for D directions, a tuple for a cell with several outputs.
        lengths: [B] whole numbers from 0 to T, on any device: a row's states stop there, and its
        outputs are zero beyond. A compiled graph cannot look at the numbers and trusts them.
        reset: bool, [T, B] or [B, T] like the input: True where an episode begins; the step takes
        the start state (zero, or the learned one), not what came before nor `hx`.
        return_states: return a third item, `{"h": [D * num_layers, T, B, width], ...}`: each
        state after each step, [D * num_layers, B, T, width] with `batch_first`.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence has its own lengths; leave lengths out")
            return self._forward_packed(input, hx, reset, return_states)
        values, batched = self._time_first(input)
        steps, batch = values[0].shape[:2]
        ends = checks.lengths(lengths, steps, batch, values[0].device)
        rows = Rows(ends, self._resets(reset, batched, values[0], ends))
        start = self._start(hx, values[0], batched, reset is not None)
        outputs, final, trail = self._run(values, start, rows, return_states)
        made = _one_or_all(tuple([self._time_back(y, batched, 0) for y in outputs]))
        state = _one_or_all(final if batched else tuple(s.squeeze(1) for s in final))
        return self._result(made, state, trail, batched) if return_states else (made, state)

    def _forward_packed(
        self, packed: PackedSequence, hx: States | None, reset: Tensor | None, return_states: bool
    ) -> tuple:
        """Run over a packed batch: in its own, sorted order; states come and go in the caller's."""
        padded, counts = sequences.unpack(packed)
        checks.inputs(self, (padded,))
        order, undo = packed.sorted_indices, packed.unsorted_indices
        ends = counts.to(padded.device)
        given = self._resets(reset, True, padded, None)
        if given is not None:
            given = given if order is None else given.index_select(1, order)
            given = sequences.reset_within(given, ends)
        start = self._start(hx, padded, True, reset is not None)
        first = (
            start.first if order is None else tuple(s.index_select(1, order) for s in start.first)
        )
        outputs, final, trail = self._run(
            (padded,), Start(first, start.fresh), Rows(ends, given), return_states, packed=True
        )
        made = tuple(sequences.repack(y, counts, packed) for y in outputs)
        if undo is not None:
            final = tuple(s.index_select(1, undo) for s in final)
            trail = tuple(s.index_select(2, undo) for s in trail)
        output = made[0] if len(made) == 1 else made
        state = _one_or_all(final)
        return self._result(output, state, trail, True) if return_states else (output, state)

    def step(self, x: States, state: States | None = None) -> tuple:
        """Take one step, for streaming in constant memory.

        x: [B, input_size] or [input_size]; state as `forward` returns it, None at the start.
        Returns the output [B, width] or [width] and the new state.
        """
        if self.bidirectional:
            raise RuntimeError("a bidirectional layer reads the whole sequence; it cannot step")
        values = x if isinstance(x, tuple) else (x,)
        checks.dims(type(self).__name__, values, (1, 2))
        dim = 1 if self.batch_first and values[0].dim() == 2 else 0
        output, state = self(_one_or_all(tuple(v.unsqueeze(dim) for v in values)), state)
        if isinstance(output, tuple):
            return tuple(y.squeeze(dim) for y in output), state
        return output.squeeze(dim), state

    def _time_first(self, given: Tensor | Tensors) -> tuple[Tensors, bool]:
        """Return the inputs as [T, B, width], and whether they came with a batch."""
        values = given if isinstance(given, tuple) else (given,)
        checks.dims(type(self).__name__, values, (2, 3))
        batched = values[0].dim() == 3
        if not batched:
            values = tuple(v.unsqueeze(1) for v in values)
        elif self.batch_first:
            values = tuple(v.transpose(0, 1) for v in values)
        checks.inputs(self, values)
        return values, batched

    def _time_back(self, y: Tensor, batched: bool, dim: int) -> Tensor:
        """Put time and batch, at `dim` and `dim + 1`, where the caller wants them."""
        if not batched:
            return y.squeeze(dim + 1)
        return y.transpose(dim, dim + 1) if self.batch_first else y

    def _result(self, output: object, state: States, trail: Tensors, batched: bool) -> tuple:
        paths = (self._time_back(s, batched, 1) for s in trail)
        return output, state, dict(zip(self.state_names, paths, strict=True))

    def _resets(
        self, reset: Tensor | None, batched: bool, like: Tensor, ends: Tensor | None
    ) -> Tensor | None:
        if reset is None:
            return None
        steps, batch = like.shape[:2]
        mask = checks.reset(reset, self.batch_first, batched, steps, batch).to(like.device)
        return sequences.reset_within(mask, ends)

    def _start(self, hx: States | None, like: Tensor, batched: bool, resets: bool) -> Start:
        """Return the states before the first step and after a reset, [D * num_layers, B, width].

        Those after a reset are there where there are `resets`.
        """
        first = None if hx is None else checks.states(self, hx, like, batched)
        if first is not None and not resets:
            return Start(first, ())
        batch = like.shape[1]
        if self.learn_start:
            suffixes = [s for k in range(self.num_layers) for s in self._suffixes(k)]
            learned = (
                torch.stack([getattr(self, f"start_{name}{s}") for s in suffixes])
                for name in self.state_names
            )
            fresh = tuple(s[:, None].expand(-1, batch, -1) for s in learned)
        else:
            count, carries = self.num_layers * self._directions, self._plans[0].program.states
            fresh = tuple(like.new_zeros(count, batch, c.width) for c in carries)
        return Start(fresh if first is None else first, fresh)

    def _run(
        self, values: Tensors, start: Start, rows: Rows, return_states: bool, packed: bool = False
    ) -> Results:
        """Run all layers and directions over [T, B, ...] inputs."""
        finals: list[Tensors] = []
        trails: list[Tensors] = []
        how = How(self.backend, self.recompute)
        for k, made in enumerate(self._emitting if return_states else self._plans):
            if k and self.dropout and self.training:
                values = tuple(self._drop(v, rows, packed) for v in values)
            both = []
            for reverse, names in enumerate(self._names[k]):
                at = start.at(k * self._directions + reverse)
                weights = weights_of(self, names)
                outputs, final = run(made, values, at, weights, rows, bool(reverse), how)
                both.append(outputs[: made.emitted])
                finals.append(final)
                trails.append(tuple([outputs[k] for k in made.trail]))
            values = both[0]
            if self.bidirectional:
                values = tuple(torch.cat(pair, -1) for pair in zip(*both, strict=True))
        stacked = tuple([torch.stack(s) for s in zip(*finals, strict=True)])
        return values, stacked, tuple([torch.stack(s) for s in zip(*trails, strict=True)])

    def _drop(self, values: Tensor, rows: Rows, packed: bool) -> Tensor:
        if packed and rows.lengths is not None:
            return sequences.dropout_packed(values, rows.lengths, self.dropout, self.training)
        return F.dropout(values, self.dropout, self.training)


def _one_or_all(items: Tensors) -> States:
    return items[0] if len(items) == 1 else items
