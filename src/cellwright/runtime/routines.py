"""Routines: what a plan's machine code is made of, and whether it has been compiled."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.phases import part
from cellwright.compiler.program import PRODUCTS
from cellwright.language.ops import Op
from cellwright.runtime import cache, listing, native
from cellwright.runtime.compiled import Programs, programs
from cellwright.runtime.plan import Plan
from cellwright.runtime.steps import FEW, ROWS, takes
from cellwright.targets.llvm import outer, panels, total
from cellwright.targets.llvm.micro import Machine
from cellwright.targets.llvm.needs import Packing

IN_PROCESS = "compiled, in this process"
ON_DISK = "compiled, kept on disk"
NOT_YET = "not compiled yet"
FEW_STEPS = "inference, few steps"
# A pass over the data, and the compiled programs of `compiled.Programs` that serve it.
ROUTINES = {
    "inference": ("inference",),
    FEW_STEPS: ("inference",),
    "training, forward": ("training",),
    "training, adjoint": ("backward", "weights"),
}
WHEN_FEW = (
    f"at most {ROWS} rows and {FEW} rows x steps, without a gradient, reset or lengths; "
    "the weights are read as they lie"
)
# Sums over time and batch, which have kernels of their own.
SUMS: dict[Op | Low, tuple[str, Callable[[Machine], str]]] = {
    Low.OUTER: ("sums of outer products", outer.emit),
    Low.TOTAL: ("sums of vectors", total.emit),
}


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
class Object:
    """Machine code that is compiled, kept and loaded in one piece, and its kernels by name.

    `name` is the first digits of the entry that keeps it, as `on_disk` says whether it does;
    `where` is its part in a routine.
    """

    name: str
    where: str
    kernels: tuple[str, ...]
    on_disk: bool

    def __str__(self) -> str:
        return f"object {self.name}, {self.where}: {_ranges(self.kernels)}"


@dataclass(frozen=True)
class Routine:
    """One compiled pass over a sequence: what runs before, in and after its loop.

    `code` says whether it is compiled: IN_PROCESS, ON_DISK where all of its objects are, or
    NOT_YET; `when`, which calls take it.
    """

    what: str
    code: str
    when: str
    stages: int
    before: tuple[str, ...]
    products: tuple[Packed | str, ...]
    after: tuple[str, ...]
    objects: tuple[Object, ...]

    def lines(self) -> list[str]:
        """Write it out, the products of each part below one another."""
        parts = {
            "before the loop": self.before,
            f"in the loop, {_counted(self.stages, 'stage')}": tuple(map(str, self.products))
            or ("no product",),
            "after the loop": self.after,
        }
        text = [f"{self.what}: {self.code}{self.when and f'; {self.when}'}"]
        for title, items in parts.items():
            text += [f"  {title}: {item}" for item in items]
        for made in self.objects:
            kept = " (kept on disk)" if made.on_disk and self.code == NOT_YET else ""
            text.append(f"  {made}{kept}")
        return text


def routines(made: Plan, dtype: torch.dtype) -> tuple[Routine, ...]:
    """Describe a plan's machine code for a dtype: inference, training forward and adjoint."""
    found = programs(made, dtype)
    few = part(found.plain)
    given = {"inference": found.plain, "training, forward": found.forward}
    given["training, adjoint"] = found.adjoint
    described = {
        what: _sequence(what, part(program), dtype, _loaded(found, what, "sequence"))
        for what, program in given.items()
    }
    if takes(few):
        described[FEW_STEPS] = _few_steps(few, dtype, _loaded(found, FEW_STEPS, "step"))
    return tuple(described[what] for what in ROUTINES if what in described)


def _loaded(found: Programs, what: str, which: str) -> bool:
    """Tell whether a routine has been compiled, as what a FastProgram calls `which`."""
    made = [vars(found).get(name) for name in ROUTINES[what]]
    return any(which in vars(program) for program in made if program is not None)


def _sequence(what: str, program: Program, dtype: torch.dtype, loaded: bool) -> Routine:
    """Describe what runs any number of steps of an arranged program."""
    m = listing.machine(dtype)
    kernels = listing.kernels(program, dtype)
    texts = {
        "before the loop": kernels.early.text if kernels.early else "",
        "in the loop": kernels.loop.text,
        "after the loop": kernels.late.text if kernels.late else "",
    }
    if any(k and k.packings for k in (kernels.early, kernels.loop, kernels.late)):
        texts["packing weights"] = panels.emit(m)
    for op, (where, emit) in SUMS.items():
        if any(i.op is op for i in program.after):
            texts[where] = emit(m)
    made = tuple(_object(where, text) for where, text in texts.items() if text)
    return Routine(
        what,
        _code(made, loaded),
        "",
        len(program.stages),
        _sequence_products(program, program.hoisted),
        tuple(_packed(p, m.vectors) for p in kernels.loop.packings),
        _sequence_products(program, program.after),
        made,
    )


def _few_steps(program: Program, dtype: torch.dtype, loaded: bool) -> Routine:
    """Describe what runs a few steps of a few rows of an arranged program."""
    kernel = listing.step(program, dtype)
    made = (_object("in the loop", kernel.text),)
    products = tuple(
        f"{p.product}: {p.weight} [{len(p.offsets) * p.width} x {p.depth}]" for p in kernel.packings
    )
    stages = len(kernel.program.stages)
    return Routine(FEW_STEPS, _code(made, loaded), WHEN_FEW, stages, (), products, (), made)


def _object(where: str, text: str) -> Object:
    place = native.entry(text)
    names = tuple(re.findall(r"^define [^@]*@(\w+)", text, re.MULTILINE))
    return Object(native.key(text)[:8], where, names, cache.read(place) is not None)


def _code(made: Sequence[Object], loaded: bool) -> str:
    return IN_PROCESS if loaded else ON_DISK if all(o.on_disk for o in made) else NOT_YET


def _ranges(names: Sequence[str]) -> str:
    """('loop', 'product_4x1', 'product_4x2') -> 'loop, product_4x1 to product_4x2'."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rstrip("0123456789"), []).append(name)
    return ", ".join(
        group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups.values()
    )


def _packed(p: Packing, most: int) -> Packed:
    whole = p.width // (p.vectors * p.lanes)
    rest = -(-(p.width - whole * p.vectors * p.lanes) // p.lanes)
    count = sum(1 for _ in panels.panels(p, most))
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
