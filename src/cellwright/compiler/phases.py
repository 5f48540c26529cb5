"""Phases: a Program arranged for code whose phases hand each other numbers in memory."""

from collections.abc import Callable
from dataclasses import replace

from cellwright.compiler.program import SCALAR, Instr, Low, Program, Stage, verify
from cellwright.compiler.rewrite import Fresh
from cellwright.compiler.stage import stage
from cellwright.language.ops import COMPARISONS


def part(program: Program) -> Program:
    """Let phases share vectors of numbers only, and each compute as early as it can.

    before:  for t: m = a < b ...;  after: d = where(m, ct, 0);  e = b * b     b: a parameter
    after:   once: e = b * b;  for t: m = a < b ...;  after: m_2 = a < b;  d = where(m_2, ct, 0)
    """
    return _timeless_first(_own_truths(program))


def _own_truths(program: Program) -> Program:
    """Compare again in each phase that reads a truth value: no sequence of numbers holds it."""
    made = {i.name: i for i in program.instrs if i.op in COMPARISONS}
    fresh = Fresh(program)

    def local(instrs: tuple[Instr, ...]) -> tuple[Instr, ...]:
        here = {i.name for i in instrs}
        copies: dict[str, str] = {}
        found: list[Instr] = []
        for instr in instrs:
            for arg in instr.args:
                if arg in made and arg not in here and arg not in copies:
                    copies[arg] = fresh(arg)
                    found.append(replace(made[arg], name=copies[arg]))
            found.append(replace(instr, args=tuple(copies.get(a, a) for a in instr.args)))
        return tuple(found)

    return _rearranged(program, local)


def _rearranged(
    program: Program, local: Callable[[tuple[Instr, ...]], tuple[Instr, ...]]
) -> Program:
    body = local(program.body)
    changed = replace(
        program,
        once=local(program.once),
        hoisted=local(program.hoisted),
        stages=program.stages if body == program.body else (Stage(pointwise=body),),
        after=local(program.after),
    )
    return verify(changed) if body == program.body else stage(changed)


def _timeless_first(program: Program) -> Program:
    """Compute once, before all else, what needs nothing but parameters."""
    known = {p.name for p in program.params} | {i.name for i in program.once}
    known |= {i.name for i in program.instrs if i.width == SCALAR}
    early: list[Instr] = []
    late: list[Instr] = []
    for instr in program.after:
        sequence = instr.op is Low.ZEROS and "rows" not in dict(instr.attrs)
        if instr.op in COMPARISONS or sequence or not known.issuperset(instr.args):
            late.append(instr)
        elif instr.width != SCALAR:
            known.add(instr.name)
            early.append(instr)
    constants = [i for i in (*program.hoisted, *program.body, *program.after) if i.width == SCALAR]
    return verify(
        replace(
            program,
            once=(*program.once, *constants, *early),
            hoisted=tuple(i for i in program.hoisted if i.width != SCALAR),
            stages=tuple(_without_constants(s) for s in program.stages),
            after=tuple(i for i in late if i.width != SCALAR),
        )
    )


def _without_constants(stage: Stage) -> Stage:
    kept = tuple(i for i in stage.pointwise if i.width != SCALAR)
    return replace(stage, pointwise=kept)
