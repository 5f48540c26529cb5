"""Plan: a cell compiled for given sizes, with the functions that run it."""

import functools
import json
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from cellwright.compiler import Adjoint, Program, lower, vjp
from cellwright.language.cell import Cell
from cellwright.language.serial import cell_from_json, cell_to_json
from cellwright.runtime.trail import with_trail
from cellwright.targets import reference

Run = Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


@dataclass(frozen=True, eq=False)
class Plan:
    """A cell at given sizes. `key` says all of it as text, so that a plan can be made again.

    The first `emitted` outputs are the cell's own. `trail` says, in a plan that emits its states,
    which output holds each state's sequence. `loops` holds the function over whole sequences,
    as `targets.reference` describes it, by whether it takes `reset` and `valid`; they are there
    from the start, so that torch can trace a call of them.
    """

    key: str
    cell: type[Cell]
    program: Program
    emitted: int
    loops: Mapping[tuple[bool, bool], Run]
    trail: tuple[int, ...] = ()

    def __reduce__(self) -> tuple[Callable[[str], "Plan"], tuple[str]]:
        return plan_of, (self.key,)  # copied and pickled as what it says

    @functools.cached_property
    def adjoint(self) -> Adjoint:
        return vjp(self.program)

    def emitting_states(self) -> "Plan":
        """Return the plan that also gives every state after each step."""
        return plan_of(json.dumps({**json.loads(self.key), "emit": "states"}))

    def narrow(self) -> Program:
        """Return the program with one operation a gate, as machine code wants it."""
        data = json.loads(self.key)
        program = lower(self.cell.graph, data["sizes"], data["bias"], wide=False)
        if data.get("emit") == "states":
            return with_trail(program, self.cell.graph.state_names)[0]
        return program

    def source(self, doc: str = "") -> str:
        """Return the torch source that runs this plan."""
        return reference.emit(self.program, doc=doc or self.cell.__doc__ or "")


def plan(cell: type[Cell], sizes: Mapping[str, int], with_bias: bool = True) -> Plan:
    """Compile a cell for given widths; the same arguments give the same plan."""
    needed = {symbol: sizes[symbol] for symbol in cell.graph.symbols if symbol in sizes}
    return plan_of(json.dumps({"cell": cell_to_json(cell), "sizes": needed, "bias": with_bias}))


@functools.lru_cache(maxsize=512)
def plan_of(key: str) -> Plan:
    """Return the plan that a key describes; it is compiled once in a process."""
    data = json.loads(key)
    if data.pop("emit", None) == "states":
        made = plan_of(json.dumps(data))
        program, trail = with_trail(made.program, made.cell.graph.state_names)
        return Plan(key, made.cell, program, made.emitted, _loops(program, made.cell), trail)
    cell = cell_from_json(data["cell"])
    program = lower(cell.graph, data["sizes"], data["bias"])
    return Plan(key, cell, program, len(program.outputs), _loops(program, cell))


def _loops(program: Program, cell: type[Cell]) -> dict[tuple[bool, bool], Run]:
    doc = cell.__doc__ or ""
    both = (False, True)
    return {(r, v): text_of(program, doc, r, v) for r in both for v in both}


def text_of(program: Program, doc: str, reset: bool, lengths: bool) -> Run:
    """Return a program's reference as a function, with or without the two masks."""
    source = reference.emit(program, reset=reset, lengths=lengths, doc=doc)
    name = f"<cellwright {program.name} {abs(hash(source)):x}>"
    # Registered so that a traceback and a debugger can show the emitted lines.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Run] = {}
    exec(compile(source, name, "exec"), namespace)  # our own text, of a checked graph
    return namespace[reference.function_name(program)]
