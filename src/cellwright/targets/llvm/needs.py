"""Needs: what a compiled loop keeps in memory, and what its caller must pass."""

from dataclasses import dataclass

from cellwright.compiler import Instr, Low, Program
from cellwright.compiler.program import NORMS, PRODUCTS, SCALAR
from cellwright.language.ops import COMPARISONS, Op

STATISTICS = 4  # numbers kept for each row of a norm


@dataclass(frozen=True)
class Packing:
    """How the loop wants a product's weights: which rows stand side by side.

    The output units `offset + u` for u below `width` are wanted for every offset. Blocks of
    `vectors` vectors come first, as many as fit, then blocks of one vector for each offset, the
    last one padded: each block is [depth][offsets * vectors][lanes].
    """

    product: str
    weight: str
    transposed: bool
    start: int
    stop: int
    depth: int
    width: int
    offsets: tuple[int, ...]
    vectors: int
    lanes: int


@dataclass(frozen=True)
class Kernel:
    """LLVM IR of a program's loop, and what its caller must pass.

    `void loop(ptr pointers[], i64 numbers[], i64 row0, i64 row1)` runs all steps for rows row0 to
    row1. `pointers` and `numbers` list the arguments by kind and value.
    """

    text: str
    pointers: tuple[tuple[str, str], ...]
    numbers: tuple[tuple[str, str], ...]
    packings: tuple[Packing, ...]
    emitted: tuple[str, ...]
    program: Program


@dataclass(frozen=True)
class Root:
    """Part of a value that a unit loop must store: units `low` to `low + width`."""

    value: str
    low: int
    kind: str  # "memory" or "next"
    name: str


def homes_of(program: Program) -> dict[str, str]:
    """Say of every value where it comes from: once, sequence, state or body."""
    homes = dict.fromkeys([p.name for p in program.params], "once")
    homes |= dict.fromkeys([i.name for i in program.once], "once")
    homes |= dict.fromkeys([p.name for p in program.inputs], "sequence")
    homes |= dict.fromkeys([i.name for i in program.hoisted], "sequence")
    homes |= dict.fromkeys([c.name for c in program.states], "state")
    homes |= dict.fromkeys([i.name for i in program.body], "body")
    return homes | dict.fromkeys([i.name for i in program.after], "after")


def values_read(instr: Instr) -> list[str]:
    """List what an instruction reads in the loop itself: a weight is packed before it."""
    return [a for k, a in enumerate(instr.args) if not (instr.op in PRODUCTS and k == 1)]


def rows_read(instr: Instr) -> tuple[str, ...]:
    """List the arguments of which an operation reads whole rows."""
    if instr.op is Low.NORMALIZE_VJP:
        return instr.args
    return instr.args[:1] if instr.op in PRODUCTS or instr.op in NORMS else ()


def emitted_values(
    program: Program, homes: dict[str, str], widths: dict[str, int]
) -> tuple[str, ...]:
    """List the values that the caller wants of every step."""
    wanted = [*(v for _, v in program.outputs), *program.residuals]
    wanted += [a for i in program.after for a in i.args] + [v for _, v in program.results]
    return tuple(
        v for v in dict.fromkeys(wanted) if homes[v] in ("body", "state") and widths[v] != SCALAR
    )


def scratch_values(program: Program, homes: dict[str, str]) -> tuple[str, ...]:
    """List the values that must lie in memory within a step."""
    stage_of = {i.name: k for k, stage in enumerate(program.stages) for i in stage}
    op_of = {i.name: i.op for i in program.body}
    needed: list[str] = []
    for k, stage in enumerate(program.stages):
        for instr in stage:
            rows = rows_read(instr)
            for arg in values_read(instr):
                if homes[arg] != "body" or op_of[arg] is Op.CONSTANT:
                    continue
                beside_norm = bool(stage.norms) and op_of[arg] in PRODUCTS and stage_of[arg] == k
                if arg in rows or stage_of[arg] < k or beside_norm:
                    needed += _numbers_of(arg, program, homes)
    return tuple(dict.fromkeys(needed))


def _numbers_of(value: str, program: Program, homes: dict[str, str]) -> list[str]:
    """Name a value, or what a truth value compares: that is kept, and compared again."""
    made = {i.name: i for i in program.body}
    if made[value].op not in COMPARISONS:
        return [value]
    compared = [a for a in made[value].args if homes[a] == "body"]
    return [a for a in compared if made[a].op is not Op.CONSTANT]
