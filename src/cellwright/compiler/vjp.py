"""Vjp: the adjoint of a Program, itself a Program that runs backwards in time.

The loop writes the cotangents of the preactivations; the gradient of a weight is one product over
all steps after the loop. What the adjoint needs from the forward pass is kept as few residuals
as it can: outputs of sigmoid, tanh and the like are saved, arithmetic on them is done again.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cellwright.compiler.program import (
    BLOCK_MASKS,
    SCALAR,
    Carry,
    Instr,
    Low,
    Port,
    Program,
    Stage,
    verify,
)
from cellwright.compiler.rewrite import Fresh, in_order
from cellwright.compiler.simplify import simplify
from cellwright.compiler.stage import stage
from cellwright.compiler.vjp_rules import VJP, Site, Term
from cellwright.language.graph import Attribute
from cellwright.language.ops import COMPARISONS, Op

# Cheap enough to compute again in the backward pass instead of being kept for it.
RECOMPUTED = frozenset(
    {Op.ADD, Op.SUB, Op.MUL, Op.NEG, Op.ABS, Op.RELU, Op.MAXIMUM, Op.MINIMUM, Op.WHERE}
    | {Op.CONCAT, Op.CONSTANT, Op.MODULES, Low.SLICE, Low.ZEROS, *COMPARISONS}
)
# Their outputs are what their own gradients need, so they are kept anyway.
SAVED = frozenset({Op.SIGMOID, Op.TANH, Op.EXP, Op.LOG, Op.DIV})
# Nothing changes them.
FLAT = frozenset({Op.CONSTANT, Op.MODULES, Low.ZEROS, *COMPARISONS})


@dataclass(frozen=True)
class Adjoint:
    """A Program that also emits its residuals, and the Program of its gradients.

    `backward` reads the residuals, the cotangent of each output, and the inputs under their own
    names; its carries `ct_h` start from the cotangents of the final states and end as
    those of the start states; its results are the gradients of inputs and parameters, by name.
    """

    forward: Program
    backward: Program
    cotangents: tuple[str, ...]  # the input of `backward` for each output of the cell

    @property
    def residuals(self) -> tuple[str, ...]:
        return self.forward.residuals


# Slices and concatenations only say where a cotangent goes: `_Builder.spread` sends it there.
ROUTED = frozenset({Low.SLICE, Op.CONCAT})


def vjp(program: Program) -> Adjoint:
    """Derive the adjoint of a staged Program.

    before:  for t: a = A[t] + h @ U.T;  h = tanh(a)
    after:   for t backwards: ct_a = ct_h * (1 - h[t]^2);  ct_h = ct_a @ U
             dU = sum ct_a[t] (x) h[t-1];  dA = ct_a
    """
    builder = _Builder(program)
    return builder.build()


@dataclass
class _Piece:
    """A cotangent of part of a value."""

    start: int
    stop: int
    term: Term


class _Builder:
    """Builds the adjoint phase by phase: the loop's body, then `after`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.widths = program.widths()
        self.fresh = Fresh(program)
        self.made = {i.name: i for i in program.instrs}
        self.home = dict.fromkeys((p.name for p in program.params), "once")
        self.home |= dict.fromkeys((i.name for i in program.once), "once")
        self.home |= dict.fromkeys((p.name for p in program.inputs), "sequence")
        self.home |= dict.fromkeys((i.name for i in program.hoisted), "sequence")
        self.home |= dict.fromkeys((c.name for c in program.states), "step")
        self.home |= dict.fromkeys((i.name for i in program.body), "step")
        self.leaves = {c.name for c in program.states} | {p.name for p in program.inputs}
        self.rows = {p.name: p.rows for p in program.params}
        self.matrices = {p.name for p in program.params if p.columns}
        self.again = self._recomputable()
        self.pieces: dict[str, list[_Piece]] = {}
        self.once: dict[str, Instr] = {}
        self.body: list[Instr] = []
        self.after: list[Instr] = []
        self.target = self.body
        self.copied: set[str] = set()
        self.ports: dict[str, Port] = {}
        self.cotangents: list[str] = []

    # -- emitting -------------------------------------------------------------------------

    def emit(
        self,
        op: Op | Low,
        args: Sequence[Term],
        width: int,
        attrs: tuple[tuple[str, Attribute], ...] = (),
    ) -> Term:
        instr = Instr(self.fresh("d"), op, tuple(t.name for t in args), width, attrs)
        # A weight's gradient sums over all steps: it is taken after the loop.
        (self.after if op in (Low.OUTER, Low.TOTAL, Low.STACK) else self.target).append(instr)
        return Term(self, instr.name, width)

    def constant(self, value: float) -> Term:
        return self.emit(Op.CONSTANT, (), SCALAR, (("value", float(value)),))

    # -- values of the forward pass -------------------------------------------------------

    def primal(self, name: str) -> Term:
        """Make a value of the forward pass available: from parameters, as a residual, or again."""
        self._provide(name)
        return Term(self, name, self.widths[name])

    def _provide(self, name: str) -> None:
        """Provide a value after what it is computed from, however long that chain is."""
        stack = [name]
        while stack:
            top = stack[-1]
            instr = self.made[top] if self._is_computed(top) else None
            missing = [a for a in instr.args if not self._is_there(a)] if instr else []
            if missing:
                stack += reversed(missing)
                continue
            stack.pop()
            if self._is_there(top):
                continue
            if instr is None:
                self.ports[top] = Port(top, self.widths[top])
            elif self.home[top] == "once":
                self.once[top] = instr
            else:
                self.copied.add(top)
                self.body.append(instr)

    def _is_there(self, name: str) -> bool:
        if self.home[name] == "once":
            return name in self.once or name not in self.made
        return name in self.ports or name in self.copied

    def _is_computed(self, name: str) -> bool:
        """Tell whether the adjoint computes a value itself, not reads what the forward pass kept.

        A truth value is always told anew: numbers cannot keep it.
        """
        if self.home[name] == "once":
            return name in self.made
        if self.home[name] != "step" or name not in self.made:
            return False
        return name in self.again or self.made[name].op in COMPARISONS

    def _recomputable(self) -> set[str]:
        """Find the values of the body that follow cheaply from what is kept anyway."""
        again: set[str] = set()
        for instr in self.program.body:
            if instr.op in RECOMPUTED and all(
                arg in self.leaves
                or arg in again
                or self.home[arg] == "once"
                or (self.home[arg] == "step" and self.made[arg].op in SAVED)
                for arg in instr.args
            ):
                again.add(instr.name)
        return again

    # -- cotangents -----------------------------------------------------------------------

    def contribute(self, name: str, term: Term, start: int = 0, stop: int | None = None) -> None:
        whole = self._rows(name) if stop is None else stop
        self.pieces.setdefault(name, []).append(_Piece(start, whole, term))

    def _rows(self, name: str) -> int:
        return self.rows.get(name) or self._masked_rows(name)

    def _masked_rows(self, name: str) -> int:
        instr = self.made.get(name)
        if instr is not None and instr.op in BLOCK_MASKS:
            return self._rows(instr.args[0])
        return self.widths[name]

    def cotangent(self, name: str) -> Term | None:
        """Join the contributions to a value's cotangent into one value."""
        pieces = self.pieces.pop(name, None)
        if not pieces:
            return None
        by_range: dict[tuple[int, int], Term] = {}
        for piece in pieces:
            key = (piece.start, piece.stop)
            held = by_range.get(key)
            by_range[key] = piece.term if held is None else held + piece.term
        rows = self._rows(name)
        ranges = sorted(by_range)
        if ranges == [(0, rows)]:
            return by_range[0, rows]
        if all(a[1] <= b[0] for a, b in itertools.pairwise(ranges)):
            return self._tiled(name, ranges, by_range, rows)
        total: Term | None = None
        for key in ranges:
            padded = self._tiled(name, [key], by_range, rows)
            total = padded if total is None else total + padded
        return total

    def _tiled(
        self,
        name: str,
        ranges: list[tuple[int, int]],
        by_range: dict[tuple[int, int], Term],
        rows: int,
    ) -> Term:
        """Put disjoint ranges end to end, with zeros in the gaps."""
        matrix = name in self.matrices
        parts: list[Term] = []
        at = 0
        for start, stop in [*ranges, (rows, rows)]:
            if start > at:
                columns = self.widths[name] if matrix else start - at
                shape = (("rows", (start - at) * matrix),) if self.home[name] == "once" else ()
                parts.append(self.emit(Low.ZEROS, (), columns, shape))
            if stop > start:
                parts.append(by_range[start, stop])
            at = stop
        if len(parts) == 1:
            return parts[0]
        return self.emit(
            Low.STACK if matrix else Op.CONCAT, parts, parts[0].width if matrix else rows
        )

    def spread(self, instr: Instr, ct: Term) -> None:
        """Send an instruction's cotangent on to its arguments."""
        if instr.op is Low.SLICE:
            start, stop = instr.rows
            self._send(instr, instr.args[0], ct, start, stop)
            return
        if instr.op is Op.CONCAT:
            at = 0
            for arg in instr.args:
                width = self.widths[arg]
                if self._differentiable(arg):
                    attrs = (("start", at), ("stop", at + width))
                    self._send(instr, arg, self.emit(Low.SLICE, (ct,), width, attrs))
                at += width
            return
        for rule, arg in zip(VJP[instr.op], instr.args, strict=False):
            if rule is not None and self._differentiable(arg):
                term = rule(Site(self, instr, ct))
                if instr.op is Low.PRODUCT and arg == instr.args[1]:
                    self.contribute(arg, term, *instr.rows)
                else:
                    self._send(instr, arg, term)

    def _send(
        self, instr: Instr, arg: str, ct: Term, start: int = 0, stop: int | None = None
    ) -> None:
        """Add a contribution; one to a parameter from every step is summed over the steps."""
        if self.home[arg] == "once" and self.home[instr.name] != "once":
            ct = self.emit(Low.TOTAL, (ct,), ct.width)
        self.contribute(arg, ct, start, stop)

    def _differentiable(self, name: str) -> bool:
        instr = self.made.get(name)
        return self.widths[name] != SCALAR and (instr is None or instr.op not in FLAT)

    # -- the phases -----------------------------------------------------------------------

    def build(self) -> Adjoint:
        program = self.program
        starts = {carry.name: self.fresh(f"ct_{carry.name}") for carry in program.states}
        for name, value in program.outputs:
            port = Port(self.fresh(f"ct_{name.replace('.', '_')}"), self.widths[value])
            self.cotangents.append(port.name)
            self.ports[port.name] = port
            self._arrive(value, Term(self, port.name, port.width))
        for carry in program.states:
            self._arrive(carry.next, Term(self, starts[carry.name], carry.width))
        for instr in reversed(program.body):
            self._step_back(instr)
        carries = []
        for carry in program.states:
            ct = self.cotangent(carry.name) or self.emit(Low.ZEROS, (), carry.width)
            carries.append(Carry(starts[carry.name], carry.width, ct.name))
        self.target = self.after
        for instr in (*reversed(program.hoisted), *reversed(program.once)):
            self._step_back(instr)
        results = []
        for item in (*program.inputs, *program.params):
            ct = self.cotangent(item.name)
            if ct is not None:
                results.append((item.name, ct.name))
        return self._finish(tuple(carries), tuple(results))

    def _arrive(self, value: str, ct: Term) -> None:
        """Start from the cotangent of an output or of a state's next value."""
        if self._differentiable(value):
            once = self.home[value] == "once"
            self.contribute(value, self.emit(Low.TOTAL, (ct,), ct.width) if once else ct)

    def _step_back(self, instr: Instr) -> None:
        ct = self.cotangent(instr.name)
        if ct is not None and self._differentiable(instr.name):
            self.spread(instr, ct)

    def _finish(self, carries: tuple[Carry, ...], results: tuple[tuple[str, str], ...]) -> Adjoint:
        program = self.program
        backward = Program(
            name=f"{program.name}_vjp",
            inputs=tuple(self.ports.values()),
            states=carries,
            params=program.params,
            once=tuple(self.once.values()),
            stages=(Stage(pointwise=in_order(self.body)),),
            after=in_order(self.after),
            results=results,
            reverse=True,
        )
        backward = stage(simplify(verify(backward)))
        read = {arg for i in backward.instrs for arg in i.args} | {v for _, v in backward.results}
        read.update(self.cotangents)
        ports = tuple(p for p in backward.inputs if p.name in read)
        given = {p.name for p in program.inputs}
        kept = tuple(p.name for p in ports if p.name in self.home and p.name not in given)
        forward = verify(replace(program, residuals=kept))
        return Adjoint(forward, replace(backward, inputs=ports), tuple(self.cotangents))
