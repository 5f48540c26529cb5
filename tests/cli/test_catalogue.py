"""`cells` and `show`: the catalogue and one cell of it."""

import json

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.cli.cells import described
from cellwright.language import (
    Cell,
    Input,
    State,
    affine,
    cell_from_json,
    cell_to_json,
    linear,
    relu,
    tanh,
)
from cellwright.language.ops import Op
from cellwright.targets.equations import TEXT, equations
from tests.cli.test_train import one_line


def test_cells_lists_the_catalogue(run):
    shown = run("cells")
    assert shown.code == 0
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    names = [
        line.split()[0] for line in shown.out.splitlines() if line.startswith(" ") and line[1] > " "
    ]
    assert set(CATALOGUE) <= set(names)


def test_cells_as_json_counts_what_torch_counts(run):
    found = {entry["name"]: entry for entry in json.loads(run("cells", "--json").out)}
    assert list(found) == list(CATALOGUE)
    theirs = sum(p.numel() for p in torch.nn.LSTM(128, 128).parameters())
    assert found["lstm"]["parameters"] == theirs - 4 * 128  # torch has each bias twice
    assert found["lstm"]["states"] == ["h", "c"]
    assert all(entry["source"] and entry["summary"] for entry in found.values())


def test_a_docstring_is_a_summary_and_a_source():
    assert described("A thing (Someone 1999).\n\nMore.") == ("A thing", "Someone 1999")
    assert described("A thing (with care) of 7.") == ("A thing (with care) of 7", "")


def test_every_operation_can_be_written():
    assert set(TEXT) == set(Op)


@pytest.mark.parametrize("name", CATALOGUE)
def test_show_equations(run, name):
    shown = run("show", name)
    assert shown.code == 0
    left = [line.split(" = ")[0].strip() for line in shown.out.splitlines() if " = " in line]
    for state in CATALOGUE[name].graph.state_names:
        assert f"{state}[t]" in left


def test_equations_of_the_lstm():
    assert equations(CATALOGUE["lstm"]).splitlines()[3:9] == [
        "     i = σ(W_ix x + W_ih h[t-1] + b_i)",
        "     f = σ(W_fx x + W_fh h[t-1] + b_f)",
        "     g = tanh(W_gx x + W_gh h[t-1] + b_g)",
        "     o = σ(W_ox x + W_oh h[t-1] + b_o)",
        "  c[t] = f ⊙ c[t-1] + i ⊙ g",
        "  h[t] = o ⊙ tanh(c[t])",
    ]


def test_parentheses_are_where_they_must_be_and_nowhere_else():
    class Knots(Cell):
        x, h = Input(), State()
        a = linear(x)
        b = linear(h)
        d = a - (b - a) - b
        e = (a + b) * (a - b) / (a * b)
        k = -(a + b) * abs(a - b)
        m = tanh(affine(a * b)) + relu(affine(x))
        h.next = d + e + k + m

    lines = {
        line.split(" = ")[0].strip(): line.split(" = ")[1]
        for line in equations(Knots).splitlines()
        if " = " in line
    }
    assert lines["d"] == "a - (b - a) - b"
    assert lines["e"] == "(a + b) ⊙ (a - b) / (a ⊙ b)"
    assert lines["k"] == "-(a + b) ⊙ |a - b|"
    assert lines["m"] == "tanh(W_mab (a ⊙ b) + b_m) + relu(W_mx x + b_m')"


def test_show_as_torch_runs(run):
    source = run("show", "gru", "--as", "torch", "--input", "3", "--hidden", "5").out
    namespace: dict = {}
    exec(source, namespace)
    from cellwright.nn import Recurrent

    layer = Recurrent("gru", 3, 5)
    x, h = torch.randn(4, 2, 3), torch.zeros(2, 5)
    (y,), _ = namespace["gru"](x, h, *layer.all_weights[0])
    assert torch.allclose(y, layer(x)[0], atol=1e-6)


def test_show_as_json_is_the_cell(run):
    assert run("show", "peephole", "--as", "json").out == cell_to_json(CATALOGUE["peephole"])
    assert cell_from_json(run("show", "mut1", "--as", "json").out).__name__ == "MUT1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lstmm"], "lstm"),
        (["lstm", "--as", "latin"], "equations, torch, json"),
        (["no.py:Cell"], "no.py"),
        ([], "CELL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_show_is_one_line(run, words, said):
    assert said in one_line(run("show", *words), "show")
