"""Derivatives of every kind: second order, forward mode, torch.func's transforms."""

import copy
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import (
    functional_call,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)

from cellwright.nn import LSTM, Recurrent, RecurrentCell
from tests.nn.examples import ALL_CELLS, ONE_TENSOR, B, H, I, T, build, flat, inputs_for, pick

close = torch.testing.assert_close
every_cell = pytest.mark.parametrize("name", ALL_CELLS)
# The first use of forward mode in a process makes torch 2.13 warn of itself.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def small(name, **options):
    """Build a layer of few units: second derivatives are checked number by number."""
    if name == "delay":
        return Recurrent(build(name).cell, 3, 3, dtype=torch.float64, **options)
    own = {"two streams": {"stream": 2, "memory": 2}, "ea-lstm": {"static": 1}}
    options |= {"widths": own.get(name, {}), "proj_size": 1 if name == "lstm-projected" else 0}
    return Recurrent(build(name).cell, 2, 3, dtype=torch.float64, **options)


def of_everything(layer, **options):
    """Return a function of inputs and parameters, and its arguments."""
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = flat(inputs_for(layer, 2, 2))

    def run(*values):
        given = values[: len(x)]
        weights = dict(zip(names, values[len(x) :], strict=True))
        arguments = (given[0] if len(given) == 1 else given,)
        return tuple(v for v in flat(functional_call(layer, weights, arguments, options)))

    leaves = [*(v.requires_grad_() for v in x), *parameters]
    return run, tuple(leaf.detach().clone().requires_grad_() for leaf in leaves)


MASKS = {
    "lengths": torch.tensor([2, 1]),
    "reset": torch.tensor([[False, True], [True, False]]),
}


@forward_mode
@every_cell
def test_first_derivatives_both_ways(name):
    run, leaves = of_everything(small(name), **MASKS)
    differentiable = [k for k, y in enumerate(run(*leaves)) if y.requires_grad]

    def shown(*values):
        return tuple(run(*values)[k] for k in differentiable)

    gradcheck(shown, leaves, check_forward_ad=True, fast_mode=True)


@pytest.mark.slow
@every_cell
def test_second_derivatives(name):
    run, leaves = of_everything(small(name, bidirectional=True), **MASKS)
    gradgradcheck(lambda *values: run(*values)[0], leaves, fast_mode=True)


def test_a_gradient_penalty_trains():
    layer: Any = LSTM(I, H, dtype=torch.float64).eval()
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def scored(layer):
    """Return a loss of parameters and input, and the parameters."""

    def loss(weights, x):
        shown = flat(functional_call(layer, weights, (x,)))
        return torch.cat([y.flatten() for y in shown]).square().sum()

    return loss, {key: p.detach() for key, p in layer.named_parameters()}


@every_cell
def test_grad_and_vjp(name):
    layer = build(name, num_layers=2, bidirectional=True)
    loss, weights = scored(layer)
    x = inputs_for(layer, T, B)
    leaves = {key: w.clone().requires_grad_() for key, w in weights.items()}
    wanted = torch.autograd.grad(loss(leaves, x), list(leaves.values()))
    for a, b in zip(grad(loss)(weights, x).values(), wanted, strict=True):
        close(a, b, rtol=1e-10, atol=1e-12)
    pull = vjp(lambda w: loss(w, x), weights)[1]
    for a, b in zip(pull(torch.ones((), dtype=torch.float64))[0].values(), wanted, strict=True):
        close(a, b, rtol=1e-10, atol=1e-12)


@forward_mode
@every_cell
def test_jacobians_agree(name):
    layer = small(name)
    x = inputs_for(layer, 2, 1)

    def run(x):
        return layer(x)[0]

    backwards, forwards = jacrev(run)(x), jacfwd(run)(x)
    for a, b in zip(flat(backwards), flat(forwards), strict=True):
        close(a, b, rtol=1e-10, atol=1e-12)
    tangent = pick(x, 0, [1, 0])
    moved = jvp(run, (x,), (tangent,))[1]
    if name in ONE_TENSOR:
        close(moved, torch.einsum("tbhsci,sci->tbh", backwards, tangent))


@forward_mode
def test_a_hessian():
    layer = small("gru")
    x = inputs_for(layer, 2, 1)
    curvature = hessian(lambda x: layer(x)[0].sum())(x).reshape(4, 4)
    close(curvature, curvature.T)
    assert curvature.any()


@every_cell
def test_gradients_of_each_sample(name):
    layer = build(name, bidirectional=True)
    loss, weights = scored(layer)
    x = inputs_for(layer, B, T)  # a batch of unbatched sequences
    found = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    for k in range(B):
        for key, wanted in grad(loss)(weights, pick(x, 0, k)).items():
            close(found[key][k], wanted, rtol=1e-10, atol=1e-12)


@every_cell
def test_an_ensemble_runs_as_one(name):
    layers = [build(name) for _ in range(3)]
    weights, _ = stack_module_state(layers)  # type: ignore[arg-type]
    like = copy.deepcopy(layers[0]).to("meta")
    x = inputs_for(layers[0], T, B)
    lengths = torch.tensor([[1, 2, 3], [5, 5, 5], [0, 4, 2]])

    def run(weights, lengths):
        return functional_call(like, weights, (x,), {"lengths": lengths})

    found = vmap(run)(weights, lengths)
    for k, layer in enumerate(layers):
        wanted = layer(x, lengths=lengths[k])
        for a, b in zip(flat(found), flat(wanted), strict=True):
            close(a[k], b, rtol=1e-12, atol=1e-12)


def test_dropout_between_layers_under_vmap():
    layer = LSTM(I, H, 2, dropout=0.5)
    x = torch.randn(2, T, B, I)
    different = vmap(lambda x: layer(x)[0], randomness="different")(x[:1].expand_as(x))
    assert not torch.equal(different[0], different[1])


def test_a_cell_under_vmap_and_grad():
    cell = RecurrentCell("lstm", I, H, dtype=torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    h, c = vmap(cell)(x)
    close(h[1], cell(x[1])[0])
    slope = vmap(grad(lambda v: cell(v)[0].sum()))(x.flatten(0, 1))
    assert slope.shape == (T * B, I) and slope.any()
