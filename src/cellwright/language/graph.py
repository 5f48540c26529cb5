"""The graph of a cell: what a declaration means, as plain data that checks itself."""

import functools
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cellwright.language.errors import CellError
from cellwright.language.ops import ARITY, COMPARISONS, LEAVES, PARAMETRIC, POINTWISE, Op
from cellwright.language.width import HIDDEN, Width

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
LARGEST_GRAPH = 10_000
MOST_MODULES = 4096
IDENTITY = "identity"  # how a square matrix may start
LARGEST_START = 1e4  # a number that every dtype holds
PER = ("step", "sequence")  # how long a draw of a mask holds
MOST_NESTED = 200  # operations inside one another without a name between them

Attribute = int | float | str | tuple[float, ...]


@dataclass(frozen=True)
class Node:
    """One value of a step: an operation on earlier values, by their index in the graph.

    `name` is the equation that it is the right-hand side of; `owner`, on nodes with weights,
    the equation in which it stands; `width` is None where a constant fits any width.
    """

    op: Op
    args: tuple[int, ...] = ()
    width: Width | None = None
    name: str | None = None
    owner: str | None = None
    attrs: tuple[tuple[str, Attribute], ...] = ()

    def attr(self, key: str, default: Attribute | None = None) -> Attribute | None:
        return dict(self.attrs).get(key, default)


@dataclass(frozen=True)
class StateSlot:
    """A state: its leaf (the value before the step) and the value that it takes next."""

    name: str
    leaf: int
    next: int


@dataclass(frozen=True)
class Graph:
    """A cell as data: nodes in an order in which every argument comes before its use.

    `lines` maps an equation to where it was written (`file.py:12`), for error messages.
    """

    cell: str
    doc: str
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    states: tuple[StateSlot, ...]
    outputs: tuple[int, ...]
    lines: Mapping[str, str]

    @property
    def equations(self) -> tuple[tuple[str, int], ...]:
        """The named values in the order of the declaration, leaves left out."""
        return tuple((n.name, k) for k, n in enumerate(self.nodes) if n.name and n.op not in LEAVES)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.nodes[k].name or "" for k in self.inputs)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(state.name for state in self.states)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(self.nodes[k].name or "" for k in self.outputs)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every width symbol that the cell needs a value for."""
        found = {s for n in self.nodes if n.width for s in n.width.symbols}
        return tuple(sorted(found))

    def users(self, index: int) -> Iterator[int]:
        return (k for k, n in enumerate(self.nodes) if index in n.args)


def checked(graph: Graph) -> Graph:
    """Return the graph with every width filled in, or raise the first thing wrong with it."""
    if not graph.states:
        raise CellError(f"{graph.cell}: a recurrent cell needs at least one State")
    if not graph.inputs:
        raise CellError(f"{graph.cell}: a cell needs at least one Input")
    if len(graph.nodes) > LARGEST_GRAPH:
        raise CellError(f"{graph.cell}: {len(graph.nodes)} operations, at most {LARGEST_GRAPH}")
    _check_names(graph)
    nodes: list[Node] = []
    nested: list[int] = []
    changing: set[int] = set()  # values that an input or a state feeds
    for index, node in enumerate(graph.nodes):
        place = functools.partial(_place, graph, index)
        _check_args(place, index, node)
        if node.op in (Op.INPUT, Op.STATE) or changing.intersection(node.args):
            changing.add(index)
        elif node.op is Op.LINEAR:
            raise CellError(f"{place()}: linear of what depends on no input or state; use bias()")
        width = node.width if node.op in LEAVES else _width(place, node, nodes)
        nodes.append(replace(node, width=width))
        nested.append(0 if node.name else 1 + max((nested[arg] for arg in node.args), default=0))
        if nested[-1] > MOST_NESTED:
            raise CellError(f"{place()}: over {MOST_NESTED} operations deep; name some parts of it")
    graph = replace(graph, nodes=tuple(nodes))
    _check_states(graph)
    _check_masks(graph)
    _check_used(graph)
    return graph


Place = Callable[[], str]  # called when there is something to say of it


def _place(graph: Graph, index: int) -> str:
    """Name the equation that a node belongs to, with its line where that is known."""
    users: dict[int, list[int]] = {}
    for user, node in enumerate(graph.nodes):
        for arg in node.args:
            users.setdefault(arg, []).append(user)
    seen, front = {index}, [index]
    for at in front:  # the nearest named value that contains it
        name = graph.nodes[at].name or graph.nodes[at].owner
        if name:
            return _named(graph, name)
        front += [user for user in users.get(at, ()) if user not in seen]
        seen.update(users.get(at, ()))
    return graph.cell


def _named(graph: Graph, name: str) -> str:
    where = graph.lines.get(name)
    return f"{graph.cell}.{name}" + (f" ({where})" if where else "")


def is_rate(value: object) -> bool:
    """Tell whether a number can be the probability of a zero: one that leaves something."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 1


def is_name(text: str) -> bool:
    """Tell whether a text may name a cell, an equation, a state or an input."""
    return (
        isinstance(text, str)
        and NAME.fullmatch(text) is not None
        and not keyword.iskeyword(text)
        and not text.endswith("_")
    )


def _check_names(graph: Graph) -> None:
    if not isinstance(graph.cell, str) or not NAME.fullmatch(graph.cell.lstrip("_")):
        raise CellError(f"{graph.cell!r:.60} cannot name a cell: letters, digits and _, at most 32")
    seen: set[str] = set()
    states = set(graph.state_names)
    nexts = {f"{state.name}.next": state.next for state in graph.states}
    for index, node in enumerate(graph.nodes):
        if node.name is None:
            if node.op in (Op.INPUT, Op.STATE):
                raise CellError(f"{graph.cell}: one {node.op} has no name")
            continue
        stem, dot, tail = node.name.partition(".")
        next_of_state = bool(dot) and tail == "next" and stem in states
        if not (next_of_state or is_name(node.name)):
            where = f" ({graph.lines[node.name]})" if node.name in graph.lines else ""
            raise CellError(
                f"{graph.cell}{where}: {node.name!r:.60} cannot name an equation: letters, digits "
                "and _ after a letter, at most 32 characters, no keyword, no _ at the end"
            )
        if node.name in seen:
            raise CellError(f"{graph.cell}.{node.name}: bound twice")
        if nexts.get(node.name, index) != index:
            raise CellError(f"{graph.cell}.{node.name}: not what its state takes next")
        seen.add(node.name)
    for node in graph.nodes:
        if (node.op in PARAMETRIC or node.owner) and node.owner not in seen:
            raise CellError(f"{graph.cell}: a {node.op} that belongs to no equation")


def _check_args(place: Place, index: int, node: Node) -> None:
    arity, count = ARITY[node.op], len(node.args)
    if not 2 <= count <= MOST_MODULES if arity is None else count != arity:
        wanted = f"2 to {MOST_MODULES}" if arity is None else str(arity)
        raise CellError(f"{place()}: {node.op} takes {wanted} arguments, got {count}")
    if any(not 0 <= arg < index for arg in node.args):
        raise CellError(f"{place()}: {node.op} reads a value not computed before it (a cycle)")
    if node.op in LEAVES and (node.width is None) != (node.op is Op.CONSTANT):
        wanted = "has no" if node.op is Op.CONSTANT else "needs a"
        raise CellError(f"{place()}: a {node.op} {wanted} width")
    if sum(bool(node.attr(key)) for key in ("upper_blocks", "blocks", "fit")) > 1:
        raise CellError(f"{place()}: a matrix is of one kind: upper_blocks, blocks or fit")
    start = node.attr("start", 0.0)
    if isinstance(start, float) and abs(start) > LARGEST_START:
        raise CellError(
            f"{place()}: a weight starts between -{LARGEST_START:g} and {LARGEST_START:g}, "
            f"got {start:g}"
        )
    for key in ("tag", "beside"):
        tag = node.attr(key, "x")
        if not (isinstance(tag, str) and NAME.fullmatch(tag)):
            raise CellError(
                f"{place()}: a part of a parameter's name is letters, digits and _ after a "
                f"letter, at most 32, got {tag!r:.60}"
            )


def _width(place: Place, node: Node, before: Sequence[Node]) -> Width | None:
    """Infer a node's width from its arguments' widths."""
    _check_conditions(place, node, before)
    widths = [before[arg].width for arg in node.args]
    if node.op in (Op.LINEAR, Op.BIAS):
        rows = node.width or HIDDEN
        if node.attr("start") == IDENTITY and widths != [rows]:
            raise CellError(
                f'{place()}: start="{IDENTITY}" needs a square matrix, got one from width '
                f"{widths[0]} to {rows}"
            )
        return rows
    if node.op in (Op.DIAGONAL, Op.LAYER_NORM, Op.PART, Op.CONCAT) and None in widths:
        raise CellError(f"{place()}: {node.op} needs a vector, got a constant")
    if node.op is Op.PART:
        return _part_width(place, node, widths[0])
    if node.op is Op.CONCAT:
        total = widths[0]
        for width in widths[1:]:
            total = total + width if total and width else None
        return total
    if node.op in POINTWISE:
        known = [w for w in widths if w is not None]
        if not known:
            raise CellError(f"{place()}: {node.op} of numbers alone; write the number it makes")
        if any(w != known[0] for w in known):
            raise CellError(
                f"{place()}: {node.op} joins widths {' and '.join(str(w) for w in known)}; "
                "unit by unit, widths must be equal; linear(v) and fit(v) change a vector's width"
            )
        return known[0]
    return widths[0]


def _check_conditions(place: Place, node: Node, before: Sequence[Node]) -> None:
    """A truth value goes into the condition of `where` and nowhere else."""
    for position, arg in enumerate(node.args):
        is_truth = before[arg].op in COMPARISONS
        wants_truth = node.op is Op.WHERE and position == 0
        if wants_truth and not is_truth:
            raise CellError(f"{place()}: where needs a comparison first, got {before[arg].op}")
        if is_truth and not wants_truth:
            raise CellError(f"{place()}: a comparison can only be the condition of where")


def _part_width(place: Place, node: Node, whole: Width | None) -> Width | None:
    index, parts = node.attr("index"), node.attr("of")
    if not (isinstance(index, int) and isinstance(parts, int) and 0 <= index < parts):
        raise CellError(
            f"{place()}: a part needs 0 <= index < of, got {index!r:.40} of {parts!r:.40}"
        )
    width = whole.divided(parts) if whole else None
    if width is None:
        raise CellError(f"{place()}: cannot split width {whole} into {parts} equal parts")
    return width


def _check_states(graph: Graph) -> None:
    if not graph.outputs:
        raise CellError(f"{graph.cell}: no output")
    for state in graph.states:
        leaf, after = graph.nodes[state.leaf], graph.nodes[state.next]
        place = _named(graph, f"{state.name}.next")
        if leaf.op is not Op.STATE:
            raise CellError(f"{graph.cell}.{state.name}: not a State")
        if after.op in COMPARISONS:
            raise CellError(f"{place}: a state cannot hold a truth value")
        if after.width is not None and after.width != leaf.width:
            raise CellError(
                f"{place}: the state has width {leaf.width}, its next value {after.width}"
            )
    for index in graph.outputs:
        node = graph.nodes[index]
        if not node.name or node.width is None or node.op in COMPARISONS:
            raise CellError(f"{graph.cell}: an output must be a named vector")
    if len(set(graph.outputs)) != len(graph.outputs):
        raise CellError(f"{graph.cell}: outputs {', '.join(graph.output_names)}: one of them twice")


def _check_masks(graph: Graph) -> None:
    """Masks come after the inputs that a user gives, of which there is one at least."""
    drawn = [graph.nodes[k].attr("rate") is not None for k in graph.inputs]
    if drawn[0]:
        raise CellError(f"{graph.cell}: a cell needs at least one Input that is not a Mask")
    if drawn != sorted(drawn):
        raise CellError(f"{graph.cell}: its masks come after its other inputs")
    for node in graph.nodes:
        for key in ("rate", "drop"):
            if not is_rate(node.attr(key, 0.0)):
                raise CellError(
                    f"{graph.cell}: {key} is a probability, 0 or more and less than 1, got "
                    f"{node.attr(key)!r:.40}"
                )
        if node.attr("per", PER[0]) not in PER:
            raise CellError(
                f"{graph.cell}: per is {' or '.join(PER)}, got {node.attr('per')!r:.40}"
            )


def read(graph: Graph, outputs: bool = True) -> set[int]:
    """Return the values that new states need, and `outputs` as well."""
    alive: set[int] = set()
    front = [*(s.next for s in graph.states), *(graph.outputs if outputs else ())]
    while front:
        at = front.pop()
        if at not in alive:
            alive.add(at)
            front += graph.nodes[at].args
    return alive


def _check_used(graph: Graph) -> None:
    """Refuse equations, inputs and weights that nothing reads: they are slips of the pen."""
    alive = read(graph)
    dead = [k for k, n in enumerate(graph.nodes) if k not in alive and n.op is not Op.STATE]
    if dead:  # a named one, where there is one: its line is known
        index = min(dead, key=lambda k: graph.nodes[k].name is None)
        raise CellError(f"{_place(graph, index)}: never used; nothing reads it")
