"""The adjoint of every cell against autograd of its reference, and that against differences."""

from dataclasses import replace

import pytest
import torch

from cellwright.compiler import Low, lower, vjp
from cellwright.compiler.program import BLOCK_MASKS, SEQUENCE_OPS, STEP_OPS
from cellwright.compiler.vjp import ROUTED
from cellwright.compiler.vjp_rules import VJP, Rule, Site, Term
from cellwright.language import Cell, Input, State, affine, maximum, minimum, relu, tanh
from tests.cases import (
    CELLS,
    GRADIENT_TOLERANCE,
    MASKS,
    Values,
    assert_close,
    draw,
    lowered,
    run,
    widths,
)
from tests.compiler.adjoint import both_gradients

BACKWARD_ONLY = {Low.PRODUCT_T, Low.NORMALIZE, Low.NORMALIZE_VJP}
AFTER_ONLY = {Low.OUTER, Low.TOTAL, Low.STACK}


def test_every_operation_of_a_forward_program_has_a_rule():
    assert set(VJP) | ROUTED == SEQUENCE_OPS - BACKWARD_ONLY - AFTER_ONLY
    assert not set(VJP) & ROUTED
    assert AFTER_ONLY | BLOCK_MASKS == SEQUENCE_OPS - STEP_OPS


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", CELLS)
def test_adjoint_is_autograd(name, masks):
    reset, lengths = MASKS[masks]
    program = lowered(name, 4, 7)
    values = draw(program, 6, 4, reset=reset, lengths=lengths)
    for argument, found, want in both_gradients(program, values, reset=reset, lengths=lengths):
        tolerance = GRADIENT_TOLERANCE[torch.float64]
        assert_close(found, want, tolerance, f"{name}, {masks}: gradient of {argument}")


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (1, 3, 2, 33), (7, 1, 3, 2)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_adjoint_at_odd_sizes(name, size):
    steps, batch, inputs, hidden = size
    program = lowered(name, inputs, hidden)
    for argument, found, want in both_gradients(program, draw(program, steps, batch)):
        assert_close(found, want, GRADIENT_TOLERANCE[torch.float64], f"{name}: {argument}")


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", CELLS)
def test_reference_passes_gradcheck(name, masks):
    reset, lengths = MASKS[masks]
    program = lowered(name, 2, 3)
    values = draw(program, 3, 2, reset=reset, lengths=lengths).tracked()
    a, b, c = len(values.inputs), len(values.states), len(values.params)

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = Values(
            tensors[:a], tensors[a : a + b], tensors[a + b : a + b + c], tensors[a + b + c :]
        )
        made = Values(made.inputs, made.states, made.params, made.starts, values.masks)
        outputs, final = run(program, made, reset=reset, lengths=lengths)
        return (*outputs, *final)

    assert torch.autograd.gradcheck(function, values.tensors, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru-cho", "layernorm-lstm"])
def test_reference_differentiates_twice(name):
    program = lowered(name, 2, 3)
    values = draw(program, 2, 2).tracked()
    count = len(values.inputs) + len(values.states)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        made = Values(tensors[:1], tensors[1:count], tensors[count:])
        return run(program, made)[0][0]

    assert torch.autograd.gradgradcheck(function, values.tensors, fast_mode=True, atol=1e-5)


def test_ties_go_where_torch_sends_them():
    class Ties(Cell):
        x, h = Input("hidden"), State()
        m = maximum(x, h) + minimum(x, h) * 2
        n = maximum(x - h, 0) + minimum(0, h - x) + relu(x - h) + abs(x - h)
        h.next = m + n * 3 + tanh(maximum(m, m))

    program = lower(Ties.graph, widths())
    drawn = draw(program, 1, 2)
    tied = Values(inputs=(drawn.states[0][None],), states=drawn.states, params=drawn.params)
    for argument, found, want in both_gradients(program, tied):
        assert_close(found, want, 1e-12, argument)


def test_a_weight_that_no_gradient_reaches_is_left_out_or_zero():
    class Hard(Cell):
        x, h = Input(), State()
        n = tanh(affine(x, h))
        k = affine(x, n, width="4*hidden")
        m = tanh(affine(n))
        h.next = m + 0 * n
        outputs = h.next, k

    program = lower(Hard.graph, widths())
    for argument, found, want in both_gradients(program, draw(program)):
        assert_close(found, want, GRADIENT_TOLERANCE[torch.float64], argument)


# What torch keeps for nn.LSTM's backward pass: four gates, c, tanh c and h, H wide each.
MOST_KEPT = {
    "rnn": 2,  # h before and after the step
    "rnn-relu": 2,
    "lstm": 7,
    "lstm-1997": 5,  # i, g, o, tanh c, h: its carousel needs no c
    "coupled": 6,
    "peephole": 7,
    "gru": 5,  # r, z, n, h, and U h + b of the candidate
    "gru-cho": 4,
    "layernorm-lstm": 7,
}


@pytest.mark.parametrize("name", MOST_KEPT)
def test_keeps_no_more_than_it_must(name):
    hidden = 5
    program = lowered(name, 3, hidden)
    adjoint = vjp(program)
    kept = sum(program.widths()[value] for value in adjoint.residuals)
    outside = 4 * hidden * 2 if name == "layernorm-lstm" else 0  # W x and U h, to be normalised
    assert kept <= MOST_KEPT[name] * hidden + outside, adjoint.residuals


def test_adjoint_runs_backwards_and_keeps_weights_out_of_the_loop():
    adjoint = vjp(lowered("lstm")).backward
    assert adjoint.reverse
    ops = [instr.op for instr in adjoint.body]
    assert Low.OUTER not in ops
    assert ops.count(Low.PRODUCT_T) == 1  # the recurrent one; the input's comes after the loop


RULES = {
    "sigmoid": "lstm",
    "tanh": "lstm",
    "mul": "lstm",
    "sub": "gru",
    "add": "lstm",
    "product": "lstm",
    "layer_norm": "layernorm-lstm",
    "where": "clockwork",
    "upper_blocks": "clockwork",
    "diagonal_blocks": "slstm",
    "relu": "rnn-relu",
}


@pytest.mark.parametrize("op", RULES)
def test_a_wrong_rule_is_noticed(op, monkeypatch):
    """Turn the sign of one rule at a time: the comparison with autograd must fail."""
    program = lowered(RULES[op], 4, 9)
    values = draw(program, 5, 3)
    key = next(key for key in VJP if str(key) == op)
    right = VJP[key]

    def worst() -> float:
        return max(float((a - b).abs().max()) for _, a, b in both_gradients(program, values))

    used = 0
    for position, rule in enumerate(right):
        if rule is None:
            continue
        calls: list[Site] = []

        def wrong(site: Site, rule: Rule = rule, calls: list[Site] = calls) -> Term:
            calls.append(site)
            return rule(replace(site, ct=-site.ct))

        monkeypatch.setitem(VJP, key, (*right[:position], wrong, *right[position + 1 :]))
        assert (worst() > 1e-4) == bool(calls), (op, position)
        used += bool(calls)
    assert used
    monkeypatch.setitem(VJP, key, right)
    assert worst() < 1e-10
