"""Describe: which path a layer takes and what its machine code is made of, said in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cellwright.compiler import Program
from cellwright.runtime import cache, threads
from cellwright.runtime.backend import chosen_backend
from cellwright.runtime.compiled import computed_in, path_of, refused
from cellwright.runtime.plan import Plan
from cellwright.runtime.routines import Routine, routines

TRACED = "in a graph that torch.compile or torch.export traces, "


@dataclass(frozen=True)
class Layer:
    """A layer and direction, or several that run the same code.

    `shape` says what it reads and carries; `routines` is empty on the reference path.
    """

    places: tuple[str, ...]
    shape: str
    routines: tuple[Routine, ...]

    def __str__(self) -> str:
        lines = [line for routine in self.routines for line in routine.lines()]
        return "\n".join([f"{' and '.join(self.places)}: {self.shape}", *(f"  {s}" for s in lines)])


@dataclass(frozen=True)
class Explanation:
    """Which path runs a layer; as text, a line that says it and a paragraph for each layer.

    `path` is "llvm", "reference", or "none" where machine code is insisted on and cannot serve;
    `reason` says why it is not machine code, None where it is.
    """

    cell: str
    backend: str
    path: str
    reason: str | None
    machine: str
    threads: int
    team: str
    dividing: str
    traced: str
    cache: Path | None
    layers: tuple[Layer, ...]

    @property
    def headline(self) -> str:
        """Say in a line which path runs, and why."""
        asked = f"(backend={self.backend!r})"
        if self.path == "llvm":
            return f"{self.cell}: llvm path, {self.machine} {asked}; {TRACED}{self.traced}"
        if self.path == "none":
            return f"{self.cell}: no path, machine code cannot serve: {self.reason} {asked}"
        return (
            f"{self.cell}: reference path, torch operations in a loop over time, because "
            f"{self.reason} {asked}; {TRACED}{self.traced}"
        )

    def __str__(self) -> str:
        text = [self.headline]
        if self.path == "llvm":
            kept = "nowhere: there is no folder for it" if self.cache is None else str(self.cache)
            text += [
                f"threads: up to {self.threads} of {self.team}; {self.dividing}; "
                "a call with little work takes one",
                f"machine code is kept in: {kept}",
            ]
        return "\n".join([*text, *map(str, self.layers)])


def said(
    cell: str,
    own: str,
    plans: Sequence[tuple[str, Plan]],
    weights: tuple[Tensor, ...],
    *,
    inline: bool = False,
) -> str:
    """Explain a layer whose own backend is `own`, as text, with what its dtype brings along.

    `inline`: a graph that is traced gets its operations, not one operator.
    """
    backend = chosen_backend(own)
    computed = weights if backend == "reference" else computed_in(weights)
    text = str(explained(cell, backend, plans, computed, inline=inline))
    if computed is not weights:
        text += f"\nbfloat16 and float16 are computed in {computed[0].dtype}"
    return text


def explained(
    cell: str,
    backend: str,
    plans: Sequence[tuple[str, Plan]],
    weights: tuple[Tensor, ...],
    *,
    inline: bool = False,
) -> Explanation:
    """Explain what runs the plans of a layer, given with their places, without compiling them.

    weights: all parameters of the layer; their device and dtype decide the path with `backend`.
    """
    weights = weights or (torch.empty(0),)  # a cell may have none
    reason = "it was asked for" if backend == "reference" else refused(weights)
    path = "llvm" if reason is None else "none" if backend == "llvm" else "reference"
    places: dict[Plan, list[str]] = {}
    for place, made in plans:
        places.setdefault(made, []).append(place)
    dtype = weights[0].dtype
    return Explanation(
        cell=cell,
        backend=backend,
        path=path,
        reason=reason,
        machine=path_of(dtype) if reason is None else "",
        threads=torch.get_num_threads(),
        team=threads.describe(),
        dividing=threads.dividing(),
        traced="torch operations" if inline else "one operator",
        cache=cache.folder(),
        layers=tuple(
            Layer(tuple(at), _shape(made.program), routines(made, dtype) if not reason else ())
            for made, at in places.items()
        ),
    )


def _shape(program: Program) -> str:
    inputs = ", ".join(f"{p.name}[{p.width}]" for p in program.inputs)
    states = ", ".join(f"{c.name}[{c.width}]" for c in program.states)
    return f"reads {inputs}; carries {states}"
