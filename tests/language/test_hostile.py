"""A cell file cannot bring code with it: whatever is changed in one, it is refused or harmless."""

import ast
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower, vjp
from cellwright.language import (
    Cell,
    CellError,
    CellFileError,
    Op,
    cell_from_json,
    cell_to_json,
)
from cellwright.language.ops import ARITY, POINTWISE
from cellwright.targets import equations, reference
from tests.cases import CELLS, compiled, draw

ATTACKS = (
    *(
        "__import__('os')",
        '"""',
        "'''",
        "\\",
        '\\"""',
        "a\nb",
        "a b",
        "lambda",
        "None",
        "__class__",
    ),
    *("x", "h", "c", "i", "h.next", "c.next", "x.next", "", "torch", "F", "reset", "i" * 40, "é"),
    *("hidden", "4*hidden", "input+hidden", "16777216", "2*a+3*b", "sigmoid", "add", "where"),
    *("less", "constant", "modules", "concat", "part", "state", "layer_norm", "\ud800", "\x00"),
)
VALUES = st.one_of(
    st.sampled_from(ATTACKS),
    st.integers(-2, 12),
    st.sampled_from([True, False, None, 0.5, -0.0, 1e308, 10**30, [], {}, [1], [0, 1], [[]], 4096]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)


def places(data: Any, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value, as the steps that lead to it."""
    items = (
        data.items()
        if isinstance(data, dict)
        else enumerate(data)
        if isinstance(data, list)
        else ()
    )
    found = [path] if path else []
    for key, value in items:
        found += places(value, (*path, key))
    return found


def gentle_change(draw: st.DrawFn, nodes: list[dict[str, Any]]) -> None:
    """A change that often leaves a cell a cell, if another one."""
    index = draw(st.integers(0, len(nodes) - 1))
    node = nodes[index]
    op, args = Op(node["op"]), node.get("args", [])
    alike = [str(o) for o in POINTWISE if ARITY[o] == ARITY[op]]
    if args and draw(st.booleans()):
        args[draw(st.integers(0, len(args) - 1))] = draw(st.integers(0, index - 1))
    elif op in POINTWISE:
        node["op"] = draw(st.sampled_from(alike))
    elif "width" in node:
        node["width"] = draw(st.sampled_from(["hidden", "input", "7", "4*hidden"]))


@st.composite
def changed_files(draw: st.DrawFn) -> str:
    """A catalogue cell's file with some changes inside, gentle ones first."""
    data = json.loads(cell_to_json(CATALOGUE[draw(st.sampled_from(CELLS))]))
    for _ in range(draw(st.integers(0, 4))):
        gentle_change(draw, data["nodes"])
    for _ in range(draw(st.integers(0, 2))):
        *path, last = draw(st.sampled_from(places(data)))
        inside = data
        for step in path:
            inside = inside[step]
        kind = draw(st.integers(0, 9))
        if kind == 0:
            del inside[last]
        elif kind == 1 and isinstance(inside, list):
            inside.insert(last, draw(st.sampled_from(inside)))
        elif kind == 2 and isinstance(inside, dict):
            inside[draw(st.sampled_from(["tag", "name", "owner", "width", "value"]))] = draw(VALUES)
        else:
            inside[last] = draw(VALUES)
    return json.dumps(data)


METHODS = {"append", "chunk", "expand", "expand_as", "flatten", "mean", "new_zeros", "split", "sum"}
METHODS |= {"repeat", "t", "to", "unbind"}
TORCH = {"abs", "addmm", "arange", "cat", "clamp", "exp", "full_like", "log", "maximum", "minimum"}
TORCH |= {"relu", "rsqrt", "sigmoid", "stack", "tanh", "tensor", "where", "zeros_like"}
FUNCTIONS = {"zip", "range", "reversed", "module_of", "normalize_vjp"}
FUNCTIONS |= {"upper_blocks", "diagonal_blocks"}
HARMLESS = (
    *(ast.Module, ast.Import, ast.alias, ast.FunctionDef, ast.arguments, ast.arg, ast.Return),
    *(ast.Assign, ast.Expr, ast.For, ast.Name, ast.Load, ast.Store, ast.Tuple, ast.List),
    *(ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Attribute, ast.keyword),
    *(ast.Subscript, ast.Slice, ast.operator, ast.unaryop, ast.cmpop, ast.GeneratorExp),
    ast.comprehension,
)


def assert_harmless(source: str) -> None:
    """Every node of the source is of a kind, and every call of a function, that is known."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        assert isinstance(node, HARMLESS), ast.dump(node)
        if isinstance(node, ast.Import):
            assert {a.name for a in node.names} <= {"torch", "torch.nn.functional"}
        if isinstance(node, ast.Name | ast.arg):
            assert "__" not in (node.id if isinstance(node, ast.Name) else node.arg)[:2]
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id in FUNCTIONS, ast.dump(node)
        elif isinstance(node, ast.Call):
            assert isinstance(node.func, ast.Attribute)
            owner = node.func.value
            of = owner.id if isinstance(owner, ast.Name) else ""
            allowed = {"torch": TORCH, "F": {"linear", "layer_norm"}}.get(of, METHODS)
            assert node.func.attr in allowed, ast.dump(node)


def try_out(cell: type[Cell]) -> None:
    """Compile a cell that was let through, look at all its source, and run it if it is small."""
    graph = cell.graph
    try:
        program = lower(graph, dict.fromkeys(graph.symbols, 3))
    except CellError:
        return  # two block-triangular matrices of one vector: said when sizes are known
    adjoint = vjp(program)
    for made in (program, adjoint.forward, adjoint.backward):
        assert_harmless(reference.emit(made, reset=True, lengths=True, doc=graph.doc))
    source = reference.emit(program, doc=graph.doc)
    assert_harmless(source)
    assert equations.equations(cell)
    sizes = [math.prod(p.shape) for p in program.params] + list(program.widths().values())
    if max(sizes) < 10_000:
        values = draw(program, 2, 2)
        outputs, final = compiled(source, reference.function_name(program))(*values.tensors)
        widths = program.widths()
        assert [y.shape for y in outputs] == [(2, 2, widths[v]) for _, v in program.outputs]
        assert [s.shape for s in final] == [(2, c.width) for c in program.states]


@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(changed_files())
def test_a_changed_file_is_refused_or_harmless(text):
    try:
        cell = cell_from_json(text)
    except CellFileError as error:
        assert str(error).startswith("cell file: ")
        assert len(str(error)) < 500
        return
    try_out(cell)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.data())
def test_a_damaged_text_is_refused_or_harmless(data):
    text = cell_to_json(CATALOGUE[data.draw(st.sampled_from(["gru", "clockwork"]))])
    at = data.draw(st.integers(0, len(text) - 1))
    text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    try:
        cell = cell_from_json(text)
    except CellFileError:
        return
    try_out(cell)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text())
def test_any_doc_is_only_text(doc):
    data = json.loads(cell_to_json(CATALOGUE["rnn"]))
    cell = cell_from_json(json.dumps(data | {"doc": doc}))
    assert cell.__doc__ == doc
    try_out(cell)


@pytest.mark.parametrize("name", CELLS)
def test_the_catalogue_is_harmless(name):
    """What the fuzzing holds on to: the allowed calls are those that honest cells make."""
    try_out(CATALOGUE[name])


def test_the_check_sees_an_injection():
    for source in (
        "import os",
        "import torch\nopen('x')",
        "torch.load('x')",
        "x.__class__",
        "eval('1')",
    ):
        with pytest.raises(AssertionError):
            assert_harmless(source)
