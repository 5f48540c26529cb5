"""`cellwright inspect units` as it is typed: a run of any text, a file, a search, a page."""

import io
import json

import numpy as np
import pytest
import torch

from cellwright.cli import main
from cellwright.cli.inspect_units_colour import coloured
from cellwright.cli.terminal import console
from cellwright.inspect.units.features import probe_text
from cellwright.inspect.units.pattern import find_pattern
from cellwright.inspect.units.read import ablated, untied
from cellwright.inspect.units.states import read_states, tokens
from cellwright.inspect.units.text import find_in_text
from cellwright.lm import LanguageModel
from tests.inspect.latch import quoted

FLAGS = ["--hidden", "8", "--epochs", "1", "--threads", "1", "--batch", "8", "--steps", "20"]
FEW = ["--controls", "10", "--shuffles", "10"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "book.txt").write_text(quoted(9000), encoding="utf-8")
    made = ["train", str(folder / "book.txt"), *FLAGS, "--layers", "2", "--valid", "0.3"]
    assert main([*made, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A run of the agreement language."""
    out = tmp_path_factory.mktemp("runs") / "words"
    made = ["train", "--corpus", "agreement", "--sentences", "400", "--level", "word", *FLAGS]
    assert main([*made, "--out", str(out)]) == 0
    return out


def said(capsys, *words) -> str:
    capsys.readouterr()
    assert main(["inspect", "units", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_run_of_any_text_is_measured_on_its_validation_text(run, capsys):
    out = said(capsys, run, *FEW)
    assert out.startswith(f"{run}: its validation text: 2,6")
    assert "in quotes" in out
    assert "Not measured: " in out
    assert "the best of 32 values" in " ".join(out.split())


def test_the_numbers_are_those_of_the_library(run, capsys):
    made = json.loads(said(capsys, run, *FEW, "--json", "--seed", "3"))
    model = LanguageModel.from_pretrained(run)
    valid = quoted(9000).encode()[-made["tokens"] * 2 :].decode(errors="ignore")
    text = valid[-made["tokens"] :]
    wanted = find_in_text(model, text, drawn=10, shuffles=10, seed=3)
    assert wanted.tokens == made["tokens"]
    by_name = {f["probed"]["feature"]: f for f in made["findings"]}
    for found in wanted.findings:
        got = by_name[found.probed.feature]
        assert got["probed"]["auc"] == pytest.approx(found.probed.auc)
        assert got["probed"]["shuffled"] == pytest.approx(found.probed.shuffled)
        assert got["effect"]["where"] == pytest.approx(found.effect.where)  # type: ignore[union-attr]
    # the run's own model before its training, not another draw
    assert [f.probed.untrained for f in wanted.findings] != [
        by_name[f.probed.feature]["probed"]["untrained"] for f in wanted.findings
    ]
    text_said = made["text"]
    assert len(text_said["tokens"]) == len(text_said["values"]) == 300
    assert "".join(text_said["tokens"]) in text


def test_a_unit_is_shown_on_a_text(run, capsys):
    words = [run, "“xx” ab", "--unit", "1:3", "--state", "c", *FEW]
    made = json.loads(said(capsys, *words, "--json"))["text"]
    assert (made["unit"], made["state"], made["tokens"]) == ("1:3", "c", list("“xx” ab"))
    model = LanguageModel.from_pretrained(run)
    with torch.no_grad():
        ids = torch.tensor([model.tokenizer.encode("“xx” ab")])  # type: ignore[union-attr]
        c = model(ids)[1][1]
    assert made["values"][-1] == pytest.approx(float(c[1, 0, 3]), abs=1e-5)
    out = said(capsys, *words)
    first, second = out.splitlines()[-2:]
    assert first == "“xx” ab"
    assert len(second) == 7 and second.isdigit()


@pytest.mark.parametrize("given", ["file", "stdin"])
def test_a_text_of_ones_own_is_measured(run, capsys, tmp_path, monkeypatch, given):
    text = quoted(1500)
    (tmp_path / "own.txt").write_text(text, encoding="utf-8")
    if given == "stdin":
        stream = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", stream)
    file = "-" if given == "stdin" else tmp_path / "own.txt"
    if given == "file":
        assert said(capsys, run, "--file", file, *FEW).startswith(f"{file}: 1,500 tokens\n")
    made = json.loads(said(capsys, run, "--file", file, "--tokens", "1000", *FEW, "--json"))
    assert made["tokens"] == 1000
    assert made["measured"] == ("standard input" if given == "stdin" else str(file))
    wanted = probe_text(LanguageModel.from_pretrained(run), text[:1000], shuffles=10)
    assert [f["probed"]["feature"] for f in made["findings"]] == [p.feature for p in wanted]


def test_a_model_without_its_training_reads_a_file(run, capsys, tmp_path):
    model = LanguageModel.from_pretrained(run)
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "own.txt").write_text(quoted(1500), encoding="utf-8")
    words = (tmp_path / "saved", "--file", tmp_path / "own.txt", *FEW)
    assert main(["inspect", "units", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    assert "in quotes" in out
    assert "the untrained model beside it has weights of its own draw" in err


def test_a_phrase_is_searched(run, capsys):
    text = quoted(800)
    phrase = text[400:403]
    out = said(capsys, run, text, "--find", phrase)
    assert f"[{phrase}]" in out
    made = json.loads(said(capsys, run, text, "--select", "400:403", "--json", "--top", "4"))
    model = LanguageModel.from_pretrained(run)
    states = read_states(model, tokens(model, text).ids)
    wanted = find_pattern(states, 400, 403, state="h", most=4)
    assert made["text"] == phrase
    assert len(made["units"]) == len(wanted.units)
    assert [m["best"] for m in made["matches"]] == [m.best for m in wanted.matches]
    np.testing.assert_allclose(made["luck"], wanted.luck)
    higher = said(capsys, run, text, "--select", "400:403", "--above", "0.1")
    assert "more than 0.1 standard deviations" in higher
    lone = find_pattern(states, 401, 402, state="h", alone=True, above=0.0)
    made = json.loads(
        said(capsys, run, text, "--select", "401:402", "--alone", "--above", "0", "--json")
    )
    assert len(made["units"]) == len(lone.units)
    assert len(lone.units) < len(find_pattern(states, 401, 402, state="h", above=0.0).units)


def test_a_search_reads_the_validation_text(run, capsys):
    out = said(capsys, run, "--select", "30:32", "--state", "c", "--tokens", "500")
    assert out.startswith(f"{run}: its validation text: the first 500 tokens\ntokens 30:32: ")
    assert "of state c on throughout" in out


def test_a_page_is_written(run, words, capsys, tmp_path):
    out = said(capsys, run, "-o", tmp_path / "a.html", "--select", "30:32", *FEW)
    assert out.startswith(f"{tmp_path / 'a.html'}: ")
    assert '"stretch":[30,32]' in (tmp_path / "a.html").read_text(encoding="utf-8")
    few = ["--sentences", "240", *FEW]
    said(capsys, words, "-o", tmp_path / "b.html", *few)
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert '"asked":"number"' in page and '"asked":"gender"' in page
    said(capsys, words, "the king sings .", "-o", tmp_path / "b.html", *few)
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert '"pieces":["the","king","sings","."]' in page
    said(capsys, words, "the king sings .", "-o", tmp_path / "b.html", "--find", "king", *few)
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert '"stretch":[1,2]' in page and '"asked":"gender"' in page


def test_a_run_of_words_is_searched(words, capsys):
    out = said(capsys, words, "the king near the girls sings .\nthe king sings .",
               "--find", "the king")  # fmt: skip
    assert "[the king] near" in out


def test_ablation_takes_a_unit_from_every_reader(run):
    """What `loss` in the table means: nothing reads the unit."""
    model = untied(LanguageModel.from_pretrained(run))
    place = find_in_text(model, quoted(1500), drawn=10, shuffles=10).findings[0].place
    ids = torch.tensor([model.tokenizer.encode(quoted(60))])  # type: ignore[union-attr]
    with torch.no_grad():
        whole = model(ids)[0]
        with ablated(model, place):
            assert not torch.equal(model(ids)[0], whole)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--file", "nothing.txt"], "nothing.txt: no such file"),
        (["--file", "."], "expected a text file, got a directory"),
        (["--unit", "9:1"], "--unit: expected 0:0 to 1:7"),
        (["--unit", "0:1", "--state", "z"], "--state: expected one of h, c"),
        (["--state", "c"], "--state: is of the unit that --unit names"),
        (["--sentences", "50"], "--sentences: is of the agreement language"),
        (["--top", "2"], "--top: is of the agreement language and of a search"),
        (["--above", "1"], "--above: is of a pattern search"),
        (["--alone"], "--alone: is of a pattern search"),
        (["--find", "zebra!"], "'zebra!' is not in these"),
        (["--find", "x", "--select", "1:2"], "--find or --select"),
        (["--select", "5"], "--select: expected A:B"),
        (["--select", "9:5"], "--select: expected A:B"),
        (["--select", "5:999999"], "--select: expected A:B"),
        (["--find", "x", "--controls", "20"], "--controls: is not of a search"),
        (["--find", "x", "--unit", "0:1"], "--unit: is not of a search"),
        (["--select", "3:5", "--state", "q"], "no 'q'"),
        (["xx", "--find", "x", "--tokens", "300"], "--tokens: is of a text to measure"),
        (["", "--find", "x"], "expected one token"),
        (["", *FEW], "expected one token"),
        (["-o", "."], "is a directory"),
        (["-o", "none/a.html"], "there is no directory none"),
        (["-o", "a.html", "--json"], "--json: prints to the terminal"),
        (["-o", "a.html", "--find", "x", "--alone"], "--alone: is of a search in the terminal"),
    ],
)
def test_mistakes_are_one_line(run, capsys, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["inspect", "units", str(run), *words]) == 2
    got = capsys.readouterr()
    assert told in got.err
    assert len(got.err.splitlines()) == 1
    assert got.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_text_of_another_kind_is_refused(run, capsys, tmp_path):
    (tmp_path / "own.txt").write_text("\u05d0\u05d1" * 400, encoding="utf-8")
    assert main(["inspect", "units", str(run), "--file", str(tmp_path / "own.txt")]) == 2
    assert "not in the model's vocabulary" in capsys.readouterr().err


def test_tokens_are_no_flag_of_the_agreement_language(words, capsys):
    assert main(["inspect", "units", str(words), "--tokens", "500"]) == 2
    assert "give --sentences" in capsys.readouterr().err


@pytest.mark.parametrize("width", [40, 80])
def test_it_fits_into_the_window(run, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = said(capsys, run, *FEW, "--unit", "0:1")
    wide = [line for line in out.splitlines()[1:] if len(line) > width and "after each" not in line]
    assert wide == []


def test_odd_signs_have_a_place_of_their_own(capsys):
    coloured(console(), list("é\u0301\n\t\x1b界"), [0.0, 0.5, -1.0, 1.0, 0.2, 0.9], "u", exact=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("0 is -1.00, 9 is +1.00")
    assert lines[2:] == ["é◌\u0301⏎", "470", "⇥·界", "9599"]
