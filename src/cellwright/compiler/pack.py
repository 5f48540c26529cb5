"""Pack: one matrix product for all gates that read the same vector."""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cellwright.compiler.program import Instr, Low, Program, Stage, verify
from cellwright.compiler.rewrite import Fresh, in_order, sliced, summed, uses
from cellwright.language.ops import Op


@dataclass(frozen=True)
class _Sum:
    """A preactivation: products and biases that are added up, and whatever else is added."""

    root: Instr
    products: tuple[Instr, ...]
    biases: tuple[Instr, ...]
    others: tuple[str, ...]

    @property
    def starts(self) -> tuple[object, ...]:
        """What it reads, and the row where each range begins."""
        return self._edges(0)

    @property
    def stops(self) -> tuple[object, ...]:
        """What it reads, and the row where each range ends: `starts` of a sum that follows."""
        return self._edges(1)

    def _edges(self, side: int) -> tuple[object, ...]:
        products = tuple((p.args, p.op, p.rows[side]) for p in self.products)
        return products, tuple((b.args, b.rows[side]) for b in self.biases)


def pack(program: Program) -> Program:
    """Join the products of neighbouring rows, so that a step multiplies each vector once.

    before:  i = sigmoid(Wi x + Ui h + bi);  f = sigmoid(Wf x + Uf h + bf)
    after:   a = weight_ih x + bias_ih + weight_hh h
             i = sigmoid(a[0:H]);  f = sigmoid(a[H:2H])
    """
    program = _widen_sums(program)
    return verify(_merge_products(program))


def _widen_sums(program: Program) -> Program:
    """Compute preactivations of one shape as one wide sum, then cut it."""
    fresh = Fresh(program)
    instrs = {instr.name: instr for instr in program.body}
    for group in _groups(_sums(program, instrs)):
        instrs |= {instr.name: instr for instr in _wide(group, fresh)}
    return replace(program, stages=(Stage(pointwise=_live(program, instrs)),))


def _groups(sums: Iterable[_Sum]) -> list[list[_Sum]]:
    """Gather sums of one shape whose rows touch; each joins the first group that it follows."""
    groups: list[list[_Sum]] = []
    ending: dict[tuple[object, ...], list[int]] = {}  # where groups end -> their numbers, in order
    for found in sums:
        open_here = ending.get(found.starts)
        number = open_here.pop(0) if open_here else len(groups)
        if number == len(groups):
            groups.append([])
        groups[number].append(found)
        bisect.insort(ending.setdefault(found.stops, []), number)
    return groups


def _live(program: Program, instrs: dict[str, Instr]) -> tuple[Instr, ...]:
    """Put the instructions in order and drop those that were replaced."""
    ordered = in_order(instrs.values())
    needed = {c.next for c in program.states} | {v for _, v in program.outputs}
    needed |= set(program.names.values())
    kept = []
    for instr in reversed(ordered):
        if instr.name in needed:
            kept.append(instr)
            needed.update(instr.args)
    return tuple(reversed(kept))


def _sums(program: Program, instrs: dict[str, Instr]) -> list[_Sum]:
    """Find the maximal sums that hold at least one product that nothing else reads."""
    count = uses(program)
    named = set(program.names.values())
    params = {p.name: p.rows for p in program.params}
    moving = _moving(program)
    inner: set[str] = set()
    found = []
    for root in reversed(program.body):
        if root.name in inner or root.op not in (Op.ADD, Low.PRODUCT):
            continue
        terms: list[str] = []
        stack = [root.name]
        while stack:  # flatten a + (b + c) to its terms, left to right
            name = stack.pop()
            instr = instrs.get(name)
            private = name == root.name or (count[name] == 1 and name not in named)
            if instr is not None and instr.op is Op.ADD and private:
                inner.add(name)
                stack += reversed(instr.args)
            else:
                terms.append(name)
        products, biases, others = [], [], []
        for name in terms:
            instr = instrs.get(name)
            free = count[name] == 1 or name == root.name
            if instr is not None and instr.op is Low.PRODUCT and free:
                products.append(instr)
            elif instr is not None and instr.op is Low.SLICE and instr.args[0] in params:
                biases.append(instr)
            elif name in params:
                biases.append(sliced(name, name, 0, params[name]))
            else:
                others.append(name)
        if products:
            inner.update(p.name for p in products)
            # The input's product first: it leaves the loop, and the biases leave with it.
            products.sort(key=lambda p: p.args[0] in moving)
            found.append(_Sum(root, tuple(products), tuple(biases), tuple(others)))
    order = {instr.name: k for k, instr in enumerate(program.body)}
    return sorted(found, key=lambda s: order[s.root.name])


def _moving(program: Program) -> set[str]:
    """Return the values that depend on the states."""
    moving = {carry.name for carry in program.states}
    for instr in program.body:
        if moving.intersection(instr.args):
            moving.add(instr.name)
    return moving


def _wide(group: list[_Sum], fresh: Fresh) -> list[Instr]:
    """Write one wide sum for a group of preactivations, and cut each of them out of it."""
    width = sum(s.root.width for s in group)
    made: list[Instr] = []
    bias_terms = []
    for k in range(len(group[0].biases)):
        first, last = group[0].biases[k], group[-1].biases[k]
        made.append(sliced(fresh("b"), first.args[0], first.rows[0], last.rows[1]))
        bias_terms.append((made[-1].name, width))
    bias: tuple[str, ...] = ()
    if bias_terms:
        additions, total = summed(fresh, "b", bias_terms)
        made += additions
        bias = (total,)
    products = []
    for k in range(len(group[0].products)):
        first, last = group[0].products[k], group[-1].products[k]
        rows = (("start", first.rows[0]), ("stop", last.rows[1]))
        # All biases ride on the first product, which is the input's where there is one: it is
        # hoisted out of the loop, and they with it.
        args = (*first.args, *(bias if k == 0 else ()))
        products.append(Instr(fresh("a"), Low.PRODUCT, args, width, rows))
    additions, total = summed(fresh, "a", [(p.name, width) for p in products])
    made += products + additions
    at = 0
    for member in group:
        stop = at + member.root.width
        if member.others:
            cut = sliced(fresh("a"), total, at, stop)
            terms = [(cut.name, cut.width), *((name, cut.width) for name in member.others)]
            additions, last = summed(fresh, "a", terms)
            additions[-1] = replace(additions[-1], name=member.root.name)
            made += [cut, *additions]
        else:
            made.append(sliced(member.root.name, total, at, stop))
        at = stop
    return made


def _merge_products(program: Program) -> Program:
    """Join products of one vector with neighbouring rows of one matrix into one product."""
    fresh = Fresh(program)
    families: dict[tuple[str, str], list[Instr]] = {}
    for instr in program.body:
        if instr.op is Low.PRODUCT:
            families.setdefault((instr.args[0], instr.args[1]), []).append(instr)
    instrs = {instr.name: instr for instr in program.body}
    for (vector, weight), family in families.items():
        family.sort(key=lambda p: p.rows)
        touching = all(b.rows[0] == a.rows[1] for a, b in itertools.pairwise(family))
        if len(family) < 2 or not touching:
            continue
        for instr in _joined(vector, weight, family, fresh):
            instrs[instr.name] = instr
    return replace(program, stages=(Stage(pointwise=_live(program, instrs)),))


def _joined(vector: str, weight: str, family: list[Instr], fresh: Fresh) -> list[Instr]:
    made: list[Instr] = []
    width = sum(p.width for p in family)
    bias: tuple[str, ...] = ()
    if any(len(p.args) == 3 for p in family):
        parts = []
        for p in family:
            if len(p.args) == 3:
                parts.append(p.args[2])
            else:
                made.append(Instr(fresh("zeros"), Low.ZEROS, (), p.width))
                parts.append(made[-1].name)
        made.append(Instr(fresh("b"), Op.CONCAT, tuple(parts), width))
        bias = (made[-1].name,)
    rows = (("start", family[0].rows[0]), ("stop", family[-1].rows[1]))
    whole = Instr(fresh("a"), Low.PRODUCT, (vector, weight, *bias), width, rows)
    made.append(whole)
    at = 0
    for p in family:
        made.append(sliced(p.name, whole.name, at, at + p.width))
        at += p.width
    return made
