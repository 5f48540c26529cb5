"""Text to ids and back: nothing lost, the same every time, and clear words for a damaged file."""

import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwright.language.errors import CellwrightError
from cellwright.lm import text as text_module
from cellwright.lm.errors import CorpusError, RunError, TrainingError, VocabularyError
from cellwright.lm.text import Passage
from cellwright.lm.tokenizer import LEVELS, LINE_END, UNKNOWN, Tokenizer

HARD = (
    "line one\nline two\r\n\ttab\u00a0nbsp e\u0301 \U0001f469\u200d\U0001f680 "
    "\u2028 日本語\n\n<unk> x"
)
PLAIN = "the king sings .\nthe queens sing .\n\nthe king <unk> again .\n"


def write(tmp_path, text, name="text.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def trained(tmp_path, text, level, vocab_size=None):
    return Tokenizer.train([write(tmp_path, text)], level, vocab_size)


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("bpe"), (PLAIN + HARD) * 20, "bpe", 400)


def test_every_error_is_one_that_the_command_line_prints():
    for error in (CorpusError, VocabularyError, RunError, TrainingError):
        assert issubclass(error, CellwrightError)


@pytest.mark.parametrize("level", ["char", "bpe"])
def test_hard_characters_come_back_exactly(tmp_path, level):
    tokenizer = trained(tmp_path, HARD, level)
    ids = tokenizer.encode(HARD)
    assert tokenizer.decode(ids) == HARD
    if level == "char":
        assert len(ids) == len(HARD)
        assert tokenizer.size == len(set(HARD)) + 1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_byte_pairs_lose_nothing(byte_pairs, text):
    assert byte_pairs.decode(byte_pairs.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_each_code_point_is_one_character_token(tmp_path_factory, text):
    text = text.replace("\0", "") or "x"
    path = write(tmp_path_factory.mktemp("char"), text)
    tokenizer = Tokenizer.train([path], "char")
    kept = text.removeprefix("\ufeff")
    assert tokenizer.decode(tokenizer.encode(kept)) == kept
    assert [tokenizer.token(i) for i in range(1, tokenizer.size)] == sorted(set(kept))


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab \n\r\t\x0b\x1c\x1f\x85\u00a0\u180e\u2003\u2028\u3000", min_size=1))
def test_words_are_counted_as_they_are_split(tmp_path_factory, text):
    # a word that training saw is never unknown: both sides agree on what white space is
    path = write(tmp_path_factory.mktemp("word"), text)
    tokenizer = Tokenizer.train([path], "word")
    assert tokenizer.unknown_id not in tokenizer.encode(text)


def test_unseen_characters_are_unknown(tmp_path):
    tokenizer = trained(tmp_path, "abc\n", "char")
    ids = tokenizer.encode("a?b")
    assert ids[1] == tokenizer.unknown_id == 0
    assert tokenizer.decode(ids) == "a<unk>b"


def test_a_marker_written_in_characters_is_only_characters(tmp_path):
    tokenizer = trained(tmp_path, "<unk> and <eos>", "char")
    assert len(tokenizer.encode("<unk>")) == 5
    assert tokenizer.unknown_id not in tokenizer.encode("<unk>")


def test_words_follow_the_treebank_files(tmp_path):
    tokenizer = trained(tmp_path, PLAIN, "word")
    names = [tokenizer.token(i) for i in tokenizer.encode(PLAIN)]
    assert names == PLAIN.replace("\n", " <eos> ").split()
    assert tokenizer.unknown_id == 0 and tokenizer.token(0) == UNKNOWN
    assert tokenizer.encode("<unk> dragon") == [0, 0]
    assert tokenizer.encode("the king") == [tokenizer.token_id("the"), tokenizer.token_id("king")]
    assert tokenizer.decode(tokenizer.encode(PLAIN)) == PLAIN


def test_the_word_vocabulary_is_ordered_by_count_then_alphabet(tmp_path):
    text = "b a c c b a z\nd z z z\n"
    tokenizer = trained(tmp_path, text, "word")
    names = [tokenizer.token(i) for i in range(tokenizer.size)]
    counts = Counter(text.split())
    assert names == [UNKNOWN, LINE_END, *sorted(counts, key=lambda w: (-counts[w], w))]


@pytest.mark.parametrize(
    ("level", "size", "expected"),
    [("word", 4, [UNKNOWN, LINE_END, "z", "a"]), ("char", 3, [UNKNOWN, " ", "z"])],
)
def test_a_smaller_vocabulary_keeps_the_most_frequent(tmp_path, level, size, expected):
    tokenizer = trained(tmp_path, "a z a z z b", level, size)
    assert [tokenizer.token(i) for i in range(tokenizer.size)] == expected


def test_byte_pairs_stop_when_the_text_has_no_more(tmp_path):
    assert 256 <= trained(tmp_path, "ab ab ab", "bpe").size < 300


@pytest.mark.parametrize("level", LEVELS)
def test_training_twice_gives_the_same_file(tmp_path, level):
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdeé日", k=rng.randint(1, 6))) for _ in range(300)]
    text = "\n".join(" ".join(rng.choices(words, k=9)) for _ in range(300))
    first, second = (trained(tmp_path, text, level) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert first.digest == second.digest


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("chunk", [1, 2, 7, 64])
def test_the_size_of_the_pieces_does_not_matter(tmp_path, level, chunk, monkeypatch):
    text = HARD + PLAIN + "\n\n   three  spaces 'tis isn't 12 34\n" + HARD
    path = write(tmp_path, text + "\n")
    whole = Tokenizer.train([path], level)
    monkeypatch.setattr(text_module, "CHUNK_BYTES", chunk)
    tokenizer = Tokenizer.train([path], level)
    assert tokenizer.digest == whole.digest
    pieces = list(tokenizer.pieces(Passage(path)))
    assert "".join(pieces) == text + "\n"
    ids = [token for piece in pieces for token in tokenizer.encode(piece)]
    assert ids == tokenizer.encode(text + "\n")


@pytest.mark.parametrize("level", LEVELS)
def test_a_saved_tokenizer_is_the_same(tmp_path, level):
    tokenizer = trained(tmp_path, PLAIN + HARD, level)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (again.level, again.size, again.digest) == (level, tokenizer.size, tokenizer.digest)
    assert again.encode(PLAIN) == tokenizer.encode(PLAIN)
    assert again.to_json() == tokenizer.to_json()
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_another_vocabulary_has_another_digest(tmp_path):
    assert trained(tmp_path, "ab", "char").digest != trained(tmp_path, "abc", "char").digest


@pytest.mark.parametrize("level", ["char", "bpe"])
def test_the_library_reads_our_text_alike(tmp_path, level):
    import tokenizers

    tokenizer = trained(tmp_path, HARD, level)
    tokenizer.save(tmp_path / "t.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "t.json"))
    ids = tokenizer.encode(HARD)
    assert theirs.encode(HARD).ids == ids
    assert theirs.decode(ids) == tokenizer.decode(ids) == HARD


def damaged(tmp_path, change):
    tokenizer = trained(tmp_path, PLAIN, "word")
    data = json.loads(tokenizer.to_json())
    change(data)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["model"].pop("type"), "expected `model`"),
        (lambda d: d["model"]["vocab"].update({"king": 99}), "ids 0 to"),
        (lambda d: d["model"]["vocab"].update({"king": 2**40}), "damaged"),
        (lambda d: d["model"].update(vocab={"a": 0, "b": 1}), "basic tokens"),
        (lambda d: d["pre_tokenizer"].update(type="Metaspace"), "not a tokenizer that Cellwright"),
        (lambda d: d["model"].update(vocab=[1, 2]), "damaged"),
        (lambda d: d["model"]["vocab"].update({"king": "2"}), "ids 0 to"),
        (lambda d: d["model"]["vocab"].update({"\ud800": d["model"]["vocab"].pop("king")}), "Uni"),
        (lambda d: d.clear(), "not a tokenizer"),
    ],
)
def test_a_damaged_file_says_so(tmp_path, change, says):
    path = damaged(tmp_path, change)
    with pytest.raises(VocabularyError, match=re.escape(says)) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "merges", [[["a", "zz"]], [["t", "h", "e"]], ["t h"], [[1, 2]], [None], 7, {"t": "h"}]
)
def test_damaged_merges_say_so(byte_pairs, merges):
    data = json.loads(byte_pairs.to_json())
    data["model"]["merges"] = merges
    with pytest.raises(VocabularyError, match="damaged"):
        Tokenizer.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("level", "tokens"),
    [
        ("char", ["<unk>", "ab"]),
        ("char", ["a", "<unk>"]),
        ("char", []),
        ("word", ["<unk>", "a", "<eos>"]),
        ("word", ["<unk>", "<eos>", "a", "a"]),
        ("bpe", ["a"]),
    ],
)
def test_a_vocabulary_without_its_basic_tokens_is_refused(level, tokens):
    with pytest.raises(VocabularyError, match="damaged vocabulary"):
        Tokenizer(level, tokens)


def test_only_tokens_and_merges_are_taken_from_a_file(byte_pairs):
    data = json.loads(byte_pairs.to_json())
    data["model"]["dropout"] = 0.9  # would encode at random
    data["normalizer"] = {"type": "Lowercase"}
    again = Tokenizer.from_json(json.dumps(data))
    assert again.to_json() == byte_pairs.to_json() and again.digest == byte_pairs.digest


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"model": 3}'])
def test_what_is_no_tokenizer_at_all_says_so(tmp_path, content):
    path = tmp_path / "no.json"
    path.write_bytes(content)
    with pytest.raises(VocabularyError, match=r"no\.json"):
        Tokenizer.load(path)


def test_a_missing_file_and_wrong_settings_say_so(tmp_path):
    with pytest.raises(VocabularyError, match="no such tokenizer file"):
        Tokenizer.load(tmp_path / "absent.json")
    path = write(tmp_path, PLAIN)
    with pytest.raises(VocabularyError, match="expected char, word, bpe, got 'letters'"):
        Tokenizer.train([path], "letters")
    for level, least in (("char", 2), ("word", 3), ("bpe", 257)):
        with pytest.raises(VocabularyError, match=f"needs at least {least}, got {least - 1}"):
            Tokenizer.train([path], level, least - 1)
    tokenizer = Tokenizer.train([path], "word")
    for bad in (-1, tokenizer.size):
        with pytest.raises(VocabularyError, match=f"got {bad}"):
            tokenizer.decode([bad])
    with pytest.raises(VocabularyError, match="character 3"):
        tokenizer.encode("abc\ud800")


def test_line_ends_have_an_id_at_each_level(tmp_path, byte_pairs):
    for level, name in (("char", "\n"), ("word", LINE_END)):
        tokenizer = trained(tmp_path, PLAIN, level)
        assert tokenizer.line_end_id == tokenizer.token_id(name)
    assert byte_pairs.line_end_id == byte_pairs.encode("\n")[0]
    assert trained(tmp_path, "abc", "char").line_end_id is None


def test_a_stream_waits_for_the_rest_of_a_character(tmp_path):
    tokenizer = trained(tmp_path, "abc abc", "bpe", 257)
    ids = tokenizer.encode("é日")
    stream = tokenizer.decode_stream()
    assert [stream.feed(i) for i in ids] == ["", "é", "", "", "日"]
    assert stream.finish() == ""
    stream = tokenizer.decode_stream()
    assert [stream.feed(i) for i in ids[2:4]] == ["", ""]
    assert stream.finish() == "\ufffd"


def test_a_stream_of_words_goes_on_from_its_prompt(tmp_path):
    tokenizer = trained(tmp_path, PLAIN, "word")
    ids = tokenizer.encode("sings .\nthe king")
    after_word = tokenizer.decode_stream(tokenizer.encode("the king"))
    assert [after_word.feed(i) for i in ids] == [" sings", " .", "\n", "the", " king"]
    after_line = tokenizer.decode_stream(tokenizer.encode("again .\n"))
    assert after_line.feed(ids[0]) == "sings"


@pytest.mark.parametrize("level", LEVELS)
def test_a_stream_gives_what_decode_gives(tmp_path, level):
    tokenizer = trained(tmp_path, PLAIN + HARD, level)
    ids = tokenizer.encode(PLAIN + HARD)
    stream = tokenizer.decode_stream()
    assert "".join(map(stream.feed, ids)) + stream.finish() == tokenizer.decode(ids)
