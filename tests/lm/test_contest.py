"""What comparisons share: the order of trials, the choice of a rate, and the refusal to mix."""

import json
import math
from dataclasses import dataclass

import pytest

from cellwright.lm import RunError
from cellwright.lm.contest import best_rate, chosen, in_turn, refuse_another


@dataclass(frozen=True)
class Row:
    cell: str
    lr: float
    seed: int
    valid_nats: float


LOSSES = {("a", 0.1): 3.0, ("a", 0.2): 2.0, ("b", 0.1): 1.0, ("b", 0.2): math.nan}


def trials(stop_at=None):
    seen = []

    def run(trial):
        if trial.index == stop_at:
            return None
        seen.append((trial.cell, trial.lr, trial.seed))
        assert (trial.index, trial.count) == (len(seen), 8)
        return LOSSES[trial.cell, trial.lr]

    return in_turn(["a", "b"], [0.1, 0.2], [7, 8, 9], run), seen


def test_every_rate_at_the_first_seed_then_the_best_at_the_others():
    done, seen = trials()
    assert done
    assert seen == [
        ("a", 0.1, 7), ("a", 0.2, 7), ("a", 0.2, 8), ("a", 0.2, 9),
        ("b", 0.1, 7), ("b", 0.2, 7), ("b", 0.1, 8), ("b", 0.1, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_a_stop_ends_it_there(at):
    done, seen = trials(stop_at=at)
    assert not done
    assert len(seen) == at - 1


def test_the_best_rate_is_the_first_of_equals_and_never_nan():
    assert best_rate({1.0: 2.0, 2.0: 1.0, 3.0: 1.0}) == 2.0
    assert best_rate({1.0: math.nan, 2.0: math.inf, 3.0: 9.0}) == 3.0
    assert best_rate({1.0: math.nan}) == 1.0


def test_rows_of_other_rates_are_not_chosen_even_if_a_later_seed_was_better():
    rows = [Row("a", 0.1, 7, 3.0), Row("a", 0.2, 7, 2.0), Row("a", 0.2, 8, 5.0)]
    rows += [Row("b", 0.1, 7, 1.0), Row("b", 0.2, 7, math.nan), Row("b", 0.1, 8, 4.0)]
    assert chosen(rows, [7, 8]) == {"a": rows[1:3], "b": [rows[3], rows[5]]}


def test_another_comparison_is_refused_by_what_differs(tmp_path):
    path, asked = tmp_path / "compare.json", {"cells": ["a"], "training": {"lr": 1}}
    refuse_another(path, asked)  # none there yet
    path.write_text(json.dumps({"asked": asked}))
    refuse_another(path, asked)
    for other, named in (
        ({"cells": ["b"], "training": {"lr": 1}}, r"\(cells\)"),
        ({"cells": ["a"], "training": {"lr": 2}}, r"\(lr\)"),
        ({"cells": ["b"], "training": {"lr": 2}}, r"\(cells, lr\)"),
    ):
        with pytest.raises(RunError, match=f"other settings {named}; choose another directory"):
            refuse_another(path, other)
