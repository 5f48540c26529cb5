"""`Cell`: a class whose body is a recurrent cell's equations."""

from collections.abc import Iterable
from typing import ClassVar

from cellwright.language.errors import CellError
from cellwright.language.expr import Body, Expr, Input, Mask, State
from cellwright.language.graph import Graph, Node, StateSlot, checked
from cellwright.language.masks import expected, masks
from cellwright.language.ops import PARAMETRIC, Op


class _CellMeta(type):
    """Runs the class body in a namespace that notes the equations, then checks the cell."""

    graph: Graph

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **_: object) -> Body:
        return Body(name)

    def __new__(
        mcs, name: str, bases: tuple[type, ...], body: dict[str, object], **kwargs: object
    ) -> "_CellMeta":
        if not bases:
            return super().__new__(mcs, name, bases, dict(body))
        if bases != (Cell,):
            raise CellError(f"{name}: a cell states all its equations; derive from Cell alone")
        graph = kwargs.pop("graph", None)
        if kwargs:
            raise CellError(f"{name}: unknown class arguments {', '.join(kwargs)}")
        if not isinstance(graph, Graph):
            if not isinstance(body, Body):
                raise CellError(f"{name}: declare a cell with a class statement")
            graph = _graph(name, body)
        kept = {k: v for k, v in body.items() if not isinstance(v, Expr) and k != "outputs"}
        return super().__new__(mcs, name, bases, {**kept, "graph": graph})

    def __init__(cls, *args: object, **kwargs: object) -> None:
        super().__init__(*args)

    def __repr__(cls) -> str:
        graph = cls.__dict__.get("graph")
        if graph is None:
            return "<class Cell>"
        drawn = masks(graph)
        given = graph.input_names[: len(graph.input_names) - len(drawn)]
        said = f"states {', '.join(graph.state_names)}; inputs {', '.join(given)}"
        if drawn:
            said += f"; masks {', '.join(f'{mask.name} {mask.rate:g}' for mask in drawn)}"
        return f"<cell {cls.__name__}: {said}>"


class Cell(metaclass=_CellMeta):
    """Base of every recurrent cell: write its equations in the body of a class.

    The names of the body are the names of traces, formulas and parameters. The body is checked
    when the class is made; a CellError names the cell, the equation, what was expected and what
    came. `graph` holds the result. The class has no instances: `cellwright.nn.Recurrent` makes
    layers of it.

    >>> class Leaky(Cell):
    ...     x, h = Input(), State()
    ...     z = sigmoid(affine(x, h))
    ...     h.next = (1 - z) * h + z * tanh(linear(x))
    """

    graph: ClassVar[Graph]

    def __new__(cls) -> "Cell":
        raise CellError(
            f"{cls.__name__} is a declaration; build a layer with "
            f"cellwright.nn.Recurrent({cls.__name__}, input_size, hidden_size)"
        )


def cell_from_graph(graph: Graph) -> type[Cell]:
    """Make a Cell class of a graph (checked again on the way)."""
    graph = _checked(graph)
    return _CellMeta(graph.cell, (Cell,), {"__doc__": graph.doc}, graph=graph)  # type: ignore[return-value]


def _graph(name: str, body: Body) -> Graph:
    """Flatten a class body's expressions into a checked graph."""
    leaves = [(n, e) for n, e in body.equations if isinstance(e, Input | State)]
    leaves.sort(key=lambda leaf: isinstance(leaf[1], Mask))  # what nobody gives comes last
    states = [(n, e) for n, e in leaves if isinstance(e, State)]
    for state_name, state in states:
        if state._next is None:
            raise CellError(
                f"{name}.{state_name} ({body.lines[state_name]}): a state without a next value; "
                f"write {state_name}.next = ..."
            )
    order = _Order(name, body)
    for _, leaf in leaves:
        order.add(leaf, None)
    for equation, expr in body.equations:
        order.add(expr, equation)
    slots = tuple(StateSlot(n, order.index[id(s)], order.index[id(s.next)]) for n, s in states)
    graph = Graph(
        cell=name,
        doc=str(body.get("__doc__") or ""),
        nodes=tuple(order.nodes),
        inputs=tuple(order.index[id(e)] for _, e in leaves if isinstance(e, Input)),
        states=slots,
        outputs=_outputs(name, body, order, slots),
        lines=dict(body.lines),
    )
    return _checked(graph)


def _checked(graph: Graph) -> Graph:
    """Return the graph checked as it is, and with its masks at their means."""
    graph = checked(graph)
    try:
        mean = expected(graph)
        if mean is not graph:
            checked(mean)
    except CellError as error:
        raise CellError(f"{error} (with its masks at their means, as in evaluation)") from None
    return graph


def _outputs(
    name: str, body: Body, order: "_Order", slots: tuple[StateSlot, ...]
) -> tuple[int, ...]:
    declared = body.get("outputs")
    if declared is None:
        return tuple(slot.next for slot in slots[:1])
    exprs = declared if isinstance(declared, Iterable) and not isinstance(declared, Expr) else None
    chosen = list(exprs) if exprs is not None else [declared]
    if not all(isinstance(e, Expr) and id(e) in order.index for e in chosen) or not chosen:
        raise CellError(f"{name}: outputs = ... takes values of this cell, got {declared!r:.60}")
    return tuple(order.index[id(e)] for e in chosen)


class _Order:
    """Puts expressions into an order in which every argument comes before its use."""

    def __init__(self, cell: str, body: Body) -> None:
        self.cell = cell
        self.body = body
        self.nodes: list[Node] = []
        self.index: dict[int, int] = {}
        self._held: list[Expr] = []  # keeps every id in `index` alive and unique

    def add(self, root: Expr, equation: str | None) -> None:
        """Append what `root` needs and then `root`, without recursion: equations may be deep."""
        stack: list[tuple[Expr, bool]] = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if id(expr) in self.index:
                continue
            if ready:
                self._append(expr, equation)
            else:
                stack.append((expr, True))
                stack += [(arg, False) for arg in reversed(expr.args)]

    def _append(self, expr: Expr, equation: str | None) -> None:
        name = self.body.names.get(id(expr))
        if isinstance(expr, Input | State) and name is None:
            raise CellError(
                f"{self.cell}.{equation} ({self.body.lines.get(equation or '', '?')}): reads "
                f"{type(expr).__name__}() that has no name in this cell; declare it in this one"
            )
        owner = (name or equation) if expr.op in PARAMETRIC else None
        if expr.op is Op.STATE or expr.op is Op.INPUT:
            owner = None
        self.index[id(expr)] = len(self.nodes)
        self._held.append(expr)
        args = tuple(self.index[id(arg)] for arg in expr.args)
        self.nodes.append(Node(expr.op, args, expr.width, name, owner, expr.attrs))
