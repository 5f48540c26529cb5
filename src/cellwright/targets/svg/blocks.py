"""Blocks: a cell's graph as what a picture shows of it, boxes and the wires between them.

A layer's projection, bias and activation are one box; vectors that are read together meet first.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from cellwright.language.graph import Graph
from cellwright.language.ops import LEAVES, Op
from cellwright.targets.svg.symbols import Link, composed, link_of, number

MOST_PEEPHOLES = 3  # that reach a box each by a wire of its own


class Kind(Enum):
    """What a block is: a box of the cell, a meeting of wires, or an end of wires at its edge."""

    LAYER = "layer"  # with weights
    POINTWISE = "pointwise"
    PIECE = "piece"  # a part of a vector
    FIXED = "fixed"  # the same at every step
    MERGE = "merge"
    BEFORE = "before"  # a state before the step
    INPUT = "input"
    AFTER = "after"  # a state after the step
    OUTPUT = "output"


SOURCES = (Kind.BEFORE, Kind.INPUT)
EXITS = (Kind.AFTER, Kind.OUTPUT)


@dataclass(frozen=True)
class Feed:
    """A wire into a block: from which block, what it is there, whether through a peephole."""

    source: int
    mark: str = ""
    peephole: bool = False


@dataclass(frozen=True)
class Block:
    """A box, or an end of wires.

    `node` is the value that it makes, where that is one of the graph's; `equation` is the named
    value whose equation it is a part of.
    """

    kind: Kind
    label: str
    node: int | None
    feeds: tuple[Feed, ...] = ()
    equation: int | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        return tuple(feed.source for feed in self.feeds)


@dataclass(frozen=True)
class Blocks:
    """A cell as blocks; a block is named by its place, and comes after all that it reads."""

    graph: Graph
    blocks: tuple[Block, ...]

    def of(self, *kinds: Kind) -> tuple[int, ...]:
        """Return the blocks of these kinds."""
        return tuple(k for k, block in enumerate(self.blocks) if block.kind in kinds)

    def readers(self) -> dict[int, list[int]]:
        """Return for every block those that read it."""
        found: dict[int, list[int]] = {k: [] for k in range(len(self.blocks))}
        for k, block in enumerate(self.blocks):
            for source in dict.fromkeys(block.sources):
                found[source].append(k)
        return found


def blocks(graph: Graph) -> Blocks:
    """Return a checked graph as blocks."""
    made = _Maker(graph)
    for index in (*graph.inputs, *(state.leaf for state in graph.states)):
        made.value(index)
    for index, node in enumerate(graph.nodes):  # in the order of the declaration
        if node.name and node.op is not Op.CONSTANT:
            made.value(index)
    for state in graph.states:
        made.add(Kind.AFTER, state.name, None, [Feed(made.value(state.next))])
    for index in graph.outputs:
        name = graph.nodes[index].name or ""
        made.add(Kind.OUTPUT, name, None, [Feed(made.value(index))])
    return Blocks(graph, _with_merges(made.blocks, made.joined))


class _Maker:
    """Makes a block of each value that is not a part of another's box."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.blocks: list[Block] = []
        self.joined: dict[int, tuple[int, ...]] = {}  # layers, and what they read as one vector
        self._of: dict[int, int] = {}
        self._equation: int | None = None
        self._uses = Counter(arg for node in graph.nodes for arg in node.args)
        self._uses.update([s.next for s in graph.states])
        self._uses.update(graph.outputs)

    def add(self, kind: Kind, label: str, node: int | None, feeds: Sequence[Feed] = ()) -> int:
        equation = None if kind in EXITS else self._equation
        self.blocks.append(Block(kind, label, node, tuple(feeds), equation))
        return len(self.blocks) - 1

    def value(self, index: int) -> int:
        """Return the block of a value."""
        if index not in self._of:
            outer = self._equation
            if self.graph.nodes[index].name:
                self._equation = index
            self._of[index] = self._made(index)
            self._equation = outer
        return self._of[index]

    def _inner(self, index: int) -> bool:
        """Tell whether a value is seen by one other alone and has no name of its own."""
        node = self.graph.nodes[index]
        return not node.name and self._uses[index] == 1 and node.op not in LEAVES

    def _made(self, index: int) -> int:
        node = self.graph.nodes[index]
        if node.op in LEAVES:
            return self._leaf(index)
        chain, base = self._chain(index)
        if base == index or self._inner(base):
            layer = self._layer(index, chain, base)
            if layer is not None:
                return layer
        if not chain:
            return self._pointwise(index)
        return self.add(Kind.POINTWISE, composed(chain), index, [Feed(self.value(base))])

    def _leaf(self, index: int) -> int:
        node = self.graph.nodes[index]
        if node.op is Op.INPUT:
            return self.add(Kind.INPUT, node.name or "", index)
        if node.op is Op.STATE:
            return self.add(Kind.BEFORE, node.name or "", index)
        values = node.attr("values") or (node.attr("value"),)
        assert isinstance(values, tuple)
        listed = [number(value) for value in values if isinstance(value, float)]
        text = ", ".join(listed if len(listed) < 4 else [*listed[:3], "…"])
        return self.add(Kind.FIXED, text, index)

    def _chain(self, index: int) -> tuple[list[Link], int]:
        """Return the operations on one value that end in this one, and what they begin with."""
        chain: list[Link] = []
        while chain == [] or self._inner(index):
            found = link_of(self.graph, self.graph.nodes[index])
            if found is None:
                break
            chain.append(found[0])
            index = found[1]
        return chain[::-1], index

    def _terms(self, index: int, root: bool = True) -> list[int]:
        node = self.graph.nodes[index]
        if node.op is Op.ADD and (root or self._inner(index)):
            return [term for arg in node.args for term in self._terms(arg, root=False)]
        return [index]

    def _layer(self, index: int, chain: Sequence[Link], base: int) -> int | None:
        """Return a box for a sum of weighted values, with the operations on it; else None."""
        nodes = self.graph.nodes
        terms = self._terms(base)
        if nodes[base].op is Op.LAYER_NORM:
            return self._norm(index, chain, base)
        weights = (Op.LINEAR, Op.DIAGONAL, Op.BIAS)
        weighted = [t for t in terms if nodes[t].op in weights and (t == base or self._inner(t))]
        plain = [t for t in terms if t not in weighted]
        if not weighted:
            return None
        if not plain:
            return self._box(index, composed(chain) if chain else "W", weighted)
        if all(nodes[t].op is Op.BIAS for t in weighted):
            total = self._sum([Feed(self.value(t)) for t in plain], None)
            label = composed(chain, "· + b") if chain else "+ b"
            return self.add(Kind.LAYER, label, index, [Feed(total)])
        box = self._box(None, "W", weighted)
        feeds = [Feed(box), *(Feed(self.value(t)) for t in plain)]
        if not chain:
            return self._sum(feeds, index)
        return self.add(Kind.POINTWISE, composed(chain), index, [Feed(self._sum(feeds, None))])

    def _norm(self, index: int, chain: Sequence[Link], norm: int) -> int:
        (arg,) = self.graph.nodes[norm].args
        inside = self._terms(arg) if self._inner(arg) else []
        own = [t for t in inside if self._inner(t)]
        if inside and all(t in own and self.graph.nodes[t].op is Op.LINEAR for t in inside):
            return self._box(index, composed([Link(Op.LAYER_NORM), *chain], "W"), inside)
        label = composed([Link(Op.LAYER_NORM), *chain])
        return self.add(Kind.LAYER, label, index, [Feed(self.value(arg))])

    def _sum(self, feeds: Sequence[Feed], index: int | None) -> int:
        total = feeds[0]
        for place, feed in enumerate(feeds[1:], 2):
            node = index if place == len(feeds) else None
            total = Feed(self.add(Kind.POINTWISE, "+", node, [total, feed]))
        return total.source

    def _box(self, index: int | None, label: str, weighted: Sequence[int]) -> int:
        nodes = self.graph.nodes
        read = [nodes[t].args[0] for t in weighted if nodes[t].op is Op.LINEAR]
        vectors = dict.fromkeys(v for arg in read for v in self._vectors(arg))
        holes = [nodes[t].args[0] for t in weighted if nodes[t].op is Op.DIAGONAL]
        peepholes = [Feed(v, peephole=True) for v in dict.fromkeys(self.value(h) for h in holes)]
        if not vectors and not holes:
            label = "b" if label == "W" else label
        if len(peepholes) > MOST_PEEPHOLES:  # the box has no room for more: the rest meet first
            rest = self.add(Kind.MERGE, "", None)
            self.joined[rest] = tuple(feed.source for feed in peepholes[MOST_PEEPHOLES - 1 :])
            peepholes[MOST_PEEPHOLES - 1 :] = [Feed(rest, peephole=True)]
        made = self.add(Kind.LAYER, label, index, peepholes)
        self.joined[made] = tuple(vectors)
        return made

    def _vectors(self, index: int) -> list[int]:
        """Return what a matrix reads: of vectors put end to end for it alone, each of them."""
        node = self.graph.nodes[index]
        if node.op is Op.CONCAT and self._inner(index):
            return [v for arg in node.args for v in self._vectors(arg)]
        return [self.value(index)]

    def _pointwise(self, index: int) -> int:
        node = self.graph.nodes[index]
        if node.op is Op.PART:
            place, of = node.attr("index"), node.attr("of")
            assert isinstance(place, int)
            feed = Feed(self.value(node.args[0]))
            return self.add(Kind.PIECE, f"{place + 1} of {of}", index, [feed])
        if node.op is Op.CONCAT:
            made = self.add(Kind.MERGE, "", index)
            self.joined[made] = tuple(dict.fromkeys(self.value(arg) for arg in node.args))
            return made
        if node.op is Op.WHERE:
            return self._where(index)
        label, marks = {
            Op.ADD: ("+", ("", "")),
            Op.MUL: ("×", ("", "")),
            Op.SUB: ("−", ("+", "−")),
            Op.DIV: ("÷", ("", "÷")),
            Op.MAXIMUM: ("max", ("", "")),
            Op.MINIMUM: ("min", ("", "")),
            Op.LESS: ("a < b", ("a", "b")),
            Op.LESS_EQUAL: ("a ≤ b", ("a", "b")),
        }[node.op]
        feeds = [Feed(self.value(a), mark) for a, mark in zip(node.args, marks, strict=True)]
        return self.add(Kind.POINTWISE, label, index, feeds)

    def _where(self, index: int) -> int:
        """Return a choice; what it takes of plain numbers stands in its label."""
        feeds, label = [], "choose"
        for arg, mark in zip(self.graph.nodes[index].args, ("if", "then", "else"), strict=True):
            node = self.graph.nodes[arg]
            value = node.attr("value")
            if node.op is Op.CONSTANT and not node.name and isinstance(value, float):
                label = f"{label}, {mark} {number(value)}"
            else:
                feeds.append(Feed(self.value(arg), mark))
        return self.add(Kind.POINTWISE, label, index, feeds)


def _with_merges(made: list[Block], joined: dict[int, tuple[int, ...]]) -> tuple[Block, ...]:
    """Put a merge before every block that reads several vectors as one; equal ones are shared."""
    merges: dict[frozenset[int], int] = {}
    found = list(made)
    for block in sorted(joined, key=lambda k: (len(joined[k]), k)):
        vectors = joined[block]
        whole = found[block].kind is Kind.MERGE  # it is itself the last meeting
        into = block if whole else None
        source = _merged(vectors, merges, found, into)
        if not whole and source is not None:
            feeds = (Feed(source), *found[block].feeds)
            found[block] = replace(found[block], feeds=feeds)
    return _ordered(found)


def _merged(
    vectors: Sequence[int], merges: dict[frozenset[int], int], found: list[Block], into: int | None
) -> int | None:
    """Return the block that gives these vectors end to end; new meetings are added to `found`."""
    if not vectors:
        return None
    rest = list(vectors)
    parts = [known for known in merges if known <= frozenset(rest)]
    if into is None and parts:
        best = max(parts, key=len)
        at, seen = merges[best], set(best)
        rest = [v for v in rest if v not in best]
    else:
        at, seen = rest[0], {rest[0]}
        rest = rest[1:]
    for number_left, vector in zip(range(len(rest) - 1, -1, -1), rest, strict=True):
        feeds = (Feed(at), Feed(vector))
        seen.add(vector)
        if into is not None and number_left == 0:
            found[into] = replace(found[into], feeds=feeds)
            return into
        found.append(Block(Kind.MERGE, "", None, feeds))
        at = len(found) - 1
        merges[frozenset(seen)] = at
    if into is not None and at != into:  # one vector twice
        found[into] = replace(found[into], feeds=(Feed(at),))
        return into
    return at


def _ordered(found: list[Block]) -> tuple[Block, ...]:
    """Return the blocks with each after what it reads, as far as that leaves their order."""
    new: dict[int, int] = {}
    order: list[int] = []
    stack = [(k, False) for k in reversed(range(len(found)))]
    while stack:
        at, ready = stack.pop()
        if at in new:
            continue
        if ready:
            new[at] = len(order)
            order.append(at)
            continue
        stack.append((at, True))
        stack += [(source, False) for source in reversed(found[at].sources)]
    return tuple(
        replace(found[k], feeds=tuple(replace(f, source=new[f.source]) for f in found[k].feeds))
        for k in order
    )
