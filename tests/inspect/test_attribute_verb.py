"""`cellwright inspect attribute`, as somebody types it."""

import dataclasses
import html
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
    assert (found.warning or "agree") in said
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
    lines = out.splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("ablation;")) + 1
    signs = {" ": "␣", "\n": "⏎"}
    assert lines[first].split() == [signs.get(part.text, part.text) for part in found.parts]
    assert lines[first + 1].split() == [signed(part.score) for part in found.parts]
    assert found.tokens == ("the", " ", "bed", " ", "is", "\n", "not")


def test_a_faint_space_is_shown_as_well(call, monkeypatch):
    """What the table tells of it stands in every strip."""
    scores = (1.0, 0.01, 0.4, 0.002, -0.3)
    base = reader("lstm").attribute("the bed is", "e", METHODS[-1], spans="word")
    parts = tuple(
        dataclasses.replace(part, score=v) for part, v in zip(base.parts, scores, strict=True)
    )
    others = tuple(dataclasses.replace(c, scores=scores) for c in base.companions)
    made = dataclasses.replace(base, parts=parts, companions=others)
    monkeypatch.setattr("cellwright.lm.LanguageModel.attribute", lambda *_, **__: made)
    _, out, _ = call("--text", "the bed is", "--spans", "word", "--method", "all")
    lines = out.splitlines()
    for method in METHODS:
        first = next(k for k, line in enumerate(lines) if line.startswith(f"{method};")) + 1
        assert lines[first].split() == ["the", "␣", "bed", "␣", "is"]
        assert lines[first + 1].split() == ["+1.00", "+0.01", "+0.40", "0.00", "−0.30"]


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
        (("--replace", ""), "--replace: expected tokens with commas between them, got ''"),
        (("--replace", "a,,b"), "--replace: expected tokens with commas between them, got 'a,,b'"),
        (("--replace", "a,"), "an empty one; for a comma give --replace , by itself"),
        (("--before", ""), "--before: expected one token at least, got none; leave it out"),
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


def test_it_begins_after_what_was_read_before(call, tmp_path):
    """The state after it is where the text begins; --at counts in the text."""
    words = ("--text", "is not", "--target", "e", "--at", 3)
    _, cold, _ = call(*words, "--json")
    code, out, _ = call(*words, "--before", "the\nZed ", "--json")
    facts = json.loads(out)
    model = reader("lstm")
    state = model.trace("the\nZed ", names="h").state
    found = model.attribute("is not", "e", at=3, state=state)
    assert code == 0
    assert [part["score"] for part in facts["parts"]] == pytest.approx(found.scores, abs=1e-5)
    assert (facts["before"], facts["unseen"], facts["text"]) == ("the\nZed ", ["Z"], "is not")
    assert json.loads(cold)["before"] is None
    assert facts["score"] != pytest.approx(json.loads(cold)["score"], abs=1e-3)
    page = tmp_path / "page.html"
    _, out, _ = call(*words, "--before", "the\nZed ", "-o", page)
    said = "Read before it, and not looked at: 'the\\nZed '."
    assert out.splitlines()[1] == said
    assert html.escape(said) in page.read_text(encoding="utf-8")
    assert "never seen 'Z'" in out


def test_what_was_read_before_a_long_text_is_told_by_its_end(call):
    _, out, _ = call("--text", "is", "--target", "e", "--before", "a" * 300 + " bed ")
    said = " ".join(out.split())
    assert "not looked at: '…aaa" in said and "aaa bed '." in said
    assert "a" * 100 not in said


def test_the_first_line_says_what_is_explained(call):
    _, out, _ = call("--text", "the bed", "--at", 4)
    assert out.splitlines()[0].endswith("nats after token 4 ('e' is the text's next token)")
    _, out, _ = call("--text", "the bed")
    likeliest = reader("lstm").attribute("the bed").target
    assert f"after token 6 ({likeliest!r} is the likeliest next token)" in " ".join(out.split())
    _, out, _ = call("--text", "the bed", "--target", likeliest)
    assert out.splitlines()[0].endswith("nats after token 6")


def test_what_agrees_is_named(call, monkeypatch):
    base = reader("lstm").attribute("the bed", "e")

    def told(ours, theirs):
        parts = [dataclasses.replace(p, score=v) for p, v in zip(base.parts, ours, strict=True)]
        other = dataclasses.replace(base.companions[0], scores=tuple(theirs))
        made = dataclasses.replace(base, parts=tuple(parts), companions=(other,), warning="")
        monkeypatch.setattr("cellwright.lm.LanguageModel.attribute", lambda *_, **__: made)
        return " ".join(call("--text", "the bed")[1].split())

    rest = (0.1,) * 5
    assert "ablation and gradient agree: 'h' at 1 matters most." in told(
        (0.2, 1, *rest), (0.3, 0.5, *rest)
    )
    assert "ablation and gradient agree nearly: what is strongest by one is" in told(
        (0.9, 1, *rest), (0.6, 0.5, *rest)
    )
    assert "ablation and gradient agree: nothing matters." in told((0.0,) * 7, (0.0,) * 7)


def test_a_narrow_window_says_what_is_not_shown(call):
    words = ("--text", TEXT, "--target", "e")
    said = "Not shown in this narrow window: replaced by, spread."
    for columns, line in ((100, None), (55, said.replace(", spread", "")), (40, said)):
        _, out, _ = call(*words, columns=columns)
        told = " ".join(out.split())
        assert ("Not shown" in told) == (line is not None)
        assert line is None or line in told
        assert max(map(len, out.splitlines())) <= columns
    _, out, _ = call(*words, "--method", "all", columns=50)
    assert "gradients  ablation  gradient" in out and "…" not in out
    _, out, _ = call(*words, "--method", "all", columns=30)
    assert "replaced by, spread, gradient, ablation." in " ".join(out.split()) and "…" not in out


def test_how_far_it_looks_is_said(call):
    _, out, _ = call("--text", TEXT, "--furthest", "3", "--target", "e")
    assert "The first 17 tokens were read and not looked at." in " ".join(out.split())
    _, out, _ = call("--text", TEXT * 8, "--target", "e")
    assert "The first 32 tokens were read" in " ".join(out.split())
    _, out, _ = call("--text", TEXT * 8, "--furthest", "0", "--target", "e")
    assert "not looked at" not in " ".join(out.split())
