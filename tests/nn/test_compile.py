"""torch.compile, torch.export and the registered operator."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim, export

from cellwright.nn import GRU, LSTM, Recurrent
from cellwright.runtime import plan_of, sequence
from cellwright.runtime.compiled import layout
from cellwright.runtime.operator import sequence_training, sequence_vjp
from tests.cases import MASKS, Values, draw
from tests.nn.examples import ALL_CELLS, B, H, I, T, build, flat, gradients, inputs_for, start_for

close = torch.testing.assert_close
every_cell = pytest.mark.parametrize("name", ALL_CELLS)


pytestmark = pytest.mark.usefixtures("fresh_compiler")


def operators(traced):
    """Count the layers that a graph runs as one operator."""
    return sum("cellwright" in str(node.target) for node in traced.graph.nodes if node.op[0] == "c")


def options_for(masked, steps):
    if not masked:
        return {}
    reset = torch.zeros(steps, B, dtype=torch.bool)
    reset[2, :2] = True
    return {"lengths": torch.tensor([steps, 0, 3]), "reset": reset}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "masked"),
    [*((name, True) for name in ALL_CELLS), ("lstm", False), ("two streams", False)],
)
def test_a_compiled_layer_gives_the_same_values_and_gradients(name, masked):
    """All states are asked for: they come out of the one operator as well."""
    layer = build(name, num_layers=2, bidirectional=True, learn_start=True)
    counted = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counted, fullgraph=True)
    for steps in (T, T + 2):
        x, hx = inputs_for(layer, steps, B), start_for(layer, B)
        leaves = [*(v.requires_grad_() for v in [*flat(x), *flat(hx)]), *layer.parameters()]
        options = options_for(masked, steps) | {"return_states": True}
        found, wanted = flat(compiled(x, hx, **options)), flat(layer(x, hx, **options))
        for a, b in zip(found, wanted, strict=True):
            close(a, b, rtol=1e-12, atol=1e-12)
        for a, b in zip(gradients(found, leaves), gradients(wanted, leaves), strict=True):
            close(a, b, rtol=1e-10, atol=1e-12)
    for graph in counted.graphs:
        assert operators(graph) == 2 * layer.num_layers  # one for each: time is not unrolled


@pytest.mark.slow
def test_another_length_compiles_once_more_and_never_again():
    layer = LSTM(I, H, 2)
    counted = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counted, fullgraph=True)
    for steps, batch in ((5, 3), (7, 3), (9, 4), (30, 2), (11, 5)):
        compiled(torch.randn(steps, batch, I))[0].sum().backward()
    assert counted.frame_count <= 3  # as given; any T; any T and B


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, I)
        self.layer = GRU(I, H, 2, dropout=0.0)
        self.head = nn.Linear(H, 11)

    def forward(self, ids, state=None, lengths=None):
        y, state = self.layer(self.embed(ids), state, lengths=lengths)
        return self.head(y), state


@pytest.mark.slow
def test_a_compiled_model_trains_to_the_same_weights():
    torch.manual_seed(0)
    plain = Model()
    torch.manual_seed(0)
    model = Model()
    step = torch.compile(model, backend="aot_eager", fullgraph=True)
    ids = torch.randint(0, 11, (3, T + 1, B))
    for run, owner in ((plain, plain), (step, model)):
        optimizer = torch.optim.SGD(owner.parameters(), lr=0.5)
        state = None
        for window in ids:
            logits, state = run(window[:-1], state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window[1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = state.detach()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_autocast_in_a_compiled_layer():
    layer: Any = LSTM(I, H)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = layer(x)
        found = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
        for a, b in zip(flat(found), flat(wanted), strict=True):
            assert a.dtype == torch.bfloat16
            close(a, b, rtol=0.02, atol=0.01)
    found[0].float().sum().backward()
    assert layer.weight_hh_l0.grad.dtype == torch.float32


@pytest.mark.slow
def test_a_compiled_transform_unrolls_but_agrees():
    """No operator passes through torch.func: the operations of each step are traced instead."""
    layer = Recurrent("coupled", I, H, dtype=torch.float64)
    weights = {key: p.detach() for key, p in layer.named_parameters()}
    x = torch.randn(B, 3, I, dtype=torch.float64)

    def loss(weights, x):
        return torch.func.functional_call(layer, weights, (x,))[0].square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))
    found = torch.compile(each, backend="aot_eager", fullgraph=True)(weights, x)
    close(found, each(weights, x))


def test_the_masks_of_a_compiled_layer_may_be_checked_late():
    """Values cannot be looked at while tracing, shapes can."""
    compiled = torch.compile(LSTM(I, H), backend="eager")
    with pytest.raises(ValueError, match="lengths are 3 whole numbers"):
        compiled(torch.randn(T, B, I), lengths=torch.tensor([1, 2]))


SCRIPT = """
import sys, torch
import cellwright.nn  # registers the operator
program = torch.export.load(sys.argv[1])
for case in torch.load(sys.argv[2]):
    found = program.module()(*case["given"])
    torch.testing.assert_close(found, case["wanted"])
assert not any(name.endswith("reference") and "lm" in name for name in sys.modules)
print("agree")
"""


@pytest.mark.slow
def test_an_exported_model_runs_elsewhere_for_any_time_and_batch(tmp_path):
    model = Model().eval()
    time, batch = Dim("time", min=2, max=4096), Dim("batch", min=2, max=1024)
    ids, state = torch.randint(0, 11, (T, B)), torch.zeros(2, B, H)
    program = export(
        model,
        (ids, state, torch.tensor([5, 3, 0])),
        dynamic_shapes={
            "ids": {0: time, 1: batch},
            "state": {1: batch},
            "lengths": {0: batch},
        },
    )
    assert operators(program) == 2
    cases = []
    for steps, rows in ((T, B), (13, 2), (2, 7)):
        given = (torch.randint(0, 11, (steps, rows)), torch.randn(2, rows, H))
        given += (torch.randint(0, steps + 1, (rows,)),)
        cases.append({"given": given, "wanted": tuple(v.detach() for v in model(*given))})
        close(program.module()(*given), cases[-1]["wanted"])
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save(cases, tmp_path / "cases.pt")
    files = [str(tmp_path / "model.pt2"), str(tmp_path / "cases.pt")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], capture_output=True, text=True, check=False
    )
    assert done.stdout == "agree\n", done.stderr


@pytest.mark.slow
@every_cell
def test_every_cell_exports(name):
    layer = build(name, bidirectional=True, batch_first=True).eval()
    x = inputs_for(layer, B, T)
    free = {0: Dim("batch", min=2, max=99), 1: Dim("time", min=2, max=99)}
    shapes = tuple(free for _ in flat(x)) if isinstance(x, tuple) else free
    program = export(layer, (x,), dynamic_shapes={"input": shapes})
    again = inputs_for(layer, B + 1, T + 3)
    for a, b in zip(flat(program.module()(again)), flat(layer(again)), strict=True):
        close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize(
    ("emit", "masks"), [*(("outputs", m) for m in MASKS.values()), ("states", MASKS["both"])]
)
@pytest.mark.parametrize("name", ["lstm", "clockwork", "two streams", "delay"])
def test_the_operators_keep_torchs_rules(name, emit, masks, backend):
    """Schema, shape rule, registered gradient, and tracing with fixed and with free shapes."""
    layer = build(name)
    made = layer._layers[0].emitting[0] if emit == "states" else layer._plans[0]
    values = draw(made.program, reset=masks[0], lengths=masks[1])
    given = iter(values.masks)
    reset, valid = (next(given) if has else None for has in masks)

    def arguments(v: Values, chunk: int) -> tuple[Any, ...]:
        groups = [list(group) for group in (v.inputs, v.states, v.params, v.starts)]
        return made.key, backend, chunk, *groups, reset, valid

    for chunk in (0, 3):
        torch.library.opcheck(sequence, arguments(values.tracked(), chunk))
        plain = arguments(values, chunk)
        torch.library.opcheck(sequence_training, plain)
        results = sequence_training(*plain)
        outputs, states = len(made.program.outputs), len(values.states)
        found = layout(made, backend, values.inputs[0])
        again = [] if chunk else [results[at] for at in found.again]
        cotangents = [torch.randn_like(y) for y in results[: outputs + states]]
        read = [*again, *results[outputs + states :]], cotangents[:outputs], cotangents[outputs:]
        for wanted in (True, False):
            head = made.key, backend, chunk, wanted
            torch.library.opcheck(sequence_vjp, (*head, *plain[3:], *read))


def test_a_key_is_all_that_an_operator_needs():
    layer = build("peephole")
    key = layer._plans[0].key
    plan_of.cache_clear()
    made = plan_of(key)
    assert made is not layer._plans[0] and str(made.program) == str(layer._plans[0].program)
