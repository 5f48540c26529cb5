"""Runs that lie beside one another and read the same tokens."""

from pathlib import Path

import pytest

from cellwright.cli import main
from cellwright.cli.inspect_walkthrough import MOST_BESIDE, neighbours
from tests.inspect.readers import reader


def lay(run: Path, vocabulary: str, whole: bool = True) -> Path:
    run.mkdir(parents=True)
    (run / "tokenizer.json").write_text(vocabulary)
    if whole:
        (run / "model.safetensors").write_bytes(b"")
    return run


def test_runs_of_the_same_vocabulary_are_found(tmp_path, monkeypatch):
    run, rnn = lay(tmp_path / "lstm", "a"), lay(tmp_path / "rnn", "a")
    lay(tmp_path / "other", "b")
    lay(tmp_path / "unfinished", "a", whole=False)
    (tmp_path / "notes.txt").write_text("a")
    assert neighbours(run) == (rnn,)
    monkeypatch.chdir(run)
    assert [path.name for path in neighbours(Path())] == ["rnn"]


def test_only_the_first_few_are_named(tmp_path):
    run = lay(tmp_path / "a", "a")
    for name in "bcdef":
        lay(tmp_path / name, "a")
    assert [path.name for path in neighbours(run)] == ["b", "c", "d"] and MOST_BESIDE == 3


@pytest.mark.parametrize("text", ["the Zed: Zoë", "the bed"])
def test_what_the_model_has_never_seen_is_named(tmp_path, capsys, text):
    reader("gru").save_pretrained(tmp_path / "run")
    page = str(tmp_path / "page.html")
    assert main(["inspect", "walkthrough", str(tmp_path / "run"), "--text", text, "-o", page]) == 0
    told = "never seen, so read as <unk>: 'Z', ':', 'ë'\n"
    assert (told in capsys.readouterr().out) == ("Z" in text)
