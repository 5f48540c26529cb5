"""Cells that random search found machine code to fail on, each as small as it could be made."""

import pytest
import torch

from cellwright.runtime import plan
from tests.compiler.drawn import Source
from tests.engine.agree import Case, assert_agree, both

SIZES = {"hidden": 5, "input": 3}
FOUND = {
    "a constant after the loop": "h.next = h / (abs(x) + 0.7)",
    "a comparison after the loop": "h.next = tanh(h) + relu(x)",
    "a comparison of parameters alone": "h.next = tanh(linear(x)) + abs(bias(H))",
    "a constant before the loop": "h.next = tanh(x - 2) + (h + linear(1 - x)) / (abs(x) + 1)",
    "zeros after the loop": "h.next = tanh(where(linear(h) < layer_norm(h), layer_norm(h), x))",
    "a state is a gradient": "c.next = tanh(affine(h)) + x; h.next = tanh(linear(h) + c)",
    "a truth value of the loop read after it": "y = relu(x); h.next = tanh(h) * where(h < 0, y, 0)",
    "one cotangent for two": "h.next = 0.5 * h + x + u",
    "one cotangent for a norm and an input": "h.next = 0.5 * h + layer_norm(x) + affine( u )",
    "modules and no parameters": "h.next = h * modules(0.5, -1) + x",
}
OPEN = {"modules and no parameters": "once(h_before) reads h"}
CASES = [
    pytest.param(
        body,
        id=name,
        marks=[pytest.mark.xfail(strict=True, reason=OPEN[name])] if name in OPEN else [],
    )
    for name, body in FOUND.items()
]


@pytest.mark.parametrize("body", CASES)
def test_found(body: str):
    lines = ["h, x = State(), Input(hidden)"]
    lines += ["c = State()"] * ("c.next" in body) + ["u = Input(hidden)"] * ("u" in body.split())
    lines += body.replace("H)", "hidden)").split("; ")
    source = Source("class Drawn(Cell):\n    " + "\n    ".join(lines) + "\n")
    for case in (Case(3, 2), Case(7, 4, "both", 2)):
        found, wanted = both(plan(source.cell, SIZES), case, torch.float64)
        assert_agree(found, wanted, torch.float64, case)
