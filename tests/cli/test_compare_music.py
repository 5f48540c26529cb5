"""`compare --music`, and `compare` with rates: what is shown, written, refused and gone on with."""

import json
import signal
import subprocess

import pytest

from cellwright.cells import CATALOGUE
from cellwright.cli.compare_music import HEARD, TAKEN
from cellwright.tasks.music import PARTS, made_up
from tests.cli.conftest import COMMAND, TINY

SMALL = ["--rates", "1e-2", "--budget", "3000", "--threads", "1", "--epochs", "2"]


@pytest.fixture
def rolls(tmp_path):
    """A file of piano rolls."""
    music = made_up(2, (6, 2, 2))
    path = tmp_path / "tunes.json"
    path.write_text(json.dumps({part: music.part(part) for part in PARTS}), encoding="utf-8")
    return path


def one_line(ran) -> str:
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("cellwright compare: ")
    return ran.err


def test_music_makes_a_table_a_plot_and_json(run, rolls):
    words = ["compare", "--music", rolls, "--cells", "lstm,gru", *SMALL, "--seeds", "0,1"]
    made = run(*words)
    assert made.code == 0, made.err
    assert "1 of 4: lstm, rate 0.01, seed 0, 6 units, 2,896 parameters" in made.out
    assert "4 of 4: gru, rate 0.01, seed 1" in made.out
    assert "at epoch 2 of 2, test" in made.out
    head = next(line for line in made.out.splitlines() if line.lstrip().startswith("cell"))
    assert head.split() == [
        "cell", "units", "parameters", "rate", "best", "epoch", "valid", "test", "±", "sd", "seeds",
    ]  # fmt: skip
    where = rolls.parent / "runs/tunes-compare"
    for name in ("compare.json", "compare.md", "compare.png", "compare.svg"):
        assert f"runs/tunes-compare/{name}" in made.out
        assert (where / name).stat().st_size > 200
    again = run(*words, "--out", where, "--json")
    assert again.err == ""  # nothing was trained again
    assert json.loads(again.out) == json.loads((where / "compare.json").read_text())


def test_made_up_music_needs_no_file(run):
    made = run("compare", "--music", "made-up", "--cells", "rnn", *SMALL, "--seeds", "3")
    assert made.code == 0, made.err
    assert "1 of 1: rnn, rate 0.01, seed 3" in made.out
    assert "runs/made-up-compare/compare.png" in made.out


@pytest.mark.parametrize("width", ["40", "60", "80"])
def test_the_table_fits_the_window(run, rolls, monkeypatch, width):
    words = ["compare", "--music", rolls, "--cells", "rnn", *SMALL, "--seeds", "0", "--out", "c"]
    assert run(*words).code == 0
    monkeypatch.setenv("COLUMNS", width)
    lines = run(*words).out.splitlines()
    assert all(len(line) <= int(width) for line in lines)
    assert any("valid" in line and "test" in line for line in lines)
    assert ("Not shown" in "".join(lines)) == (width != "80")


WRONG = {
    "no file": (["--music", "none.json"], "none.json: cannot be read"),
    "no rolls": (["--music", "story.txt"], "story.txt: expected piano rolls as JSON"),
    "a text too": (["story.txt", "--music", "made-up"], "--music: give music or a text, not both"),
    "a corpus too": (["--music", "made-up", "--corpus", "agreement"], "--corpus has no meaning"),
    "sentences": (["--music", "made-up", "--sentences", "9"], "--sentences"),
    "layers": (["--music", "made-up", "--layers", "2"], "--layers has no meaning beside it"),
    "one rate": (["--music", "made-up", "--lr", "1"], "--lr has no meaning"),
    "equal width": (["--music", "made-up", "--equal", "width"], "--equal: "),
    "words for rates": (["--music", "made-up", "--rates", "x"], "--rates: expected numbers"),
    "no rates": (["--music", "made-up", "--rates", ""], "--rates"),
    "words for seeds": (["--music", "made-up", "--seeds", "1,x"], "--seeds: expected whole"),
    "a negative seed": (["--music", "made-up", "--seeds", "-1"], "--seeds: expected whole"),
    "no parameters": (["--music", "made-up", "--budget", "0"], "--budget: expected a number"),
    "no epochs": (["--music", "made-up", "--epochs", "0"], "--epochs: expected a whole number"),
    "no rate at all": (["--music", "made-up", "--rates", "0"], "rates: expected numbers above 0"),
    "no patience": (["--music", "made-up", "--patience", "0"], "patience: expected a whole"),
    "a cell that reads more": (["--music", "made-up", "--cells", "ea-lstm"], "ea-lstm: it reads s"),
    "no such cell": (["--music", "made-up", "--cells", "lsmt"], "did you mean lstm"),
    "patience on a text": (["story.txt", "--patience", "3"], "--patience: ends a training on"),
    "rates and a rate": (["story.txt", "--rates", "1,2", "--lr", "1"], "--rates, --lr: give one"),
    "a rate of nothing": (["story.txt", "--rates", "0.1,0"], "--lr: expected a number above 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(run, text, case):
    words, said = WRONG[case]
    assert said in one_line(run("compare", *words))
    assert not (text.parent / "runs").exists()


def test_every_training_flag_that_is_not_taken_is_refused():
    """A flag that music ignored in silence would be a lie: those that are taken reach a Recipe."""
    from dataclasses import fields

    from cellwright.tasks.music_training import Recipe

    assert {*TAKEN} - {"threads"} <= {f.name for f in fields(Recipe)}


def test_another_comparison_is_refused(run, rolls):
    words = ["compare", "--music", rolls, "--cells", "rnn", *SMALL, "--out", "c", "--seeds", "0"]
    assert run(*words).code == 0
    line = one_line(run(*words, "--patience", "3"))
    assert "c/compare.json: holds a comparison with other settings (patience)" in line


def test_ctrl_c_ends_in_order_and_the_same_command_goes_on(rolls, environment):
    words = ["compare", "--music", rolls.name, "--cells", "rnn", "--budget", "3000", "--threads"]
    words = [*words, "1", "--rates", "1e-3", "--seeds", "0,1", "--out", "c"]
    command = [*COMMAND, *words, "--epochs", "300", "--patience", "300"]
    slow = subprocess.Popen(
        command, cwd=rolls.parent, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert slow.stdout is not None
    for line in slow.stdout:
        if line.startswith("2 of 2"):
            slow.send_signal(signal.SIGINT)
            break
    out, err = slow.communicate(timeout=60)
    assert slow.returncode == 130
    assert HEARD in err
    assert "stopped; go on with the same command and --out c" in out
    assert len(json.loads((rolls.parent / "c/compare.json").read_text())["rows"]) == 1
    done = subprocess.run(
        command, cwd=rolls.parent, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 2" not in done.stdout
    assert "2 of 2" in done.stdout


def test_rates_on_a_text(run, text):
    words = ["compare", text, *TINY, "--epochs", "1", "--cells", "lstm,gru", "--out", "c"]
    made = run(*words, "--rates", "1e-9,0.01", "--seeds", "0,1")
    assert made.code == 0, made.err
    assert "6 of 6: gru, seed 1" in made.out
    values = json.loads((text.parent / "c/compare.json").read_text())
    assert [(row["cell"], row["lr"], row["seed"]) for row in values["rows"]] == [
        (cell, lr, seed)
        for cell in ("lstm", "gru")
        for lr, seed in ((1e-9, 0), (0.01, 0), (0.01, 1))
    ]
    assert {path.name for path in (text.parent / "c").iterdir() if path.is_dir()} == {
        f"{cell}-{rest}" for cell in ("lstm", "gru") for rest in ("1e-09-0", "0.01-0", "0.01-1")
    }
    end = made.out.partition("Validation loss")[2]
    assert "c/lstm-0.01-1" in end
    assert "c/lstm-1e-09-0" not in end  # what was not chosen stands in the file alone
    table = (text.parent / "c/compare.md").read_text().splitlines()
    assert len(table) == 4
    assert all(line.split("|")[4].strip() == "0.01" for line in table[2:])
    assert all(line.split("|")[8].strip() == "2" for line in table[2:])


def test_all_cells_on_a_text(run, text, monkeypatch):
    for module in ("cellwright.lm.comparison.catalogue", "cellwright.cli.compare"):
        few = {name: CATALOGUE[name] for name in ("rnn", "ea-lstm", "gru", "grid")}
        monkeypatch.setattr(f"{module}.CATALOGUE", few)
    made = run("compare", text, *TINY, "--epochs", "1", "--cells", "all", "--out", "c")
    assert made.code == 0, made.err
    rows = json.loads((text.parent / "c/compare.json").read_text())["rows"]
    assert [row["cell"] for row in rows] == ["rnn", "gru"]
    said = " ".join(made.out.split())
    assert "Left out: ea-lstm: " in said
    assert "Left out: grid: " in said
