"""Plan: a cell compiled for given sizes, with the functions that run it."""

import functools
import json
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cellwright.compiler import Adjoint, Program, lower, vjp
from cellwright.compiler.build import build
from cellwright.language.cell import Cell
from cellwright.language.serial import cell_from_json, cell_to_json
from cellwright.runtime.trail import cut, with_names, with_own_states, with_trail
from cellwright.targets import reference

Run = Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


@dataclass(frozen=True, eq=False)
class Plan:
    """A cell at given sizes. `key` says all of it as text, so that a plan can be made again.

    The first `emitted` outputs are the cell's own. `trail` says, in a plan that emits named values
    too, which output holds each of them. `loops` holds the function over whole sequences,
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

    def emitting(self, names: Sequence[str]) -> "Plan":
        """Return the plan that also gives these of the cell's `named_values` at each step."""
        return plan_of(json.dumps({**json.loads(self.key), "emit": list(names)}))

    def emitting_states(self) -> "Plan":
        """Return the plan that also gives every state after each step."""
        return self.emitting(self.cell.graph.state_names)

    def narrow(self) -> Program:
        """Return the program with one operation a gate, as machine code wants it."""
        data = json.loads(self.key)
        names = data.get("emit", ())
        graph = with_names(self.cell.graph, names)
        program = lower(graph, data["sizes"], data["bias"], wide=False)
        return with_trail(program, self.cell.graph, names, apart="apart" in data)[0]

    def apart(self) -> "Plan":
        """Return the plan that emits each of its named values as an output of its own."""
        return plan_of(json.dumps({**json.loads(self.key), "apart": True}))

    def cut(self, names: Sequence[str]) -> tuple[Run, ...]:
        """Return one step in parts, between which other values take the place of the named ones.

        They are called as `loops` are, without masks, and read and give what `trail.cut` says; the
        last gives what the plan does.
        """
        return _cut(self.key, tuple(names))

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
    names, apart = data.pop("emit", None), data.pop("apart", False)
    if names is None:
        cell = cell_from_json(data["cell"])
        program = lower(cell.graph, data["sizes"], data["bias"])
        return Plan(key, cell, program, len(program.outputs), _loops(program, cell))
    made = plan_of(json.dumps(data))
    graph, program = with_names(made.cell.graph, names), made.program
    if graph is not made.cell.graph:
        program = lower(graph, data["sizes"], data["bias"])
    program, trail = with_trail(program, made.cell.graph, names, apart=apart)
    return Plan(key, made.cell, program, made.emitted, _loops(program, made.cell), trail)


@functools.lru_cache(maxsize=64)
def _cut(key: str, names: tuple[str, ...]) -> tuple[Run, ...]:
    data, graph = json.loads(key), plan_of(key).cell.graph
    emitted = data.get("emit", ())
    program = build(with_names(graph, [*names, *emitted]), data["sizes"], data["bias"])
    program = with_own_states(program, graph, names)
    program, _ = with_trail(program, graph, emitted, apart="apart" in data)
    return tuple(text_of(part, "", False, False) for part in cut(program, graph, names))


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
