"""Expressions: what the right-hand side of an equation is made of, and the words that make it."""

import math
import sys
from collections.abc import Sequence
from types import FrameType, FunctionType
from typing import NoReturn

from cellwright.language.errors import CellError
from cellwright.language.graph import IDENTITY, MOST_MODULES, PER, Attribute, is_rate
from cellwright.language.ops import Op
from cellwright.language.width import HIDDEN, INPUT, Width


class Body(dict[str, object]):
    """The namespace of a class body: it notes each equation's name and line as it is written."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.cell = cell
        self.names: dict[int, str] = {}  # id of an expression -> its name
        self.equations: list[tuple[str, Expr]] = []
        self.lines: dict[str, str] = {}

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, Expr) and key != "outputs":
            self.bind(key, value, sys._getframe(1))
        elif _is_method(value):
            fail(f"{key}: a cell has no methods; its equations stand in the body of its class")
        super().__setitem__(key, value)

    def bind(self, name: str, expr: "Expr", frame: FrameType | None) -> None:
        """Note that an equation gives `expr` the name `name`."""
        if name in self.lines:
            held = isinstance(self.get(name), State)
            hint = f"; a state's new value is {name}.next = ..." if held else ""
            fail(f"{name}: bound twice (first at {self.lines[name]}){hint}")
        if id(expr) in self.names:
            fail(f"{name}: is the same value as {self.names[id(expr)]}; one value has one name")
        self.lines[name] = _line(frame)
        self.names[id(expr)] = name
        self.equations.append((name, expr))


def _is_method(value: object) -> bool:
    """Whether nobody would ever call it: a cell has no instances. Plain functions may help."""
    if isinstance(value, property | classmethod):
        return True
    return isinstance(value, FunctionType) and value.__code__.co_varnames[:1] == ("self",)


def _line(frame: FrameType | None) -> str:
    if frame is None:
        return "?"
    return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"


def _body() -> tuple[Body | None, FrameType | None]:
    """Find the class body that is being run right now, if any."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if isinstance(frame.f_locals, Body):
            return frame.f_locals, frame
        frame = frame.f_back
    return None, None


def fail(message: str) -> NoReturn:
    """Raise a CellError that names the cell and the line being written."""
    body, frame = _body()
    raise CellError(f"{body.cell} ({_line(frame)}): {message}" if body else message)


class Expr:
    """A value of one step. Made by the words below and by arithmetic; never changed."""

    __slots__ = ("args", "attrs", "op", "width")
    __array_ufunc__ = None  # numpy leaves arithmetic with an Expr to the Expr
    __hash__ = object.__hash__

    def __init__(
        self,
        op: Op,
        args: Sequence["Expr"] = (),
        width: Width | None = None,
        **attrs: Attribute,
    ) -> None:
        self.op = op
        self.args = tuple(args)
        self.width = width
        self.attrs = tuple(sorted(attrs.items()))

    def __setattr__(self, name: str, value: object) -> None:
        if not hasattr(type(self), name):
            body, _ = _body()
            own = body.names.get(id(self), "") if body else ""
            what = "write {}.next = ..." if isinstance(self, State) else "only a State has a .next"
            fail(f"{own or 'a value'}.{name}: there is nothing of that name; {what.format(own)}")
        super().__setattr__(name, value)

    def __add__(self, other: object) -> "Expr":
        return Expr(Op.ADD, (self, as_expr(other)))

    def __radd__(self, other: object) -> "Expr":
        return Expr(Op.ADD, (as_expr(other), self))

    def __sub__(self, other: object) -> "Expr":
        return Expr(Op.SUB, (self, as_expr(other)))

    def __rsub__(self, other: object) -> "Expr":
        return Expr(Op.SUB, (as_expr(other), self))

    def __mul__(self, other: object) -> "Expr":
        return Expr(Op.MUL, (self, as_expr(other)))

    def __rmul__(self, other: object) -> "Expr":
        return Expr(Op.MUL, (as_expr(other), self))

    def __truediv__(self, other: object) -> "Expr":
        return Expr(Op.DIV, (self, as_expr(other)))

    def __rtruediv__(self, other: object) -> "Expr":
        return Expr(Op.DIV, (as_expr(other), self))

    def __neg__(self) -> "Expr":
        return Expr(Op.NEG, (self,))

    def __abs__(self) -> "Expr":
        return Expr(Op.ABS, (self,))

    def __lt__(self, other: object) -> "Expr":
        return Expr(Op.LESS, (self, as_expr(other)))

    def __gt__(self, other: object) -> "Expr":
        return Expr(Op.LESS, (as_expr(other), self))

    def __le__(self, other: object) -> "Expr":
        return Expr(Op.LESS_EQUAL, (self, as_expr(other)))

    def __ge__(self, other: object) -> "Expr":
        return Expr(Op.LESS_EQUAL, (as_expr(other), self))

    def __repr__(self) -> str:
        body, _ = _body()
        name = body.names.get(id(self)) if body else None
        return name or f"{self.op}(...)"

    def __bool__(self) -> bool:
        fail(
            "an equation has no truth value while it is written; choose with where(a < b, p, q), "
            "maximum(a, b) or minimum(a, b)"
        )

    def __eq__(self, other: object) -> bool:
        fail("== and != are not in the language; compare with <, <=, > or >=")

    def __iter__(self) -> NoReturn:
        fail("a value cannot be unpacked; split(value, n) gives n equal parts")

    def __getitem__(self, index: object) -> NoReturn:
        fail("a value cannot be indexed; split(value, n) gives n equal parts")

    def __pow__(self, other: object) -> "Expr":
        fail("** is not in the language; write the product out, or exp(n * log(v))")

    __rpow__ = __pow__

    def __matmul__(self, other: object) -> "Expr":
        fail("@ is not in the language; linear(v) and affine(v, w) have matrices of their own")

    __rmatmul__ = __matmul__

    @classmethod
    def __torch_function__(cls, func: object, *_: object) -> NoReturn:
        name = getattr(func, "__name__", "a function")
        fail(f"torch's {name} takes tensors; in an equation use the words of cellwright")


class Input(Expr):
    """A sequence input, [T, B, width]: one vector a step. Width: `input` unless given."""

    __slots__ = ()

    def __init__(self, width: Width | int | str = INPUT) -> None:
        super().__init__(Op.INPUT, (), _width(width))


class Mask(Input):
    """A random vector that a layer draws while it trains: dropout's mask, [T, B, width].

    rate: the probability of a zero, 0 or more and less than 1. `scaled`: the rest is
    1 / (1 - rate), and the mean 1; else the rest is 1 and the mean 1 - rate. per: `"step"`, or
    `"sequence"` for one draw that holds for all steps of a row. A layer that does not train
    computes with the mean. Nobody gives it: `layer(x)` is called as without it.

    >>> class Keeps(Cell):
    ...     x, h, keep = Input(), State(), Mask(0.1, scaled=False)
    ...     h.next = keep * tanh(affine(x, h)) + (1 - keep) * h
    """

    __slots__ = ()

    def __init__(
        self,
        rate: float,
        *,
        scaled: bool = True,
        per: str = "step",
        width: Width | int | str = HIDDEN,
    ) -> None:
        if not is_rate(rate):
            fail(f"Mask: a rate is 0 or more and less than 1, got {rate!r:.40}")
        if per not in PER:
            fail(f"Mask: per is {' or '.join(map(repr, PER))}, got {per!r:.40}")
        attrs: dict[str, Attribute] = {"rate": float(rate), "scaled": int(scaled), "per": per}
        Expr.__init__(self, Op.INPUT, (), _width(width), **attrs)


class State(Expr):
    """A value carried from step to step, [B, width], `hidden` wide unless given.

    Read it for the value before the step; assign `.next` the value after it. The first state
    declared is the cell's output unless `outputs = ...` says otherwise.
    """

    __slots__ = ("_next",)

    def __init__(self, width: Width | int | str = HIDDEN) -> None:
        super().__init__(Op.STATE, (), _width(width))
        self._next: Expr | None = None

    @property
    def next(self) -> Expr:
        """The value after the step; it can be read once its equation has been written."""
        if self._next is None:
            fail(f"{self._name()}.next is read before its equation is written")
        return self._next

    @next.setter
    def next(self, value: object) -> None:
        body, frame = _body()
        if body is None:
            fail("a state's next value is part of its cell and cannot be set from outside")
        name = f"{self._name()}.next"
        if id(self) not in body.names or (self._next is not None and name not in body.lines):
            fail(f"{name}: the state belongs to another cell; this one needs a State() of its own")
        if self._next is not None:
            fail(f"{name}: bound twice (first at {body.lines[name]})")
        expr = as_expr(value)
        self._next = expr
        if id(expr) in body.names:  # h.next = m: the value keeps its own name
            body.lines[name] = _line(frame)
        else:
            body.bind(name, expr, frame)

    def _name(self) -> str:
        body, _ = _body()
        return body.names.get(id(self), "a state without a name") if body else "state"


def as_expr(value: object) -> Expr:
    """Return an expression as it is and a number as a constant."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        fail(f"an equation is made of values and numbers, got {value!r:.60}")
    if not math.isfinite(value):
        fail(f"a constant must be finite, got {value}")
    return Expr(Op.CONSTANT, value=float(value))


def _width(value: Width | int | str) -> Width:
    try:
        return Width.of(value)
    except CellError as error:
        fail(str(error))


def linear(
    v: Expr,
    width: Width | int | str = HIDDEN,
    *,
    upper_blocks: int | None = None,
    blocks: int | None = None,
    start: float | str | None = None,
    name: str | None = None,
) -> Expr:
    """W v, with a weight W of its own, [width, width of v].

    `blocks=n` keeps W block-diagonal: rows and columns fall into n modules and module k reads
    module k alone; `upper_blocks=n` keeps it block-triangular: module k reads modules k and
    later. The other blocks are zero and stay so. `start="identity"` begins with W = I, a number
    with that number everywhere; else W is drawn. `name` overrides the first part of the stored
    parameter's name (`hr` gives `weight_hr_l0`).
    """
    attrs: dict[str, Attribute] = {}
    if isinstance(width, Expr):
        fail("linear takes one vector; affine(v, w) and linear(v) + linear(w) take several")
    if blocks is not None and upper_blocks is not None:
        fail("linear: blocks or upper_blocks, not both")
    for key, count in (("upper_blocks", upper_blocks), ("blocks", blocks)):
        if count is None:
            continue
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_MODULES:
            fail(f"{key} lies between 1 and {MOST_MODULES}, got {count!r:.40}")
        attrs[key] = count
    if start is not None:
        attrs["start"] = start if start == IDENTITY else _start(start, f'"{IDENTITY}" or a number')
    if name is not None and not isinstance(name, str):
        fail(f"linear: name is a text, got {name!r:.40}")
    if name is not None:
        attrs["tag"] = name
    return Expr(Op.LINEAR, (_vector("linear", v),), _width(width), **attrs)


def fit(v: Expr, width: Width | int | str = HIDDEN) -> Expr:
    """Return v itself where it is `width` wide in a layer, else W v with a weight of its own.

    For papers that add the input to a state and so take both to be of one width.
    """
    return Expr(Op.LINEAR, (_vector("fit", v),), _width(width), fit=1)


def bias(width: Width | int | str = HIDDEN, *, start: float | None = None) -> Expr:
    """b: a vector of its own, the same at every step; `start` is its first value, else drawn."""
    attrs = {} if start is None else {"start": _start(start, "a number")}
    return Expr(Op.BIAS, (), _width(width), **attrs)


def _start(value: object, wanted: str) -> float:
    """Return the number that a weight starts as."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        fail(f"start is {wanted}, got {value!r:.40}")
    return float(value)


def affine(*vectors: Expr, width: Width | int | str = HIDDEN) -> Expr:
    """W v + U w + ... + b: a weight for each vector, and one bias."""
    if not vectors:
        fail("affine needs at least one vector, as in affine(x, h)")
    total = linear(vectors[0], width)
    for v in vectors[1:]:
        total = total + linear(v, width)
    return total + Expr(Op.BIAS, (), _width(width), affine=1)


def diagonal(v: Expr) -> Expr:
    """Return p * v with a weight vector p of its own: a peephole (Gers & Schmidhuber 2000)."""
    return Expr(Op.DIAGONAL, (_vector("diagonal", v),))


def layer_norm(v: Expr) -> Expr:
    """Return gain * (v - mean v) / sqrt(var v + 1e-5) + shift (Ba, Kiros & Hinton 2016)."""
    return Expr(Op.LAYER_NORM, (_vector("layer_norm", v),))


def split(v: Expr, parts: int) -> tuple[Expr, ...]:
    """Cut a vector into equal parts, in order."""
    if isinstance(parts, bool) or not isinstance(parts, int) or not 1 <= parts <= MOST_MODULES:
        fail(f"split needs a number of parts between 1 and {MOST_MODULES}, got {parts!r:.40}")
    v = _vector("split", v)
    return tuple(Expr(Op.PART, (v,), index=k, of=parts) for k in range(parts))


def concat(*vectors: Expr) -> Expr:
    """Put vectors end to end: [v ; w]."""
    if len(vectors) < 2:
        fail("concat needs at least two vectors")
    return Expr(Op.CONCAT, tuple(_vector("concat", v) for v in vectors))


def modules(*values: float, width: Width | int | str = HIDDEN) -> Expr:
    """A constant vector that falls into modules of equal size, one value for each.

    Where the width does not divide, module k begins at floor(k * width / n).
    """
    if not 1 <= len(values) <= MOST_MODULES:
        fail(f"modules needs between 1 and {MOST_MODULES} values, got {len(values)}")
    numbers = tuple(as_expr(value).attrs[0][1] for value in values)
    return Expr(Op.MODULES, (), _width(width), values=numbers)  # type: ignore[arg-type]


def _vector(word: str, v: object) -> Expr:
    if not isinstance(v, Expr):
        made = f"; write {v.__name__}()" if isinstance(v, type) and issubclass(v, Expr) else ""
        fail(f"{word} needs a vector of the cell, got {v!r:.60}{made}")
    return v


def sigmoid(v: Expr) -> Expr:
    """1 / (1 + exp(-v))."""
    return Expr(Op.SIGMOID, (_vector("sigmoid", v),))


def tanh(v: Expr) -> Expr:
    """Hyperbolic tangent."""
    return Expr(Op.TANH, (_vector("tanh", v),))


def relu(v: Expr) -> Expr:
    """max(v, 0)."""
    return Expr(Op.RELU, (_vector("relu", v),))


def exp(v: Expr) -> Expr:
    """Return e to the power v."""
    return Expr(Op.EXP, (_vector("exp", v),))


def log(v: Expr) -> Expr:
    """Natural logarithm."""
    return Expr(Op.LOG, (_vector("log", v),))


def maximum(a: Expr | float, b: Expr | float) -> Expr:
    """The larger of two values, unit by unit."""
    return Expr(Op.MAXIMUM, (as_expr(a), as_expr(b)))


def minimum(a: Expr | float, b: Expr | float) -> Expr:
    """The smaller of two values, unit by unit."""
    return Expr(Op.MINIMUM, (as_expr(a), as_expr(b)))


def where(condition: Expr, a: Expr | float, b: Expr | float) -> Expr:
    """`a` where the comparison holds, `b` elsewhere, unit by unit."""
    if not isinstance(condition, Expr):
        fail(f"where needs a comparison of the cell's values first, got {condition!r:.60}")
    return Expr(Op.WHERE, (condition, as_expr(a), as_expr(b)))
