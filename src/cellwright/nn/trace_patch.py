"""Patches: other values put in the place of a layer's own, step by step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cellwright.nn.layers import Layer
from cellwright.nn.running import How, Rows, Start, Tensors
from cellwright.nn.trace_names import chosen
from cellwright.runtime import (
    Plan,
    chosen_backend,
    say_once,
    unserved,
    use_backend,
)
from cellwright.runtime.trail import PREV, Named, TraceError, named_values

if TYPE_CHECKING:
    from cellwright.nn.recurrent import Recurrent

Patch = Callable[[Tensor, int], Tensor]
REASON = "values are put in the place of its own (patched), one step after another"


@dataclass(frozen=True)
class Patched(Layer):
    """A layer some of whose values are replaced; `patches` are by direction and name."""

    patches: tuple[Mapping[str, tuple[Patch, ...]], ...] = ()

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
        """Run one direction, on the reference path where it has patches.

        RuntimeError where that path cannot be taken: with backend="llvm", with `recompute`, and in
        a graph that is being traced.
        """
        patches = self.patches[reverse]
        if not patches:
            return super().run(module, values, start, rows, reverse, how, emit=emit)
        name = self.cell.__name__
        if torch.compiler.is_compiling():
            raise RuntimeError(f"{name} is patched, which no traced graph holds; run it eagerly")
        if chosen_backend(how.backend) == "llvm":
            raise unserved(self.plan, REASON)
        if how.recompute:
            raise RuntimeError(f"{name} is patched, which keeps every step; use recompute=False")
        say_once(name, REASON)

        def put(made: Plan | None) -> Plan | None:
            return None if made is None else patched_plan(made, patches)

        held = {f.name: getattr(self, f.name) for f in fields(Layer)}
        held |= {"plan": put(self.plan), "drawn": put(self.drawn)}
        held["emitting"] = tuple(put(made) if emit else made for made in self.emitting)
        with use_backend("reference"):
            return Layer(**held).run(module, values, start, rows, reverse, how, emit=emit)


def patched_plan(made: Plan, patches: Mapping[str, tuple[Patch, ...]]) -> Plan:
    """Return a plan whose `loops` replace values; nothing but its loops may be run."""
    known, made = named_values(made.cell.graph), made.apart()
    names = sorted(
        (n for n in patches if known[n].kind in ("equation", "preactivation")),
        key=lambda n: known[n].node,
    )
    steps = _Steps(made, made.cut(names), tuple(names), known, patches)
    both = (False, True)
    loops = {(r, v): steps.loop(r, v) for r in both for v in both}
    return replace(made, loops=loops)


@dataclass(frozen=True)
class _Steps:
    """A plan as a loop over steps in parts, with the patches between them."""

    made: Plan
    parts: Sequence[Callable[..., Any]]
    names: tuple[str, ...]
    known: Mapping[str, Named]
    patches: Mapping[str, tuple[Patch, ...]]

    def loop(self, reset: bool, valid: bool) -> Callable[..., Any]:
        """Return the function over whole sequences, called as those of `Plan.loops` are."""

        def run(*given: Tensor) -> tuple[Tensors, Tensors]:
            program = self.made.program
            states = len(program.states)
            sizes = [len(program.inputs), states, len(program.params), states * reset]
            pieces, at = [], 0
            for size in sizes:
                pieces.append(given[at : at + size])
                at += size
            masks = iter(given[at:])
            resets = next(masks) if reset else None
            within = next(masks) if valid else None
            inputs, first, params, starts = pieces
            return self.over_time(inputs, first, params, starts, resets, within)

        return run

    def over_time(
        self,
        inputs: Tensors,
        states: Tensors,
        params: Tensors,
        starts: Tensors,
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> tuple[Tensors, Tensors]:
        """Run all steps; returns outputs [T, B, width], zero where not valid, and final states."""
        emitted: list[Tensors] = []
        for t in range(len(inputs[0])):
            if reset is not None:
                here = reset[t][:, None]
                pairs = zip(starts, states, strict=True)
                states = tuple([torch.where(here, fresh, s) for fresh, s in pairs])
            outputs, after = self.step(t, [x[t] for x in inputs], states, params)
            if valid is not None:
                here = valid[t][:, None]
                outputs = tuple([torch.where(here, y, 0) for y in outputs])
                pairs = zip(after, states, strict=True)
                after = tuple([torch.where(here, s, held) for s, held in pairs])
            emitted.append(outputs)
            states = after
        return tuple([torch.stack(y) for y in zip(*emitted, strict=True)]), states

    def step(
        self, t: int, inputs: list[Tensor], states: Tensors, params: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Run one step on [B, width]; returns outputs and new states."""
        graph = self.made.cell.graph
        for name in self.patches:
            seen = self.known[name]
            if seen.kind == "input":
                at = graph.inputs.index(seen.node)
                inputs[at] = self.patched(name, inputs[at], t)
        read = [
            self.patched(f"{name}{PREV}", s, t) if f"{name}{PREV}" in self.patches else s
            for name, s in zip(graph.state_names, states, strict=True)
        ]
        given = [x.unsqueeze(0) for x in inputs]
        for name, part in zip(self.names, self.parts, strict=False):
            (value,), _ = part(*given, *read, *params)
            given.append(self.patched(name, value[0], t).unsqueeze(0))
        outputs, after = self.parts[-1](*given, *read, *params)
        return tuple([y[0] for y in outputs]), tuple(after)

    def patched(self, name: str, value: Tensor, t: int) -> Tensor:
        """Return what the functions for a name make of its value; TraceError for no such tensor."""
        for change in self.patches[name]:
            made = change(value, t)
            same = isinstance(made, Tensor) and made.shape == value.shape
            if not same or made.dtype != value.dtype or made.device != value.device:
                got = type(made).__name__
                if isinstance(made, Tensor):
                    got = f"{made.dtype} {list(made.shape)} on {made.device}"
                raise TraceError(
                    f"{self.made.cell.__name__}: the function for {name} at step {t} gave {got}; "
                    f"expected {value.dtype} {list(value.shape)} on {value.device}"
                )
            value = made
        return value


def patched(module: "Recurrent", patches: Mapping[str, Patch]) -> Any:
    """Return `Recurrent.patched`; names are looked up at once."""
    if not isinstance(patches, Mapping) or not patches:
        raise TraceError(f"patches: expected {{'f': function}}, got {patches!r:.60}")
    layers = list(module._running)
    for pattern, change in patches.items():
        if not callable(change):
            raise TraceError(f"{pattern}: expected a function (value, step), got {change!r:.60}")
        for place in chosen(pattern, module._layers).values():
            layer = layers[place.layer]
            layers[place.layer] = _with(layer, place.reverse, place.seen.name, change)
    for layer in layers:
        if isinstance(layer, Patched):  # what cannot be replaced is said here, not in the run
            for held in layer.patches:
                patched_plan(layer.plan, held)
    return _within(module, tuple(layers))


def _with(layer: Layer, reverse: bool, name: str, change: Patch) -> Patched:
    """Add a patch to a layer, after those it has for the same value."""
    held = layer.patches if isinstance(layer, Patched) else tuple({} for _ in layer.suffixes)
    own = dict(held[reverse])
    own[name] = (*own.get(name, ()), change)
    patches = tuple(own if k == reverse else p for k, p in enumerate(held))
    base = {f.name: getattr(layer, f.name) for f in fields(Layer)}
    return Patched(**base, patches=patches)


@contextmanager
def _within(module: "Recurrent", layers: tuple[Layer, ...]) -> Iterator["Recurrent"]:
    before, module._patched = module._patched, layers
    try:
        yield module
    finally:
        module._patched = before


def said(layers: Sequence[Layer]) -> list[str]:
    """Say which values are replaced, for `explain()`: a line, or none."""
    names = [
        f"layers.{k}{'_reverse' * reverse}.{name}"
        for k, layer in enumerate(layers)
        if isinstance(layer, Patched)
        for reverse, patches in enumerate(layer.patches)
        for name in patches
    ]
    place = "these layers run on the reference path, step by step"
    return [f"patched: {', '.join(names)}; {place}"] if names else []
