"""Tracing: a layer run so that the values somebody asked for are emitted, and kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from cellwright.nn.layers import Layer
from cellwright.nn.running import How, Rows, Start, Tensors
from cellwright.nn.trace import Trace
from cellwright.nn.trace_names import Place, chosen, places
from cellwright.nn.trace_select import Choice, is_one, picked, taken
from cellwright.runtime.trail import values_of

if TYPE_CHECKING:
    from cellwright.nn.recurrent import Recurrent


class Runs(Protocol):
    """One layer of a stack as a forward pass sees it; `Layer` says what each is."""

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def reads(self, given: Tensors, below: Tensors) -> Tensors: ...

    def run(
        self,
        module: nn.Module,
        values: Tensors,
        start: Start,
        rows: Rows,
        reverse: int,
        how: How,
        *,
        emit: bool,
    ) -> tuple[Tensors, Tensors, Tensors]: ...


class Ran(NamedTuple):
    """What a forward pass over whole sequences gives.

    `trails` hold, for each layer and direction, what was emitted beside the outputs, [T, B, width]
    in the caller's order of rows; `lengths` [B] are in that order too.
    """

    output: Any
    state: Any
    trails: list[Tensors]
    batched: bool
    lengths: Tensor | None


class Wanted(NamedTuple):
    """One value to keep: its full name, where it is in the layer's trail, and which units."""

    name: str
    at: int
    units: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """A layer whose named values are emitted; of each it keeps some steps and units."""

    layer: Layer
    wanted: tuple[tuple[Wanted, ...], ...]  # by direction
    time: Choice

    @property
    def suffixes(self) -> tuple[str, ...]:
        return self.layer.suffixes

    def reads(self, given: Tensors, below: Tensors) -> Tensors:
        """Return what the layer itself reads."""
        return self.layer.reads(given, below)

    def run(
        self,
        module: nn.Module,
        values: Tensors,
        start: Start,
        rows: Rows,
        reverse: int,
        how: How,
        *,
        emit: bool,
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Run the layer; the paths are what is kept of the values wanted in this direction."""
        del emit  # what is emitted is what is wanted
        time = picked(range(len(values[0])), self.time, "time")
        wanted = self.wanted[reverse]
        found = self.layer.run(module, values, start, rows, reverse, how, emit=bool(wanted))
        outputs, final, trail = found
        kept = [taken(taken(trail[w.at], 0, time), 2, w.units) for w in wanted]
        return outputs, final, tuple(kept)


def probes(
    layers: Sequence[Layer], kept: Mapping[str, Place], time: Choice, units: Choice
) -> list[Probe]:
    """Wrap the layers of a stack so that they keep the values at some places."""
    made = []
    for k, layer in enumerate(layers):
        here = [place for place in kept.values() if place.layer == k]
        names = tuple(dict.fromkeys(place.seen.name for place in here))
        emitting = _emitting(layer, names) if names else layer
        widths = values_of(emitting.emitting[0].program, layer.plan.cell.graph, names)
        wanted: list[list[Wanted]] = [[] for _ in layer.suffixes]
        for place in here:
            name, labels = place.seen.name, range(widths[place.seen.name][1])
            positions = picked(labels, units, f"unit of {place.name}")
            wanted[place.reverse].append(Wanted(place.name, names.index(name), positions))
        made.append(Probe(emitting, tuple(map(tuple, wanted)), time))
    return made


def _emitting(layer: Layer, names: tuple[str, ...]) -> Layer:
    """Return the layer that emits these of its values, not its states."""
    drawn = layer.drawn.emitting(names) if layer.drawn is not None else None
    return replace(layer, emitting=(layer.plan.emitting(names), drawn))


def traced(
    module: "Recurrent",
    given: Tensor | PackedSequence | Tensors,
    hx: Any,
    names: str | Iterable[str],
    choices: tuple[Choice, Choice],
    masks: tuple[Any, Tensor | None],
) -> Trace:
    """Return `Recurrent.trace`; `choices` are of time and units, `masks` lengths and reset."""
    named = chosen(names, module._layers)
    time, units = choices
    wrapped = probes(module._running, named, time, units)
    ran = module._through(given, hx, *masks, layers=wrapped, emit=True)
    kept = [w for probe in wrapped for way in probe.wanted for w in way]
    tensors = [v for trail in ran.trails for v in trail]
    values = {w.name: v for w, v in zip(kept, tensors, strict=True)}
    values = {name: module._time_back(values[name], ran.batched, 0) for name in named}
    steps = _steps(module, given)
    drops = {"time": is_one(time), "unit": is_one(units)}
    dims = ("time", "unit") if not ran.batched else ("time", "batch", "unit")
    dims = ("batch", "time", "unit") if ran.batched and module.batch_first else dims
    for dim in [d for d, drop in drops.items() if drop]:
        values = {name: v.squeeze(dims.index(dim)) for name, v in values.items()}
        dims = tuple(d for d in dims if d != dim)
    output = ran.output
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output, batch_first=module.batch_first)[0]
    first = next(iter(values.values()))
    batch = range(first.shape[dims.index("batch")]) if "batch" in dims else ()
    return Trace(
        source=_source(module),
        values=values,
        dims=dims,
        time=picked(range(steps), time, "time"),
        batch=tuple(batch),
        units={w.name: w.units for w in kept},
        lengths=None if ran.lengths is None else tuple(int(n) for n in ran.lengths),
        bent={n: str(p.seen.bent) for n, p in named.items() if p.seen.bent is not None},
        output=output,
        state=ran.state,
    )


def _steps(module: "Recurrent", given: Tensor | PackedSequence | Tensors) -> int:
    """Count the time steps of what a layer is given."""
    if isinstance(given, PackedSequence):
        return len(given.batch_sizes)
    first = given[0] if isinstance(given, tuple) else given
    return first.shape[1 if module.batch_first and first.dim() == 3 else 0]


def _source(module: "Recurrent") -> str:
    cells = dict.fromkeys(layer.cell.__name__ for layer in module._layers)
    ways = ", bidirectional" if any(module.stack.both_ways) else ""
    count = module.num_layers
    return f"{', '.join(cells)} ({count} layer{'s' * (count > 1)}{ways})"


def names_of(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the full names of all that can be traced, the lowest layer first."""
    return tuple(places(layers))
