"""Hoist: out of the loop with everything that does not depend on the states."""

from dataclasses import replace

from cellwright.compiler.program import SCALAR, Instr, Low, Program, Stage, verify
from cellwright.compiler.rewrite import Fresh
from cellwright.compiler.stage import stage
from cellwright.language.ops import COMPARISONS, POINTWISE, Op

_OF_VECTORS = {*POINTWISE, Op.CONCAT, Low.SLICE, Low.ZEROS} - COMPARISONS


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


def unhoist(program: Program) -> Program:
    """Take what was computed before the loop, and vectors of parameters, back into the step.

    before:  A = X @ W.T + b;  for t: a = A[t] + U @ h
    after:   for t: a = W @ x[t] + b + U @ h          one pass for a step that comes alone
    """
    vectors = {i.name for i in program.once if i.op in _OF_VECTORS and i.width != SCALAR}
    for instr in reversed(program.once):
        if instr.name not in vectors:
            vectors -= set(instr.args)  # still wanted there
    stay = {i.name for i in program.once} - vectors
    fresh = Fresh(program)
    body: list[Instr] = []
    for instr in (*program.once, *program.hoisted, *program.body):
        if instr.op is Low.PRODUCT and len(instr.args) == 3 and instr.args[2] in vectors:
            bare = replace(instr, name=fresh(instr.name), args=instr.args[:2])
            body += [bare, Instr(instr.name, Op.ADD, (bare.name, instr.args[2]), instr.width)]
        elif instr.name not in stay:
            body.append(instr)
    once = tuple(i for i in program.once if i.name in stay)
    stages = (Stage(pointwise=tuple(body)),)
    return stage(replace(program, once=once, hoisted=(), stages=stages))
