"""Vjp rules: the gradient of every operation, one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cellwright.compiler.program import Instr, Low
from cellwright.language.graph import Attribute
from cellwright.language.ops import Op


class Builder(Protocol):
    """What a rule needs of the pass that applies it."""

    widths: dict[str, int]

    def emit(
        self,
        op: Op | Low,
        args: Sequence["Term"],
        width: int,
        attrs: tuple[tuple[str, Attribute], ...] = (),
    ) -> "Term": ...

    def constant(self, value: float) -> "Term": ...

    def primal(self, name: str) -> "Term": ...


class Term:
    """A value of the adjoint under construction; arithmetic on it emits instructions."""

    def __init__(self, builder: Builder, name: str, width: int) -> None:
        self.builder = builder
        self.name = name
        self.width = width

    def _with(self, op: Op, other: "Term | float", swap: bool = False) -> "Term":
        that = other if isinstance(other, Term) else self.builder.constant(other)
        a, b = (that, self) if swap else (self, that)
        return self.builder.emit(op, (a, b), self.width or that.width)

    def __add__(self, other: "Term | float") -> "Term":
        return self._with(Op.ADD, other)

    def __mul__(self, other: "Term | float") -> "Term":
        return self._with(Op.MUL, other)

    def __truediv__(self, other: "Term | float") -> "Term":
        return self._with(Op.DIV, other)

    def __rsub__(self, other: float) -> "Term":
        return self._with(Op.SUB, other, swap=True)

    def __neg__(self) -> "Term":
        return self.builder.emit(Op.NEG, (self,), self.width)

    def __lt__(self, other: "Term | float") -> "Term":
        return self._with(Op.LESS, other)

    def __le__(self, other: "Term | float") -> "Term":
        return self._with(Op.LESS_EQUAL, other)

    def __gt__(self, other: "Term | float") -> "Term":
        return self._with(Op.LESS, other, swap=True)

    def choose(self, a: "Term | float", b: "Term | float", width: int) -> "Term":
        """`a` where this comparison holds, `b` elsewhere."""
        picks = [t if isinstance(t, Term) else self.builder.constant(t) for t in (a, b)]
        return self.builder.emit(Op.WHERE, (self, *picks), width)


@dataclass(frozen=True)
class Site:
    """What a rule sees: the instruction, its cotangent, its output and its arguments."""

    builder: Builder
    instr: Instr
    ct: Term

    @property
    def y(self) -> Term:
        return self.builder.primal(self.instr.name)

    @property
    def a(self) -> Term:
        return self.builder.primal(self.instr.args[0])

    @property
    def b(self) -> Term:
        return self.builder.primal(self.instr.args[1])

    def pick(self, condition: Term, yes: Term | float, no: Term | float) -> Term:
        return condition.choose(yes, no, self.instr.width)

    def call(self, op: Op | Low, *args: Term, width: int, keep: bool = False) -> Term:
        """Emit an operation; `keep` passes the instruction's own attributes on."""
        return self.builder.emit(op, args, width, self.instr.attrs if keep else ())


def _half_at_a_tie(site: Site, mine: Term, other: Term) -> Term:
    """The gradient of max for its larger argument; like torch, half each where they are equal.

    Against a number there is no other half: torch's clamp passes all of it on.
    """
    if not other.width:
        return site.pick(mine < other, 0.0, site.ct)
    return site.pick(mine < other, 0.0, site.pick(other < mine, site.ct, site.ct * 0.5))


def _width_of(site: Site, position: int) -> int:
    return site.builder.widths[site.instr.args[position]]


# One rule for each argument of each operation; a rule runs only where its cotangent is wanted.
Rule = Callable[[Site], Term]
VJP: dict[Op | Low, tuple[Rule | None, ...]] = {
    Op.ADD: (lambda s: s.ct, lambda s: s.ct),
    Op.SUB: (lambda s: s.ct, lambda s: -s.ct),
    Op.MUL: (lambda s: s.ct * s.b, lambda s: s.ct * s.a),
    Op.DIV: (lambda s: s.ct / s.b, lambda s: -(s.ct * s.y / s.b)),
    Op.NEG: (lambda s: -s.ct,),
    Op.ABS: (lambda s: s.pick(s.a < 0.0, -s.ct, s.pick(s.a > 0.0, s.ct, 0.0)),),
    Op.SIGMOID: (lambda s: s.ct * (s.y * (1.0 - s.y)),),
    Op.TANH: (lambda s: s.ct * (1.0 - s.y * s.y),),
    Op.RELU: (lambda s: s.pick(s.y <= 0.0, 0.0, s.ct),),  # NaN passes it on, as autograd does
    Op.EXP: (lambda s: s.ct * s.y,),
    Op.LOG: (lambda s: s.ct / s.a,),
    Op.MAXIMUM: (lambda s: _half_at_a_tie(s, s.a, s.b), lambda s: _half_at_a_tie(s, s.b, s.a)),
    Op.MINIMUM: (lambda s: _half_at_a_tie(s, -s.a, -s.b), lambda s: _half_at_a_tie(s, -s.b, -s.a)),
    Op.LESS: (None, None),
    Op.LESS_EQUAL: (None, None),
    Op.WHERE: (
        None,
        lambda s: s.pick(s.a, s.ct, 0.0),
        lambda s: s.pick(s.a, 0.0, s.ct),
    ),
    Op.LAYER_NORM: (
        lambda s: s.call(Low.NORMALIZE_VJP, s.ct * s.b, s.a, width=s.instr.width, keep=True),
        lambda s: s.ct * s.call(Low.NORMALIZE, s.a, width=s.instr.width, keep=True),
        lambda s: s.ct,
    ),
    Low.PRODUCT: (
        lambda s: s.call(Low.PRODUCT_T, s.ct, s.b, width=_width_of(s, 0), keep=True),
        lambda s: s.call(Low.OUTER, s.ct, s.a, width=_width_of(s, 0)),
        lambda s: s.ct,
    ),
    Low.UPPER_BLOCKS: (lambda s: s.call(Low.UPPER_BLOCKS, s.ct, width=s.instr.width, keep=True),),
    Low.DIAGONAL_BLOCKS: (
        lambda s: s.call(Low.DIAGONAL_BLOCKS, s.ct, width=s.instr.width, keep=True),
    ),
    Op.CONSTANT: (),
    Op.MODULES: (),
    Low.ZEROS: (),
}
