"""Which backend is in force: a block, the layer's own, the environment, auto, in this order."""

import pytest

from cellwright.language.errors import CellwrightError
from cellwright.nn import GRU, LSTM, Recurrent
from cellwright.runtime import chosen_backend, use_backend


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELLWRIGHT_BACKEND", raising=False)


def test_the_first_that_there_is_decides(monkeypatch: pytest.MonkeyPatch):
    assert chosen_backend("auto") == "auto"
    monkeypatch.setenv("CELLWRIGHT_BACKEND", "reference")
    assert chosen_backend("auto") == "reference"
    assert chosen_backend("llvm") == "llvm"
    with use_backend("llvm"):
        assert chosen_backend("auto") == chosen_backend("reference") == "llvm"
        with use_backend("auto"):
            assert chosen_backend("reference") == "auto"
    assert chosen_backend("auto") == "reference"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CELLWRIGHT_BACKEND", "")
    assert chosen_backend("auto") == "auto"


@pytest.mark.parametrize("name", ["fast", "LLVM", " llvm", "x" * 500])
def test_a_variable_that_names_none_says_what_may_be(name, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CELLWRIGHT_BACKEND", name)
    with pytest.raises(CellwrightError) as caught:
        chosen_backend("auto")
    said = str(caught.value)
    assert said.startswith("CELLWRIGHT_BACKEND: expected auto, reference or llvm, got ")
    assert "\n" not in said and len(said) < 160
    assert chosen_backend("llvm") == "llvm"  # a layer that has its own does not ask
    with use_backend("reference"):
        assert chosen_backend("auto") == "reference"


def test_a_layer_shows_the_backend_that_it_was_given():
    assert "backend" not in repr(LSTM(3, 4)) + repr(Recurrent("gru", 3, 4))
    assert repr(GRU(3, 4, backend="reference")) == "GRU(3, 4, backend=reference)"
    assert "backend=llvm" in repr(Recurrent("peephole", 3, 4, backend="llvm"))
