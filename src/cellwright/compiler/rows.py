"""Rows: a Program's work on whole sequences as a Program of one step, its rows T x B."""

from collections.abc import Sequence

from cellwright.compiler.program import Instr, Low, Port, Program, Stage, verify
from cellwright.compiler.stage import stage

SUMS = frozenset({Low.OUTER, Low.TOTAL, Low.STACK})


def rowwise(program: Program, instrs: Sequence[Instr], wanted: Sequence[str]) -> Program:
    """Compute sequence values row by row: time does not matter to them.

    before:  hoisted: a = X @ W.T + b                 X [T, B, I]
    after:   for each of T * B rows: a = x @ W.T + b  x [1, T * B, I]
    """
    made = {i.name: i for i in instrs}
    alive: set[str] = set()
    front = [v for v in wanted if v in made]
    while front:
        name = front.pop()
        if name in made and name not in alive:
            alive.add(name)
            front += made[name].args
    kept = tuple(i for i in instrs if i.name in alive)
    widths = program.widths()
    known = {p.name for p in program.params} | {i.name for i in program.once} | alive
    read = dict.fromkeys(a for i in kept for a in i.args if a not in known)
    return stage(
        verify(
            Program(
                name=program.name,
                inputs=tuple(Port(name, widths[name]) for name in read),
                states=(),
                params=program.params,
                once=program.once,
                stages=(Stage(pointwise=kept),),
                outputs=tuple((name, name) for name in wanted if name in made),
            )
        )
    )


def sequences(program: Program, instrs: Sequence[Instr]) -> set[str]:
    """Return which of the values are whole sequences: not sums over time, nor what follows them."""
    summed: set[str] = set()
    moving = {p.name for p in program.inputs} | {i.name for i in program.body if i.width}
    moving |= {i.name for i in program.hoisted} | {c.name for c in program.states}
    for i in instrs:
        if i.op in SUMS or summed.intersection(i.args):
            summed.add(i.name)
        elif moving.intersection(i.args) or i.op is Low.ZEROS:
            moving.add(i.name)
    return moving - summed
