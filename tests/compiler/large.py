"""Cells of any number of equations, as a file could hold them."""

import random

from cellwright.language import Op
from cellwright.language.graph import Attribute, Graph, Node, StateSlot, checked
from cellwright.language.width import HIDDEN, INPUT


class Writer:
    """Appends nodes to a graph that begins with an input x and a state h."""

    def __init__(self) -> None:
        self.nodes = [Node(Op.INPUT, (), INPUT, "x"), Node(Op.STATE, (), HIDDEN, "h")]
        self.first = self.named("first", Op.TANH, self.affine("first"))

    def add(self, op: Op, *args: int, owner: str | None = None, **attrs: Attribute) -> int:
        width = HIDDEN if op in (Op.LINEAR, Op.BIAS) else None
        self.nodes.append(Node(op, args, width, None, owner, tuple(sorted(attrs.items()))))
        return len(self.nodes) - 1

    def named(self, name: str, op: Op, *args: int) -> int:
        self.nodes.append(Node(op, args, name=name))
        return len(self.nodes) - 1

    def affine(self, owner: str) -> int:
        x, h = (self.add(Op.LINEAR, k, owner=owner) for k in (0, 1))
        both = self.add(Op.ADD, x, h)
        return self.add(Op.ADD, both, self.add(Op.BIAS, owner=owner, affine=1))

    def graph(self, last: int) -> Graph:
        after = self.named("h.next", Op.ADD, last, 1)
        slots = (StateSlot("h", 1, after),)
        return checked(Graph("Large", "", tuple(self.nodes), (0,), slots, (after,), {}))


def chain(equations: int) -> Graph:
    """Each equation reads the one before it."""
    w = Writer()
    last = w.first
    for k in range(equations):
        last = w.named(f"e{k}", Op.TANH, w.add(Op.MUL, last, 1))
    return w.graph(last)


def sums(equations: int) -> Graph:
    """Each equation adds to the one before it, and nothing has to be kept for the gradient."""
    w = Writer()
    last = w.first
    for k in range(equations):
        last = w.named(f"e{k}", Op.ADD, w.add(Op.MUL, last, 1), 1)
    return w.graph(last)


def dag(equations: int) -> Graph:
    """Each equation reads the one before it and two others, so paths are more than numbers."""
    rng = random.Random(1)
    w = Writer()
    made = [w.first]
    for k in range(equations):
        a, b = rng.choice(made), rng.choice(made)
        made.append(w.named(f"e{k}", Op.ADD, w.add(Op.MUL, a, b), made[-1]))
    return w.graph(made[-1])


def gates(equations: int) -> Graph:
    """Each equation is a gate of x and h."""
    w = Writer()
    made = [w.named(f"g{k}", Op.SIGMOID, w.affine(f"g{k}")) for k in range(equations)]
    last = w.first
    for k, gate in enumerate(made):
        last = w.named(f"e{k}", Op.MUL, last, gate)
    return w.graph(last)


def products(equations: int) -> Graph:
    """Each equation multiplies the one before it with a matrix of its own."""
    w = Writer()
    last = w.first
    for k in range(equations):
        last = w.named(f"e{k}", Op.TANH, w.add(Op.LINEAR, last, owner=f"e{k}"))
    return w.graph(last)


def halves(equations: int) -> Graph:
    """Each equation joins the one before it with the state, and takes them apart again."""
    w = Writer()
    last = w.first
    for k in range(equations):
        both = w.named(f"c{k}", Op.CONCAT, last, 1)
        parts = (w.add(Op.PART, both, index=j, of=2) for j in range(2))
        last = w.named(f"e{k}", Op.MUL, *parts)
    return w.graph(last)


KINDS = {f.__name__: f for f in (chain, sums, dag, gates, products, halves)}
