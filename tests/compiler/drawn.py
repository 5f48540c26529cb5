"""Random cells: class bodies that use every word of the language, drawn by Hypothesis."""

import re
from dataclasses import dataclass

from hypothesis import strategies as st

import cellwright.language as language
from cellwright.language import Cell

SIZES = {"input": 3, "hidden": 5, "proj": 2}
HIDDEN, DOUBLE, TRIPLE = "hidden", "2*hidden", "3*hidden"
WIDTHS = (HIDDEN, "input", "proj", "4", DOUBLE, TRIPLE, "input+hidden")
# Names that the passes and the emitted source like to use for themselves.
NAMES = (
    *("i", "f", "g", "o", "r", "z", "n", "m", "k", "d", "a", "b", "s", "t1", "d_2", "a_if", "u"),
    *("h_next", "h_start", "h_steps", "h_before", "h_next_steps", "x_t", "wx", "wx_t", "zeros"),
    *("ct_h", "ct_h_next", "ct_i", "ct_h_start", "ct_h_held", "reset_t", "valid_t", "batch"),
    *("weight_ih", "weight_hh_T", "weight_hh_masked", "bias_ih", "norm_gain", "torch", "F", "zip"),
    *(
        "module_of",
        "upper_blocks",
        "diagonal_blocks",
        "normalize_vjp",
        "range",
        "len",
        "reversed",
        "strict",
        "match",
    ),
)
STATES = ("h", "c", "k_1", "reset", "steps", "torch", "states", "ct_c")
INPUTS = ("x", "u_1", "valid", "ct_x")


@dataclass(frozen=True)
class Source:
    """A class statement, and the cell that it declares."""

    text: str

    @property
    def cell(self) -> type[Cell]:
        namespace: dict[str, type[Cell]] = dict(vars(language))
        exec(compile(self.text, "<drawn>", "exec"), namespace)
        return namespace["Drawn"]

    def __repr__(self) -> str:
        return f"\n{self.text}"


def words(text: str) -> set[str]:
    """The names that an expression reads; keywords and widths are none."""
    return set(re.findall(r"[A-Za-z_]\w*", re.sub(r"\w+=|'[^']*'", "", text)))


class _Body:
    """Writes a class body; `pool` holds what an expression may read, as (text, width)."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.pool: list[tuple[str, str]] = []
        self.named: list[str] = []
        self.moving: set[str] = set()  # names that an input or a state feeds
        self.matrices = 0

    def choose(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def flip(self) -> bool:
        return self.draw(st.booleans())

    def number(self) -> str:
        return self.choose("0", "1", "2", "0.5", "-1", "0.1", "-0.333333333333", "3")

    def fresh(self) -> str:
        return self.choose(*(n for n in NAMES if n not in self.named))

    def bind(self, name: str, width: str) -> None:
        self.pool.append((name, width))
        self.named.append(name)

    # -- expressions ----------------------------------------------------------------------

    def vector(self, depth: int) -> tuple[str, str]:
        """An expression of any width that changes from step to step, and its width."""
        name, width = self.draw(st.sampled_from([p for p in self.pool if p[0] in self.moving]))
        if depth and self.flip():
            return f"{self.choose('tanh', 'sigmoid', '-')}({name})", width
        if depth and width == HIDDEN and self.flip():
            return f"({name} * {self.expr(HIDDEN, depth - 1)})", width
        return name, width

    def leaf(self, width: str) -> str:
        known = [name for name, w in self.pool if w == width]
        if not known or self.draw(st.integers(0, 9)) == 0:
            return self.weighted(width, 0)
        name = self.choose(*known)
        return name

    def weighted(self, width: str, depth: int) -> str:
        """Words with weights, and constants: a vector of any width from any other."""
        kind = self.draw(st.integers(0, 7))
        if kind <= 2:
            vectors = {self.vector(depth)[0]: None for _ in range(self.draw(st.integers(1, 2)))}
            return f"affine({', '.join(vectors)}, width='{width}')"
        if kind <= 4:
            self.matrices += 1
            blocks = self.choose("upper_blocks", "blocks")
            extra = f", {blocks}={self.draw(st.integers(1, 6))}, name='m{self.matrices}'"
            return f"linear({self.vector(depth)[0]}, '{width}'{extra * (self.flip())})"
        if kind == 5:
            return f"bias('{width}')"
        if kind == 6:
            return f"modules({self.number()}, {self.number()}, 0.7, width='{width}')"
        return self.joined(width, depth) or f"linear({self.vector(depth)[0]}, width='{width}')"

    def joined(self, width: str, depth: int) -> str | None:
        parts = {
            DOUBLE: (HIDDEN, HIDDEN),
            TRIPLE: (HIDDEN, DOUBLE),
            "input+hidden": ("input", HIDDEN),
        }.get(width)
        return parts and f"concat({', '.join(self.expr(p, max(0, depth - 1)) for p in parts)})"

    def expr(self, width: str, depth: int) -> str:
        if depth == 0:
            return self.leaf(width)
        kind = self.draw(st.integers(0, 11))
        a = self.expr(width, depth - 1)
        if kind <= 1:
            return self.weighted(width, depth - 1)
        if kind == 2:
            return f"{self.choose('sigmoid', 'tanh', 'relu', 'abs', '-')}({a})"
        if kind == 3:
            word = self.choose("diagonal", "layer_norm", "tanh", "sigmoid")
            return f"{word}({a})"
        if kind == 4:
            return self.choose(
                f"exp(minimum({a}, 1))", f"log(maximum({a}, 0.2))", f"exp(-abs({a}))"
            )
        b = self.number() if self.draw(st.integers(0, 3)) == 0 else self.expr(width, depth - 1)
        if kind <= 7:
            template = self.choose("({a} + {b})", "({a} - {b})", "({b} - {a})", "{a} * ({b})")
            return template.format(a=a, b=b)
        if kind == 8:
            return f"({b}) / (abs({a}) + 0.5)"
        if kind == 9:
            return f"{self.choose('maximum', 'minimum')}({a}, {b})"
        test = f"{a} {self.choose('<', '<=', '>', '>=')} {self.number()}"
        return f"where({test}, {self.expr(width, depth - 1)}, {b})"

    # -- statements -----------------------------------------------------------------------

    def equation(self) -> None:
        if self.flip() and self.draw(st.integers(0, 2)) == 0:
            self.cut()
            return
        width = self.choose(HIDDEN, HIDDEN, HIDDEN, *WIDTHS)
        text = self.expr(width, self.draw(st.integers(1, 3)))
        if text in self.named:
            text = f"tanh({text})"
        name = self.fresh()
        self.lines.append(f"{name} = {text}")
        self.settle(text, [(name, width)])

    def cut(self) -> None:
        parts, whole = self.draw(st.sampled_from([(2, DOUBLE), (3, TRIPLE)]))
        text = self.expr(whole, 1)
        names: list[str] = []
        for _ in range(parts):
            names.append(self.fresh())
            self.named.append(names[-1])
        del self.named[-parts:]
        self.lines.append(f"{', '.join(names)} = split({text}, {parts})")
        self.settle(text, [(name, HIDDEN) for name in names])

    def settle(self, text: str, bound: list[tuple[str, str]]) -> None:
        if words(text) & self.moving:
            self.moving.update(name for name, _ in bound)
        for name, width in bound:
            self.bind(name, width)

    def next_of(self, state: str, width: str) -> None:
        kind = self.draw(st.integers(0, 5))
        if kind == 0:  # a value that has its own name, or its old value, or a plain number
            known = [n for n, w in self.pool if w == width]
            text = self.choose(*known)
        elif kind == 1:
            text = f"0.5 * {self.expr(width, 2)}"
        else:
            text = f"tanh({self.expr(width, self.draw(st.integers(1, 3)))})"
        self.lines.append(f"{state}.next = {text}")


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Draw a declaration that is valid: every equation is read, every state has a next value."""
    body = _Body(draw)
    states = draw(st.lists(st.sampled_from(STATES), min_size=1, max_size=3, unique=True))
    inputs = draw(st.lists(st.sampled_from(INPUTS), min_size=1, max_size=2, unique=True))
    kinds = {name: body.choose("input", HIDDEN, "4") for name in inputs}
    kinds |= {name: body.choose(HIDDEN, HIDDEN, HIDDEN, "proj", "input", DOUBLE) for name in states}
    for name, width in kinds.items():
        word = "Input" if name in inputs else "State"
        body.lines.append(f"{name} = {word}('{width}')")
        body.moving.add(name)
        body.bind(name, width)
    for _ in range(draw(st.integers(0, 5))):
        body.equation()
    for name in states[1:]:
        body.next_of(name, kinds[name])
    outputs: list[str] = []
    if draw(st.booleans()):
        named = [n for n, _ in body.pool]
        outputs = draw(st.lists(st.sampled_from(named), min_size=1, max_size=3, unique=True))
    width = kinds[states[0]]
    text = f"tanh({body.expr(width, 2)})"
    read = words(" ".join(line.split(" = ", 1)[1] for line in [*body.lines, f"h = {text}"]))
    for name, wide in body.pool:
        if name in {*read, *outputs, *states}:  # a state may go unread
            continue
        still = name not in body.moving
        if wide == width:
            text += f" + 0.5 * {name}"
        else:
            joined = f"concat({name}, {states[0]})" if still else name
            text += f" + tanh(linear({joined}, '{width}'))"
    body.lines.append(f"{states[0]}.next = {text}")
    if outputs:
        first = draw(st.booleans())
        chosen = [*outputs, f"{states[0]}.next"] if first else outputs
        body.lines.append(f"outputs = {', '.join(chosen)},")
    return Source("class Drawn(Cell):\n    " + "\n    ".join(body.lines) + "\n")
