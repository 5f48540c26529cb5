"""The walk through a cell: which of its equations keep, write, update and reveal.

Nothing here knows a cell by name. A state that its own next value reads as a factor of a term,
c.next = f ⊙ c + i ⊙ g, keeps something; what that factor is made of belongs to the step `forget`,
what the other terms are made of to `write`, the sum itself to `update`, and what is left, such as
h.next = o ⊙ tanh(c.next), to `reveal`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cellwright.language.graph import Graph, StateSlot
from cellwright.language.ops import LEAVES, Op


@dataclass(frozen=True)
class Term:
    """One summand of a state's next value: a node, its sign, and the factors beside the state.

    `factors` is None where the term does not hold the state itself as a factor.
    """

    node: int
    sign: int
    factors: tuple[int, ...] | None

    @property
    def keeps(self) -> bool:
        return self.factors is not None


@dataclass(frozen=True)
class Choice:
    """A next value that `where` decides: the node of the condition, and what either way makes."""

    condition: int
    yes: "Sum | Choice"
    no: "Sum | Choice"


@dataclass(frozen=True)
class Sum:
    """A next value that is a sum of terms; `node` is the sum."""

    node: int
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Update:
    """How a state gets its next value."""

    state: StateSlot
    made: Sum | Choice

    @property
    def keeps(self) -> bool:
        """Whether something of the state itself stays, unit by unit."""
        return any(term.keeps for term in terms_of(self.made))


@dataclass(frozen=True)
class Walk:
    """The four steps that a cell's equations make, each as nodes in the order of computation.

    `updates` are those of the states that keep something; of all states, where none does.
    """

    updates: tuple[Update, ...]
    forget: tuple[int, ...]
    write: tuple[int, ...]
    update: tuple[int, ...]
    reveal: tuple[int, ...]


def walk(graph: Graph) -> Walk:
    """Sort the equations of a cell, its masks at their means, into the steps of a walk."""
    every = tuple(Update(state, _made(graph, state.next, state.leaf)) for state in graph.states)
    updates = tuple(update for update in every if update.keeps) or every
    terms = [term for update in updates for term in terms_of(update.made)]
    sums = [inner for update in updates for inner in _sums_within(graph, update)]
    terms += [term for inner in sums for term in inner.terms]
    gates = [k for term in terms for k in term.factors or ()]
    gates += [k for update in updates for k in _conditions(update.made)]
    roots = {update.state.next for update in updates}
    whole = roots | {inner.node for inner in sums}
    kept = {k for gate in gates for k in _above(graph, gate)} - whole
    written = {k for term in terms if not term.keeps for k in _above(graph, term.node)}
    written -= whole | kept
    named = [k for _, k in graph.equations if k not in whole]
    forget = [k for k in named if k in kept] + [t.node for t in terms if t.keeps]
    write = [k for k in named if k in written] + [t.node for t in terms if not t.keeps]
    nexts = [s.next for s in graph.states if s.next not in roots]
    late = [k for k in (*named, *nexts) if k not in kept and k not in written]
    return Walk(
        updates=updates,
        forget=_shown(graph, forget, roots),
        write=_shown(graph, write, roots),
        update=tuple(sorted(whole)),
        reveal=_shown(graph, late, roots),
    )


def _sums_within(graph: Graph, update: Update) -> Iterator[Sum]:
    """Yield the sums that keep something of the state inside of a term that does not.

    Zoneout's c.next = 0.8 c_new + 0.2 c has one: c_new = f ⊙ c + i ⊙ g.
    """
    for term in terms_of(update.made):
        for factor in () if term.keeps else _factors(graph, term.node):
            if graph.nodes[factor].op in (Op.ADD, Op.SUB) and factor != update.state.next:
                inner = Sum(factor, tuple(_terms(graph, factor, update.state.leaf, 1)))
                if any(term.keeps for term in inner.terms):
                    yield inner


def terms_of(made: Sum | Choice) -> Iterator[Term]:
    """Yield the terms of a next value, of every way that it may be made."""
    if isinstance(made, Sum):
        yield from made.terms
    else:
        yield from terms_of(made.yes)
        yield from terms_of(made.no)


def _conditions(made: Sum | Choice) -> Iterator[int]:
    if isinstance(made, Choice):
        yield made.condition
        yield from _conditions(made.yes)
        yield from _conditions(made.no)


def _made(graph: Graph, index: int, leaf: int) -> Sum | Choice:
    node = graph.nodes[index]
    if node.op is Op.WHERE:
        condition, yes, no = node.args
        return Choice(condition, _made(graph, yes, leaf), _made(graph, no, leaf))
    return Sum(index, tuple(_terms(graph, index, leaf, 1)))


def _terms(graph: Graph, index: int, leaf: int, sign: int) -> Iterator[Term]:
    node = graph.nodes[index]
    if node.op in (Op.ADD, Op.SUB):
        yield from _terms(graph, node.args[0], leaf, sign)
        yield from _terms(graph, node.args[1], leaf, -sign if node.op is Op.SUB else sign)
    elif node.op is Op.NEG:
        yield from _terms(graph, node.args[0], leaf, -sign)
    else:
        factors = _factors(graph, index)
        beside = tuple(k for k in factors if k != leaf) if leaf in factors else None
        yield Term(index, sign, beside)


def _factors(graph: Graph, index: int) -> tuple[int, ...]:
    node = graph.nodes[index]
    if node.op is not Op.MUL:
        return (index,)
    return tuple(factor for arg in node.args for factor in _factors(graph, arg))


def _above(graph: Graph, index: int) -> set[int]:
    """Return a node and all that it is made of within the step."""
    found: set[int] = set()
    front = [index]
    while front:
        at = front.pop()
        if at not in found:
            found.add(at)
            front += graph.nodes[at].args
    return found


def _shown(graph: Graph, nodes: Iterable[int], roots: set[int]) -> tuple[int, ...]:
    """Keep what has something to compute; what a whole next value is made of stands for it."""
    found: set[int] = set()
    for index in nodes:
        node = graph.nodes[index]
        if index in roots:
            found |= {k for k in node.args if graph.nodes[k].op not in LEAVES}
        elif node.op not in LEAVES:
            found.add(index)
    return tuple(sorted(found))
