"""`Recurrent`: a layer, or a stack of layers, of any cell, at home in PyTorch."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellwright.language import Cell, Stack
from cellwright.nn import checks, parameters, sequences, states
from cellwright.nn.layers import Layer, Wanted, compiled
from cellwright.nn.masks import once_per_sequence
from cellwright.nn.masks import shown as drawn_rates
from cellwright.nn.running import How, Rows, Tensors, checked_recompute, kept_between
from cellwright.nn.states import Start, States
from cellwright.nn.trace_layer import Seen
from cellwright.nn.trace_patch import said as said_of_patches
from cellwright.nn.trace_run import Ran, Runs
from cellwright.runtime import Plan, checked_backend
from cellwright.runtime.describe import said

# A forward pass's outputs, and for each layer and direction the final states and, where they were
# asked for, the states' paths.
Results = tuple[Tensors, list[Tensors], list[Tensors]]


class Recurrent(Seen):
    """Layers of a recurrent cell; for an LSTM cell, what `torch.nn.LSTM` computes.

    cell: a `Cell` class, a name of the catalogue (`"peephole"`) or `"file.py:Class"`; or layers of
    different cells, `stacked(LSTM, GRU)`. Masks of a cell (`zoneout`, `recurrent_dropout`) are
    drawn in training mode, from torch's generator, and at their means in evaluation.
    Arguments up to `dtype` are torch.nn.LSTM's, in its order; `hidden_size` may be a list, one for
    each layer; the attribute is the last layer's, `hidden_sizes` holds them all. `proj_size` is for
    cells with a width `proj`; `widths` gives sizes to a cell's other width symbols. `learn_start`
    makes the start state a parameter (`start_h_l0`, ...), used where no `hx` is given and after a
    reset. `split_bias` keeps torch's second bias. `backend` is the path that runs: `"llvm"` is
    machine code for this processor, which raises where that cannot run, `"reference"` torch
    operations, `"auto"` the first that can serve; second derivatives are the reference's on each. A
    `use_backend` block comes before it, CELLWRIGHT_BACKEND says what `"auto"` means outside one.
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
        cell: type[Cell] | str | Stack,
        input_size: int,
        hidden_size: int | Sequence[int],
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
        cells, stack = _layers(cell, num_layers, bidirectional)
        hidden = checks.hidden_sizes(hidden_size, len(stack))
        for made, size in zip(cells, hidden, strict=True):
            narrow = proj_size if made is cells[0] or "proj" in made.graph.symbols else 0
            checks.sizes(input_size, size, narrow, num_layers)
        if dropout > 0 and len(stack) == 1:
            warnings.warn(
                "dropout acts on the outputs of all layers but the last, so dropout="
                f"{dropout} does nothing with num_layers=1",
                stacklevel=checks.outside(),
            )
        self.cell = cells[0]
        self.stack = stack
        self.input_size = input_size
        self.hidden_size = hidden[-1]
        self.hidden_sizes = hidden
        self.num_layers = len(stack)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bool(stack.both_ways[-1])
        self.proj_size = proj_size
        self.widths = dict(widths or {})
        self.learn_start = learn_start
        self.split_bias = split_bias
        self.backend = checked_backend(backend)
        self.recompute = checked_recompute(recompute)
        wanted = Wanted(input_size, hidden, proj_size, self.widths, bias, split_bias)
        self._layers = compiled(cells, stack, wanted)
        self._states = states.form(self._layers)
        for layer, suffix in self._owners():
            parameters.register(self, layer.plan.program.params, suffix, device=device, dtype=dtype)
            for name, width in layer.states if learn_start else ():
                made = torch.empty(width, device=device, dtype=dtype)
                self.register_parameter(f"start_{name}{suffix}", nn.Parameter(made))
        self.reset_parameters()

    # -- construction ---------------------------------------------------------------------

    def _owners(self) -> Iterator[tuple[Layer, str]]:
        """Each layer and direction with parameters of its own: all of them, or a tied stack's."""
        for layer in self._layers[:1] if self.stack.tied else self._layers:
            for suffix in layer.suffixes:
                yield layer, suffix

    def reset_parameters(self) -> None:
        """Draw the parameters anew: U(-1/sqrt(H), 1/sqrt(H)), norms and start states aside."""
        owners = list(self._owners())
        parameters.initialise(
            self, [(o.plan.program.params, suffix, o.sizes["hidden"]) for o, suffix in owners]
        )
        for layer, suffix in owners if self.learn_start else ():
            for name, _ in layer.states:
                nn.init.zeros_(getattr(self, f"start_{name}{suffix}"))

    @property
    def _plans(self) -> list[Plan]:
        """The plan of each layer, with masks at their means."""
        return [layer.plan for layer in self._layers]

    # -- looking --------------------------------------------------------------------------

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states, in the order in which `hx` holds them: the first layer's."""
        return self.cell.graph.state_names

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction, as torch.nn's layers list them."""
        return [
            list(parameters.weights(self, layer.plan.program.params, suffix))
            for layer in self._layers
            for suffix in layer.suffixes
        ]

    def blocks(self, layer: int = 0, reverse: bool = False) -> dict[str, Tensor]:
        """Return views into a layer's packed parameters, by equation and operand.

        `{"f.x": [H, I], "f.h": [H, H], "f.bias": [H], ...}`; writing to a view changes the layer:
        `layer.blocks()["f.bias"].fill_(1.0)` sets a forget bias. Views carry no gradient.
        RuntimeError where a weight is computed from others, by a parametrization for example.
        """
        if not 0 <= layer < self.num_layers:
            raise IndexError(f"layer {layer} of {self.num_layers}")
        suffixes = self._layers[layer].suffixes
        if reverse and len(suffixes) == 1:
            raise ValueError("reverse=True needs a bidirectional layer")
        return parameters.views(self, self._plans[layer].program.params, suffixes[int(reverse)])

    def source(self, layer: int = 0) -> str:
        """Return the torch source that a layer runs: plain torch, to read or to paste elsewhere.

        In training mode it takes the cell's masks as its last inputs; weights that are dropped are
        dropped before it.
        """
        return self._running_plan(self._layers[layer]).source()

    def _running_plan(self, layer: Layer) -> Plan:
        """Return what runs: in training the plan that reads masks, else the one at their means."""
        return (layer.drawn if self.training else None) or layer.plan

    def explain(self) -> str:
        """Say which execution path runs and why, and of what each layer's machine code is made.

        The first line says the path, the next ones its threads and where machine code is kept, a
        paragraph for each layer what it is made of: products, kernels by name, whether they are
        compiled, and what a few steps take. Nothing is compiled for it.
        """
        places = [
            (f"layer {k}{' backwards' * reverse}", self._running_plan(layer))
            for k, layer in enumerate(self._layers)
            for reverse in range(len(layer.suffixes))
        ]
        weights = tuple(weight for group in self.all_weights for weight in group)
        one = len({layer.drawing for layer in self._layers}) == 1
        name = self.cell.__name__ if one else f"{self.stack}"
        text = said(name, self.backend, places, weights)
        more = [kept_between(self.recompute)] if self.recompute else []
        return "\n".join([text, *more, *said_of_patches(self._running)])

    def flatten_parameters(self) -> None:
        """Do nothing: parameters are packed already. Here for code written for torch.nn."""

    def extra_repr(self) -> str:
        """List what differs from the defaults, as torch.nn's layers do."""
        alike = len(set(self.hidden_sizes)) == 1
        shown = [f"{self.input_size}, {self.hidden_size if alike else [*self.hidden_sizes]}"]
        one_cell = len({layer.drawing for layer in self._layers}) == 1
        if not one_cell or self.stack.tied:
            shown.insert(0, repr(self.stack))
        elif not hasattr(self, "mode"):  # a drop-in's own name says which cell it is
            shown.insert(0, self.cell.__name__)
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False}
        defaults |= {"dropout": 0, "bidirectional": False, "widths": {}, "learn_start": False}
        defaults |= {"recompute": False, "backend": "auto"}
        for key, default in defaults.items():
            if getattr(self, key) != default:
                shown.append(f"{key}={getattr(self, key)}")
        rates = [", ".join(drawn_rates(layer.cell.graph)) for layer in self._layers]
        drawn = rates[:1] if one_cell else [f"[{r}]" for r in rates] if any(rates) else []
        return ", ".join([*shown, *filter(None, drawn)])

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
        in the order of the declaration; without B for input without B. Layers whose states differ
        in name or width have a state each: a tuple over layers of what one layer has.
        output: [T, B, D * width] for D directions, a tuple for a cell with several outputs.
        lengths: [B] whole numbers from 0 to T, on any device: a row's states stop there, and its
        outputs are zero beyond. A compiled graph cannot look at the numbers and trusts them.
        reset: bool, [T, B] or [B, T] like the input: True where an episode begins; the step takes
        the start state (zero, or the learned one), not what came before nor `hx`.
        return_states: return a third item, `{"h": [D * num_layers, T, B, width], ...}`: each
        state after each step, [D * num_layers, B, T, width] with `batch_first`; a tuple of such
        over layers whose states differ.
        """
        layers = self._running
        ran = self._through(input, hx, lengths, reset, layers=layers, emit=return_states)
        if not return_states:
            return ran.output, ran.state
        paths = self._states.paths(ran.trails, lambda s: self._time_back(s, ran.batched, 1))
        return ran.output, ran.state, paths

    def _through(
        self,
        input: Tensor | PackedSequence | Tensors,
        hx: States | None,
        lengths: Tensor | Sequence[int] | None,
        reset: Tensor | None,
        *,
        layers: Sequence[Runs],
        emit: bool,
    ) -> Ran:
        """Run these layers over what `forward` is given."""
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence has its own lengths; leave lengths out")
            return self._through_packed(input, hx, reset, layers, emit)
        values, batched = self._time_first(input)
        steps, batch = values[0].shape[:2]
        ends = checks.lengths(lengths, steps, batch, values[0].device)
        rows = Rows(ends, self._resets(reset, batched, values[0], ends))
        start = self._start(hx, values[0], batched, reset is not None)
        outputs, final, trails = self._run(values, start, rows, layers, emit)
        made = _one_or_all(tuple([self._time_back(y, batched, 0) for y in outputs]))
        return Ran(made, self._states.joined(final, batched), trails, batched, ends)

    def _through_packed(
        self,
        packed: PackedSequence,
        hx: States | None,
        reset: Tensor | None,
        layers: Sequence[Runs],
        emit: bool,
    ) -> Ran:
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
        if order is not None:
            first = [tuple(s.index_select(0, order) for s in at) for at in start.first]
            start = Start(first, start.fresh)
        rows = Rows(ends, given)
        outputs, final, trails = self._run((padded,), start, rows, layers, emit, packed=True)
        made = tuple(sequences.repack(y, counts, packed) for y in outputs)
        if undo is not None:
            final = [tuple(s.index_select(0, undo) for s in at) for at in final]
            trails = [tuple(s.index_select(1, undo) for s in at) for at in trails]
            ends = ends.index_select(0, undo)
        output = made[0] if len(made) == 1 else made
        return Ran(output, self._states.joined(final, True), trails, True, ends)

    def step(self, x: Tensor | Tensors, state: States | None = None) -> tuple:
        """Take one step, for streaming in constant memory.

        x: [B, input_size] or [input_size]; state as `forward` returns it, None at the start.
        Returns the output [B, width] or [width] and the new state.
        """
        if any(self.stack.both_ways):
            raise RuntimeError("a bidirectional layer reads the whole sequence; it cannot step")
        if self.training:
            self._check_step()
        values = x if isinstance(x, tuple) else (x,)
        checks.dims(type(self).__name__, values, (1, 2))
        dim = 1 if self.batch_first and values[0].dim() == 2 else 0
        output, state = self(_one_or_all(tuple(v.unsqueeze(dim) for v in values)), state)
        if isinstance(output, tuple):
            return tuple(y.squeeze(dim) for y in output), state
        return output.squeeze(dim), state

    def _check_step(self) -> None:
        """Refuse a single step in training where masks hold for a whole sequence."""
        for layer in self._layers:
            held = once_per_sequence(layer.cell.graph)
            if held:
                raise RuntimeError(
                    f"{held} is drawn once for a whole sequence, which a single step is not; call "
                    "eval() first, or run the sequence"
                )

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

    def _resets(
        self, reset: Tensor | None, batched: bool, like: Tensor, ends: Tensor | None
    ) -> Tensor | None:
        if reset is None:
            return None
        steps, batch = like.shape[:2]
        mask = checks.reset(reset, self.batch_first, batched, steps, batch).to(like.device)
        return sequences.reset_within(mask, ends)

    def _start(self, hx: States | None, like: Tensor, batched: bool, resets: bool) -> Start:
        """Return the states before the first step and after a reset, of each layer and direction.

        Those after a reset are there where there are `resets`.
        """
        first = None if hx is None else self._states.given(hx, like, batched)
        if first is not None and not resets:
            return Start(first, [() for _ in first])
        batch = like.shape[1]
        fresh: list[Tensors] = []
        for layer in self._layers:
            for suffix in layer.suffixes:
                if self.learn_start:
                    own = [getattr(self, f"start_{name}{suffix}") for name, _ in layer.states]
                    fresh.append(tuple([s.expand(batch, -1) for s in own]))
                else:
                    fresh.append(tuple([like.new_zeros(batch, w) for _, w in layer.states]))
        return Start(fresh if first is None else first, fresh)

    def _run(
        self,
        values: Tensors,
        start: Start,
        rows: Rows,
        layers: Sequence[Runs],
        emit: bool,
        packed: bool = False,
    ) -> Results:
        """Run all layers and directions over [T, B, ...] inputs."""
        finals: list[Tensors] = []
        trails: list[Tensors] = []
        how = How(self.backend, self.recompute)
        below: Tensors = ()
        for k, layer in enumerate(layers):
            if k and self.dropout and self.training:
                below = tuple(self._drop(v, rows, packed) for v in below)
            read = layer.reads(values, below)
            both = []
            for reverse in range(len(layer.suffixes)):
                at = start.at(len(finals))
                outputs, final, trail = layer.run(self, read, at, rows, reverse, how, emit=emit)
                both.append(outputs)
                finals.append(final)
                trails.append(trail)
            below = both[0]
            if len(both) > 1:
                below = tuple(torch.cat(pair, -1) for pair in zip(*both, strict=True))
        return below, finals, trails

    def _drop(self, values: Tensor, rows: Rows, packed: bool) -> Tensor:
        if packed and rows.lengths is not None:
            return sequences.dropout_packed(values, rows.lengths, self.dropout, self.training)
        return F.dropout(values, self.dropout, self.training)


def _one_or_all(items: Tensors) -> States:
    return items[0] if len(items) == 1 else items


def _layers(
    cell: type[Cell] | str | Stack, num_layers: int, both: bool
) -> tuple[list[type[Cell]], Stack]:
    """Return the cell of each layer, and how they are put together."""
    if not isinstance(cell, Stack):
        made = checks.cell(cell)
        count = checks.layers(num_layers)
        return [made] * count, Stack((made,) * count, (bool(both),) * count)
    if num_layers not in (1, len(cell)):
        raise ValueError(f"{cell!r} has {len(cell)} layers; leave num_layers={num_layers} out")
    found = {name: checks.cell(name) for name in cell.cells}
    ways = (True,) * len(cell) if both else cell.both_ways
    return [found[c] for c in cell.cells], Stack(cell.cells, ways, cell.tied)
