"""Small programs, written by hand, for the tests of the passes."""

from cellwright.compiler.program import (
    SCALAR,
    Block,
    Carry,
    Instr,
    Low,
    Param,
    Port,
    Program,
    Stage,
)
from cellwright.language import Op

H = 4


def op(name: str, what: Op | Low, *args: str, width: int = H, **attrs: float) -> Instr:
    return Instr(name, what, args, width, tuple(sorted(attrs.items())))


def number(name: str, value: float) -> Instr:
    return Instr(name, Op.CONSTANT, (), SCALAR, (("value", value),))


def cut(name: str, of: str, start: int, stop: int) -> Instr:
    return op(name, Low.SLICE, of, width=stop - start, start=start, stop=stop)


def product(name: str, vector: str, weight: str, start: int, stop: int) -> Instr:
    return op(name, Low.PRODUCT, vector, weight, width=stop - start, start=start, stop=stop)


def program(*body: Instr, after: str = "y", rows: int = H, **changes: object) -> Program:
    """A program that reads x and h, has two matrices and a bias, and computes `body` each step."""
    params = (
        Param("W", rows, H, (Block("y.x", 0, rows),)),
        Param("U", rows, H, (Block("y.h", 0, rows),)),
        Param("b", rows, 0, (Block("y.bias", 0, rows),)),
    )
    made = {
        "name": "Small",
        "inputs": (Port("x", H),),
        "states": (Carry("h", H, after),),
        "params": params,
        "stages": (Stage(pointwise=body),),
        "outputs": (("h.next", after),),
    }
    return Program(**{**made, **changes})  # type: ignore[arg-type]


def ops(found: Program) -> list[str]:
    """What a program's step does, in order."""
    return [str(instr.op) for instr in found.body]
