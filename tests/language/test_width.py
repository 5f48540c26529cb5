"""Widths: sums of multiples of symbols."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwright.language import CellError, Width, hidden, proj
from cellwright.language.width import LARGEST_WIDTH

SYMBOLS = st.sampled_from(["hidden", "input", "proj", "a_1"])
WIDTHS = st.lists(
    st.one_of(
        st.integers(1, 500).map(Width.of),
        st.tuples(SYMBOLS, st.integers(1, 500)).map(lambda p: Width.of(p[0]) * p[1]),
    ),
    min_size=1,
    max_size=4,
)


def total(parts: list[Width]) -> Width:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


@settings(max_examples=100, derandomize=True, deadline=None)
@given(WIDTHS, st.integers(1, 6))
def test_reads_what_it_writes(parts, times):
    width = total(parts)
    sizes = {"hidden": 7, "input": 3, "proj": 2, "a_1": 11}
    assert Width.of(str(width)) == width
    assert (width * times).resolve(sizes) == times * width.resolve(sizes)
    assert (width * times).divided(times) == width
    assert sum(p.resolve(sizes) for p in parts) == width.resolve(sizes)


def test_arithmetic():
    assert str(4 * hidden + proj + 3) == "3+4*hidden+proj"
    assert 3 + hidden == hidden + 3
    assert Width.of("hidden + 2*hidden") == 3 * hidden
    assert (3 * hidden).divided(2) is None
    assert (hidden + proj).symbols == ("hidden", "proj")


@pytest.mark.parametrize(
    "wrong",
    [
        *(0, -1, LARGEST_WIDTH + 1, True, 2.0, None, [], "", "4hidden", "hidden*4", "-hidden"),
        *("1e3", "hidden+", "+", "0*hidden", "a" * 33, "9" * 9, "__import__('os')"),
    ],
    ids=repr,
)
def test_refuses(wrong):
    with pytest.raises(CellError) as error:
        Width.of(wrong)
    assert "a width" in str(error.value)
    assert len(str(error.value)) < 150


def test_refuses_products():
    for wrong in (0, -2, 1 << 30, True, 0.5):
        with pytest.raises(CellError, match="width"):
            hidden * wrong  # type: ignore[operator]
