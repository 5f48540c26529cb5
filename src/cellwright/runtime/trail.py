"""Trail: a program that also gives every state after each step."""

from collections.abc import Sequence
from dataclasses import replace

from cellwright.compiler import Instr, Low, Program, verify
from cellwright.compiler.program import SCALAR, Stage
from cellwright.compiler.rewrite import Fresh
from cellwright.language.ops import Op


def with_trail(program: Program, states: Sequence[str]) -> tuple[Program, tuple[int, ...]]:
    """Emit the next value of every state, each once; return also which output holds which state.

    before:  emit h.next = h_next
    after:   emit h.next = h_next;  emit c.next = c_next
    """
    outputs = list(program.outputs)
    widths, fresh = program.widths(), Fresh(program)
    trail: list[int] = []
    spread: list[Instr] = []
    for state, carry in zip(states, program.states, strict=True):
        value = carry.next
        if widths[value] == SCALAR:  # a constant: what is emitted is a vector of it
            zeros = Instr(fresh("zeros"), Low.ZEROS, (), carry.width)
            spread += [
                zeros,
                Instr(fresh(f"{state}_next"), Op.ADD, (zeros.name, value), carry.width),
            ]
            value = spread[-1].name
        if value not in (emitted for _, emitted in outputs):
            outputs.append((f"{state}.next", value))
        trail.append(next(k for k, (_, emitted) in enumerate(outputs) if emitted == value))
    stages = (*program.stages, Stage(pointwise=tuple(spread))) if spread else program.stages
    return verify(replace(program, stages=stages, outputs=tuple(outputs))), tuple(trail)
