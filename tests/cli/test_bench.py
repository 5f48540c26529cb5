"""`bench`: its tables, its JSON, its errors, and Ctrl-C."""

import importlib.util
import json
import signal
import subprocess

import pytest

from cellwright.bench import extras, jax_peer
from tests.cli.conftest import COMMAND
from tests.cli.test_train import one_line

TINY = ["--shapes", "4x2x5", "--repeats", "2", "--threads", "1"]
MINE = """
from cellwright.language import Cell, Input, State, affine, sigmoid, tanh

class Leaky(Cell):
    x, h = Input(), State()
    z = sigmoid(affine(x, h))
    h.next = z * h + (1 - z) * tanh(affine(x))
"""


def test_a_cell_of_ones_own_is_in_the_table(run, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    shown = run("bench", "--quick", "--cells", "lstm,mine.py:Leaky", *TINY)
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "FMA peak, measured" in shown.out and "float32" in shown.out
    rows = [line.split() for line in lines if "4x2x5" in line and line.startswith(("lstm", "Leak"))]
    assert [row[:3] for row in rows] == [
        ["lstm", "4x2x5", "inference"],
        ["lstm", "4x2x5", "training"],
        ["Leaky", "4x2x5", "inference"],
        ["Leaky", "4x2x5", "training"],
    ]
    assert [len(row) for row in rows] == [9, 9, 8, 8]  # torch.nn has no Leaky
    assert "Worst: " in shown.out and "stopped" not in shown.out


def test_help_fits_and_its_examples_parse(run):
    shown = run("bench", "--help")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    page, _, examples = shown.out.partition("Examples")
    used = {word for word in examples.split() if word.startswith("--")}
    assert {"--quick", "--cells", "--shapes", "--peers"} <= used
    assert all(flag in page for flag in used)


def test_json_is_all_of_standard_output(run):
    shown = run("bench", "--quick", "--cells", "gru", "--dtype", "float64", "--json", *TINY)
    data = json.loads(shown.out)
    assert shown.code == 0 and data["dtype"] == "float64"
    assert [case["kind"] for case in data["cases"]] == ["inference", "training"]
    assert [step["cell"] for step in data["one_step"]] == ["gru", "gru"]
    assert data["first_call"] == []
    assert "gru" in shown.err  # the tables, for whoever waits


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cells", "lstmm"], "lstm"),
        (["--cells", "lstm,,gru"], "lstm,,gru"),
        (["--cells", ""], "--cells: expected"),
        (["--cells", "no.py:Cell"], "no.py"),
        (["--shapes", "100x16"], "--shapes: expected steps x rows x units, as in 100x16x128"),
        (["--shapes", ""], "100x16x128"),
        (["--threads", "0"], "--threads: expected 1 to"),
        (["--threads", "100000"], "--threads: expected 1 to"),
        (["--threads", "two"], "got 'two'"),
        (["--repeats", "0"], "--repeats"),
        (["--dtype", "half"], "--dtype: expected one of float32, float64"),
        (["--shapes", "4x2x5,100000x100000x100000"], "at 100000x100000x100000 needs more than"),
        (["--shapes", "1x1x999999999999"], "--shapes: lstm at 1x1x999999999999 needs"),
    ],
    ids=str,
)
def test_a_wrong_flag_is_one_line(run, words, said):
    assert said in one_line(run("bench", *words), "bench")


def test_sides_that_differ_are_an_error(run, monkeypatch):
    from cellwright.bench import agree

    monkeypatch.setattr(agree, "TOLERANCE", dict.fromkeys(agree.TOLERANCE, -1.0))
    shown = run("bench", "--quick", "--cells", "rnn", *TINY)
    assert "rnn 4x2x5: cellwright and torch.nn" in one_line(shown, "bench")
    assert "inference" not in shown.out


def test_a_peer_that_is_not_there_is_one_line(run, monkeypatch):
    monkeypatch.setattr(extras, "found", lambda name: None)
    shown = run("bench", "--quick", "--peers", "--cells", "rnn", *TINY)
    assert shown.code == 0
    assert "without JAX: not installed (pip install jax)\n" in shown.out
    assert "without ONNX Runtime: not installed (pip install onnx onnxruntime)\n" in shown.out
    head = next(line for line in shown.out.splitlines() if line.startswith("cell "))
    assert "x loop" in head and "x jax" not in head and "x onnx" not in head


def test_a_further_peer_has_its_column(run, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(jax_peer, "missing", lambda dtype: "without JAX: not here")
    shown = run("bench", "--peers", "--quick", "--cells", "rnn,coupled", *TINY)
    assert shown.code == 0, shown.err
    head = next(line for line in shown.out.splitlines() if line.startswith("cell "))
    assert "x onnx" in head and "x jax" not in head
    assert "x onnx (rnn, " in " ".join(shown.out.split())


@pytest.mark.slow
def test_jax_agrees_and_is_timed(environment, tmp_path):
    """In a process of its own: JAX's threads make any later fork a warning."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    words = ["bench", "--quick", "--peers", "--cells", "lstm,gru,rnn,peephole,mut1", "--json"]
    done = subprocess.run(
        [*COMMAND, *words, *TINY], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {(c["cell"], c["kind"]): c["peers"] for c in json.loads(done.stdout)["cases"]}
    timed = {key: peers["jax"] for key, peers in found.items() if "jax" in peers}
    assert set(timed) == {key for key in found if key[0] != "mut1"}
    assert all(peer["value_difference"] < 1e-5 for peer in timed.values())
    assert all(peer["gradient_difference"] < 1e-4 for peer in timed.values())


def test_ctrl_c_shows_what_was_measured(environment, tmp_path):
    words = ["bench", "--cells", "rnn", "--shapes", "2x1x2,1500x8x32", "--threads", "1"]
    process = subprocess.Popen(
        [*COMMAND, *words, "--repeats", "300"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    while "2x1x2" not in (line := process.stdout.readline()) or "training" not in line:
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == ""
    assert "Worst: " in out and "1500x8x32" not in out
    assert out.splitlines()[-1] == "stopped: what is shown was measured, the rest was not"
