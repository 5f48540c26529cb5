"""`cellwright inspect step` and `walkthrough`, as somebody types them."""

import json
from pathlib import Path

import pytest

from cellwright.cli import main
from cellwright.inspect.walk.rows import Spot, number, rows
from cellwright.inspect.walk.values import read
from cellwright.lm.attribution import signed
from tests.inspect.readers import reader

TEXT = "the bed is not/a cod"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "lstm"
    reader("lstm").save_pretrained(folder)
    return folder


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    def made(*words: object, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        return main(["inspect", *map(str, words)]), *capsys.readouterr()

    return made


@pytest.mark.parametrize("columns", [80, 40])
def test_the_table_fits_its_window(call, run_folder, columns):
    code, out, _ = call("step", run_folder, "--text", TEXT, "--at", 7, "--unit", 3, columns=columns)
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= columns
    for title in ("What comes in", "Forget", "Write", "Update", "Reveal", "Predict", "Look back"):
        assert f"\n{title}\n" in out
    found = rows(read(reader("lstm"), TEXT), Spot(0, 7, 3))
    assert all(number(row.value) in out for row in found)


def test_json_holds_the_same_numbers(call, run_folder):
    words = ("step", run_folder, "--text", TEXT, "--at", 7, "--unit", 3, "--layer", 1, "--json")
    code, out, _ = call(*words)
    facts = json.loads(out)
    found = rows(read(reader("lstm"), TEXT), Spot(1, 7, 3))
    assert code == 0
    assert (facts["piece"], facts["layer"], facts["unit"]) == (" ", 1, 3)
    assert [row["value"] for row in facts["rows"]] == pytest.approx([r.value for r in found])
    given = [guess["from_unit"] for guess in facts["predictions"]]
    assert all(isinstance(value, float) for value in given)  # the layer that the decoder reads
    back = reader("lstm").attribute(TEXT, at=7, furthest=24)
    assert facts["look_back"]["target"] == "i"  # "the bed is": the token that came
    scores = [part["score"] for part in facts["look_back"]["parts"]]
    assert scores == pytest.approx(back.scores)
    assert facts["unseen"] == []


def test_the_table_ends_in_what_was_looked_back_at(call, run_folder):
    """The strongest, each by both methods, and a sentence where the two disagree."""
    _, out, _ = call("step", run_folder, "--text", TEXT, "--at", 7)
    shown = out.partition("\nLook back\n")[2].splitlines()
    found = reader("lstm").attribute(TEXT, at=7, furthest=24)
    for line, part in zip(shown[1:], found.top(5), strict=False):
        slope = found.by_method["gradient"][part.start]
        assert line.split()[0] == str(part.start)
        assert line.split()[-2:] == [signed(part.score, 3), signed(slope, 3)]
    told = " ".join(shown[6:])
    assert "log p('i')" in told
    assert (found.warning in told) and ("Trust the ablation" in told) == bool(found.warning)


def test_what_the_model_has_never_seen_is_said(call, run_folder):
    _, out, _ = call("step", run_folder, "--text", "the Zed: Zoë", "--at", 3)
    assert "never seen, so read as <unk>: 'Z', ':', 'ë'\n" in out
    _, out, _ = call("step", run_folder, "--text", "the Zed", "--json")
    assert json.loads(out)["unseen"] == ["Z"]
    _, out, _ = call("step", run_folder, "--text", TEXT)
    assert "never seen" not in out


def test_tokens_have_one_name_in_the_table_and_below_it(call, run_folder):
    text = "日本語学 the"
    found = reader("lstm").attribute(text, at=11 - 4, furthest=24)
    _, out, _ = call("step", run_folder, "--text", text, "--at", 7, "--json")
    back = json.loads(out)["look_back"]
    assert [part["text"] for part in back["parts"]] == list(text)
    assert [part["score"] for part in back["parts"]] == pytest.approx(found.scores)
    _, out, _ = call("step", run_folder, "--text", "日本", "--layer", 1)
    below = " ".join(out.partition("\nLook back\n")[2].split())
    assert "'日'" in below and "'<unk>'" not in below


def test_without_at_it_is_the_last_token(call, run_folder):
    _, out, _ = call("step", run_folder, "--text", TEXT)
    assert "token 19: 'd' after" in out
    assert "came:" not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--text", TEXT, "--at", 20), "--at: expected 0 to 19"),
        (("--text", TEXT, "--unit", -1), "--unit: expected 0 to 15"),
        (("--text", TEXT, "--layer", 2), "--layer: expected 0 to 1"),
        (("--text", ""), "expected one token"),
    ],
)
def test_faults_are_one_line(call, run_folder, words, told):
    code, out, err = call("step", run_folder, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_page_is_written_whole(call, run_folder, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("my notes", encoding="utf-8")
    code, _, err = call("walkthrough", run_folder, "--text", TEXT, "-o", page)
    assert (code, page.read_text(encoding="utf-8")) == (2, "my notes")
    assert "not a page of ours" in err
    page.unlink()
    for _ in range(2):  # the second replaces the first
        code, out, _ = call("walkthrough", run_folder, "--text", TEXT, "-o", page)
        assert code == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "live" in out


def test_a_page_opens_where_it_is_asked_to(call, run_folder, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = tmp_path / "page.html"
    call("walkthrough", run_folder, "--text", TEXT, "-o", page, "--open")
    assert opened == [page.resolve().as_uri()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--text", "a" * 401), "at most 400 tokens, got 401"),
        (("--text", TEXT, "-o", "."), "name a file"),
        (("--text", TEXT, "-o", "no/such/page.html"), "could not be written"),
    ],
)
def test_what_makes_no_page_is_said_in_one_line(
    call, run_folder, tmp_path, monkeypatch, words, told
):
    monkeypatch.chdir(tmp_path)
    code, _, err = call("walkthrough", run_folder, *words)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_two_models_read_the_same_tokens(call, run_folder, tmp_path):
    reader("rnn", signs="abc the").save_pretrained(tmp_path / "rnn")
    code, _, err = call(
        "walkthrough", run_folder, "--text", TEXT, "--versus", tmp_path / "rnn",
        "-o", tmp_path / "page.html",
    )  # fmt: skip
    assert code == 2
    assert "--versus: its vocabulary is another one" in err
