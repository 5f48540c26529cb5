"""Cells as MathML; what the formulas say is tested beside the other notations."""

import xml.etree.ElementTree as ET

import pytest

from cellwright.cells import CATALOGUE
from cellwright.targets.mathml import NAMESPACE, mathml
from cellwright.targets.spoken import spoken
from tests.targets.test_latex import Odd

CELLS = [*CATALOGUE.values(), Odd]
# What browsers draw by themselves; without <mfenced>, which they do not.
CORE = {"math", "mfrac", "mi", "mn", "mo", "mrow", "mspace", "msub", "msubsup", "msup", "mtable",
        "mtd", "mtext", "mtr"}  # fmt: skip
ATTRIBUTES = {"alttext", "display", "displaystyle", "form", "lspace", "rspace", "separator",
              "stretchy", "style", "width"}  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_it_is_mathml_core(cell):
    root = ET.fromstring(mathml(cell))
    tags = {element.tag.removeprefix(f"{{{NAMESPACE}}}") for element in root.iter()}
    assert tags <= CORE
    assert {name for element in root.iter() for name in element.attrib} <= ATTRIBUTES
    arity = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3}
    for element in root.iter():
        tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
        if tag in arity:
            assert len(element) == arity[tag]
        if tag in ("mi", "mn", "mo"):
            assert element.text and not len(element)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_its_alternative_text_is_its_reading(cell):
    assert ET.fromstring(mathml(cell)).get("alttext") == spoken(cell.graph)


def test_no_character_of_it_is_invisible():
    for cell in CELLS:
        assert not set("\u2061\u2062\u2063\u00a0\u200b") & set(mathml(cell))


def test_the_reading_of_the_lstm():
    assert spoken(CATALOGUE["lstm"].graph).split(". ")[1:] == [
        "f at t equals sigmoid of open parenthesis, W f x times x at t plus W f h times h at t "
        "minus 1 plus b f, close parenthesis",
        "g at t equals hyperbolic tangent of open parenthesis, W g x times x at t plus W g h times "
        "h at t minus 1 plus b g, close parenthesis",
        "o at t equals sigmoid of open parenthesis, W o x times x at t plus W o h times h at t "
        "minus 1 plus b o, close parenthesis",
        "c at t equals f at t times c at t minus 1 plus i at t times g at t",
        "h at t equals o at t times hyperbolic tangent of c at t.",
    ]


def test_the_reading_of_what_is_odd():
    text = spoken(Odd.graph)
    assert "plus block-diagonal W alpha h prime times h at t minus 1" in text
    assert "W alpha h double prime" in text
    assert "if x at t is less than alpha at t, otherwise half at t" in text
    assert "1.5 times 10 to the power minus 7 times open parenthesis, minus absolute value" in text
    assert "plus hyperbolic tangent of open parenthesis, fit of x at t, close parenthesis" in text
