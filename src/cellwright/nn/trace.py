"""`Trace`: named values of a layer at every step, as tensors that know what their numbers are."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cellwright.nn import trace_file, trace_frames, trace_html
from cellwright.nn.trace_names import matching, nearest, parts
from cellwright.nn.trace_select import Choice, is_one, picked, taken
from cellwright.runtime.trail import TraceError

DIRECTIONS = ("forward", "reverse")
MOST_LINES = 24  # of a repr


@dataclass(frozen=True, eq=False)
class Trace:
    """What `Recurrent.trace` saw: values by name, `trace["layers.0.f"]`, or `trace["f"]` of one.

    values: tensors whose dimensions are `dims`, in that order, some of "time", "batch" and "unit";
    they carry gradients where they were computed with them.
    time, batch, units: the labels along them: which step, which row, and for each name which units.
    tokens: what was read at each of `time`, of a text. lengths: of each row of `batch`; beyond its
    end a row is zero. bent: the function that an equation is, "sigmoid" for a gate.
    output, state: what the layer, or the model, gave with it; its output always in full.
    """

    source: str
    values: Mapping[str, Tensor]
    dims: tuple[str, ...]
    time: tuple[int, ...]
    batch: tuple[int, ...]
    units: Mapping[str, tuple[int, ...]]
    tokens: tuple[str, ...] | None = None
    lengths: tuple[int, ...] | None = None
    bent: Mapping[str, str] = field(default_factory=dict)
    output: Any = None
    state: Any = None

    # -- reading --------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of what is held, the lowest layer first."""
        return tuple(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(matching(name, self.values)) > 0

    def __getitem__(self, name: str) -> Tensor:
        """Return the one value that a name or pattern stands for; TraceError for none or several.

        Its dimensions are `dims`.
        """
        return self.values[self._only(name)]

    def _only(self, name: str) -> str:
        found = [name] if name in self.values else matching(name, self.values)
        if len(found) == 1:
            return found[0]
        if found:
            raise TraceError(f"{name!r:.80} is {len(found)} values: {', '.join(found)}; name one")
        raise TraceError(f"this trace holds no {name!r:.80}; {nearest(name, self.values)}")

    @property
    def tensor(self) -> Tensor:
        """The value of a trace that holds one; TraceError where there are several."""
        if len(self.values) != 1:
            raise TraceError(f"a trace of {len(self.values)} values; name one: trace['layers.0.f']")
        return next(iter(self.values.values()))

    def stacked(self, gate: str) -> Tensor:
        """Return an equation of all layers as one tensor, [layer, *dims]; their units must agree.

        Where a layer reads both ways its two directions follow one another.
        """
        made = self.sel(gate=gate)
        if len(set(made.units.values())) > 1:
            raise TraceError(f"{gate}: the layers' units differ; take them one by one")
        return torch.stack(list(made.values.values()))

    # -- selecting ------------------------------------------------------------------------

    def sel(
        self,
        names: str | Iterable[str] | None = None,
        *,
        layer: Choice = None,
        gate: str | Iterable[str] | None = None,
        direction: str | None = None,
        time: Choice = None,
        batch: Choice = None,
        unit: Choice = None,
    ) -> "Trace":
        """Return a part, chosen by labels: `sel(layer=0, gate="f", unit=[3, 17])`.

        names: as in `Recurrent.trace`. gate: an equation, "f", "f.pre" or "c.prev". direction:
        "forward" or "reverse". The others take a label, a list of labels, or a slice of them whose
        stop is left out; below zero they count from the end, and one label takes its dimension
        away. `output` and `state` stay as they are. TraceError for what is not there.
        """
        kept = self._named(names, layer, gate, direction)
        made = replace(
            self,
            values={n: self.values[n] for n in kept},
            units={n: self.units[n] for n in kept},
            bent={n: f for n, f in self.bent.items() if n in kept},
        )
        for dim, choice in (("time", time), ("batch", batch), ("unit", unit)):
            if choice is not None:
                made = _narrowed(made, dim, choice)
        return made

    def _named(
        self,
        names: str | Iterable[str] | None,
        layer: Choice,
        gate: str | Iterable[str] | None,
        direction: str | None,
    ) -> list[str]:
        kept = list(self.values)
        if names is not None:
            patterns = (names,) if isinstance(names, str) else tuple(names)
            missing = [p for p in patterns if not matching(p, kept)]
            if missing:
                raise TraceError(f"names: no {missing[0]!r:.80}; {nearest(missing[0], kept)}")
            kept = [n for n in kept if any(n in matching(p, kept) for p in patterns)]
        if direction not in (None, *DIRECTIONS):
            raise TraceError(f"direction: expected forward or reverse, got {direction!r:.40}")
        if direction is not None:
            kept = [n for n in kept if DIRECTIONS[parts(n)[1]] == direction]
        if layer is not None:
            layers = sorted({parts(n)[0] for n in self.values})
            chosen = {layers[k] for k in picked(layers, layer, "layer")}
            kept = [n for n in kept if parts(n)[0] in chosen]
        if gate is not None:
            gates = (gate,) if isinstance(gate, str) else tuple(gate)
            held = [n for n in kept if any(n in matching(g, [n]) for g in gates)]
            missing = [g for g in gates if not matching(g, kept)]
            if missing:
                raise TraceError(f"gate: no {missing[0]!r:.80} here; {nearest(missing[0], kept)}")
            kept = held
        if not kept:
            raise TraceError(f"nothing is left of {', '.join(self.values)}")
        return kept

    # -- elsewhere ------------------------------------------------------------------------

    def detached(self) -> "Trace":
        """Return the trace without gradients; the tensors share their memory."""
        return replace(
            self,
            values={n: v.detach() for n, v in self.values.items()},
            output=trace_file.mapped(self.output, Tensor.detach),
            state=trace_file.mapped(self.state, Tensor.detach),
        )

    def table(self) -> dict[str, Any]:
        """Return the numbers as columns of a long table, numpy arrays of one length, by name.

        name, layer, direction, gate; time, token (of a text), batch, unit as far as there are such
        dimensions; value. Steps beyond a row's length are left out.
        """
        return trace_frames.table(self)

    def to_pandas(self) -> Any:
        """Return `table()` as a pandas.DataFrame; TraceError where pandas is not installed."""
        return trace_frames.to_pandas(self)

    def to_xarray(self) -> Any:
        """Return an xarray.Dataset: a variable for each equation, with dimensions layer and `dims`.

        Its coordinates are the labels, "1_reverse" that of a layer's backward direction. A unit
        or layer that an equation lacks, and what lies beyond a row's length, is NaN. TraceError
        where xarray is not installed.
        """
        return trace_frames.to_xarray(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything into one safetensors file, whole or not at all; no gradients.

        TraceError where it cannot be written: what was there before is then unchanged.
        """
        trace_file.save(self, Path(path))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Trace":
        """Read a file that `save` wrote; runs no code. TraceError for any other, or a damaged one.

        Tensors are on the CPU.
        """
        return trace_file.load(Path(path), Trace)

    def __repr__(self) -> str:
        shown = [f"  {n}: {_summary(v)}" for n, v in list(self.values.items())[:MOST_LINES]]
        if len(self.values) > MOST_LINES:
            shown.append(f"  and {len(self.values) - MOST_LINES} more")
        return "\n".join([f"Trace of {self.source}: {self._sizes()}", *shown])

    def _sizes(self) -> str:
        widths = dict.fromkeys(len(u) for u in self.units.values())
        counts = {"time": str(len(self.time)), "batch": str(len(self.batch))}
        counts["unit"] = " or ".join(map(str, widths))
        return " x ".join(f"{dim} {counts[dim]}" for dim in self.dims) or "numbers"

    def _repr_html_(self) -> str:
        return trace_html.page(self)


def _narrowed(trace: Trace, dim: str, choice: Choice) -> Trace:
    if dim not in trace.dims:
        had = ", ".join(trace.dims) or "none"
        raise TraceError(f"{dim}: this trace has no such dimension any more; it has {had}")
    at = trace.dims.index(dim)
    labels = {"time": trace.time, "batch": trace.batch}
    positions = {
        name: picked(labels.get(dim, units), choice, dim if dim in labels else f"unit of {name}")
        for name, units in trace.units.items()
    }
    values = {n: taken(v, at, positions[n]) for n, v in trace.values.items()}
    if is_one(choice):
        values = {n: v.squeeze(at) for n, v in values.items()}
        trace = replace(trace, dims=(*trace.dims[:at], *trace.dims[at + 1 :]))
    if dim == "unit":
        units = {n: tuple(trace.units[n][k] for k in positions[n]) for n in positions}
        return replace(trace, values=values, units=units)
    kept = next(iter(positions.values()))

    def of(held: Sequence[Any] | None) -> tuple[Any, ...] | None:
        return None if held is None else tuple(held[k] for k in kept)

    if dim == "time":
        return replace(trace, values=values, time=of(trace.time) or (), tokens=of(trace.tokens))
    return replace(trace, values=values, batch=of(trace.batch) or (), lengths=of(trace.lengths))


def _summary(values: Tensor) -> str:
    v = values.detach().float()
    if not v.numel():
        return "no numbers"
    return f"{v.min().item():.4g} to {v.max().item():.4g}, mean {v.mean().item():.4g}"
