"""Describe: which path a layer takes and what its machine code is made of, said in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.program import PRODUCTS
from cellwright.runtime import cache, listing, native, threads
from cellwright.runtime.compiled import path_of, programs, refused
from cellwright.runtime.loops import DTYPES
from cellwright.runtime.plan import Plan
from cellwright.targets.llvm.needs import Packing
from cellwright.targets.llvm.panels import panels

IN_PROCESS = "compiled, in this process"
ON_DISK = "compiled, kept on disk"
NOT_YET = "not compiled yet"
# A pass over the data, and the compiled programs of `compiled.Programs` that serve it.
ROUTINES = {
    "inference": ("inference",),
    "training, forward": ("training",),
    "training, adjoint": ("backward", "weights"),
}
TRACED = "in a graph that torch.compile or torch.export traces, one operator"


@dataclass(frozen=True)
class Packed:
    """A product of the loop, `units x depth` for each of so many gates, and how it is packed.

    A block holds what is computed at a time: `vectors` vectors of units of each gate; a panel is
    one vector of units for every number of the depth.
    """

    name: str
    weight: str
    depth: int
    units: int
    gates: int
    vectors: int
    blocks: int
    panels: int

    def __str__(self) -> str:
        side = f"{self.gates} gates x " if self.gates > 1 else ""
        return (
            f"{self.name}: {self.weight} [{self.gates * self.units} x {self.depth}] in "
            f"{_counted(self.blocks, 'block')} of {side}{_counted(self.vectors, 'vector')}, "
            f"{_counted(self.panels, 'panel')}"
        )


@dataclass(frozen=True)
class Routine:
    """One compiled pass over a sequence: what runs before, in and after its loop.

    `code` says of the loop whether it is compiled: IN_PROCESS, ON_DISK or NOT_YET.
    """

    what: str
    code: str
    stages: int
    before: tuple[str, ...]
    products: tuple[Packed, ...]
    after: tuple[str, ...]

    def lines(self) -> list[str]:
        """Write it out, the products of each part below one another."""
        parts = {
            "before the loop": self.before,
            f"in the loop, {_counted(self.stages, 'stage')}": tuple(map(str, self.products))
            or ("no product",),
            "after the loop": self.after,
        }
        text = [f"{self.what}: {self.code}"]
        for title, items in parts.items():
            text += [f"  {title}: {item}" for item in items]
        return text


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
    cache: Path | None
    layers: tuple[Layer, ...]

    @property
    def headline(self) -> str:
        """Say in a line which path runs, and why."""
        asked = f"(backend={self.backend!r})"
        if self.path == "llvm":
            return f"{self.cell}: llvm path, {self.machine} {asked}; {TRACED}"
        if self.path == "none":
            return f"{self.cell}: no path, machine code cannot serve: {self.reason} {asked}"
        return (
            f"{self.cell}: reference path, torch operations in a loop over time, because "
            f"{self.reason} {asked}; {TRACED}"
        )

    def __str__(self) -> str:
        text = [self.headline]
        if self.path == "llvm":
            kept = "nowhere: there is no folder for it" if self.cache is None else str(self.cache)
            text += [
                f"threads: up to {self.threads} of {self.team}; they divide the rows of a batch, "
                "or the units where the rows are few; a call with little work takes one",
                f"machine code is kept in: {kept}",
            ]
        return "\n".join([*text, *map(str, self.layers)])


def explained(
    cell: str, backend: str, plans: Sequence[tuple[str, Plan]], weights: tuple[Tensor, ...]
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
        cache=cache.folder(),
        layers=tuple(
            Layer(tuple(at), _shape(made.program), routines(made, dtype) if not reason else ())
            for made, at in places.items()
        ),
    )


def routines(made: Plan, dtype: torch.dtype) -> tuple[Routine, ...]:
    """Describe a plan's machine code for a dtype: inference, training forward and adjoint."""
    found = programs(made, dtype)
    given = dict(zip(ROUTINES, (found.plain, found.forward, found.adjoint), strict=True))
    loaded = vars(found)  # where a program lies from the moment it is compiled
    return tuple(
        _routine(what, program, dtype, any(name in loaded for name in ROUTINES[what]))
        for what, program in given.items()
    )


def _routine(what: str, program: Program, dtype: torch.dtype, loaded: bool) -> Routine:
    kernel = listing.loop(program, dtype)
    most = native.machine(DTYPES[dtype]).vectors
    code = IN_PROCESS
    if not loaded:
        code = NOT_YET if cache.read(native.entry(kernel.text)) is None else ON_DISK
    return Routine(
        what,
        code,
        len(program.stages),
        _sequence_products(program, program.hoisted),
        tuple(_packed(p, most) for p in kernel.packings),
        _sequence_products(program, program.after),
    )


def _packed(p: Packing, most: int) -> Packed:
    whole = p.width // (p.vectors * p.lanes)
    rest = -(-(p.width - whole * p.vectors * p.lanes) // p.lanes)
    count = sum(1 for _ in panels(p, most))
    gates = len(p.offsets)
    return Packed(p.product, p.weight, p.depth, p.width, gates, p.vectors, whole + rest, count)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _sequence_products(program: Program, instrs: Iterable[Instr]) -> tuple[str, ...]:
    """Name the products over all steps at once, with the sizes of their matrices."""
    widths = program.widths()
    owner = {value: name for name, value in program.results}
    named = []
    for i in instrs:
        if i.op in PRODUCTS:
            first, last = i.rows
            named.append(f"{i.name}: {i.args[1]} [{last - first} x {widths[i.args[1]]}]")
        elif i.op is Low.OUTER:
            rows, columns = (widths[arg] for arg in i.args)
            of = f"gradient of {owner[i.name]}" if i.name in owner else "gradient"
            named.append(f"{i.name}: {of} [{rows} x {columns}], {' by '.join(i.args)}")
    return tuple(named)


def _shape(program: Program) -> str:
    inputs = ", ".join(f"{p.name}[{p.width}]" for p in program.inputs)
    states = ", ".join(f"{c.name}[{c.width}]" for c in program.states)
    return f"reads {inputs}; carries {states}"
