"""`cellwright inspect attribute`, as somebody types it."""

import json
from pathlib import Path

import pytest

from cellwright.cli import main
from cellwright.lm.attribution import METHODS, signed
from tests.inspect.readers import reader

TEXT = "the bed is not/a cod"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "lstm"
    reader("lstm").save_pretrained(folder)
    return folder


@pytest.fixture
def call(capsys, monkeypatch, run_folder):
    monkeypatch.setenv("NO_COLOR", "1")

    def made(*words: object, columns: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        capsys.readouterr()
        code = main(["inspect", "attribute", str(run_folder), *map(str, words)])
        return code, *capsys.readouterr()

    return made


@pytest.mark.parametrize("columns", [120, 80, 46])
def test_it_fits_its_window(call, columns):
    code, out, _ = call("--text", TEXT, "--target", "e", "--method", "all", columns=columns)
    assert code == 0
    assert max(len(line) for line in out.splitlines()) <= columns
    found = reader("lstm").attribute(TEXT, "e", METHODS[-1])
    assert out.startswith(f"log p('e') = {signed(found.score)} nats after token 19\n")
    said = " ".join(out.split())
    assert (found.warning or "agree on what matters most.") in said
    for method in METHODS:
        assert f"{method}; the largest is {max(map(abs, found.by_method[method])):.2f}" in out
        assert " ".join(found.how(method).split()[:9]) in said


def test_the_table_holds_the_strongest(call):
    _, out, _ = call("--text", TEXT, "--target", "e", "--against", "a", "--top", 4)
    found = reader("lstm").attribute(TEXT, "e", against="a")
    lines = out.splitlines()
    first = next(k for k, line in enumerate(lines) if "spread" in line) + 2
    for line, part in zip(lines[first : first + 4], found.top(4), strict=True):
        words = line.split()
        assert words[1:3] == [str(part.start), signed(part.score)]
        assert words[3:6] == [signed(part.low), "to", signed(part.high)]
        assert words[6] == signed(found.by_method["gradient"][part.start])
        assert len(words) == 10  # and three replacements
    assert lines[first + 4].strip() == ""


def test_letters_stand_between_what_speaks_for_and_against(call):
    """Above the text, in tenths of the largest, what speaks for the target; below it the rest."""
    _, out, _ = call("--text", TEXT, "--target", "e")
    found = reader("lstm").attribute(TEXT, "e")
    lines = out.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("ablation;")) + 1
    above, text, below = (line[2:].ljust(20) for line in lines[first : first + 3])
    assert text == TEXT
    largest = max(map(abs, found.scores))
    for score, up, down in zip(found.scores, above, below, strict=True):
        tenths = str(min(9, round(10 * abs(score) / largest))).replace("0", " ")
        assert (up, down) == ((tenths, " ") if score > 0 else (" ", tenths))


def test_words_have_their_numbers_below(call):
    _, out, _ = call("--text", "the bed is\nnot", "--target", "e", "--spans", "word")
    found = reader("lstm").attribute("the bed is\nnot", "e", spans="word")
    largest = max(map(abs, found.scores))
    shown = [p for p in found.parts if p.text.strip() or abs(p.score) >= 0.05 * largest]
    lines = out.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("ablation;")) + 1
    signs = {" ": "␣", "\n": "⏎"}
    assert lines[first].split() == [signs.get(part.text, part.text) for part in shown]
    assert lines[first + 1].split() == [signed(part.score) for part in shown]
    assert {"the", "bed", "is", "not"} <= {part.text for part in shown}


def test_json_is_all_of_it(call):
    words = ("--text", "the Zed", "--target", "e", "--replace", "a,b", "--replace", "o")
    code, out, _ = call(*words, "--json")
    facts = json.loads(out)
    found = reader("lstm").attribute("the Zed", "e", replacements=["a", "b", "o"])
    assert code == 0
    assert [part["score"] for part in facts["parts"]] == pytest.approx(found.scores)
    assert facts["parts"][0]["replacements"] == ["a", "b", "o"]
    assert (facts["unseen"], facts["cell"]) == (["Z"], "LSTM")
    _, out, _ = call(*words)
    assert "The model has never seen 'Z': read as <unk>." in out


def test_a_page_is_written_whole(call, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("my notes", encoding="utf-8")
    words = ("--text", "the Zed", "--target", "e", "-o", page)
    code, _, err = call(*words)
    assert (code, page.read_text(encoding="utf-8")) == (2, "my notes")
    assert "not a page of ours" in err
    page.unlink()
    for _ in range(2):  # the second replaces the first
        code, out, _ = call(*words)
        assert code == 0 and f"{page}: " in " ".join(out.split())
    made = page.read_text(encoding="utf-8")
    found = reader("lstm").attribute("the Zed", "e")
    assert found._repr_html_() in made
    assert "never seen &#x27;Z&#x27;" in made
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--target", "Q"), "--target: the model has never seen the character 'Q'"),
        (("--target", "ab"), "--target: expected one character"),
        (("--target", "e", "--against", "e"), "--against: 'e' is the target itself"),
        (("--method", "saliency"), "--method: expected ablation, gradient, integrated-gradients"),
        (("--spans", "line"), "--spans: expected one of token, word"),
        (("--replace", "a,QQ"), "--replace: expected one character"),
        (("--at", "20"), "--at: expected 0 to 19"),
        (("--steps", "5"), "--steps: are of integrated-gradients"),
        (("--steps", "0", "--method", "all"), "--steps: expected 1 to 1000"),
        (("--furthest", "-1"), "--furthest"),
        (("--top", "0"), "--top"),
        (("-o", "."), "name a file"),
        (("-o", "no/such/page.html"), "could not be written"),
        (("--text", ""), "expected one token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_faults_are_one_line(call, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("--text", TEXT, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_a_comma_can_take_a_place(tmp_path, capsys):
    reader("lstm", signs="abc,").save_pretrained(tmp_path / "run")
    words = ["inspect", "attribute", str(tmp_path / "run"), "--text", "ab", "--json"]
    for given, found in ((",", [","]), ("b,c", ["b", "c"]), ("c", ["c"])):
        assert main([*words, "--replace", given]) == 0
        assert json.loads(capsys.readouterr().out)["parts"][0]["replacements"] == found


def test_how_far_it_looks_is_said(call):
    _, out, _ = call("--text", TEXT, "--furthest", "3", "--target", "e")
    assert "The first 17 tokens were read and not looked at." in " ".join(out.split())
    _, out, _ = call("--text", TEXT * 8, "--target", "e")
    assert "The first 32 tokens were read" in " ".join(out.split())
    _, out, _ = call("--text", TEXT * 8, "--furthest", "0", "--target", "e")
    assert "not looked at" not in " ".join(out.split())
