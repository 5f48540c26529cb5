"""Agreement: sides that compute the same pass, and no other does."""

from dataclasses import replace

import pytest
import torch

from cellwright.bench import Pace, Stop, onnx_peer, subjects
from cellwright.bench.agree import agreement
from cellwright.bench.cases import Cases
from cellwright.bench.errors import BenchError, Disagreement
from cellwright.bench.shapes import Shape
from cellwright.bench.sides import Drawn, Outcome, build, draws
from cellwright.bench.steps import one_step

SHAPE = Shape(4, 3, 5)


def sides(name, dtype=torch.float64):
    (subject,) = subjects(name)
    return build(subject, SHAPE, dtype), Drawn.of(subject, SHAPE, dtype, SHAPE.steps)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "rnn-relu", "clockwork"])
def test_right_sides_agree(name):
    made, drawn = sides(name)
    peers = {peer.name: agreement(made.ours, peer, [drawn], name) for peer in made.peers}
    assert set(peers) == ({"loop"} if name == "clockwork" else {"torch.nn", "loop"})
    assert all(found.values < 1e-12 and (found.gradients or 0) < 1e-12 for found in peers.values())


def test_a_gradient_that_jumps_may_differ_on_a_draw():
    """A relu whose argument rounds to either side of zero; values have no such excuse."""
    (subject,) = subjects("rnn-relu")
    made = build(subject, SHAPE, torch.float64)
    several = draws(subject, SHAPE, torch.float64, 4)
    assert len(several) == 3 and len(draws(subjects("lstm")[0], SHAPE, torch.float64, 4)) == 1
    assert len({drawn.inputs[0].sum().item() for drawn in several}) == 3
    wrong_values, wrong_gradients = spoilt(made.peers[0], off)

    def jumps(on):
        def outcome(drawn):
            return (wrong_gradients if any(drawn is one for one in on) else made.peers[0]).outcome(
                drawn
            )

        return replace(made.peers[0], outcome=outcome)

    assert agreement(made.ours, jumps(several[:2]), several, "relu").gradients == pytest.approx(0)
    with pytest.raises(Disagreement, match="weight_hh_l0"):
        agreement(made.ours, jumps(several), several, "relu")
    with pytest.raises(Disagreement, match="output"):
        agreement(made.ours, wrong_values, several, "relu")


def spoilt(peer, change):
    """The same side with one tensor of its outcome changed."""

    def outcome(drawn):
        made = peer.outcome(drawn)
        return Outcome(change(dict(made.values), "output"), dict(made.gradients))

    def gradients(drawn):
        made = peer.outcome(drawn)
        return Outcome(dict(made.values), change(dict(made.gradients), "weight_hh_l0"))

    return replace(peer, outcome=outcome), replace(peer, outcome=gradients)


def off(tensors, name):
    return tensors | {name: tensors[name] + 1e-6}


def nan(tensors, name):
    changed = tensors[name].clone()
    changed.view(-1)[-1] = torch.nan
    return tensors | {name: changed}


def gone(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


def flat(tensors, name):
    return tensors | {name: tensors[name].flatten()}


@pytest.mark.parametrize("change", [off, nan, gone, flat])
def test_a_wrong_peer_is_refused(change):
    made, drawn = sides("lstm")
    for peer, word in zip(spoilt(made.peers[0], change), ("output", "weight_hh_l0"), strict=True):
        with pytest.raises(Disagreement, match=f"lstm 4x3x5: cellwright and torch.nn.*{word}"):
            agreement(made.ours, peer, [drawn], "lstm 4x3x5")


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_onnx_runtime_agrees_over_a_sequence_and_in_one_step(name):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (subject,) = subjects(name)
    made, drawn = build(subject, SHAPE, torch.float32), Drawn.of(subject, SHAPE, torch.float32, 4)
    peer = onnx_peer.side(subject, made.layer, drawn.inputs[0], 1)
    assert peer is not None and peer.train is None
    found = agreement(made.ours, peer, [drawn], name)
    assert found.values < 1e-5 and found.gradients is None
    with torch.no_grad():
        made.layer.get_parameter("weight_hh_l0")[0] += 1e-2
    with pytest.raises(Disagreement, match="cellwright and onnx"):
        agreement(made.ours, peer, [drawn], name)
    step, _ = one_step(subject, torch.float32, ("onnx",), Pace(1), Stop(), width=5)
    assert set(step.peers) == {"torch.nn", "loop", "onnx"}


def test_onnx_runtime_has_float32_alone():
    assert "float32" in (onnx_peer.missing(torch.float64) or "")


def test_swapped_gates_are_refused():
    made, drawn = sides("lstm")
    with torch.no_grad():
        made.layer.blocks()["i.h"].copy_(made.layer.blocks()["f.h"])
    with pytest.raises(Disagreement, match="differ by"):
        agreement(made.ours, made.peers[0], [drawn], "lstm")


def test_nothing_is_timed_after_a_disagreement(monkeypatch):
    from cellwright.bench import agree, cases, steps

    limits = dict.fromkeys(agree.TOLERANCE, -1.0)
    monkeypatch.setattr(agree, "TOLERANCE", limits)
    monkeypatch.setattr(steps, "TOLERANCE", limits)
    monkeypatch.setattr(cases, "interleaved", lambda *_: pytest.fail("timed"))
    monkeypatch.setattr(steps, "interleaved", lambda *_: pytest.fail("timed"))
    (lstm,) = subjects("lstm")
    with pytest.raises(Disagreement):
        Cases(torch.float32, (), Pace(1), Stop()).of(lstm, SHAPE)
    with pytest.raises(Disagreement):
        one_step(lstm, torch.float32, (), Pace(1), Stop(), width=5)


def test_a_cell_whose_sizes_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from cellwright.language import Cell, Input, State, affine, tanh\n"
        "class Wide(Cell):\n"
        "    x, h = Input(), State(width='memory')\n"
        "    h.next = tanh(affine(x, h, width='memory'))\n"
    )
    with pytest.raises(BenchError, match="memory"):
        subjects(f"{path}:Wide")
