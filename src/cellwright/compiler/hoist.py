"""Hoist: out of the loop with everything that does not depend on the states."""

from dataclasses import replace

from cellwright.compiler.program import Instr, Program, Stage, verify
from cellwright.language.ops import COMPARISONS


def hoist(program: Program) -> Program:
    """Compute what only parameters decide once, and what only inputs decide for all steps at once.

    before:  for t: a = W @ x[t] + b + U @ h
    after:   A = X @ W.T + b;  for t: a = A[t] + U @ h

    A truth value stays in the loop, with what is chosen by it: it is cheap, and no sequence of
    numbers could hold it.
    """
    inputs = {port.name for port in program.inputs}
    states = {carry.name for carry in program.states}
    once: list[Instr] = []
    hoisted: list[Instr] = []
    body: list[Instr] = []
    step_values, sequences = set(states), set(inputs)
    for instr in program.body:
        if step_values.intersection(instr.args) or instr.op in COMPARISONS:
            body.append(instr)
            step_values.add(instr.name)
        elif sequences.intersection(instr.args):
            hoisted.append(instr)
            sequences.add(instr.name)
        else:
            once.append(instr)
    return verify(
        replace(
            program,
            once=(*program.once, *once),
            hoisted=(*program.hoisted, *hoisted),
            stages=(Stage(pointwise=tuple(body)),),
        )
    )
