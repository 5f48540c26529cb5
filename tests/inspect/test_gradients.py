"""Gradient flow: against torch's own cells differentiated whole, its bound, its picture."""

import json

import pytest
import torch
from torch.autograd.functional import jacobian

from cellwright.cells import CATALOGUE
from cellwright.cli import main
from cellwright.inspect.gradients.flow import GradientError, gradient_flow, joined, spectral
from cellwright.inspect.gradients.of import Draws, of_cell, of_run
from cellwright.nn import Recurrent
from tests.lm.small import small_model

LAGS = 6


def drawn(cell: str, hidden: int = 5, layers: int = 1) -> tuple[Recurrent, torch.Tensor]:
    torch.manual_seed(3)
    module = Recurrent(cell, 3, hidden, layers, dtype=torch.float64)
    return module, torch.randn(LAGS + 4, 2, 3, dtype=torch.float64)


def test_lstm_against_torch_differentiated_through_all_steps():
    module, x = drawn("lstm")
    peer = torch.nn.LSTMCell(3, 5, dtype=torch.float64)
    blocks = module.blocks()
    with torch.no_grad():
        peer.weight_ih.copy_(torch.cat([blocks[f"{gate}.x"] for gate in "ifgo"]))
        peer.weight_hh.copy_(torch.cat([blocks[f"{gate}.h"] for gate in "ifgo"]))
        peer.bias_ih.copy_(torch.cat([blocks[f"{gate}.bias"] for gate in "ifgo"]))
        peer.bias_hh.zero_()
    (flow,) = gradient_flow(module, x, LAGS)
    for row in range(2):
        states = [(torch.zeros(5, dtype=torch.float64),) * 2]
        for step in x[:, row]:
            states.append(peer(step, states[-1]))

        for lag in range(1, LAGS + 1):
            h0, c0 = (s.detach() for s in states[-1 - lag])

            def last(h, c, which, lag=lag, row=row):
                for step in x[-lag:, row]:
                    h, c = peer(step, (h, c))
                return (h, c)[which]

            by_h = jacobian(lambda h, c=c0: last(h, c, 0), h0)
            by_c = jacobian(lambda c, h=h0: last(h, c, 1), c0)
            for state, wanted in zip(flow.states, (by_h, by_c), strict=True):
                norm = torch.linalg.matrix_norm(wanted, ord=2)
                torch.testing.assert_close(state.gain[row, lag - 1], norm)


def test_the_keep_is_the_product_of_forget_gates():
    module, x = drawn("lstm")
    (flow,) = gradient_flow(module, x, LAGS)
    h = torch.cat([torch.zeros(1, 2, 5), module(x)[0][:-1]])
    b, keep = module.blocks(), flow.states[1].kept
    assert keep is not None
    f = torch.sigmoid(x @ b["f.x"].T + h @ b["f.h"].T + b["f.bias"])
    for lag in range(1, LAGS + 1):
        wanted = f[-lag:].prod(0).amax(-1)
        torch.testing.assert_close(keep[:, lag - 1], wanted)
    assert flow.states[0].kept is None
    assert flow.states[1].keep == "f"


@pytest.mark.parametrize("cell", ["rnn", "gru", "gru-cho", "peephole", "slstm", "indrnn", "grid"])
def test_no_gain_exceeds_the_bound(cell):
    (panel,) = [*of_cell(cell, CATALOGUE[cell], [1.0], 4, Draws(8, 2))]
    for state in panel.flow.states:
        assert (state.gain <= panel.flow.bound * (1 + 1e-9)).all()
        assert (state.gain[:, 0] > 0).any()  # relu may be off


def test_layers_are_seen_one_by_one_and_left_as_they_were():
    module, x = drawn("gru", layers=2)
    module.train()
    first, second = gradient_flow(module, x, LAGS)
    assert module.training
    assert (first.layer, second.layer) == (0, 1)
    alone = Recurrent("gru", 5, 5, dtype=torch.float64)
    alone.load_state_dict(
        {k.replace("l1", "l0"): v for k, v in module.state_dict().items() if "l1" in k}
    )
    below = Recurrent("gru", 3, 5, dtype=torch.float64)
    below.load_state_dict({k: v for k, v in module.state_dict().items() if "l0" in k})
    (wanted,) = gradient_flow(alone, below(x)[0].detach(), LAGS)
    torch.testing.assert_close(second.states[0].gain, wanted.states[0].gain)


def test_samples_are_joined():
    module, x = drawn("lstm")
    both = gradient_flow(module, x, LAGS)[0]
    one_by_one = joined([gradient_flow(module, x[:, [row]], LAGS)[0] for row in range(2)])
    torch.testing.assert_close(both.bound, one_by_one.bound)
    torch.testing.assert_close(both.states[1].kept, one_by_one.states[1].kept)


def test_spectral_norms_of_very_small_matrices():
    torch.manual_seed(0)
    matrix = torch.randn(5, 5, dtype=torch.float64)
    norm = torch.linalg.matrix_norm(matrix, ord=2)
    for scale in (1e-300, 1.0, 1e200):
        torch.testing.assert_close(spectral(scale * matrix) / scale, norm)
    assert spectral(0 * matrix) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, x: gradient_flow(m, x, 10), "lags must be 1 to 9"),
        (lambda m, x: gradient_flow(m, x, 0), "lags must be 1 to 9"),
        (lambda m, x: gradient_flow(m, x.float(), 3), "float64"),
        (
            lambda m, x: gradient_flow(Recurrent("gru", 3, 5, bidirectional=True), x, 3),
            "two directions",
        ),
    ],
)
def test_what_cannot_be_computed(change, said):
    with pytest.raises(GradientError, match=said):
        change(*drawn("gru"))


def test_seeds_leave_torchs_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert list(of_cell("gru", CATALOGUE["gru"], [1.0], 4, Draws(3, 2)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_before_and_after(tmp_path):
    model = small_model(tmp_path)
    assert model.tokenizer is not None
    panels = [*of_run(tmp_path / "run", None, Draws(8, 3))]
    assert [(p.title, p.when) for p in panels] == [
        ("run, layer 0", "untrained"), ("run, layer 0", "trained"),
        ("run, layer 1", "untrained"), ("run, layer 1", "trained"),
    ]  # fmt: skip
    assert panels[0].flow.states[0].gain.shape == (3, 8)
    ids = torch.tensor(model.tokenizer.encode((tmp_path / "text.txt").read_text()))
    again = [*of_run(tmp_path / "run", tmp_path / "text.txt", Draws(8, 3))]
    last = model.double().embedding(ids[-28:, None]).detach()
    (wanted, _) = gradient_flow(model.recurrent, last, 8)
    torch.testing.assert_close(again[1].flow.bound[2], wanted.bound[0])
    with pytest.raises(GradientError, match="give a longer one by --text"):
        list(of_run(tmp_path / "run", None, Draws(100_000, 3)))


def test_untrained_is_what_the_training_began_with(tmp_path):
    small_model(tmp_path, lr=1e-30, optimizer="sgd", epochs=1)
    before, after, *_ = of_run(tmp_path / "run", None, Draws(8, 1))
    torch.testing.assert_close(before.flow.bound, after.flow.bound)


def test_the_verb(tmp_path, capsys):
    flags = ["--hidden", "4", "--lags", "12", "--samples", "2", "--cells", "rnn,lstm"]
    picture = tmp_path / "flow.svg"
    assert main(["inspect", "gradients", *flags, "-o", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "lstm, forget bias 3, untrained" in out
    assert "\u03a0 f" in out
    first = picture.read_bytes()
    assert first.startswith(b"<?xml")
    assert main(["inspect", "gradients", *flags, "-o", str(picture), "--json"]) == 0
    assert picture.read_bytes() == first
    said = json.loads(capsys.readouterr().out)
    assert said["panels"][0]["title"] == "rnn"
    assert len(said["panels"][1]["states"]["c"]["gain"][0]) == 12
    assert "exact Jacobian" in said["caption"]


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_only_what_is_ours_is_replaced(tmp_path, capsys, kind):
    flags = ["--hidden", "4", "--lags", "4", "--samples", "1", "--cells", "rnn"]
    picture = tmp_path / f"n4.{kind}"
    words = ["inspect", "gradients", *flags, "-o", str(picture)]
    picture.write_text("my notes")
    assert main(words) == 2
    assert "holds something that is not a picture of ours" in capsys.readouterr().err
    assert picture.read_text() == "my notes"
    assert main([*words, "--overwrite"]) == 0
    assert picture.read_bytes() != b"my notes"
    assert main(words) == (2 if kind == "pdf" else 0)  # nothing in a PDF says whose it is


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "."], "is a directory; name a file in it, such as flow.svg"),
        (["--overwrite"], "--overwrite: replaces the file that -o names"),
        (["-o", "flow.txt"], "ends in .svg, .png, .pdf"),
        (["-o", "nowhere/flow.svg"], "there is no directory nowhere"),
        (["--forget-bias", "0,x"], "--forget-bias: expected numbers"),
        (["--forget-bias", "nan"], "--forget-bias: expected numbers"),
        (["--cells", "rnn,gru", "--forget-bias", "2"], "--forget-bias: none of the cells"),
        (["--text", "x.txt"], "--text: is read by runs"),
        (["no-run"], "no-run: no such directory"),
        (["--cells", "lstn"], "lstn"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "gradients", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
