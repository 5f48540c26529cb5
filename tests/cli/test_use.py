"""`evaluate`, `generate`, `compare`: a trained run in use."""

import json
import re

import pytest

from tests.cli.conftest import TINY
from tests.cli.test_train import one_line


def test_evaluate_prints_and_gives_json(run, trained, text):
    shown = run("evaluate", trained, text)
    assert shown.code == 0, shown.err
    for label in ("nats per token", "perplexity", "bits per character", "tokens scored"):
        assert label in shown.out
    assert "1,999 of 2,000" in shown.out
    found = json.loads(run("evaluate", trained, text, "--json").out)
    assert found["scored"] == 1999
    assert f"{found['nats']:.4f}" in shown.out


def test_evaluate_tells_of_unknown_characters_beside_the_json(run, trained, text):
    text.write_text(text.read_text() + "Ω")
    found = run("evaluate", trained, text, "--json")
    assert json.loads(found.out)["unknown"] == 1
    assert found.err.startswith("note: ") and "vocabulary" in found.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN"], "--corpus agreement"),
        (["RUN", "TEXT", "--corpus", "agreement"], "one of the two"),
        (["RUN", "--corpus", "agreement"], "--level word"),
        (["RUN", "--corpus", "other"], "agreement"),
        (["RUN", "missing.txt"], "missing.txt"),
        (["RUN", "foreign.txt"], "vocabulary"),
        (["nowhere", "TEXT"], "nowhere"),
        (["RUN", "TEXT", "--device", "toaster"], "--device"),
        (["RUN", "TEXT", "--device", "meta"], "--device"),
        (["RUN", "letter.txt"], "letter.txt: expected at least 2 tokens, got 1"),
        (["RUN", "word " * 2000], "save it in a file and name that"),
        (["RUN", "adirectory"], "got a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_evaluation_is_one_line(run, trained, text, words, said):
    (text.parent / "foreign.txt").write_text("Привет, мир! " * 50)
    (text.parent / "letter.txt").write_text("a")
    (text.parent / "adirectory").mkdir()
    names = {"RUN": str(trained), "TEXT": str(text)}
    assert said in one_line(run("evaluate", *(names.get(w, w) for w in words)), "evaluate")


@pytest.mark.parametrize(
    "name", ["config.json", "cell.json", "tokenizer.json", "model.safetensors"]
)
def test_a_damaged_run_is_one_line_that_names_the_file(run, trained, tmp_path, name):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    assert name in one_line(run("generate", damaged), "generate")


def test_settings_of_a_language_that_are_none_are_one_line(run, tmp_path):
    made = run(
        "train", "--corpus", "agreement", "--sentences", "60", *TINY, "--epochs", "1", "--out", "r"
    )
    assert made.code == 0, made.err
    (path,) = (tmp_path / "r").glob("corpus/*/agreement.json")
    good = json.loads(path.read_text())
    for damage in ({"test": 2**70}, {"test": None}, {"seed": []}, {"more": 1}):
        path.write_text(json.dumps(good | damage))
        line = one_line(run("evaluate", "r", "--corpus", "agreement"), "evaluate")
        assert "agreement.json: not the settings" in line


def test_generate_goes_on_from_the_prompt(run, trained):
    shown = run("generate", trained, "--prompt", "the old", "--length", "30", "--seed", "1")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("the old")
    assert len(shown.out.rstrip("\n")) in range(30, 38)
    again = run("generate", trained, "--prompt", "the old", "--length", "30", "--seed", "1")
    assert again.out == shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prompt", "Ω"], "Ω"),
        (["--length", "-1"], "--length: "),
        (["--temperature", "-1"], "--temperature: "),
        (["--top-k", "0"], "--top-k: "),
        (["--top-p", "1.5"], "--top-p: "),
        (["--seed", "-3"], "--seed: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_generation_is_one_line(run, trained, words, said):
    ran = run("generate", trained, *words)
    assert said in one_line(ran, "generate")
    assert ran.out == ""


def test_compare_makes_a_table_a_plot_and_json(run, text):
    words = ["compare", text, "--cells", "lstm,gru", *TINY, "--epochs", "1", "--out", "c"]
    made = run(*words)
    assert made.code == 0, made.err
    assert "1 of 2: lstm" in made.out and "2 of 2: gru" in made.out
    assert "parameters" in made.out and "bits/char" in made.out
    for name in ("compare.json", "compare.png", "compare.svg"):
        assert f"c/{name}" in made.out
        assert (text.parent / "c" / name).stat().st_size > 500
    again = run(*words, "--json")
    rows = json.loads(again.out)["rows"]
    assert {row["cell"] for row in rows} == {"lstm", "gru"}
    assert "done" not in again.err  # nothing was trained again


def test_another_comparison_does_not_take_the_place_of_the_first(run, text):
    words = ["compare", text, *TINY, "--epochs", "1", "--out", "c", "--cells"]
    assert run(*words, "rnn").code == 0
    made = (text.parent / "c/compare.json").read_bytes()
    for other, named in (
        ([*words, "gru"], "cells"),
        ([*words, "rnn", "--seeds", "1"], "seeds"),
        ([*words, "rnn", "--lr", "0.1", "--budget", "999"], "budget, lr"),
    ):
        line = one_line(run(*other), "compare")
        assert "c/compare.json: holds a comparison with other settings" in line
        assert f"({named})" in line and "another directory" in line
        assert (text.parent / "c/compare.json").read_bytes() == made
        assert not (text.parent / "c/gru-0").exists()
    assert run(*words, "rnn").code == 0


def test_a_comparison_says_what_was_equal(run, text):
    words = ["compare", text, *TINY, "--epochs", "1", "--cells", "rnn,gru"]
    sized = " ".join(run(*words).out.split())
    assert re.search(r"parameters equal within [\d.]+ % of [\d,]+, equal tokens \([\d,]+\)", sized)
    wide = " ".join(run(*words, "--equal", "width").out.split())
    assert "equal width (8), equal tokens (" in wide
    assert re.search(r"parameters from [\d,]+ to [\d,]+, equal width", wide)


def test_a_comparison_tells_the_path_once(run, text):
    made = run("compare", text, *TINY, "--epochs", "1", "--cells", "rnn,gru,lstm")
    assert made.out.count("  path ") == 1


def test_a_comparison_with_a_projected_cell(run, text):
    flags = ["--cells", "lstm,lstm-projected", *TINY, "--epochs", "1", "--proj", "3", "--out", "c"]
    made = run("compare", text, *flags)
    assert made.code == 0, made.err
    rows = json.loads((text.parent / "c/compare.json").read_text())["rows"]
    assert abs(rows[1]["difference"]) < 0.1 * rows[0]["parameters"]
    saved = json.loads((text.parent / "c/lstm-projected-0/config.json").read_text())
    assert saved["training"]["proj_size"] == 3
    refused = run("compare", text, "--cells", "lstm,gru", *TINY, "--proj", "3")
    assert "--proj: none of the cells has a projection" in one_line(refused, "compare")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cells", "lstm,,gru"], "--cells"),
        (["--cells", "lstm,gruu"], "gru"),
        (["--seeds", "1,x"], "--seeds"),
        (["--seeds", ""], "--seeds"),
        (["--budget", "0"], "--budget: "),
        (["--equal", "time"], "--equal: "),
        (["--valid", "0"], "valid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_comparison_is_one_line(run, text, words, said):
    assert said in one_line(run("compare", text, *TINY, *words), "compare")
