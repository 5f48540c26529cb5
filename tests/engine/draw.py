"""Random cells for machine code: what is hard for it, in declarations that are valid.

Beside the words of `tests.compiler.drawn`: vectors cut and joined at odd places and out of order,
comparisons of vectors with each other, norms of cuts and cuts of norms, chains of matrices that
take a step through several stages, next values read by later equations, one unit and many.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.compiler.drawn import Source

# One unit; less than a vector; a vector and a bit; widths that are whole vectors; several blocks.
SIZES = (
    {"hidden": 5, "input": 3, "proj": 2},
    {"hidden": 1, "input": 2, "proj": 1},
    {"hidden": 17, "input": 1, "proj": 9},
    {"hidden": 32, "input": 16, "proj": 8},
    {"hidden": 67, "input": 5, "proj": 33},
)
# A width, and the widths that it can be joined from.
JOINS = {
    "2*hidden": (("hidden", "hidden"),),
    "3*hidden": (("hidden", "2*hidden"), ("2*hidden", "hidden"), ("hidden", "hidden", "hidden")),
    "4*hidden": (("3*hidden", "hidden"), ("hidden", "2*hidden", "hidden")),
    "hidden+input": (("input", "hidden"), ("hidden", "input")),
    "hidden+proj": (("proj", "hidden"), ("hidden", "proj")),
    "7": (("3", "4"), ("1", "3", "3")),
}
# A width, into how many parts it can be cut, and how wide they are.
CUTS = (
    ("2*hidden", 2, "hidden"),
    ("3*hidden", 3, "hidden"),
    ("4*hidden", 4, "hidden"),
    ("4*hidden", 2, "2*hidden"),
)
WIDTHS = ("hidden", "hidden", "hidden", "input", "proj", "1", *JOINS)
UNARY = ("sigmoid", "tanh", "relu", "abs", "-", "tanh", "sigmoid")


@dataclass(frozen=True)
class Known:
    """Text that later expressions may read; `moving` where an input or a state feeds it."""

    text: str
    width: str
    moving: bool


class Writer:
    """Writes a class body, drawing every choice."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.known: list[Known] = []
        self.read: set[str] = set()
        self.count = 0

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def upto(self, n: int) -> int:
        return self.draw(st.integers(0, n))

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def add(self, text: str, width: str, moving: bool) -> None:
        self.known.append(Known(text, width, moving))

    def use(self, found: Known) -> tuple[str, bool]:
        self.read.add(found.text)
        return found.text, found.moving

    # -- expressions: each returns its text, and whether it moves ------------------------

    def vector(self, depth: int) -> str:
        """A vector of any width that moves, which a matrix may read."""
        found = self.pick(*(k for k in self.known if k.moving))
        text, _ = self.use(found)
        kind = self.upto(4) if depth else 0
        if kind <= 1:
            return text
        if kind == 2:
            return f"{self.pick(*UNARY)}({text})"
        other, _ = self.expr(found.width, depth - 1)
        if kind == 3:
            return f"({text} * {other})"
        return f"concat({other}, {text})"

    def weighted(self, width: str, depth: int) -> tuple[str, bool]:
        kind = self.upto(9)
        if kind <= 3:
            vectors = [self.vector(depth)]
            if self.upto(1):
                vectors.append(self.vector(depth))
            return f"affine({', '.join(dict.fromkeys(vectors))}, width='{width}')", True
        if kind <= 6:
            self.count += 1
            blocks = f", upper_blocks={1 + self.upto(4)}, name='m{self.count}'"
            return f"linear({self.vector(depth)}, '{width}'{blocks * (self.upto(3) == 0)})", True
        if kind == 7:
            return f"bias('{width}')", False
        if kind == 8:
            return f"modules(0.5, -1, {self.pick('0', '2', '0.7')}, width='{width}')", False
        return self.joined(width, depth)

    def joined(self, width: str, depth: int) -> tuple[str, bool]:
        if width not in JOINS:
            return f"linear({self.vector(depth)}, '{width}')", True
        parts = [self.expr(w, max(0, depth - 1)) for w in self.pick(*JOINS[width])]
        return f"concat({', '.join(t for t, _ in parts)})", any(m for _, m in parts)

    def leaf(self, width: str) -> tuple[str, bool]:
        fitting = [k for k in self.known if k.width == width]
        if not fitting or self.upto(11) == 0:
            return self.weighted(width, 0)
        return self.use(self.pick(*fitting))

    def expr(self, width: str, depth: int) -> tuple[str, bool]:
        if depth <= 0:
            return self.leaf(width)
        kind = self.upto(13)
        if kind <= 2:
            return self.weighted(width, depth - 1)
        if kind == 3:
            return self.joined(width, depth)
        a, moves = self.expr(width, depth - 1)
        if kind == 4:
            return f"{self.pick(*UNARY)}({a})", moves
        if kind == 5:
            return f"{self.pick('diagonal', 'layer_norm')}({a})", moves
        if kind == 6:
            forms = ("exp(minimum({}, 1))", "log(maximum({}, 0.3))", "exp(-abs({}))")
            return self.pick(*forms).format(a), moves
        b, also = self.expr(width, depth - 1) if self.upto(4) else (self.pick("2", "-0.5"), False)
        moves = moves or also
        if kind <= 9:
            form = self.pick("({} + {})", "({} - {})", "({} * {})", "(1 - {}) * {}")
            return form.format(a, b), moves
        if kind == 10:
            return f"({b}) / (abs({a}) + 0.7)", moves
        if kind == 11:
            return f"{self.pick('maximum', 'minimum')}({a}, {b})", moves
        c, third = self.expr(width, depth - 1)
        sign = self.pick("<", "<=", ">", ">=")
        # Text that is written twice is two sets of weights, and a name may be used once.
        other = self.pick("0", *(t for t in (a, b) if "name=" not in t))
        return f"where({a} {sign} {b}, {c}, {other})", moves or third

    # -- statements -----------------------------------------------------------------------

    def equation(self) -> None:
        if self.upto(3) == 0:
            width, parts, part = self.pick(*CUTS)
            text, moves = self.expr(width, 2)
            names = [self.fresh() for _ in range(parts)]
            whole = text if "(" in text else f"tanh({text})"
            self.lines.append(f"{', '.join(names)} = split({whole}, {parts})")
            for name in names:
                self.add(name, part, moves)
            return
        width = self.pick(*WIDTHS)
        text, moves = self.expr(width, 1 + self.upto(2))
        name = self.fresh()
        self.lines.append(f"{name} = {text if '(' in text else f'tanh({text})'}")
        self.add(name, width, moves)

    def next_of(self, state: str, width: str) -> None:
        form = self.pick("tanh({})", "tanh({})", "0.5 * tanh({}) + 0.5 * " + state, "{}")
        text, moves = self.leaf(width) if form == "{}" else self.expr(width, 2)
        if form == "{}" and "(" in text:  # so that nothing grows from step to step
            form = "tanh({})"
        self.lines.append(f"{state}.next = {form.format(text)}")
        if form != "{}":  # a value that has a name already is read by that
            self.add(f"{state}.next", width, moves or form.endswith(state))

    def last_of(self, state: str, width: str, outputs: list[str]) -> None:
        """Write the first state's next value, which reads whatever nothing else has read."""
        text = f"tanh({self.expr(width, 2)[0]})"
        for k in self.known:
            if k.text in self.read or k.text in outputs or k.text.split(".")[0] in STATES:
                continue
            if k.width == width:
                text += f" + 0.5 * tanh({k.text})"
            else:
                joined = k.text if k.moving else f"concat({state}, {k.text})"
                text += f" + tanh(linear({joined}, '{width}'))"
        self.lines.append(f"{state}.next = {text}")


STATES = ("h", "c", "s", "k")
INPUTS = ("x", "u")


@st.composite
def cells(draw: st.DrawFn) -> Source:
    """Draw a declaration: up to four states, two inputs, seven equations, four outputs."""
    w = Writer(draw)
    states = STATES[: 1 + w.upto(3)]
    inputs = INPUTS[: 1 + w.upto(1)]
    wide = {name: w.pick("hidden", "hidden", "proj", "2*hidden", "1") for name in states}
    wide |= {name: w.pick("input", "input", "hidden", "7") for name in inputs}
    for name, width in wide.items():
        w.lines.append(f"{name} = {'State' if name in states else 'Input'}('{width}')")
        w.add(name, width, True)
    later = [*states[1:]]
    for _ in range(w.upto(7)):
        if later and w.upto(2) == 0:
            state = later.pop()
            w.next_of(state, wide[state])
        else:
            w.equation()
    for state in later:
        w.next_of(state, wide[state])
    outputs: list[str] = []
    if w.upto(1):
        moving = [k.text for k in w.known if k.moving]
        outputs = draw(st.lists(st.sampled_from(moving), min_size=1, max_size=4, unique=True))
    w.last_of(states[0], wide[states[0]], outputs)
    if outputs:
        chosen = [*outputs, *[f"{states[0]}.next"] * w.upto(1)]
        w.lines.append(f"outputs = {', '.join(chosen)},")
    return Source("class Drawn(Cell):\n    " + "\n    ".join(w.lines) + "\n")
