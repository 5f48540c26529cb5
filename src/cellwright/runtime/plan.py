"""Plan: a cell compiled for given sizes, with the functions that run it."""

import functools
import json
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from cellwright.compiler import Adjoint, Program, lower, vjp
from cellwright.language.cell import Cell
from cellwright.language.serial import cell_from_json, cell_to_json
from cellwright.targets import reference

Run = Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]


@dataclass(frozen=True, eq=False)
class Plan:
    """A cell at given sizes. `key` says all of it as text, so that a plan can be made again."""

    key: str
    cell: type[Cell]
    program: Program

    @functools.cached_property
    def adjoint(self) -> Adjoint:
        return vjp(self.program)

    @functools.cache  # noqa: B019  plans live as long as the process: `plan` keeps them
    def forward(
        self, emit: tuple[str, ...] = (), *, reset: bool = False, lengths: bool = False
    ) -> Run:
        """Return the function over whole sequences; `emit` names equations to return as well."""
        return _compiled(self.with_outputs(emit), self.cell.__doc__ or "", reset, lengths)

    @functools.cache  # noqa: B019
    def forward_with_residuals(self, *, reset: bool = False, lengths: bool = False) -> Run:
        return _compiled(self.adjoint.forward, "", reset, lengths)

    @functools.cache  # noqa: B019
    def backward(self, *, reset: bool = False, lengths: bool = False) -> Run:
        return _compiled(self.adjoint.backward, "", reset, lengths)

    def with_outputs(self, names: tuple[str, ...]) -> Program:
        values = {value: value for value in self.program.widths()} | dict(self.program.names)
        extra = tuple((name, values[name]) for name in names)
        return replace(self.program, outputs=(*self.program.outputs, *extra))

    def state_values(self) -> tuple[str, ...]:
        """Name the value that each state takes after a step."""
        return tuple(carry.next for carry in self.program.states)

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
    cell = cell_from_json(data["cell"])
    return Plan(key, cell, lower(cell.graph, data["sizes"], data["bias"]))


def _compiled(program: Program, doc: str, reset: bool, lengths: bool) -> Run:
    source = reference.emit(program, reset=reset, lengths=lengths, doc=doc)
    name = f"<cellwright {program.name} {abs(hash(source)):x}>"
    # Registered so that a traceback and a debugger can show the emitted lines.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Run] = {}
    exec(compile(source, name, "exec"), namespace)  # our own text, of a checked graph
    return namespace[reference.function_name(program)]
