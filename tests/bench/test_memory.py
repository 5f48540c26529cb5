"""A shape that no memory holds is refused before anything is allocated for it."""

import pytest
import torch

from cellwright.bench import Pace, Shape, Wish, WishError, bench, memory, parse, subjects

(LSTM,) = subjects("lstm")


def test_what_a_shape_takes_at_least():
    """Counted by hand: two sides with weights and inputs and their gradients, and the outputs."""
    weights = 2 * 4 * 5 * 5 + 4 * 5  # machine code has one bias
    sequence = 3 * 2 * 5
    needed = 2 * 4 * (2 * weights + 2 * sequence + sequence)
    assert memory.least(LSTM, Shape(3, 2, 5), torch.float32) == needed
    assert memory.least(LSTM, Shape(3, 2, 5), torch.float64) == 2 * needed


@pytest.mark.parametrize(
    "text", ["100000x100000x100000", "999999999999x1x8", "1x999999999999x8", "1x1x9999999999"]
)
def test_a_shape_that_is_too_large_allocates_nothing(text, monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: 24 << 30)
    wish = Wish(subjects("rnn"), parse(f"2x2x2,{text}"), pace=Pace(1), first_calls=False)
    with pytest.raises(WishError, match=rf"^shapes: rnn at {text} needs more than .* GiB"):
        next(bench(wish))  # not even the machine's name came before


def test_the_yardstick_must_fit_too(monkeypatch):
    shape = Shape(1, 1, 64)
    (rnn,) = subjects("rnn")
    limit = memory.least(rnn, shape, torch.float32)
    assert memory.least(LSTM, shape, torch.float32) > limit
    monkeypatch.setattr(memory, "memory", lambda: limit)
    memory.check_memory(rnn, shape, torch.float32)
    with pytest.raises(WishError, match="lstm at 1x1x64 needs more"):
        next(bench(Wish((rnn,), (shape,), first_calls=False)))


def test_where_memory_is_unknown_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: None)
    memory.check_memory(LSTM, Shape(10**9, 10**9, 8), torch.float32)


@pytest.mark.parametrize(("limit", "least"), [("max\n", 1 << 20), ("4096\n", 4096)])
def test_a_container_has_what_it_may_use(tmp_path, monkeypatch, limit, least):
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "LIMIT", tmp_path / "memory.max")
    found = memory.memory()
    assert found is not None
    assert found == 4096 if least == 4096 else found > least
