"""`cells` and `show`: the catalogue and one cell of it."""

import json

import pytest
import torch

from cellwright.cells import CATALOGUE
from cellwright.cells.papers import PAPERS
from cellwright.cli.cells import described, entries, entry, equation_lines
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
from cellwright.targets.equations import equations
from cellwright.targets.latex import latex
from cellwright.targets.mathml import mathml
from tests.cli.test_train import one_line

OWN = """
from cellwright.language import Cell, Input, State, linear, tanh

class Narrow(Cell):
    x, h = Input(), State("stream")
    h.next = tanh(linear(x, "stream") + linear(h, "stream"))
"""


@pytest.mark.parametrize("width", [40, 80, 130])
def test_cells_lists_the_catalogue_a_line_each(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("cells")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[: len(CATALOGUE)]] == list(CATALOGUE)
    assert not lines[len(CATALOGUE)]
    assert any(line.endswith("…") for line in lines) == (width == 40)
    assert ("4H² + 4HI + 4H" in shown.out) == (width == 130)


def test_cells_as_json_counts_what_torch_counts(run):
    found = {entry["name"]: entry for entry in json.loads(run("cells", "--json").out)}
    assert list(found) == list(CATALOGUE)
    theirs = sum(p.numel() for p in torch.nn.LSTM(128, 128).parameters())
    lstm = found["lstm"]
    assert lstm["parameters"] == theirs - 4 * 128  # torch has each bias twice
    assert lstm["products"] == 2 * 128 * 128 * 8
    assert (lstm["states"], lstm["widths"]) == (["h", "c"], {"x": "I", "h": "H", "c": "H"})
    assert lstm["equations"][4] == ["c[t]", "f ⊙ c[t-1] + i ⊙ g"]
    assert all(entry["source"] and entry["summary"] for entry in found.values())
    assert found["grid"]["outputs"] == ["y", "m"]
    assert found["lstm-projected"]["widths"]["h"] == "P"


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_card_fits_the_window_and_holds_everything(run, monkeypatch, name, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = run("cells", name)
    assert (shown.code, shown.err) == (0, "")
    assert max(len(line) for line in shown.out.splitlines()) <= width
    flat = " ".join(shown.out.split())
    found = entry(name, CATALOGUE[name])
    texts = [found.summary, found.purpose, found.weights, found.flops, *found.papers]
    texts += [*found.notes, *found.legend, found.shapes(found.states)]
    texts += [f"{left} = {right}" for left, right in found.equations]
    assert [text for text in texts if " ".join(text.split()) not in flat] == []


def test_every_cell_says_what_it_is_good_for_and_whose_it_is():
    cited = set()
    for found in entries():
        assert found.purpose and not found.purpose.endswith("."), found.name
        assert len(found.papers) == len(found.source.split(";")), found.name
        cited |= {paper for paper in PAPERS if paper in found.source}
    assert cited == set(PAPERS)


def test_a_card_of_a_cell_of_ones_own(run, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    shown = run("cells", "mine.py:Narrow").out
    assert "weights   I·stream + stream² (2,304 at I=H=128)" in shown
    assert shown.startswith("mine.py:Narrow\n\n")
    assert "states    h[stream]" in shown
    found = json.loads(run("cells", "mine.py:Narrow", "--json").out)
    assert (found["purpose"], found["papers"], found["source"]) == ("", [], "")
    assert found["weights"] == "I·stream + stream²"


def test_a_cell_that_is_not_there_is_one_line(run):
    assert "lstm" in one_line(run("cells", "lstmm"), "cells")


def test_long_equations_are_folded_before_a_sign():
    long = (("held", "a + b - c ⊙ d if e < f else g"), ("y", "x"))
    assert equation_lines(long, 24) == [
        "  held = a + b - c ⊙ d",
        "         if e < f else g",
        "     y = x",
    ]


def test_a_docstring_is_a_summary_and_a_source():
    assert described("A thing (Someone 1999).\n\nMore.") == ("A thing", "Someone 1999")
    assert described("A thing (with care) of 7.") == ("A thing (with care) of 7", "")


@pytest.mark.parametrize("name", CATALOGUE)
def test_show_equations(run, name):
    shown = run("show", name)
    assert shown.code == 0
    left = [line.split(" = ")[0].strip() for line in shown.out.splitlines() if " = " in line]
    for state in CATALOGUE[name].graph.state_names:
        assert f"{state}[t]" in left


def test_equations_of_the_lstm():
    assert equations(CATALOGUE["lstm"]).splitlines()[4:10] == [
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


@pytest.mark.parametrize("name", CATALOGUE)
def test_show_for_a_paper_and_for_a_page(run, name):
    for form, write in (("latex", latex), ("mathml", mathml)):
        shown = run("show", name, "--as", form)
        assert (shown.code, shown.err) == (0, "")
        assert shown.out == f"{write(CATALOGUE[name])}\n"


def test_formulas_have_no_sizes(run):
    assert "--hidden" in one_line(run("show", "lstm", "--as", "latex", "--hidden", "3"), "show")


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
        (["lstm", "--as", "latin"], "equations, latex, mathml, svg, png, html, torch, json"),
        (["no.py:Cell"], "no.py"),
        ([], "CELL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_show_is_one_line(run, words, said):
    assert said in one_line(run("show", *words), "show")
