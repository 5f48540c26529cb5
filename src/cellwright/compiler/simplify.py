"""Simplify: fold constants, drop what changes nothing, compute equal things once."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from cellwright.compiler.program import SCALAR, Instr, Low, Program, Stage, verify
from cellwright.language.ops import Op

FOLD: dict[Op, Callable[..., Any]] = {
    Op.ADD: lambda a, b: a + b,
    Op.SUB: lambda a, b: a - b,
    Op.MUL: lambda a, b: a * b,
    Op.DIV: lambda a, b: a / b,
    Op.NEG: lambda a: -a,
    Op.ABS: abs,
    Op.SIGMOID: lambda a: 1 / (1 + math.exp(-a)),
    Op.TANH: math.tanh,
    Op.RELU: lambda a: max(a, 0.0),
    Op.EXP: math.exp,
    Op.LOG: math.log,
    Op.MAXIMUM: max,
    Op.MINIMUM: min,
}

# The number that changes nothing on the right, and whether it may stand on the left too.
NEUTRAL: dict[Op | Low, tuple[float, bool]] = {
    Op.ADD: (0.0, True),
    Op.SUB: (0.0, False),
    Op.MUL: (1.0, True),
    Op.DIV: (1.0, False),
}


def simplify(program: Program) -> Program:
    """Fold constants, drop identities and dead values, share common subexpressions.

    before:  a = 2 * 3;  b = x + 0;  c = h * 1;  d = tanh(x);  e = tanh(x)
    after:   d = tanh(x)                              (every use of e reads d)
    """
    widths = program.widths()
    same: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    constants: dict[str, float] = {}
    # Afterwards a vector of one number would have to be moved out of the loop.
    early = not (program.hoisted or program.after or program.results or program.reverse)
    program = _map(program, lambda instrs: _rewrite(instrs, widths, same, seen, constants, early))

    def final(name: str) -> str:
        while name in same:
            name = same[name]
        return name

    program = replace(
        program,
        states=tuple(replace(c, next=final(c.next)) for c in program.states),
        outputs=tuple((name, final(value)) for name, value in program.outputs),
        results=tuple((name, final(value)) for name, value in program.results),
        names={name: final(value) for name, value in program.names.items()},
    )
    return verify(drop_dead(program))


def _map(program: Program, change: Callable[[tuple[Instr, ...]], tuple[Instr, ...]]) -> Program:
    """Apply a change to each list of instructions, in the order in which they run."""
    once, hoisted = change(program.once), change(program.hoisted)
    stages = tuple(
        Stage(change(s.products), change(s.norms), change(s.pointwise)) for s in program.stages
    )
    return replace(program, once=once, hoisted=hoisted, stages=stages, after=change(program.after))


def _rewrite(
    instrs: tuple[Instr, ...],
    widths: dict[str, int],
    same: dict[str, str],
    seen: dict[tuple[object, ...], str],
    constants: dict[str, float],
    early: bool,
) -> tuple[Instr, ...]:
    kept = []
    cuts: dict[str, Instr] = {}
    for old in instrs:
        instr = replace(old, args=tuple(same.get(arg, arg) for arg in old.args))
        instr = _fold(instr, widths, constants, early)
        equal = _identity(instr, widths, constants) or _rejoined(instr, widths, cuts)
        key = (instr.op, instr.args, instr.width, instr.attrs)
        if equal is None:
            equal = seen.get(key)
        if equal is not None:
            same[instr.name] = equal
            continue
        seen[key] = instr.name
        if instr.op is Low.SLICE:
            cuts[instr.name] = instr
        if instr.op is Op.CONSTANT:
            value = instr.attr("value")
            assert isinstance(value, float)
            constants[instr.name] = value
        if instr.op is Low.ZEROS:
            constants[instr.name] = 0.0
        if instr.op is Op.MODULES:
            values = instr.attr("values")
            assert isinstance(values, tuple)
            if len(set(values)) == 1:
                constants[instr.name] = values[0]
        kept.append(instr)
    return tuple(kept)


def _fold(instr: Instr, widths: dict[str, int], constants: dict[str, float], early: bool) -> Instr:
    """Compute an operation whose arguments are all numbers or, `early`, vectors of one number."""
    numbers = all(widths[arg] == SCALAR for arg in instr.args)
    if instr.op not in FOLD or not all(arg in constants for arg in instr.args):
        return instr
    if not (numbers or early):
        return instr
    try:
        value = float(FOLD[instr.op](*(constants[arg] for arg in instr.args)))  # type: ignore[index]
    except (ArithmeticError, ValueError):
        return instr  # log(0), 1/0: leave the infinity to the target
    if numbers:
        return Instr(instr.name, Op.CONSTANT, (), SCALAR, (("value", value),))
    return Instr(instr.name, Op.MODULES, (), instr.width, (("values", (value,)),))


def _identity(instr: Instr, widths: dict[str, int], constants: dict[str, float]) -> str | None:
    """Name the argument that an operation returns unchanged, if it does."""
    if instr.op is Low.SLICE and instr.width == widths[instr.args[0]]:
        return instr.args[0]
    if instr.op not in NEUTRAL:
        return None
    a, b = instr.args
    neutral, swaps = NEUTRAL[instr.op]
    if constants.get(b) == neutral and widths[a] == instr.width:
        return a
    return b if swaps and constants.get(a) == neutral and widths[b] == instr.width else None


def _rejoined(instr: Instr, widths: dict[str, int], cuts: dict[str, Instr]) -> str | None:
    """Name the vector whose slices a concatenation puts together again, if it does."""
    if instr.op is not Op.CONCAT or not all(arg in cuts for arg in instr.args):
        return None
    parts = [cuts[arg] for arg in instr.args]
    source = parts[0].args[0]
    at = 0
    for part in parts:
        if part.args[0] != source or part.rows[0] != at:
            return None
        at = part.rows[1]
    return source if at == widths[source] else None


def drop_dead(program: Program) -> Program:
    """Drop every value that no output, result, state or trace needs."""
    wanted = [c.next for c in program.states] + [v for _, v in (*program.outputs, *program.results)]
    wanted += program.names.values()
    made = {instr.name: instr for instr in program.instrs}
    alive: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in alive:
            alive.add(name)
            wanted += made[name].args if name in made else ()

    def keep(instrs: Iterable[Instr]) -> tuple[Instr, ...]:
        return tuple(i for i in instrs if i.name in alive)

    return _map(program, keep)
