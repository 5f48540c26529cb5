"""`cellwright inspect memory`, as somebody types it, and the texts that it reads."""

import html
import io
import json
import re
from types import SimpleNamespace

import pytest
import torch

from cellwright.cli import main
from cellwright.inspect.errors import InspectError
from cellwright.inspect.memory import text as memory_text
from cellwright.inspect.memory.measuring import Asked, measure
from cellwright.inspect.memory.report import SCREENS
from cellwright.inspect.memory.text import source
from cellwright.lm import LanguageModel, train
from tests.lm.small import SENTENCES, small_config, small_model

FEW = Asked(places=40, lags=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("memory")
    small_model(made)
    return made


@pytest.fixture(scope="module")
def run(folder):
    return folder / "run"


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    def made(*words: object, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        few = ["--places", "40", "--lags", "10"]
        return main(["inspect", "memory", *map(str, words), *few]), *capsys.readouterr()

    return made


# -- texts --------------------------------------------------------------------------------


def test_a_text_a_file_and_the_validation_text(folder, run, tmp_path):
    text = (folder / "text.txt").read_text()
    tail = text[-458:]  # a fifth, from a line's or a word's end on
    (tmp_path / "tail.txt").write_text(tail)
    found = [measure(run, given, FEW) for given in (None, tail, tmp_path / "tail.txt")]
    names = [made.facts.text for made in found]
    assert names == [f"{run}: its validation text", "the text", f"{tmp_path / 'tail.txt'}"]
    assert found[0].facts.tokens == 458
    assert found[0].context == found[1].context == found[2].context
    assert found[0].gradients == found[1].gradients == found[2].gradients
    facts = found[0].facts
    assert (facts.cell, facts.layers, facts.hidden, facts.window) == ("LSTM", 2, 9, 13)
    assert (facts.unit, facts.unknown) == ("character", 0)
    assert facts.seconds > 0
    assert "all 458 characters" in found[0].methods["verdict"]


def test_of_a_long_text_the_first_part_is_read(run, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_text, "MOST_TOKENS", 300)
    text = (SENTENCES * 20)[:301]
    (tmp_path / "long.txt").write_text(text)
    tokenizer = LanguageModel.from_pretrained(run).tokenizer
    assert tokenizer is not None
    for given in (tmp_path / "long.txt", text, None):
        made = source(run, given, tokenizer)
        assert (len(made.ids), made.whole) == (300, False)
    assert source(run, text[:300], tokenizer).whole
    assert "the first 300 characters" in measure(run, text, FEW).methods["verdict"]


def test_a_run_without_validation_reads_what_it_learnt(tmp_path):
    small_model(tmp_path, valid=None)
    assert measure(tmp_path / "run", None, FEW).facts.text.endswith("run: its training text")


@pytest.mark.parametrize(("level", "unit"), [("word", "word"), ("bpe", "token")])
def test_words_and_pieces_of_words(tmp_path, level, unit):
    config = small_config(tmp_path, level=level, epochs=1, layers=1, cell="gru", vary_steps=True)
    text = (tmp_path / "text.txt").read_text()
    train(config, tmp_path / "run")
    found = measure(tmp_path / "run", text, FEW)
    assert found.facts.unit == unit
    windows = f"Trained with windows of about 13 {unit}s:"
    assert any(sentence.text.startswith(windows) for sentence in found.verdict)


def test_untrained_is_what_the_training_began_with(tmp_path):
    small_model(tmp_path, lr=1e-30, optimizer="sgd")
    found = measure(tmp_path / "run", None, FEW)
    assert found.context.controls == found.context.places
    assert found.context.untrained is not None
    assert found.context.untrained.loss == pytest.approx(found.context.reset.loss, rel=1e-6)
    for made in found.gradients:
        assert made.untrained is not None
        assert made.trained.median == pytest.approx(made.untrained.median, rel=1e-6)
    for made in found.half_lives:
        assert made.trained == pytest.approx(made.untrained, rel=1e-6)
    assert found.verdict[0].text.startswith("No context beyond the last character is shown")
    assert "guessing by how often each character occurs" in found.verdict[1].text


def test_a_model_in_bfloat16(tmp_path):
    small_model(tmp_path, precision="bf16-true")
    found = measure(tmp_path / "run", None, FEW)
    assert found.context.untrained is not None
    assert found.context.reset.full < found.context.untrained.full
    assert found.methods["verdict"].endswith("float32, although the weights are bfloat16.")


def test_generators_and_threads_are_left_as_they_were(run):
    torch.set_num_threads(2)
    before = torch.get_rng_state()
    assert measure(run, None, FEW).facts.threads == 2
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == 2


def test_texts_that_say_nothing(run):
    tokenizer = LanguageModel.from_pretrained(run).tokenizer
    assert tokenizer is not None
    with pytest.raises(InspectError, match="the text: expected at least 200 tokens, got 199"):
        source(run, "a" * 199, tokenizer)
    with pytest.raises(InspectError, match="the text: 202 of 300 tokens are not in the model's"):
        source(run, "a" * 98 + "Я" * 202, tokenizer)
    assert source(run, "a" * 150 + "Я" * 150, tokenizer).unknown == 150


# -- the verb -----------------------------------------------------------------------------

TITLES = ("Context actually used", "Gradient of log p", "Half-lives", "Gates", "Units")


@pytest.mark.parametrize("columns", [80, 44])
def test_the_terminals_view(call, run, columns):
    code, out, err = call(run, columns=columns)
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= columns
    at = [out.index(f"\n{title}") for title in TITLES]
    assert at == sorted(at)
    found = measure(run, None, FEW)
    flowing = re.sub(r"\s+", " ", out)
    for sentence in found.verdict:
        assert re.sub(r"\s+", " ", sentence.text) in flowing
    for loss in found.context.reset.loss:
        assert f"{loss:.3f}" in out
    assert re.search(r"^ steps back +0 .* 10 $", out, re.MULTILINE)  # the ends stay in any window
    assert "c of all layers" in out
    assert ("Not shown in this narrow window: " in out) == ("untrained" not in heads_of(out))
    assert "\x1b" not in out


def heads_of(out: str) -> str:
    """The heads of the table of contexts."""
    return next(line for line in out.splitlines() if line.startswith(" context "))


def test_a_cell_without_gates(tmp_path, call):
    small_model(tmp_path, cell="rnn", layers=1, dropout=0.0)
    code, out, _ = call(tmp_path / "run")
    assert code == 0
    flowing = re.sub(r"\s+", " ", out)
    assert "RNN has no gates" in flowing
    assert "Not here: RNN has no gate: none of its equations is a sigmoid." in flowing
    assert "Not here: RNN multiplies no state" in flowing
    assert "what it remembers goes through its matrices at every step." in flowing


def test_json_is_the_report(call, run):
    code, out, err = call(run, "--json", "--seed", "4")
    made = json.loads(out)
    wanted = measure(run, None, Asked(40, lags=10, seed=4)).to_dict()
    del made["facts"]["seconds"], wanted["facts"]["seconds"]
    assert (code, err) == (0, "")
    assert made == json.loads(json.dumps(wanted))
    assert set(made["methods"]) == set(SCREENS)


def test_the_page(call, run, tmp_path):
    page = tmp_path / "report.html"
    code, out, _ = call(run, "-o", page)
    assert code == 0
    assert f"{page}: " in out
    text = html.unescape(re.sub("<[^>]+>", "", page.read_text(encoding="utf-8")))
    assert all(sentence.text in text for sentence in measure(run, None, FEW).verdict)
    assert call(run, "-o", page)[0] == 0  # a page of ours is replaced
    page.write_text("my notes")
    code, _, err = call(run, "-o", page)
    assert (code, page.read_text()) == (2, "my notes")
    assert "is not a page of ours" in err


def test_standard_input(call, run, folder, monkeypatch):
    raw = (folder / "text.txt").read_bytes()[:400]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    code, out, _ = call(run, "-")
    assert code == 0
    assert "400 characters of the text" in re.sub(r"\s+", " ", out)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw + b"\xff")))
    code, _, err = call(run, "-")
    assert code == 2
    assert "standard input is not UTF-8 at byte 400" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.txt"], "nowhere.txt"),
        (["."], "directory"),
        (["empty.txt"], "empty"),
        (["short.txt"], "expected at least 200 tokens, got 5"),
        (["-o", "."], "is a directory"),
        (["--open"], "--open: shows the page that -o names"),
        (["long.txt", "--lags", "399"], "lags: expected 1 to 398"),
    ],
)
def test_mistakes_are_one_line(words, said, run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("a cat")
    (tmp_path / "long.txt").write_text((SENTENCES * 20)[:400])
    assert main(["inspect", "memory", str(run), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_no_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "memory", "no-run"]) == 2
    assert "no-run: no such directory" in capsys.readouterr().err
