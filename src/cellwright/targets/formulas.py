"""Formulas: the walk over a cell's graph that all notations of its equations share.

A notation is one table, one entry for each operation, and a way to write names. The walk decides
what stands on which line, which weight bears which letters, and at which step a value is read.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cellwright.language.errors import CellError
from cellwright.language.graph import Graph, Node
from cellwright.language.ops import LEAVES, Op

LARGEST = 2_000  # signs of a right-hand side that a person could still want to see
# How tightly a text binds; an operand that binds more loosely than it must gets parentheses.
CHOICE, COMPARISON, SUM, PRODUCT, UNARY, ATOM = range(6)
# Names that stand for a letter; those whose sign is a Latin letter's stay words.
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa mu nu xi pi rho sigma tau upsilon "
    "phi chi psi omega Gamma Delta Theta Xi Pi Sigma Upsilon Phi Psi Omega"
)
GREEK = frozenset(_LETTERS.split())


class When(Enum):
    """The step at which a value is read; FIXED where it is the same at all of them."""

    BEFORE = -1
    NOW = 0
    FIXED = None


@dataclass(frozen=True)
class Name:
    """A value's name and the step it is of; `state` where it is carried from step to step."""

    stem: str
    when: When
    state: bool = False


@dataclass(frozen=True)
class Written:
    """An expression in a notation, and how tightly it binds.

    `constant` is a number; `digits` begins with one, so that 2 (3 x) keeps its parentheses;
    `signed` begins with a minus, so that a + (-b) does.
    """

    text: str
    binds: int = ATOM
    constant: bool = False
    digits: bool = False
    signed: bool = False


@dataclass(frozen=True)
class Place:
    """A node with its arguments as written, and the letters that tell its weights from others.

    `label` holds the equation and what the weights act on; `mark` counts weights of equal label.
    """

    node: Node
    name: Name | None
    args: tuple[Written, ...]
    label: tuple[str, ...]
    mark: int
    parentheses: Callable[[str], str]

    def arg(self, position: int, binds: int, leads: bool = False) -> str:
        """Return an argument, in parentheses if it binds more loosely than `binds`.

        It stands behind a sign, where it may not begin with one, unless it `leads`.
        """
        made = self.args[position]
        bare = made.binds >= binds and (leads or not made.signed)
        return made.text if bare else self.parentheses(made.text)

    def kind(self) -> tuple[str, int] | None:
        """Say of which kind a matrix of blocks is, and how many blocks it has in a row."""
        for kind, key in (("tri", "upper_blocks"), ("diag", "blocks")):
            count = self.node.attr(key)
            if isinstance(count, int) and count:
                return kind, count
        return None


Entry = Callable[[Place], Written]


@dataclass(frozen=True)
class Notation:
    """How equations are written: an entry for each operation, names, parentheses and lists."""

    table: Mapping[Op, Entry]
    named: Callable[[Name], str]
    parentheses: Callable[[str], str]
    stacked: Callable[[Sequence[str]], str]  # vectors end to end


@dataclass(frozen=True)
class Line:
    """One equation: the names of the values on its left, its two sides as written."""

    names: tuple[str, ...]
    left: str
    right: str


def lines(graph: Graph, notation: Notation) -> list[Line]:
    """Write a cell's equations in their order; the parts of one vector share a line."""
    walk = _Walk(graph, notation)
    found: list[Line] = []
    split: set[int] = set()  # vectors whose parts have their line
    for index, node in enumerate(graph.nodes):
        if node.name is None or node.op in (Op.INPUT, Op.STATE):
            continue
        parts = _siblings(graph, index)
        if parts and node.args[0] not in split:
            split.add(node.args[0])
            names = [walk.name(k) for k in parts]
            left = notation.stacked([notation.named(name) for name in names])
            whole = walk.written[node.args[0]].text
            found.append(Line(tuple(name.stem for name in names), left, whole))
        elif not parts:
            name = walk.name(index)
            found.append(Line((name.stem,), notation.named(name), walk.sides[index].text))
    for state in graph.states:
        if graph.nodes[state.next].name != f"{state.name}.next":
            left = notation.named(Name(state.name, When.NOW, state=True))
            found.append(Line((state.name,), left, walk.written[state.next].text))
    return found


def sides(graph: Graph, notation: Notation) -> list[str]:
    """Write every node of a graph by itself."""
    return [side.text for side in _Walk(graph, notation).sides]


class _Walk:
    """Writes each node once: `sides` as an equation's right side, `written` as others read it."""

    def __init__(self, graph: Graph, notation: Notation) -> None:
        self.graph = graph
        self.sides: list[Written] = []
        self.written: list[Written] = []
        self._named: dict[int, Name] = {}
        self._letters: list[tuple[str, ...]] = []  # what a value is made of names its matrix
        self._sizes: list[int] = []
        self._seen: Counter[tuple[Op, tuple[str, ...]]] = Counter()
        self._changing: set[int] = set()
        for index, node in enumerate(graph.nodes):
            self._add(index, node, notation)

    def name(self, index: int) -> Name:
        return self._named[index]

    def _add(self, index: int, node: Node, notation: Notation) -> None:
        size = sum((self._sizes[k] for k in node.args), _own_size(node))
        if size > LARGEST:
            raise CellError(
                f"{self.graph.cell}: an equation too long to write out; name some parts of it"
            )
        if _begins_change(node) or self._changing.intersection(node.args):
            self._changing.add(index)
        name = self._name_of(index, node)
        operand = tuple(dict.fromkeys(n for k in node.args for n in self._letters[k]))
        tag = node.attr("tag")
        label = (str(tag),) if tag else (_stem(node.owner or ""), *operand)
        mark = self._seen[node.op, label]
        self._seen[node.op, label] += 1
        args = tuple(self.written[k] for k in node.args)
        side = notation.table[node.op](Place(node, name, args, label, mark, notation.parentheses))
        self.sides.append(side)
        by_name = name is not None and node.op not in (Op.INPUT, Op.STATE)
        self.written.append(Written(notation.named(name)) if name and by_name else side)
        self._sizes.append(1 if name else size)
        self._letters.append((name.stem,) if name else operand)

    def _name_of(self, index: int, node: Node) -> Name | None:
        if node.name is None:
            return None
        if node.op is Op.STATE:
            made = Name(node.name, When.BEFORE, state=True)
        elif node.name.endswith(".next"):
            made = Name(_stem(node.name), When.NOW, state=True)
        else:
            made = Name(node.name, When.NOW if index in self._changing else When.FIXED)
        self._named[index] = made
        return made


def _own_size(node: Node) -> int:
    values = node.attr("values")
    return len(values) if isinstance(values, tuple) else 1


def _begins_change(node: Node) -> bool:
    """Tell whether a leaf differs from step to step; a mask of a whole sequence does not."""
    return node.op is Op.STATE or (node.op is Op.INPUT and node.attr("per") != "sequence")


def _siblings(graph: Graph, index: int) -> tuple[int, ...]:
    """Return all parts of the vector that a part is cut from, if every one of them has a name."""
    node = graph.nodes[index]
    if node.op is not Op.PART:
        return ()
    found = {
        other.attr("index"): k
        for k, other in enumerate(graph.nodes)
        if other.op is Op.PART and other.args == node.args and other.attr("of") == node.attr("of")
        and other.name and not other.name.endswith(".next")
    }  # fmt: skip
    of = node.attr("of")
    assert isinstance(of, int)
    whole = index in found.values() and len(found) == of
    return tuple(found[k] for k in range(of)) if whole else ()


def _stem(name: str) -> str:
    """`c.next` is the state c after the step."""
    return name.removesuffix(".next")


def infix(sign: str, binds: int, right: int) -> Entry:
    """`a sign b`; `right` is how tightly the right operand must bind."""

    def write(at: Place) -> Written:
        first = at.args[0]
        left = at.arg(0, binds, leads=True)
        bare = left == first.text
        return Written(
            f"{left}{sign}{at.arg(1, right)}",
            binds,
            digits=bare and first.digits,
            signed=bare and first.signed,
        )

    return write


def compared(sign: str, mirrored: str) -> Entry:
    """`a < b`; a number stands on the right, as it was written: b > 0."""

    def write(at: Place) -> Written:
        if not at.args[0].constant:
            return Written(f"{at.arg(0, SUM, leads=True)}{sign}{at.arg(1, SUM)}", COMPARISON)
        return Written(f"{at.arg(1, SUM, leads=True)}{mirrored}{at.args[0].text}", COMPARISON)

    return write


def times(sign: str, beside: str) -> Entry:
    """`a sign b` of two vectors; a number stands before its factor, with `beside` between them."""
    vectors = infix(sign, PRODUCT, PRODUCT)

    def write(at: Place) -> Written:
        a, b = at.args
        if not (a.constant or b.constant):
            return vectors(at)
        number, other, position = (a, b, 1) if a.constant else (b, a, 0)
        factor = at.arg(position, UNARY if other.digits else PRODUCT)
        text = f"{number.text}{beside}{factor}"
        return Written(text, PRODUCT, digits=True, signed=number.signed)

    return write


def applied(before: str, between: str = ", ", after: str = ")") -> Entry:
    """`name(a, b)`, `before` being all that stands in front of the arguments."""
    return lambda at: Written(f"{before}{between.join(a.text for a in at.args)}{after}")


def negated(sign: str) -> Entry:
    """`-a`."""
    return lambda at: Written(f"{sign}{at.arg(0, PRODUCT)}", PRODUCT, signed=True)


def constant(write: Callable[[float], str]) -> Entry:
    """A number, as `write` writes it."""

    def entry(at: Place) -> Written:
        value = at.node.attr("value")
        assert isinstance(value, float)
        return Written(write(value), constant=True, digits=True, signed=value < 0)

    return entry


def modules(write: Callable[[float], str], several: Callable[[list[str]], str]) -> Entry:
    """A vector in equal blocks, as `several` joins their numbers; of one block, a number."""

    def entry(at: Place) -> Written:
        values = at.node.attr("values")
        assert isinstance(values, tuple)
        if len(values) == 1:  # a mask at its mean
            return Written(write(values[0]), constant=True, digits=True, signed=values[0] < 0)
        return Written(several([write(value) for value in values]), CHOICE)

    return entry


def digits(value: float) -> tuple[str, int | None]:
    """Split a number into its shortest digits and a power of ten: 1.5e-07 -> ('1.5', -7)."""
    short = f"{value:g}" if float(f"{value:g}") == value else repr(value)
    mantissa, _, exponent = short.partition("e")
    return mantissa.removesuffix(".0"), int(exponent) if exponent else None


def joined(label: Sequence[str]) -> str:
    """Return the comma between the parts of a label where they would run into one another."""
    return "" if all(len(part) == 1 for part in label) else ","


def counters(graph: Graph) -> list[tuple[str, str]]:
    """Find the states that count steps up to a bound and begin again: (state, bound)."""
    found = []
    for state in graph.states:
        bound = _bound(graph, state.leaf, state.next)
        if bound is not None and graph.nodes[bound].name:
            found.append((state.name, str(graph.nodes[bound].name)))
    return found


def _bound(graph: Graph, leaf: int, after: int) -> int | None:
    """Return p where a state s becomes where(s + 1 < p, s + 1, 0)."""

    def is_sum(index: int) -> bool:
        node = graph.nodes[index]
        return node.op is Op.ADD and leaf in node.args and any(is_number(k, 1) for k in node.args)

    def is_number(index: int, value: float) -> bool:
        node = graph.nodes[index]
        return node.op is Op.CONSTANT and node.attr("value") == value

    node = graph.nodes[after]
    if node.op is not Op.WHERE:
        return None
    condition, kept, fresh = node.args
    test = graph.nodes[condition]
    counts = test.op is Op.LESS and is_sum(test.args[0]) and is_sum(kept) and is_number(fresh, 0)
    return test.args[1] if counts and graph.nodes[test.args[1]].op in LEAVES else None
