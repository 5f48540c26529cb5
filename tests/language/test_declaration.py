"""Declarations check themselves: each slip names the cell, the equation, the line and the fact."""

import math
import re
import textwrap

import numpy as np
import pytest

import cellwright.language as language
from cellwright.language import (
    Cell,
    CellError,
    Input,
    State,
    affine,
    bias,
    diagonal,
    exp,
    hidden,
    layer_norm,
    linear,
    maximum,
    modules,
    proj,
    sigmoid,
    split,
    tanh,
    where,
)

OUTSIDE = {"math": math, "np": np, "elsewhere": Input()}


def declare(body: str) -> type[Cell]:
    """Run a class body as a person would write it, in a file of its own."""
    text = "class Mine(Cell):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    namespace = {**vars(language), **OUTSIDE}
    exec(compile(text, "/home/ann/mine.py", "exec"), namespace)
    made = namespace["Mine"]
    assert isinstance(made, type)
    assert issubclass(made, Cell)
    return made


HEAD = "x, h, c = Input(), State(), State()\n"
TAIL = "\nc.next = c * 0.5\nh.next = tanh(affine(x, h, c))"

# body -> what its message says. The class statement is line 1, the body begins on line 2.
SLIPS = {
    # states
    "a state without a next value": (
        "x, h = Input(), State()\ny = tanh(affine(x, h))",
        "Mine.h (mine.py:2): a state without a next value; write h.next = ...",
    ),
    "a state assigned like a variable": (
        "x, h = Input(), State()\nh = tanh(affine(x, h))",
        "Mine (mine.py:3): h: bound twice (first at mine.py:2); "
        "a state's new value is h.next = ...",
    ),
    "a next value given twice": (
        "x, h = Input(), State()\nh.next = x\nh.next = tanh(affine(x))",
        "Mine (mine.py:4): h.next: bound twice (first at mine.py:3)",
    ),
    "a next value read too early": (
        HEAD + "h.next = tanh(c.next)",
        "Mine (mine.py:3): c.next is read before its equation is written",
    ),
    "a next value of another width": (
        "x, h = Input(), State(2 * hidden)\nh.next = tanh(affine(x, h))",
        "Mine.h.next (mine.py:3): the state has width 2*hidden, its next value hidden",
    ),
    "a truth value as a state": (
        "x, h = Input(hidden), State()\nh.next = x < h",
        "Mine.h.next (mine.py:3): a state cannot hold a truth value",
    ),
    "no state": ("x = Input()\ny = tanh(x)", "Mine: a recurrent cell needs at least one State"),
    "no input": ("h = State()\nh.next = tanh(h)", "Mine: a cell needs at least one Input"),
    "an input of another cell": (
        "x, h = Input(), State()\ny = tanh(affine(x, elsewhere))\nh.next = y",
        "Mine.y (mine.py:3): reads Input() that has no name in this cell",
    ),
    "a state that was never named": (
        "x, h = Input(), State()\nh.next = tanh(affine(x, State()))",
        "Mine.h.next (mine.py:3): reads State() that has no name in this cell",
    ),
    # names
    "a name bound twice": (
        HEAD + "i = sigmoid(affine(x, h))\ni = tanh(affine(x, h))",
        "Mine (mine.py:4): i: bound twice (first at mine.py:3)",
    ),
    "a second name": (
        HEAD + "old = h" + TAIL,
        "Mine (mine.py:3): old: is the same value as h; one value has one name",
    ),
    "a private name": (HEAD + "_i = sigmoid(h)\nh.next = _i\nc.next = _i", "'_i' cannot name"),
    "a Greek name": (HEAD + "σ = sigmoid(h)\nh.next = σ\nc.next = σ", "'σ' cannot name"),
    "a long name": (
        HEAD + f"{'a' * 33} = sigmoid(h)\nh.next = {'a' * 33}\nc.next = c",
        "at most 32 characters",
    ),
    # use
    "an unused equation": (
        HEAD + "i = sigmoid(affine(x, h))" + TAIL,
        "Mine.i (mine.py:3): never used; nothing reads it",
    ),
    "an unused input": (
        "x, u, h = Input(), Input(4), State()\nh.next = tanh(affine(x, h))",
        "Mine.u (mine.py:2): never used; nothing reads it",
    ),
    "an equation only an unused one reads": (
        HEAD + "i = sigmoid(h)\nf = sigmoid(i)" + TAIL,
        "never used; nothing reads it",
    ),
    # widths
    "widths that do not match": (
        "x, h = Input(), State()\nh.next = tanh(x + h)",
        "Mine.h.next (mine.py:3): add joins widths input and hidden; unit by unit, widths must be "
        "equal; linear(v) and fit(v) change a vector's width",
    ),
    "a split that does not divide": (
        "x, h = Input(), State()\na, b = split(h, 2)\nh.next = concat(a, b)",
        "Mine.a (mine.py:3): cannot split width hidden into 2 equal parts",
    ),
    "a width of no kind": (
        "x = Input(3.5)",
        "Mine (mine.py:2): a width is a whole number or a symb",
    ),
    "a width of zero": ("x = Input(0)", "a width lies between 1 and"),
    "a truth value for a width": ("x = Input(True)", "a width is a whole number or a symbol"),
    "a width that does not read": ("x = Input('4 hidden')", "a width reads like 4*hidden"),
    "a vast width": ("x = Input(1 << 30)", "a width lies between 1 and 16777216, got 1073741824"),
    "a vector for a width": (HEAD + "i = linear(x, h)", "linear takes one vector; affine(v, w)"),
    "a vector for a bias's width": (HEAD + "i = bias(h)", "a width is a whole number or a symbol"),
    # values
    "a question of truth": (
        HEAD + "i = h if h > 0 else c",
        "Mine (mine.py:3): an equation has no truth value while it is written; choose with where",
    ),
    "and": (HEAD + "i = h and c", "an equation has no truth value"),
    "max": (HEAD + "i = max(h, c)", "maximum(a, b)"),
    "a chain of comparisons": (HEAD + "i = where(0 < h < 1, h, c)", "no truth value"),
    "equality": (HEAD + "i = where(h == 0, h, c)", "== and != are not in the language"),
    "inequality": (HEAD + "i = where(h != 0, h, c)", "== and != are not in the language"),
    "unpacking": (HEAD + "i, f = affine(x, h)", "a value cannot be unpacked; split(value, n)"),
    "an index": (HEAD + "i = h[0]", "a value cannot be indexed; split(value, n)"),
    "a power": (HEAD + "i = h ** 2", "** is not in the language"),
    "a power of a number": (HEAD + "i = 2 ** h", "** is not in the language"),
    "a matrix product": (HEAD + "i = x @ h", "@ is not in the language; linear(v)"),
    "infinity": (HEAD + "i = h * math.inf", "a constant must be finite, got inf"),
    "NaN": (HEAD + "i = h + math.nan", "a constant must be finite, got nan"),
    "a text": (HEAD + "i = h + 'x'", "an equation is made of values and numbers, got 'x'"),
    "a truth value": (HEAD + "i = h * True", "an equation is made of values and numbers, got True"),
    "an array": (HEAD + "i = h * np.ones(3)", "an equation is made of values and numbers, got arr"),
    "an array on the left": (HEAD + "i = np.ones(3) * h", "made of values and numbers, got array"),
    "a list": (HEAD + "i = sigmoid([x, h])", "sigmoid needs a vector of the cell, got [x, h]"),
    "a number for a vector": (HEAD + "i = tanh(0.5)", "tanh needs a vector of the cell, got 0.5"),
    "a class for a state": (
        "x, h = Input(), State\nh.next = tanh(affine(x, h))",
        "State'>; write State()",
    ),
    "numbers alone": (
        HEAD + "i = h * maximum(1, 2)" + TAIL,
        "Mine.i (mine.py:3): maximum of numbers alone; write the number it makes",
    ),
    # conditions
    "where without a comparison": (
        HEAD + "i = where(h, x, c)\nh.next = i\nc.next = i",
        "Mine.i (mine.py:3): where needs a comparison first, got state",
    ),
    "where of a plain truth value": (
        HEAD + "i = where(1 < 2, h, c)",
        "where needs a comparison of",
    ),
    "a comparison as a number": (
        HEAD + "i = (h < c) * c\nh.next = i\nc.next = i",
        "Mine.i (mine.py:3): a comparison can only be the condition of where",
    ),
    "a comparison through a matrix": (
        HEAD + "i = affine(h < c)" + TAIL,
        "Mine.i (mine.py:3): a comparison can only be the condition of where",
    ),
    "a comparison among parts": (
        HEAD + "i = concat(h < c, h)" + TAIL,
        "Mine.i (mine.py:3): a comparison can only be the condition of where",
    ),
    "a comparison of comparisons": (
        HEAD + "i = where((h < c) < h, h, c)\nh.next = i\nc.next = i",
        "a comparison can only be the condition of where",
    ),
    # words
    "affine of nothing": (HEAD + "i = affine()", "affine needs at least one vector"),
    "concat of one": (HEAD + "i = concat(h)", "concat needs at least two vectors"),
    "split into nothing": (HEAD + "i = split(h, 0)", "split needs a number of parts between 1"),
    "split into halves of a part": (HEAD + "i = split(h, 2.0)", "split needs a number of parts"),
    "split into truth": (HEAD + "i = split(h, True)", "split needs a number of parts"),
    "no modules": (HEAD + "i = modules()", "modules needs between 1 and 4096 values, got 0"),
    "modules that are no numbers": (HEAD + "i = modules('a')", "made of values and numbers"),
    "blocks that are none": (HEAD + "i = linear(h, upper_blocks=0)", "upper_blocks lies between 1"),
    "diagonal blocks that are none": (HEAD + "i = linear(h, blocks=True)", "blocks lies between 1"),
    "blocks of two kinds": (
        HEAD + "i = linear(h, blocks=2, upper_blocks=2)",
        "linear: blocks or upper_blocks, not both",
    ),
    "a start that is no number": (
        HEAD + "i = linear(h, start='ones')",
        "start is \"identity\" or a number, got 'ones'",
    ),
    "a bias that starts as a matrix": (HEAD + "i = bias(start='identity')", "start is a number"),
    "a start that is true": (HEAD + "i = bias(start=True)", "start is a number, got True"),
    "an identity that is not square": (
        HEAD + "i = linear(x, start='identity')" + TAIL,
        'Mine.i (mine.py:3): start="identity" needs a square matrix, got one from width input',
    ),
    "a start beyond every dtype": (
        HEAD + "i = linear(x) + bias(start=-1e300)\nh.next = i\nc.next = i",
        "Mine.i (mine.py:3): a weight starts between -10000 and 10000, got -1e+300",
    ),
    "a fit of a number": (HEAD + "i = fit(1.0)", "fit needs a vector of the cell, got 1.0"),
    "a name that is no text": (HEAD + "i = linear(h, name=3)", "linear: name is a text, got 3"),
    "a name with a space": (
        HEAD + "i = linear(h, name='a b')\nh.next = i\nc.next = i",
        "Mine.i (mine.py:3): a part of a parameter's name is letters",
    ),
    "linear of a constant vector": (
        HEAD + "i = h + linear(bias())" + TAIL,
        "Mine.i (mine.py:3): linear of what depends on no input or state; use bias()",
    ),
    "a layer norm of a number": (HEAD + "i = layer_norm(1.0)", "layer_norm needs a vector"),
    # outputs
    "an output from elsewhere": (
        HEAD + "outputs = elsewhere" + TAIL,
        "Mine: outputs = ... takes values of this cell",
    ),
    "an output without a name": (
        HEAD + "outputs = tanh(h)" + TAIL,
        "Mine: outputs = ... takes values of this cell",
    ),
    "outputs that are texts": (HEAD + "outputs = 'h'" + TAIL, "outputs = ... takes values"),
    "no outputs": (HEAD + "outputs = ()" + TAIL, "outputs = ... takes values of this cell"),
    "an output that is a truth value": (
        HEAD + "b = h < c\nh.next = where(b, linear(x), c)\nc.next = h\noutputs = b",
        "Mine: an output must be a named vector",
    ),
    "an output twice": (HEAD + "outputs = h, h" + TAIL, "Mine: outputs h, h: one of them twice"),
    "a first state that is a number": (
        "x, h, c = Input(), State(), State()\nh.next = 0\nc.next = tanh(affine(x, c, h))",
        "Mine: an output must be a named vector",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slip(slip):
    body, words = SLIPS[slip]
    with pytest.raises(CellError) as error:
        declare(body)
    message = str(error.value)
    assert words in message
    assert message.startswith("Mine")
    assert "\n" not in message
    assert "0x" not in message, "an address says nothing to a person"
    assert len(message) < 300


def test_every_error_is_one_that_a_person_may_see():
    assert issubclass(CellError, language.CellwrightError)


def test_set_from_outside():
    state = State()
    with pytest.raises(CellError, match="cannot be set from outside"):
        state.next = 1.0


def test_one_state_in_two_cells():
    shared = State()

    class First(Cell):
        x, h = Input(), shared
        h.next = tanh(affine(x, h))

    with pytest.raises(CellError, match=r"h\.next: the state belongs to another cell"):

        class Second(Cell):
            x, h = Input(), shared
            h.next = tanh(affine(x, h))

    assert First.graph.state_names == ("h",)


def test_cells_are_not_subclassed_called_or_assembled():
    class Plain(Cell):
        x, h = Input(), State()
        h.next = tanh(affine(x, h))

    with pytest.raises(CellError, match="More: a cell states all its equations; derive from Cell"):

        class More(Plain):
            pass

    with pytest.raises(CellError, match=r"Recurrent\(Plain, input_size, hidden_size\)"):
        Plain()
    with pytest.raises(CellError, match="declare a cell with a class statement"):
        type(Plain)("Made", (Cell,), {})  # pyright: ignore[reportCallIssue]
    with pytest.raises(CellError, match="Kept: unknown class arguments width"):

        class Kept(Cell, width=3):
            pass


def test_what_is_allowed():
    class Everything(Cell):
        """Each of these was a question once."""

        x, u, h, c = Input(), Input(4), State(), State(proj)

        three = 3  # not an equation
        k = sigmoid(affine(x, u, h, c)) * np.float64(0.5) + np.float64(1) * three
        a, b = split(linear(h, 2 * hidden), 2)
        d = where(h >= 0, a, 1) + where(b < 0, -1, b)
        m = sum([k, d], diagonal(h))
        n = layer_norm(abs(m) / 2 - 1) + modules(1, 2) * bias()
        c.next = c  # a state may keep its value,
        h.next = n  # and take one that has a name
        outputs = m

    graph = Everything.graph
    assert graph.output_names == ("m",)
    assert graph.state_names == ("h", "c")
    assert graph.input_names == ("x", "u")
    assert [name for name, _ in graph.equations] == ["k", "a", "b", "d", "m", "n"]
    assert graph.symbols == ("hidden", "input", "proj")
    assert Everything.three == 3  # type: ignore[attr-defined]
    assert not hasattr(Everything, "k")
    assert repr(Everything) == "<cell Everything: states h, c; inputs x, u>"
    assert re.fullmatch(r"test_declaration\.py:\d+", graph.lines["d"])


def test_first_state_is_the_output_unless_said_otherwise():
    class Plain(Cell):
        x, h, c = Input(), State(), State()
        c.next = tanh(affine(x, h, c))
        h.next = exp(maximum(c.next, 0))

    assert Plain.graph.output_names == ("h.next",)


def test_too_deep_to_read():
    with pytest.raises(CellError, match=r"^Mine\.h\.next \(mine\.py:3\): over 200 operations deep"):
        declare("x, h = Input(), State()\nh.next = tanh(sum([h] * 300) + affine(x, h))")


def test_too_many_operations():
    lines = [f"k{n} = sum([{'h' if n == 0 else f'k{n - 1}'}] * 190)" for n in range(60)]
    with pytest.raises(CellError, match=r"Mine: \d+ operations, at most 10000"):
        declare("\n".join(["x, h = Input(hidden), State()", *lines, "h.next = k59 + x"]))


@pytest.mark.parametrize(
    "method",
    ["def forward(self, x): pass", "@property\ndef units(self): pass",
     "@classmethod\ndef build(cls): pass"],
)  # fmt: skip
def test_a_method_would_never_be_called(method):
    with pytest.raises(CellError, match="a cell has no methods; its equations stand in the body"):
        declare(f"x, h = Input(), State()\nh.next = tanh(affine(x, h))\n{method}")


def test_a_function_may_help_to_write_the_equations():
    class Helped(Cell):
        x, h = Input(), State()

        gate = lambda *values: sigmoid(affine(*values))  # noqa: E731

        z = gate(x, h)
        h.next = z * h + (1 - z) * tanh(affine(x))

    assert [name for name, _ in Helped.graph.equations] == ["z", "h.next"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("h.nxt = tanh(affine(x, h))", r"h\.nxt: there is nothing of that name; write h\.next = "),
        (
            "x.next = tanh(affine(x, h))",
            r"x\.next: there is nothing of that name; only a State",
        ),
    ],
)
def test_a_misspelt_next_is_told_with_its_line(line, said):
    with pytest.raises(CellError, match=rf"mine\.py:3.*{said}"):
        declare(f"x, h = Input(), State()\n{line}")
