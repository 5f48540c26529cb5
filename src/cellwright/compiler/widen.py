"""Widen: apply the same function to neighbouring slices as one operation."""

from collections.abc import Sequence
from dataclasses import replace

from cellwright.compiler.program import Instr, Low, Program, verify
from cellwright.compiler.rewrite import Fresh, in_order, sliced
from cellwright.language.ops import Op

UNARY = frozenset({Op.SIGMOID, Op.TANH, Op.RELU, Op.EXP, Op.LOG, Op.ABS, Op.NEG})


def widen(program: Program) -> Program:
    """Join equal functions of neighbouring slices of one vector.

    before:  i = sigmoid(a[0:H]);  f = sigmoid(a[H:2H])
    after:   s = sigmoid(a[0:2H]);  i = s[0:H];  f = s[H:2H]
    """
    fresh = Fresh(program)
    stages = tuple(replace(s, pointwise=_widened(s.pointwise, fresh)) for s in program.stages)
    once, hoisted = _widened(program.once, fresh), _widened(program.hoisted, fresh)
    return verify(replace(program, once=once, hoisted=hoisted, stages=stages))


def _widened(instrs: tuple[Instr, ...], fresh: Fresh) -> tuple[Instr, ...]:
    made = {instr.name: instr for instr in instrs}
    families: dict[tuple[Op | Low, str], list[tuple[Instr, Instr]]] = {}
    for instr in instrs:
        cut = made.get(instr.args[0]) if instr.op in UNARY else None
        if cut is not None and cut.op is Low.SLICE:
            families.setdefault((instr.op, cut.args[0]), []).append((cut, instr))
    changed = dict(made)
    for (op, source), family in families.items():
        family.sort(key=lambda pair: pair[0].rows)
        for run in _runs(family):
            start, stop = run[0][0].rows[0], run[-1][0].rows[1]
            whole = sliced(fresh("a"), source, start, stop)
            applied = Instr(fresh("s"), op, (whole.name,), whole.width)
            changed |= {whole.name: whole, applied.name: applied}
            for cut, instr in run:
                low, high = cut.rows
                part = sliced(instr.name, applied.name, low - start, high - start)
                changed[instr.name] = part
    return in_order(changed.values())


def _runs(family: Sequence[tuple[Instr, Instr]]) -> list[list[tuple[Instr, Instr]]]:
    """Split slices, sorted by row, into runs of two or more that touch."""
    runs: list[list[tuple[Instr, Instr]]] = []
    for pair in family:
        if runs and runs[-1][-1][0].rows[1] == pair[0].rows[0]:
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return [run for run in runs if len(run) > 1]
