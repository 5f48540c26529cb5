"""The reference target: readable source that needs nothing but torch."""

import ast
import subprocess
import sys

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.compiler import lower, vjp
from cellwright.compiler.program import SEQUENCE_OPS
from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    bias,
    concat,
    modules,
    sigmoid,
    tanh,
)
from cellwright.language.ops import POINTWISE
from cellwright.targets import reference
from cellwright.targets.torch_text import OTHER, POINT
from tests.cases import CELLS, MASKS, Values, assert_close, draw, lowered, run, widths
from tests.compiler.adjoint import both_gradients

LSTM = '''import torch
import torch.nn.functional as F


def lstm(x, h, c, weight_ih, weight_hh, bias_ih):
    """Long short-term memory."""
'''


def test_tables_cover_every_operation():
    assert set(POINT) == POINTWISE
    assert set(POINT) | OTHER == SEQUENCE_OPS


def test_reads_like_the_paper():
    source = reference.emit(lowered("lstm"), doc="Long short-term memory.")
    assert source.startswith(LSTM)
    lines = [line.strip() for line in source.splitlines()]
    assert "g = torch.tanh(a_g)" in lines
    assert "c_next = f * c + i * g" in lines
    assert "h_next = o * torch.tanh(c_next)" in lines
    assert "h, c = h_next, c_next" in lines
    assert sum("F.linear(" in line for line in lines) == 1


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", CELLS)
def test_source_compiles_and_is_narrow(name, masks):
    reset, lengths = MASKS[masks]
    cell = CATALOGUE[name]
    source = reference.emit(lowered(name), reset=reset, lengths=lengths, doc=cell.__doc__ or "")
    tree = ast.parse(source)
    assert max(map(len, source.splitlines())) <= 100
    assert "cellwright" not in source
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported <= {"torch", "torch.nn.functional"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


def test_runs_where_cellwright_cannot_be_imported():
    program = lowered("clockwork", 3, 9)
    script = (
        "import sys\n"
        "sys.modules['cellwright'] = None\n"
        f"exec(compile({reference.emit(program)!r}, 'pasted', 'exec'))\n"
        f"shapes = {[p.shape for p in program.params]}\n"
        "x, h, age = torch.ones(4, 2, 3), torch.zeros(2, 9), torch.zeros(2, 9)\n"
        "(y,), (h, age) = clockwork(x, h, age, *(torch.ones(s) / 9 for s in shapes))\n"
        "print(tuple(y.shape), tuple(h.shape), int(age[0, -1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(4, 2, 9) (2, 9) 4"


@pytest.mark.parametrize("name", CELLS)
def test_reset_starts_afresh(name):
    """A row whose states are reset at step 2 gives what a new sequence from there gives."""
    program = lowered(name)
    values = draw(program, 5, 2, reset=True)
    mask = torch.zeros(5, 2, dtype=torch.bool)
    mask[2] = True
    given = Values(values.inputs, values.states, values.params, values.starts, (mask,))
    outputs, final = run(program, given, reset=True)
    tail = Values(tuple(x[2:] for x in values.inputs), values.starts, values.params)
    wanted, wanted_final = run(program, tail)
    head = Values(tuple(x[:2] for x in values.inputs), values.states, values.params)
    for output, before, after in zip(outputs, run(program, head)[0], wanted, strict=True):
        assert_close(output[:2], before, 1e-12, name)
        assert_close(output[2:], after, 1e-12, name)
    for found, want in zip(final, wanted_final, strict=True):
        assert_close(found, want, 1e-12, name)


@pytest.mark.parametrize("name", CELLS)
def test_a_row_that_ends_keeps_its_state_and_emits_zeros(name):
    program = lowered(name)
    values = draw(program, 5, 3, lengths=True)
    lengths = values.masks[0].sum(0).tolist()
    assert 0 in lengths
    poisoned = tuple(torch.where(values.masks[0][..., None], x, torch.nan) for x in values.inputs)
    given = Values(poisoned, values.states, values.params, masks=values.masks)
    outputs, final = run(program, given, lengths=True)
    for row, length in enumerate(lengths):
        assert all(bool((output[length:, row] == 0).all()) for output in outputs)
        states = tuple(s[row : row + 1] for s in values.states)
        if length == 0:
            assert all(bool((f[row] == s[0]).all()) for f, s in zip(final, states, strict=True))
            continue
        alone = Values(
            tuple(x[:length, row : row + 1] for x in values.inputs), states, values.params
        )
        wanted, ends = run(program, alone)
        for output, want in zip(outputs, wanted, strict=True):
            assert_close(output[:length, row], want[:, 0], 1e-12, name)
        for found, want in zip(final, ends, strict=True):
            assert_close(found[row], want[0], 1e-12, name)


DOCS = [
    'a """ quote',
    "a \\ backslash at the end\\",
    '"',
    "'''",
    "line\nline\n\n",
    "\x00\x07\r\u2028\ud800 control",
    "{braces} %s",
    '""" + __import__("os").system("true") + """',
    "\\N{BULLET} \\x41 \\u0041",
]


@pytest.mark.parametrize("doc", DOCS, ids=repr)
def test_a_docstring_is_only_text(doc):
    source = reference.emit(lowered("rnn"), doc=doc)
    tree = ast.parse(source)
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert ast.get_docstring(function) is not None
    plain = ast.parse(reference.emit(lowered("rnn")))
    function.body = function.body[1:]
    assert ast.dump(tree) == ast.dump(plain)


def clash(kind: str) -> type[Cell]:
    """Cells whose equations have the names that the emitted source would like to use."""
    if kind == "masks":

        class Masks(Cell):
            x, reset, valid = Input(), State(), State()
            reset_t = tanh(affine(x, reset))
            valid_t = sigmoid(affine(x, valid))
            reset.next = reset_t * valid_t
            valid.next = reset_t + reset

        return Masks
    if kind == "loops":

        class Loops(Cell):
            steps, batch, h = Input(), Input("hidden"), State()
            h_start = tanh(affine(steps, h))
            h_steps = tanh(batch + h_start)
            h_before = sigmoid(affine(steps, h))
            h_next = h_before * h
            h_held = h_next * h_steps
            h.next = h_held + h_start

        return Loops
    if kind == "cotangents":

        class Cotangents(Cell):
            x, h, ct_x = Input(), State(), State()
            ct_y = tanh(affine(x, h))
            y = ct_y * sigmoid(affine(x))
            ct_h = ct_y * y
            ct_h_held = sigmoid(ct_h + ct_x)
            ct_h_start = tanh(ct_h_held * h)
            h.next = ct_h_start + ct_h
            ct_x.next = h + ct_x * 0.5
            outputs = y, h, h.next

        return Cotangents

    class Modules(Cell):
        x, torch, F = Input(), State(), State()
        zip = affine(x, torch)
        module_of = modules(0.1, 2) * zip
        range = concat(module_of, bias())
        weight_hh_t, bias_ih = tanh(module_of), tanh(affine(range))
        torch.next = weight_hh_t + bias_ih
        F.next = F * 0.5 + torch

    return Modules


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("kind", ["masks", "loops", "cotangents", "modules"])
def test_names_do_not_clash(kind, masks):
    reset, lengths = MASKS[masks]
    program = lower(clash(kind).graph, widths())
    values = draw(program, 4, 3, reset=reset, lengths=lengths)
    for argument, found, want in both_gradients(program, values, reset=reset, lengths=lengths):
        assert_close(found, want, 1e-10, argument)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("LSTM", "lstm"),
        ("GRUCho", "gru_cho"),
        ("LayerNormLSTM", "layer_norm_lstm"),
        ("Import", "import_"),
        ("Torch", "torch_"),
        ("Range", "range_"),
        ("_Hidden", "hidden"),
        ("ModuleOf", "module_of_"),
    ],
)
def test_function_names(name, function):
    from dataclasses import replace

    assert reference.function_name(replace(lowered("rnn"), name=name)) == function


@pytest.mark.parametrize("values", [(0.1,), (1, 2, 4), (1e-17, 3.14159265358979, -2)], ids=repr)
def test_numbers_keep_every_digit(values):
    class Numbers(Cell):
        x, h = Input(), State()
        m = modules(*values, width=len(values))
        k = concat(m, m) * (1 / 3) + 1e-9 + 123456789.123
        h.next = tanh(affine(x, h))
        outputs = k, h.next

    program = lower(Numbers.graph, widths())
    (k, _), _ = run(program, draw(program, 2, 2))
    wanted = torch.tensor((*values, *values), dtype=torch.float64) * (1 / 3) + 1e-9 + 123456789.123
    assert k.shape == (2, 2, 2 * len(values))
    assert bool((k == wanted).all())


@pytest.mark.parametrize("name", CELLS)
def test_adjoint_source_compiles(name):
    for program in (vjp(lowered(name)).forward, vjp(lowered(name)).backward):
        ast.parse(reference.emit(program, reset=True, lengths=True))
