"""The page of the catalogue: what docs/generate.py makes of the cells and of measured speeds."""

import html
import importlib.util
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from cellwright.cells import CATALOGUE
from cellwright.targets.latex import aligned

PAGE = Path(__file__).resolve().parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("generate_docs", PAGE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def case(cell: str, kind: str, width: int, ms: float) -> dict:
    timing = {"median_ms": ms}
    return {"cell": cell, "kind": kind, "steps": 10, "batch": 2, "width": width, "ours": timing}


MEASURED = {
    "date": "2026-01-31",
    "dtype": "float32",
    "machine": {"name": "a processor", "threads": 2},
    "cases": [
        case("lstm", "training", 8, 8.0),
        case("lstm", "inference", 8, 4.0),
        case("lstm", "inference", 16, 9.0),
        case("rnn", "training", 8, 2.0),
        case("rnn", "inference", 8, 1.0),
        case("rnn", "inference", 16, 9.0),
        case("gru", "inference", 32, 1.0),  # no LSTM at this shape
    ],
}


def test_each_cell_has_all_of_it(generate):
    page = generate.catalogue()
    sections = dict(re.findall(r"^## ([\w-]+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert list(sections) == list(CATALOGUE)
    for name, text in sections.items():
        graph = CATALOGUE[name].graph
        for found in re.findall(r"<math.*?</math>", text, re.S):
            assert ET.fromstring(found).get("alttext")
        assert text.count("<math") == 1
        assert aligned(graph) in html.unescape(text)
        for words in ("*Good for:*", "*Source:*", "*weights:*", "*FLOPs:*", "Declared in `src/"):
            assert words in text, (name, words)
        assert all(f"{state}[" in text for state in graph.state_names)


def test_without_measurements_there_is_no_column(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "PAGES", tmp_path)
    page = generate.catalogue()
    assert "| name | states | weights | FLOPs |\n" in page
    assert "fast as the LSTM" not in page


def test_speeds_are_beside_the_lstm_at_the_same_shape(generate, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "speed.json").write_text(json.dumps(MEASURED), encoding="utf-8")
    found = generate.relative_speeds(tmp_path / "data" / "speed.json")
    # 4 / 1 and 9 / 9 in inference, 8 / 2 in training
    assert found.by_cell == {"lstm": "1.00 / 1.00", "rnn": "2.00 / 4.00"}
    assert "2 threads of a processor, 2026-01-31" in found.said
    assert "over 2 shapes, float32" in found.said
    monkeypatch.setattr(generate, "PAGES", tmp_path)
    page = generate.catalogue()
    assert found.said in page
    assert "| [`rnn`](#rnn) | h | H² + HI + H | 2H² + 2HI | 2.00 / 4.00 |" in page
    assert "| [`gru`](#gru) | h | 3H² + 3HI + 4H | 6H² + 6HI | not measured |" in page


def test_a_measurement_needs_its_day(generate, tmp_path):
    (tmp_path / "speed.json").write_text(json.dumps({**MEASURED, "date": None}), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"speed\.json: add the day of the measurement"):
        generate.relative_speeds(tmp_path / "speed.json")
