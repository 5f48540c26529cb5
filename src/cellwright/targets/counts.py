"""Counts: how many weights and how much arithmetic a cell has, as functions of its widths."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from cellwright.language.graph import Graph, Node
from cellwright.language.ops import Op
from cellwright.language.width import Width

LETTERS = {"hidden": "H", "input": "I", "proj": "P"}
ORDER = ("hidden", "input", "proj")  # of letters within a term
POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
Term = tuple[str, ...]  # symbols in order, one for each factor


@dataclass(frozen=True)
class Polynomial:
    """A sum of products of widths, such as 4H² + 4HI + 4H; `terms` maps symbols to a factor."""

    terms: tuple[tuple[Term, Fraction], ...] = ()

    @classmethod
    def of(cls, width: Width) -> Self:
        """Return a width as a polynomial."""
        return cls._from({((symbol,) if symbol else ()): Fraction(n) for symbol, n in width.terms})

    @classmethod
    def _from(cls, terms: Mapping[Term, Fraction]) -> Self:
        def order(item: tuple[Term, Fraction]) -> tuple[int, list[int], Term]:
            return -len(item[0]), [_rank(s) for s in item[0]], item[0]

        return cls(tuple(sorted(((t, f) for t, f in terms.items() if f), key=order)))

    def __add__(self, other: "Polynomial") -> "Polynomial":
        total: dict[Term, Fraction] = {}
        for term, factor in (*self.terms, *other.terms):
            total[term] = total.get(term, Fraction(0)) + factor
        return Polynomial._from(total)

    def __mul__(self, other: "Polynomial | Fraction | int") -> "Polynomial":
        if not isinstance(other, Polynomial):
            other = Polynomial((((), Fraction(other)),))
        total: dict[Term, Fraction] = {}
        for a, m in self.terms:
            for b, n in other.terms:
                term = tuple(sorted((*a, *b), key=lambda s: (_rank(s), s)))
                total[term] = total.get(term, Fraction(0)) + m * n
        return Polynomial._from(total)

    def at(self, sizes: Mapping[str, int]) -> Fraction:
        """Return the number that this is when `sizes` gives every symbol a value."""
        total = Fraction(0)
        for term, factor in self.terms:
            for symbol in term:
                factor *= sizes[symbol]
            total += factor
        return total

    def __str__(self) -> str:
        return " + ".join(_term(term, factor) for term, factor in self.terms) or "0"


def _rank(symbol: str) -> int:
    return ORDER.index(symbol) if symbol in ORDER else len(ORDER)


def _term(term: Term, factor: Fraction) -> str:
    """Write a product: H², 4HI, 9H²/16, H·static."""
    powers = [
        LETTERS.get(s, s) + (str(n).translate(POWERS) if n > 1 else "")
        for s, n in Counter(term).items()
    ]
    words = any(s not in LETTERS for s in term)
    number = "" if factor.numerator == 1 and term else str(factor.numerator)
    parts = [number, *powers] if number else powers
    text = "·".join(parts) if words else "".join(parts)
    return text if factor.denominator == 1 else f"{text}/{factor.denominator}"


@dataclass(frozen=True)
class Count:
    """A number as a function of the widths.

    `always` counts in every layer; `unequal` holds what is added where two widths differ.
    """

    always: Polynomial = Polynomial()
    unequal: tuple[tuple[Width, Width, Polynomial], ...] = ()

    def at(self, sizes: Mapping[str, int]) -> int:
        """Return the number at these sizes, rounded down where blocks are not of one size."""
        total = self.always.at(sizes)
        for a, b, more in self.unequal:
            total += more.at(sizes) if a.resolve(sizes) != b.resolve(sizes) else 0
        return int(total)

    def __str__(self) -> str:
        more = [
            f", and {term} more where {Polynomial.of(a)} ≠ {Polynomial.of(b)}"
            for a, b, term in self.unequal
        ]
        return f"{self.always}{''.join(more)}"


@dataclass(frozen=True)
class Weights:
    """What a count needs of a node with weights: its rows, its columns, the share of it kept."""

    rows: Polynomial
    columns: Polynomial
    share: Fraction


PARAMETERS: dict[Op, Callable[[Weights], Polynomial]] = {
    Op.LINEAR: lambda w: w.rows * w.columns * w.share,
    Op.DIAGONAL: lambda w: w.rows,
    Op.BIAS: lambda w: w.rows,
    Op.LAYER_NORM: lambda w: w.rows * 2,  # gain and shift
}
PRODUCTS: dict[Op, Callable[[Weights], Polynomial]] = {
    Op.LINEAR: lambda w: w.rows * w.columns * 2,  # blocks of zeros are multiplied too
    Op.DIAGONAL: lambda w: Polynomial(),
    Op.BIAS: lambda w: Polynomial(),
    Op.LAYER_NORM: lambda w: Polynomial(),
}


def parameters(graph: Graph) -> Count:
    """Count a cell's weights, those that are zero by construction left out.

    Exact where a matrix of n blocks has rows and columns that n divides.
    """
    return _count(graph, PARAMETERS)


def flops(graph: Graph) -> Count:
    """Count the FLOPs of the matrix products that one row takes in one step forward.

    A multiply-add is two. What is done unit by unit is not counted.
    """
    return _count(graph, PRODUCTS)


def _count(graph: Graph, table: Mapping[Op, Callable[[Weights], Polynomial]]) -> Count:
    always = Polynomial()
    unequal: dict[tuple[Width, Width], Polynomial] = {}
    for node in graph.nodes:
        if node.op not in table or node.width is None:
            continue
        inner = graph.nodes[node.args[0]].width if node.args else None
        columns = Polynomial.of(inner) if inner else Polynomial()
        made = table[node.op](Weights(Polynomial.of(node.width), columns, _share(node)))
        if node.attr("fit") and inner is not None:
            pair = (inner, node.width)
            if inner != node.width:
                unequal[pair] = unequal.get(pair, Polynomial()) + made
        else:
            always += made
    return Count(always, tuple((a, b, more) for (a, b), more in unequal.items() if more.terms))


def _share(node: Node) -> Fraction:
    """Return the share of a matrix that is not zero by construction."""
    blocks, upper = node.attr("blocks"), node.attr("upper_blocks")
    if isinstance(blocks, int) and blocks:
        return Fraction(1, blocks)
    if isinstance(upper, int) and upper:
        return Fraction(upper + 1, 2 * upper)
    return Fraction(1)
