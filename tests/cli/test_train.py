"""`cellwright train`: what it prints, writes and returns."""

import json
import re
import subprocess
import sys

import pytest

from cellwright.lm import LanguageModel, Saved, StopRequest, TrainConfig, train
from tests.cli.conftest import TINY

FILES = {"config.json", "cell.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "last"}


def test_a_run_is_made_and_described(run, text):
    made = run("train", text, *TINY, "--epochs", "2", "--out", "here")
    assert made.code == 0, made.err
    assert {path.name for path in (text.parent / "here").iterdir()} >= FILES
    assert "LSTM" in made.out and "parameters" in made.out
    assert "vocabulary" in made.out and "validation" in made.out
    assert "cpu, 1 thread" in made.out
    path = LanguageModel.from_pretrained(text.parent / "here").recurrent.explain()
    assert f"  path     {path.removeprefix('LSTM: ').split(',')[0]}," in made.out
    assert "epoch 1 done" in made.out and "epoch 2 done" in made.out and "bits/char" in made.out
    assert "cellwright generate here" in made.out
    assert "\x1b" not in made.out


def test_without_out_the_directory_is_named_after_text_and_cell(run, text):
    for name in ("story-gru", "story-gru-2"):
        assert run("train", text, *TINY, "--cell", "gru", "--epochs", "1").code == 0
        assert (text.parent / "runs" / name / "model.safetensors").exists()


def test_json_is_one_event_a_line(run, text):
    made = run("train", text, *TINY, "--epochs", "1", "--json")
    events = [json.loads(line) for line in made.out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started" and kinds[-1] == "finished"
    assert {"step", "validated", "saved"} <= set(kinds)
    assert events[0]["parameters"] > 0


def test_a_recipe_is_its_flags_and_typed_flags_win(run, text):
    made = run("train", text, "--recipe", "char-rnn", *TINY, "--epochs", "1", "--out", "r")
    assert made.code == 0, made.err
    assert "--optimizer rmsprop" in made.out and "--hidden 8" in made.out
    training = json.loads((text.parent / "r" / "config.json").read_text())["training"]
    assert training["optimizer"] == "rmsprop"
    assert training["hidden"] == 8 and training["layers"] == 2 and training["epochs"] == 1


def test_resume_goes_on_and_says_when_there_is_nothing_left(run, text):
    run("train", text, *TINY, "--epochs", "1", "--out", "r")
    more = run("train", "--resume", "r", "--epochs", "2")
    assert more.code == 0, more.err
    assert "epoch 2 done" in more.out and "epoch 1 done" not in more.out
    nothing = run("train", "--resume", "r")
    assert nothing.code == 2
    assert "finished" in nothing.err


def test_the_loss_on_the_screen_after_a_resume_is_that_of_the_file(run, text):
    """Stopped within an epoch: what is printed of it is of the whole of it."""
    stop = StopRequest()

    def on_event(event):
        if isinstance(event, Saved) and (event.epoch, event.window) == (2, 60):
            stop.set()

    config = TrainConfig(
        files=(str(text),), hidden=8, steps=4, batch=4, threads=1, epochs=3, lr=0.05
    )
    train(config, text.parent / "r", on_event=on_event, stop=stop, save_seconds=0)
    shown = run("train", "--resume", "r").out
    lines = (text.parent / "r/metrics.jsonl").read_text().splitlines()
    noted = [line for line in map(json.loads, lines) if line["kind"] == "valid"]
    assert [line["epoch"] for line in noted] == [1, 2, 3]
    for line in noted[1:]:
        assert f"epoch {line['epoch']} done: train {line['train_nats']:.4f}," in shown


def test_minutes_end_a_run_within_an_epoch_and_say_so(run, text):
    made = run("train", text, *TINY, "--steps", "1", "--minutes", "0.003", "--out", "r")
    assert made.code == 0, made.err
    assert "epoch 1 done" not in made.out
    (told,) = re.findall(r"epoch 1 to (\d+) % of it: train", made.out)
    assert f"{told} % of the first epoch: r" in made.out
    line = json.loads((text.parent / "r/metrics.jsonl").read_text().splitlines()[-1])
    assert (line["epoch"], 100 * line["window"] // line["windows"]) == (1, int(told))


def test_a_projected_cell_is_trained_scored_and_heard(run, text):
    flags = [*TINY, "--epochs", "1", "--out", "r"]
    made = run("train", text, "--cell", "lstm-projected", "--proj", "3", "--layers", "2", *flags)
    assert made.code == 0, made.err
    values = json.loads((text.parent / "r/config.json").read_text())
    assert values["training"]["proj_size"] == values["model"]["proj_size"] == 3
    assert run("evaluate", "r", text).code == 0
    assert run("generate", "r", "--length", "5").code == 0
    assert run("train", "--resume", "r", "--epochs", "2").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cell", "gru", "--proj", "3"], "--proj: GRU has no projection"),
        (["--cell", "lstm-projected"], "--proj: ProjectedLSTM projects its output: expected"),
        (["--cell", "lstm-projected", "--proj", "8"], "below its 8 units, got 8"),
        (["--cell", "lstm-projected", "--proj", "-1"], "--proj: expected a whole number"),
    ],
)
def test_a_projection_that_does_not_fit_is_refused(run, text, words, said):
    assert said in one_line(run("train", text, *TINY, *words))
    assert not (text.parent / "runs").exists()


FAILING = [
    ["TEXT", "--cell", "lstmm"],
    ["TEXT", "--batch", "5000"],
    ["TEXT", "--valid", "gone.txt"],
    ["TEXT", "--device", "cuda:63"],
    ["TEXT", "--out", "deep/er/run", "--batch", "5000"],
    ["--corpus", "agreement", "--sentences", "60", "--batch", "5000"],
    ["--corpus", "agreement", "--sentences", "60", "--cell", "lstmm"],
]


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        *(("train", words) for words in FAILING),
        *(("compare", ["--cells" if w == "--cell" else w for w in words]) for words in FAILING),
        ("train", ["TEXT", "--forget-bias", "1", "--cell", "rnn"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_command_that_fails_at_once_leaves_nothing(run, text, verb, words):
    before = sorted(text.parent.rglob("*"))
    words = [str(text) if word == "TEXT" else word for word in words]
    one_line(run(verb, *words), verb)
    assert sorted(text.parent.rglob("*")) == before


def test_resuming_what_is_no_training_leaves_nothing_there(run, trained, tmp_path):
    LanguageModel.from_pretrained(trained).save_pretrained(tmp_path / "model")
    before = sorted((tmp_path / "model").iterdir())
    assert "cannot be resumed" in one_line(run("train", "--resume", "model"))
    assert sorted((tmp_path / "model").iterdir()) == before


def test_the_package_itself_is_the_command(environment):
    made = subprocess.run(
        [sys.executable, "-m", "cellwright", "--version"],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert made.stdout.startswith("cellwright ")


def test_a_cell_of_ones_own(run, text):
    (text.parent / "mine.py").write_text(
        "from cellwright.language import *\n"
        "class Leaky(Cell):\n"
        "    x, h = Input(), State()\n"
        "    z = sigmoid(affine(x, h))\n"
        "    h.next = (1 - z) * h + z * tanh(linear(x))\n"
    )
    made = run("train", text, *TINY, "--epochs", "1", "--cell", "mine.py:Leaky")
    assert made.code == 0, made.err
    assert (text.parent / "runs/story-mine.py-Leaky/cell.json").exists()


def one_line(ran, verb="train"):
    assert ran.code == 2, ran
    lines = ran.err.strip().splitlines()
    assert len(lines) == 1, ran.err
    assert lines[0].startswith(f"cellwright {verb}: ")
    assert "Traceback" not in ran.err
    return lines[0]


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b"abc\0def" * 50, "binary"),
        (b"x", "short"),
        ("très bien ".encode("latin-1") * 50, "UTF-8"),
    ],
    ids=["missing", "empty", "binary", "one character", "latin-1"],
)
def test_a_bad_text_is_one_line(run, tmp_path, content, said):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    line = one_line(run("train", path, *TINY))
    assert "bad.txt" in line
    assert said.lower() in line.lower()
    assert not (tmp_path / "runs/bad-lstm/config.json").exists()


def test_a_directory_is_no_text(run, tmp_path):
    assert str(tmp_path) in one_line(run("train", tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no text"),
        (["TEXT", "--cell", "lstmm"], "lstm"),
        (["TEXT", "--hidden", "0"], "--hidden: "),
        (["TEXT", "--hidden", "many"], "'--hidden': "),
        (["TEXT", "--hidden", "many"], "'many'"),
        (["TEXT", "--proj=1.5"], "'1.5'"),
        (["TEXT", "--minutes", "0"], "--minutes: expected a number above 0 and at most 1e+09, got"),
        (["TEXT", "--cell", "lstm-projected", "--proj", "300"], "got 300"),
        (["word " * 2000], "save it in a file and name that"),
        (["word " * 2000, "--out", "r"], "save it in a file and name that"),
        (["TEXT", "--test", "word " * 100], "save it in a file and name that"),
        (["TEXT", "--out", "word " * 100], "too long"),
        (["TEXT", "--lr-decay", "2"], "--lr-decay: "),
        (["TEXT", "--epochs", "1", "--minutes", "1"], "--epochs, --minutes"),
        (["TEXT", "--recipe", "zaremba"], "--recipe: "),
        (["TEXT", "--device", "toaster"], "--device: "),
        (["TEXT", "--corpus", "agreement"], "not both"),
        (["--corpus", "shakespeare"], "agreement"),
        (["TEXT", "--sentences", "5"], "--corpus"),
        (["TEXT", "--frobnicate"], "--frobnicate"),
        (["--resume", "nowhere"], "nowhere"),
        (["--resume", "nowhere", "--recipe", "char-rnn"], "--resume"),
        (["TEXT", "--cell", "none.py:Cell"], "none.py"),
        (["TEXT", "--cell", "broken.py:Cell"], "broken.py:2"),
        (["TEXT", "--cell", "raises.py:Cell"], "ZeroDivisionError"),
        (["TEXT", "--cell", "raises.py"], "raises.py"),
        (["TEXT", "--out", "broken.py"], "broken.py"),
        (["TEXT", "--out", "broken.py/deeper"], "broken.py"),
        (["TEXT", "--valid", "gone.txt"], "gone.txt"),
        (["TEXT", "--hidden", "3000000", "--embed", "8"], "memory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_flag_is_one_line(run, text, words, said):
    (text.parent / "broken.py").write_text("x = 1\nclass Cell(:\n")
    (text.parent / "raises.py").write_text("1 / 0\n")
    words = [str(text) if word == "TEXT" else word for word in words]
    assert said in one_line(run("train", *words))


def test_an_existing_run_is_not_overwritten_unasked(run, text):
    assert run("train", text, *TINY, "--epochs", "1", "--out", "r").code == 0
    before = (text.parent / "r/model.safetensors").read_bytes()
    assert "--overwrite" in one_line(run("train", text, *TINY, "--epochs", "1", "--out", "r"))
    assert (text.parent / "r/model.safetensors").read_bytes() == before
    again = run("train", text, *TINY, "--epochs", "1", "--out", "r", "--overwrite", "--seed", "5")
    assert again.code == 0
    assert (text.parent / "r/model.safetensors").read_bytes() != before


def test_a_directory_with_other_things_is_left_alone(run, text):
    (text.parent / "papers").mkdir()
    (text.parent / "papers/thesis.tex").write_text("years of work")
    for words in ([text], ["--corpus", "agreement", "--sentences", "50"]):
        one_line(run("train", *words, *TINY, "--out", "papers"))
        assert [p.name for p in (text.parent / "papers").iterdir()] == ["thesis.tex"]


def test_the_embedded_language(run, tmp_path):
    made = run(
        "train", "--corpus", "agreement", "--sentences", "300", *TINY, "--epochs", "1",
        "--out", "r",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert "(word)" in made.out
    (folder,) = (tmp_path / "r/corpus").iterdir()
    assert json.loads((folder / "agreement.json").read_text())["sentences"] == 300
    assert len((folder / "train.txt").read_text().splitlines()) == 300
    scored = run("evaluate", "r", "--corpus", "agreement")
    assert scored.code == 0, scored.err
    assert "guessing" in scored.out and "country" in scored.out
    scores = json.loads(run("evaluate", "r", "--corpus", "agreement", "--json").out)
    assert 0 < scores["all"]["accuracy"] < 1
    assert scores["all"]["asked"] > 1000


def test_an_embedded_corpus_replaces_nothing(run, tmp_path):
    mine = tmp_path / "proj" / "corpus"
    mine.mkdir(parents=True)
    (mine / "train.txt").write_text("my own text")
    (tmp_path / "proj" / "readme.txt").write_text("mine too")
    made = run(
        "train", "--corpus", "agreement", "--sentences", "300", *TINY, "--epochs", "1",
        "--overwrite", "--out", "proj",
    )  # fmt: skip
    assert made.code == 2
    assert (mine / "train.txt").read_text() == "my own text"
