"""Cells as LaTeX; what the formulas say is tested beside the other notations."""

import re
import shutil
import subprocess
import types

import pytest

from cellwright.cells import CATALOGUE
from cellwright.language import (
    Cell,
    Input,
    State,
    bias,
    cell_from_json,
    cell_to_json,
    concat,
    fit,
    linear,
    split,
    tanh,
    where,
)
from cellwright.targets.latex import aligned, latex

LSTM = r"""\begin{aligned}
  i_t &= \sigma(W_{ix} x_t + W_{ih} h_{t-1} + b_i) \\
  f_t &= \sigma(W_{fx} x_t + W_{fh} h_{t-1} + b_f) \\
  g_t &= \tanh(W_{gx} x_t + W_{gh} h_{t-1} + b_g) \\
  o_t &= \sigma(W_{ox} x_t + W_{oh} h_{t-1} + b_o) \\
  c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
  h_t &= o_t \odot \tanh(c_t)
\end{aligned}"""


class Odd(Cell):
    """Something of everything (nobody 2000)."""

    x, h = Input("hidden"), State()
    half = split(concat(x, h), 2)[0]
    alpha = linear(h) + linear(h, blocks=2) + linear(h) + bias() + bias()
    b_new = where(x < alpha, x / (h + 1), half) * 2
    a__b = -abs(x / h) * 1.5e-7 + tanh(fit(x))
    h.next = b_new + a__b


def test_the_lstm_is_as_in_the_papers():
    assert aligned(CATALOGUE["lstm"].graph) == LSTM


def test_a_document_can_take_it_as_it_is():
    text = latex(CATALOGUE["peephole"])
    comments, _, rest = text.partition("\\[\n")
    assert all(line.startswith("% ") for line in comments.splitlines())
    assert comments.startswith("% Peephole. LSTM whose gates see the cell state (Gers &")
    said = comments.replace("\n% ", " ")
    assert "p: peephole, a vector" in said and "Needs amsmath." in said
    assert rest == f"{aligned(CATALOGUE['peephole'].graph)}\n\\]"


@pytest.mark.parametrize(
    ("cell", "row"),
    [
        ("peephole", r"o_t &= \sigma(W_{ox} x_t + W_{oh} h_{t-1} + b_o + p_{oc} \odot c_t)"),
        ("gru", r"n_t &= \tanh(W_{nx} x_t + b_n + r_t \odot (W_{nh} h_{t-1} + b'_n))"),
        ("gru-cho", r"n_t &= \tanh(W_{nx} x_t + W_{nrh} (r_t \odot h_{t-1}) + b_n)"),
        ("slstm", r"h_t &= o_t \odot \frac{c_t}{n_t}"),
        ("slstm", r"z_t &= \tanh(W_{zx} x_t + W^{\mathrm{diag}}_{zh} h_{t-1} + b_z)"),
        (
            "slstm",
            r"\mathrm{held}_t &= \begin{cases} \mathrm{lf}_t + m_{t-1} & \text{if } n_{t-1} > 0",
        ),
        ("clockwork", r"n_t &= \tanh(W_{nx} x_t + W^{\mathrm{tri}}_{nh} h_{t-1} + b_n)"),
        ("clockwork", r"\mathrm{period} &= (1, 2, 4, 8, 16, 32, 64, 128) \text{, one for each"),
        ("layernorm-lstm", r"[\mathrm{zf}_t; \mathrm{zi}_t; \mathrm{zo}_t; \mathrm{zg}_t] &= z_t"),
        ("layernorm-lstm", r"h_t &= o_t \odot \tanh(\operatorname{LN}(c_t))"),
        ("lstm-1997-paper", r"g_t &= 4 \, \sigma(W_{gx} x_t + W_{gh} h_{t-1} + b_g) - 2"),
        ("lstm-projected", r"h_t &= W_{\mathrm{hr}} m_t"),
        ("grid-priority", r"i_{d,t} &= \sigma(W_{i_d,x} x_t + W_{i_d,h} h_t + b_{i_d})"),
        ("mut1", r"\tanh(\operatorname{fit}(x_t))"),
    ],
)
def test_rows(cell, row):
    assert row in aligned(CATALOGUE[cell].graph)


def test_odd_names_and_numbers():
    text = aligned(Odd.graph)
    assert r"\alpha_t &= W_{\alpha,h} h_{t-1} + W'^{\mathrm{diag}}_{\alpha,h} h_{t-1}" in text
    assert r"+ W''_{\alpha,h} h_{t-1} + b_{\alpha} + b'_{\alpha}" in text
    assert r"b_{\mathrm{new},t} &= 2 \, \left(\begin{cases} \frac{x_t}{h_{t-1} + 1} &" in text
    assert r"\mathrm{a\_\_b}_t &= 1.5 \times 10^{-7} \, \left(-\left\lvert" in text
    assert r"\mathrm{half}_t &= \operatorname{part}_{1/2}([x_t; h_{t-1}])" in text


@pytest.mark.parametrize("cell", [*CATALOGUE.values(), Odd], ids=lambda cell: cell.__name__)
def test_braces_and_brackets_are_balanced(cell):
    text = re.sub(r"\\[{}]", "", aligned(cell.graph))
    for opening, closing in ("{}", "()", "[]", (r"\left", r"\right"), (r"\begin", r"\end")):
        assert text.count(opening) == text.count(closing)
    assert not re.search(r"'[^{}]*'\^|\}_\{[^}]*\}_|\}\^\{[^}]*\}\^", text)  # twice above or below


def test_a_notebook_shows_a_cell_as_its_equations():
    for cell in (CATALOGUE["lstm"], Odd, cell_from_json(cell_to_json(Odd))):
        view = getattr(cell, "_repr_latex_")  # noqa: B009 the language does not know it
        assert isinstance(view, types.MethodType)  # a notebook asks a class only for such
        assert view() == f"$$\n{aligned(cell.graph)}\n$$"
    assert getattr(Cell, "_repr_latex_")() is None  # noqa: B009


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_takes_all_of_it(tmp_path):
    cells = [*CATALOGUE.values(), Odd]
    head = r"\documentclass{article}\usepackage{amsmath}\begin{document}"
    body = "\n\n".join(latex(cell) for cell in cells)
    (tmp_path / "all.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
