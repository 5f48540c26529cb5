"""Program: a cell resolved to sizes and put in order, ready for a target."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cellwright.language.graph import Attribute
from cellwright.language.ops import ARITY, POINTWISE, Op


class Low(StrEnum):
    """Operations that only a Program holds. T is time, B batch."""

    PRODUCT = "product"  # (v, W[, b]; start, stop) -> v @ W[start:stop].T + b
    PRODUCT_T = "product_t"  # (a, W; start, stop) -> a @ W[start:stop]
    OUTER = "outer"  # (a, v) -> sum over T, B of a (x) v: a matrix
    TOTAL = "total"  # (v) -> sum over T, B of v: a vector
    STACK = "stack"  # (W, V, ...) -> the rows of W above those of V
    SLICE = "slice"  # (v; start, stop) -> v[..., start:stop]
    ZEROS = "zeros"  # (; width[, rows]) -> a vector of zeros; `rows`: a parameter's, 0 its vector
    # (W; modules, parts) -> W, of each of `parts` equal ranges of its rows some blocks zero:
    UPPER_BLOCKS = "upper_blocks"  # those below the diagonal
    DIAGONAL_BLOCKS = "diagonal_blocks"  # those off the diagonal
    NORMALIZE = "normalize"  # (v) -> (v - mean v) / sqrt(var v + eps)
    NORMALIZE_VJP = "normalize_vjp"  # (ct, v) -> cotangent of v


# What a Program may compute at each step, once the words with weights have been lowered.
STEP_OPS: frozenset[Op | Low] = frozenset(
    {
        *POINTWISE,
        Op.CONCAT,
        Op.CONSTANT,
        Op.MODULES,
        Op.LAYER_NORM,
        Low.PRODUCT,
        Low.PRODUCT_T,
        Low.SLICE,
        Low.ZEROS,
        Low.NORMALIZE,
        Low.NORMALIZE_VJP,
    }
)
BLOCK_MASKS = frozenset({Low.UPPER_BLOCKS, Low.DIAGONAL_BLOCKS})
SEQUENCE_OPS: frozenset[Op | Low] = STEP_OPS | {Low.OUTER, Low.TOTAL, Low.STACK, *BLOCK_MASKS}
PRODUCTS = frozenset({Low.PRODUCT, Low.PRODUCT_T})
NORMS = frozenset({Op.LAYER_NORM, Low.NORMALIZE, Low.NORMALIZE_VJP})

SCALAR = 0  # the width of a constant, which fits any vector


class ProgramError(AssertionError):
    """A Program that breaks its own rules: a defect in a compiler pass, never the user's."""


@dataclass(frozen=True)
class Instr:
    """One value in single-assignment form: `name = op(args)`, `width` units wide."""

    name: str
    op: Op | Low
    args: tuple[str, ...] = ()
    width: int = SCALAR
    attrs: tuple[tuple[str, Attribute], ...] = ()

    def attr(self, key: str) -> Attribute:
        return dict(self.attrs)[key]

    @property
    def rows(self) -> tuple[int, int]:
        """The range of a SLICE, or of the rows of a PRODUCT's weight."""
        attrs = dict(self.attrs)
        start, stop = attrs["start"], attrs["stop"]
        assert isinstance(start, int) and isinstance(stop, int)
        return start, stop


@dataclass(frozen=True)
class Port:
    """A sequence that the program reads, one vector a step: [T, B, width]."""

    name: str
    width: int


@dataclass(frozen=True)
class Carry:
    """A value carried from step to step, [B, width]; `next` names its value after a step."""

    name: str
    width: int
    next: str


@dataclass(frozen=True)
class Block:
    """The rows of a packed parameter that one word of one equation owns; `key` is `f.h`.

    `begins` says the first values: "identity", a number, or None where they are drawn; `drop`
    is the rate at which a layer that trains drops them.
    """

    key: str
    start: int
    stop: int
    begins: float | str | None = None
    drop: float = 0.0


@dataclass(frozen=True)
class Param:
    """A packed parameter: several equations' weights in one tensor, [rows] or [rows, columns].

    `mask` says which blocks stay zero in the rows of each of `blocks`, and `modules` how many
    blocks these rows and the columns fall into; a full matrix has no mask.
    """

    name: str
    rows: int
    columns: int  # 0: a vector
    blocks: tuple[Block, ...]
    mask: Low | None = None
    modules: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.columns else (self.rows,)


@dataclass(frozen=True)
class Stage:
    """Part of a step: matrix products, then row norms, then pointwise work on their results."""

    products: tuple[Instr, ...] = ()
    norms: tuple[Instr, ...] = ()
    pointwise: tuple[Instr, ...] = ()

    def __iter__(self) -> Iterator[Instr]:
        yield from self.products
        yield from self.norms
        yield from self.pointwise


@dataclass(frozen=True)
class Program:
    """A recurrent computation over sequences.

    once     values of the parameters alone, computed once
    hoisted  whole sequences computed before the loop
    stages   the loop's body; a sequence is read at the step, a Carry is the value before it
    after    whole sequences computed after the loop; a value of the body is its sequence there
    outputs  (name, value): emitted at every step, [T, B, width]
    residuals  values that the adjoint reads, emitted at every step after the outputs
    results  (name, value): computed in `after`, one tensor each
    names    equation -> value, for traces
    reverse  the loop runs from the last step to the first
    """

    name: str
    inputs: tuple[Port, ...]
    states: tuple[Carry, ...]
    params: tuple[Param, ...]
    once: tuple[Instr, ...] = ()
    hoisted: tuple[Instr, ...] = ()
    stages: tuple[Stage, ...] = ()
    after: tuple[Instr, ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    residuals: tuple[str, ...] = ()
    results: tuple[tuple[str, str], ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    reverse: bool = False

    @functools.cached_property
    def body(self) -> tuple[Instr, ...]:
        return tuple(instr for stage in self.stages for instr in stage)

    @functools.cached_property
    def instrs(self) -> tuple[Instr, ...]:
        return (*self.once, *self.hoisted, *self.body, *self.after)

    def widths(self) -> dict[str, int]:
        """Width of every value by name; a matrix has its number of columns."""
        known: dict[str, int] = {port.name: port.width for port in self.inputs}
        known |= {carry.name: carry.width for carry in self.states}
        known |= {p.name: p.columns or p.rows for p in self.params}
        return known | {instr.name: instr.width for instr in self.instrs}

    def __str__(self) -> str:
        def lines(title: str, instrs: tuple[Instr, ...]) -> list[str]:
            return [f"{title}:", *(f"  {_show(i)}" for i in instrs)] if instrs else []

        text = [f"program {self.name}"]
        text += [f"  input {p.name}[{p.width}]" for p in self.inputs]
        text += [f"  state {c.name}[{c.width}] -> {c.next}" for c in self.states]
        text += [f"  param {p.name}{list(p.shape)}" for p in self.params]
        text += lines("once", self.once) + lines("before the loop", self.hoisted)
        for k, stage in enumerate(self.stages):
            text += lines(f"stage {k}{' (backwards in time)' * self.reverse}", tuple(stage))
        text += lines("after the loop", self.after)
        text += [f"  emit {name} = {value}" for name, value in self.outputs]
        text += [f"  keep {value}" for value in self.residuals]
        return "\n".join(text + [f"  result {name} = {value}" for name, value in self.results])


def _show(instr: Instr) -> str:
    attrs = [f"{key}={value}" for key, value in instr.attrs]
    return f"{instr.name}[{instr.width}] = {instr.op}({', '.join([*instr.args, *attrs])})"


def verify(program: Program) -> Program:
    """Return the program, or raise ProgramError where it breaks a rule that targets rely on."""
    widths = program.widths()
    params = {p.name: p for p in program.params}
    once = set(params)
    _verify_phase(program, "once", program.once, once, widths)
    once |= {i.name for i in program.once}
    before = once | {port.name for port in program.inputs}
    _verify_phase(program, "hoisted", program.hoisted, before, widths)
    before |= {i.name for i in program.hoisted}
    step = before | {carry.name for carry in program.states}
    _verify_phase(program, "body", program.body, step, widths)
    step |= {i.name for i in program.body}
    _verify_phase(program, "after", program.after, step, widths)
    everything = step | {i.name for i in program.after}
    names = [*params, *(p.name for p in program.inputs), *(c.name for c in program.states)]
    names += [i.name for i in program.instrs]
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ProgramError(f"{program.name}: assigned twice: {', '.join(twice)}")
    for carry in program.states:
        if carry.next not in step or widths[carry.next] not in (carry.width, SCALAR):
            raise ProgramError(f"{program.name}: state {carry.name} has no next of its width")
    for name, value in program.outputs:
        if value not in step or not widths[value]:
            raise ProgramError(f"{program.name}: output {name} = {value} is not a vector of a step")
    for name, value in program.names.items():
        if value not in step:
            raise ProgramError(f"{program.name}: equation {name} = {value} is not computed")
    for value in program.residuals:
        if value not in step:
            raise ProgramError(f"{program.name}: residual {value} is not computed")
    for name, value in program.results:
        if value not in everything:
            raise ProgramError(f"{program.name}: result {name} = {value} is not computed")
    return program


def _verify_phase(
    program: Program, phase: str, instrs: tuple[Instr, ...], known: set[str], widths: dict[str, int]
) -> None:
    known = set(known)
    allowed = STEP_OPS if phase == "body" else SEQUENCE_OPS
    for instr in instrs:
        place = functools.partial(_place, program, phase, instr)
        if instr.op not in allowed:
            raise ProgramError(f"{place()}: not an operation of this phase")
        missing = [arg for arg in instr.args if arg not in known]
        if missing:
            raise ProgramError(f"{place()}: reads {', '.join(missing)} before it is computed")
        _verify_widths(place, instr, [widths[arg] for arg in instr.args])
        known.add(instr.name)


def _place(program: Program, phase: str, instr: Instr) -> str:
    return f"{program.name}.{phase}.{_show(instr)}"


def _verify_widths(place: Callable[[], str], instr: Instr, of: list[int]) -> None:
    """Check an instruction against the widths of its arguments."""
    if instr.op in POINTWISE:
        found = set(of) - {SCALAR}
        if len(of) != ARITY[Op(instr.op)] or len(found) > 1 or (found and found != {instr.width}):
            raise ProgramError(f"{place()}: widths {sorted(of)} do not agree")
    if instr.op is Op.CONCAT and (sum(of) != instr.width or SCALAR in of):
        raise ProgramError(f"{place()}: parts of widths {of}")
    if instr.op in (Low.SLICE, *PRODUCTS):
        start, stop = instr.rows
        cut = of[0] if instr.op is Low.PRODUCT_T else instr.width
        if not 0 <= start < stop or stop - start != cut:
            raise ProgramError(f"{place()}: out of range")
    if instr.op is Low.SLICE and instr.rows[1] > of[0]:
        raise ProgramError(f"{place()}: out of range")
    if instr.op in PRODUCTS and of[1] != (of[0] if instr.op is Low.PRODUCT else instr.width):
        raise ProgramError(f"{place()}: the matrix has {of[1]} columns")
