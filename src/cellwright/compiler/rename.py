"""Rename: names that a person can follow, for the values that no equation names."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from cellwright.compiler.program import BLOCK_MASKS, Instr, Low, Program, Stage, verify
from cellwright.compiler.rewrite import Fresh
from cellwright.language.ops import Op

MOST_LETTERS = 4  # of equations that a name lists; beyond that it says nothing of them


def rename(program: Program) -> Program:
    """Name each anonymous value after what it is and the equations that it is for.

    before:  t5 = slice(a_3, 0, 2H);  s = sigmoid(t5);  i = slice(s, 0, H);  f = slice(s, H, 2H)
    after:   a_if = slice(a, 0, 2H);  s_if = sigmoid(a_if);  ...
    """
    params = {p.name for p in program.params}
    given = params | {p.name for p in (*program.inputs, *program.states)}
    fresh = Fresh(program)
    fresh.taken = set(given)
    new: dict[str, str] = {}
    for name, value in program.names.items():
        if value not in given and value not in new:
            new[value] = fresh(name.replace(".", "_"))
    fixed = given | set(new)
    phases = dict.fromkeys((i.name for i in program.once), "b")
    phases |= dict.fromkeys((i.name for i in program.hoisted), "wx")
    goals = _goals(program, fixed)
    for instr in program.instrs:
        if instr.name not in fixed:
            feeds = [new.get(goal, goal) for goal in goals[instr.name]]
            new[instr.name] = fresh(_stem(params, instr, phases.get(instr.name, "a"), feeds))
    return verify(_renamed(program, new))


def _goals(program: Program, fixed: set[str]) -> dict[str, tuple[str, ...]]:
    """List the equations that each value feeds, past values without a name; not too many."""
    order = [i.name for i in program.instrs]
    goals: dict[str, tuple[str, ...]] = dict.fromkeys(order, ())
    for instr in reversed(program.instrs):
        found = (instr.name,) if instr.name in fixed else goals[instr.name]
        for arg in instr.args:
            if arg in goals and arg not in fixed:
                goals[arg] = tuple(dict.fromkeys((*found, *goals[arg])))[:MOST_LETTERS]
    rank = {name: k for k, name in enumerate(order)}
    return {name: tuple(sorted(found, key=rank.__getitem__)) for name, found in goals.items()}


# What a value of the step is, by the operation that makes it; `a` is a preactivation.
STEMS = {Low.PRODUCT: "u", Low.SLICE: "a", Op.ADD: "a", Op.SIGMOID: "s", Op.TANH: "s"}
# What a slice of a parameter is, by the parameter's name.
ROWS = {"weight": "p", "norm_gain": "gain", "norm_shift": "shift", "bias": "b"}


def _stem(params: Collection[str], instr: Instr, phase: str, feeds: list[str]) -> str:
    if instr.op in BLOCK_MASKS:
        return f"{instr.args[0]}_masked"
    if instr.op is Low.ZEROS:
        return "zeros"
    if instr.op is Op.CONSTANT:
        return "k"
    stem = STEMS.get(instr.op, "t") if phase == "a" else phase
    if instr.op is Low.SLICE and instr.args[0] in params:
        stem = next((ROWS[key] for key in ROWS if instr.args[0].startswith(key)), phase)
    letters = [goal.removesuffix("_next") for goal in feeds]
    if not letters or len(letters) >= MOST_LETTERS:
        return stem
    return f"{stem}_{''.join(letters) if all(len(s) == 1 for s in letters) else '_'.join(letters)}"


def _renamed(program: Program, new: Mapping[str, str]) -> Program:
    def of(instrs: tuple[Instr, ...]) -> tuple[Instr, ...]:
        return tuple(
            replace(i, name=new.get(i.name, i.name), args=tuple(new.get(a, a) for a in i.args))
            for i in instrs
        )

    return replace(
        program,
        once=of(program.once),
        hoisted=of(program.hoisted),
        stages=tuple(Stage(of(s.products), of(s.norms), of(s.pointwise)) for s in program.stages),
        states=tuple(replace(c, next=new.get(c.next, c.next)) for c in program.states),
        outputs=tuple((name, new.get(value, value)) for name, value in program.outputs),
        names={name: new.get(value, value) for name, value in program.names.items()},
    )
