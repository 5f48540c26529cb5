"""`evaluate`, `generate`, `compare`: a trained run in use."""

import json

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
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_evaluation_is_one_line(run, trained, text, words, said):
    (text.parent / "foreign.txt").write_text("Привет, мир! " * 50)
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cells", "lstm,,gru"], "--cells"),
        (["--cells", "lstm,gruu"], "gru"),
        (["--seeds", "1,x"], "--seeds"),
        (["--budget", "0"], "--budget: "),
        (["--equal", "time"], "--equal: "),
        (["--valid", "0"], "valid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_comparison_is_one_line(run, text, words, said):
    assert said in one_line(run("compare", text, *TINY, *words), "compare")
