"""Stage: put a step's work into an order of products, norms and pointwise blocks."""

from dataclasses import replace

from cellwright.compiler.program import NORMS, PRODUCTS, Instr, Program, Stage, verify


def stage(program: Program) -> Program:
    """Sort the body into stages, each as early as what it reads allows.

    before:  r = sigmoid(a_r + U_r h);  n = tanh(a_n + U_n (r * h));  h' = ...
    after:   stage 0: product(h), pointwise r, r * h;  stage 1: product(r * h), pointwise n, h'
    """
    level: dict[str, tuple[int, int]] = {}  # value -> (stage, 0 product | 1 norm | 2 pointwise)
    rows: list[tuple[list[Instr], list[Instr], list[Instr]]] = []
    for instr in program.body:
        phase = 0 if instr.op in PRODUCTS else 1 if instr.op in NORMS else 2
        at = 0
        for arg in instr.args:
            if arg in level:
                stage_of_arg, phase_of_arg = level[arg]
                # Inside a stage the phases run in order, and the pointwise block in its own.
                same = phase_of_arg < phase or phase_of_arg == phase == 2
                at = max(at, stage_of_arg if same else stage_of_arg + 1)
        level[instr.name] = (at, phase)
        while len(rows) <= at:
            rows.append(([], [], []))
        rows[at][phase].append(instr)
    stages = tuple(Stage(tuple(p), tuple(n), tuple(w)) for p, n, w in rows)
    return verify(replace(program, stages=stages))
