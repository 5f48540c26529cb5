"""Texts on disk as ids, and windows over them: everything counted, nothing scored twice."""

import itertools
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellwright import atomic
from cellwright.lm import text as text_module
from cellwright.lm.atomic import replacing
from cellwright.lm.corpus import TokenFile, Windows, encode_files, read_check, split_tail
from cellwright.lm.errors import CorpusError, RunError
from cellwright.lm.text import Passage, check_name, read_text, read_words
from cellwright.lm.tokenizer import LEVELS, Tokenizer

LINES = "".join(f"line {n} of the tëxt\n" for n in range(40))


def write(tmp_path, content, name="text.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(passages):
    return "".join(piece for passage in passages for piece in read_text(passage))


# Reading


def test_a_good_text_is_counted(tmp_path):
    size = read_check(write(tmp_path, "é日\n"))
    assert (size.characters, size.bytes) == (3, 6)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"a", "too short: expected at least 2 characters, got 1"),
        (b"abc\0def", "NUL at byte 3.*binary"),
        (b"caf\xe9 au lait", "expected UTF-8 text, got byte 0xe9 at byte 3"),
        ("né ".encode() * 3 + b"\xc3", "at byte 12"),
        ("h\u4e2d".encode("utf-16"), "UTF-16"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
def test_a_bad_text_is_named_with_the_place(tmp_path, content, says, chunk, monkeypatch):
    monkeypatch.setattr(text_module, "CHUNK_BYTES", chunk)
    path = write(tmp_path, content, "bad.txt")
    if says == "UTF-16" and chunk == 1:
        says = "UTF-8"  # one byte does not show the mark
    with pytest.raises(CorpusError, match=says) as caught:
        read_check(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a whole text " * 400, "n" * 256, "d/" * 4000 + "n"])
def test_a_text_given_for_a_name_is_said_in_short(name):
    for read in (read_check, check_name):
        with pytest.raises(CorpusError, match=r"characters are too many .* save it in a") as caught:
            read(Path(name))
        assert len(str(caught.value)) < 250 and "\n" not in str(caught.value)


def test_a_name_with_a_nul_is_refused():
    with pytest.raises(CorpusError, match="expected the name of a file"):
        read_check(Path("a\0b"))


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        read_check(tmp_path / "absent.txt")
    with pytest.raises(CorpusError, match="got a directory"):
        read_check(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CorpusError, match="cannot be read twice"):
            read_check(tmp_path / "pipe")


def test_an_encoding_mark_is_not_text(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbfabc")
    assert "".join(read_text(Passage(path))) == "abc"
    assert read_check(path).characters == 3


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="ab \n\t é日\u2028", min_size=1), chunk=st.integers(1, 9))
def test_pieces_end_where_words_end(tmp_path_factory, text, chunk):
    path = write(tmp_path_factory.mktemp("pieces"), text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "CHUNK_BYTES", chunk)
        pieces = list(read_words(Passage(path), end_line=True))
    assert "".join(pieces) == text + ("" if text.endswith("\n") else "\n")
    for before, after in itertools.pairwise(pieces):
        assert not before[-1].isspace() and after[0] in " \n"


def test_an_endless_word_is_cut_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "CHUNK_BYTES", 10)
    monkeypatch.setattr(text_module, "LONGEST_WORD", 50)
    pieces = list(read_words(Passage(write(tmp_path, "x" * 200))))
    assert "".join(pieces) == "x" * 200 and max(map(len, pieces)) <= 60


# Splitting


def test_the_tail_is_held_back_at_a_line_end(tmp_path):
    path = write(tmp_path, LINES)
    head, tail = split_tail([path], 0.25)
    assert read(head) + read(tail) == LINES
    assert read(head).endswith("\n")
    assert len(read(tail)) / len(LINES) == pytest.approx(0.25, abs=0.03)


def test_the_tail_of_several_files_is_that_of_the_last(tmp_path):
    files = [write(tmp_path, LINES, f"{n}.txt") for n in range(4)]
    head, tail = split_tail(files, 0.1)
    assert [p.path for p in head] == files and [p.path for p in tail] == files[3:]
    assert read(head) + read(tail) == LINES * 4
    _, most = split_tail(files, 0.6)
    assert [p.path for p in most] == files[1:]


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet="aé日\U0001f680 \n", min_size=12),
    fraction=st.floats(0.1, 0.9),
    cut=st.integers(0, 12),
)
def test_a_cut_never_breaks_a_character(tmp_path_factory, text, fraction, cut):
    folder = tmp_path_factory.mktemp("split")
    parts = [text[:cut], text[cut:]]
    files = [write(folder, part, f"{n}.txt") for n, part in enumerate(parts) if part]
    head, tail = split_tail(files, fraction)
    assert read(head) + read(tail) == text
    assert read(head) and read(tail)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_fraction_outside_the_open_interval_is_refused(tmp_path, fraction):
    with pytest.raises(CorpusError, match="between 0 and 1"):
        split_tail([write(tmp_path, LINES)], fraction)


def test_a_text_too_short_to_split_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="too few"):
        split_tail([write(tmp_path, "ab")], 0.1)
    with pytest.raises(CorpusError, match="validation"):
        split_tail([write(tmp_path, "日")], 0.5)


# Token files


@pytest.mark.parametrize("level", LEVELS)
def test_a_token_file_holds_the_ids_and_the_facts(tmp_path, level):
    path = write(tmp_path, LINES)
    tokenizer = Tokenizer.train([path], level)
    made = encode_files([path], tokenizer, tmp_path / "train.bin")
    assert made.ids.tolist() == tokenizer.encode(LINES)
    assert made.ids.dtype == np.uint16 and isinstance(made.ids, np.memmap)
    assert (made.tokens, made.characters, made.unknown) == (len(made.ids), len(LINES), 0)
    assert made.bytes == len(LINES.encode())
    assert TokenFile.open(tmp_path / "train.bin", tokenizer) == made
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".tmp"]


def test_unknown_tokens_are_counted(tmp_path):
    tokenizer = Tokenizer.train([write(tmp_path, "a b c\n", "train.txt")], "word")
    made = encode_files([write(tmp_path, "a x <unk> b y\n")], tokenizer, tmp_path / "t.bin")
    assert (made.tokens, made.unknown) == (6, 3)


def test_every_file_ends_its_last_line_at_the_word_level(tmp_path):
    files = [write(tmp_path, "a b", "1.txt"), write(tmp_path, "a\n", "2.txt")]
    tokenizer = Tokenizer.train(files, "word")
    made = encode_files(files, tokenizer, tmp_path / "t.bin")
    assert tokenizer.decode(made.ids) == "a b\na\n"
    assert made.characters == 6  # the newline that was supplied is a token, so it counts


def test_a_large_vocabulary_takes_four_bytes(tmp_path):
    path = write(tmp_path, " ".join(f"w{n}" for n in range(66_000)))
    tokenizer = Tokenizer.train([path], "word")
    made = encode_files([path], tokenizer, tmp_path / "t.bin")
    assert made.dtype == "uint32" and int(made.ids.max()) == tokenizer.size - 1 > 65_536
    assert tokenizer.decode(made.ids) == path.read_text() + "\n"


def test_the_parts_of_a_split_are_encoded_apart(tmp_path):
    path = write(tmp_path, LINES)
    head, tail = split_tail([path], 0.2)
    tokenizer = Tokenizer.train(head, "bpe", 300)
    parts = [encode_files(p, tokenizer, tmp_path / f"{n}.bin") for n, p in enumerate((head, tail))]
    assert "".join(tokenizer.decode(p.ids) for p in parts) == LINES
    assert sum(p.characters for p in parts) == len(LINES)


def test_a_bad_text_leaves_the_old_token_file_alone(tmp_path):
    path = write(tmp_path, LINES)
    tokenizer = Tokenizer.train([path], "char")
    made = encode_files([path], tokenizer, tmp_path / "t.bin")
    bad = write(tmp_path, LINES.encode() + b"\xff", "bad.txt")
    with pytest.raises(CorpusError, match="UTF-8"):
        encode_files([bad], tokenizer, tmp_path / "t.bin")
    assert TokenFile.open(made.path, tokenizer) == made
    assert made.ids.tolist() == tokenizer.encode(LINES)


def test_a_text_without_tokens_is_refused(tmp_path):
    tokenizer = Tokenizer.train([write(tmp_path, "a b\n")], "word")
    with pytest.raises(CorpusError, match="no tokens"):
        encode_files([], tokenizer, tmp_path / "t.bin")


def spoil_side(path):
    path.with_suffix(".json").write_text("{")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2])


def change_format(path):
    side = path.with_suffix(".json")
    side.write_text(side.read_text().replace('"format": 2', '"format": 3'))


def change_a_byte(path):
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


@pytest.mark.parametrize(
    "damage", [spoil_side, cut_short, change_format, change_a_byte, lambda p: p.unlink()]
)
def test_a_damaged_token_file_is_refused(tmp_path, damage):
    path = write(tmp_path, LINES)
    encode_files([path], Tokenizer.train([path], "char"), tmp_path / "t.bin")
    damage(tmp_path / "t.bin")
    with pytest.raises(CorpusError, match="encode the text again"):
        TokenFile.open(tmp_path / "t.bin")


def test_another_tokenizer_is_refused(tmp_path):
    path = write(tmp_path, LINES)
    encode_files([path], Tokenizer.train([path], "char"), tmp_path / "t.bin")
    with pytest.raises(CorpusError, match="another tokenizer"):
        TokenFile.open(tmp_path / "t.bin", Tokenizer.train([path], "word"))


def test_encoding_holds_no_more_than_pieces_in_memory(tmp_path, monkeypatch):
    path = write(tmp_path, LINES * 500)
    tokenizer = Tokenizer.train([path], "char")
    monkeypatch.setattr(text_module, "CHUNK_BYTES", 2048)
    tracemalloc.start()
    try:
        encode_files([path], tokenizer, tmp_path / "t.bin")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size  # one list of all the ids would take eight times as much


# Files that appear whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = write(tmp_path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_links_and_permissions_stay_and_devices_are_left_alone(tmp_path):
    path, link, loose = write(tmp_path, "old"), tmp_path / "link", tmp_path / "loose"
    path.chmod(0o640)
    link.symlink_to(path)
    loose.symlink_to(tmp_path / "made")
    for place in (link, loose):
        with replacing(place) as file:
            file.write(b"new")
        assert place.is_symlink() and place.read_text() == "new"
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    says = pytest.raises(RunError, match="pipe: could not be written .it is no regular file")
    with says, replacing(tmp_path / "pipe") as file:
        file.write(b"new")
    assert (tmp_path / "pipe").is_fifo()
    with replacing(tmp_path / ("名" * 78 + ".html")) as file:  # 239 bytes
        file.write(b"new")


def test_a_full_disk_is_an_error_for_people(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = write(tmp_path, "old")
    monkeypatch.setattr(atomic.os, "fsync", full)
    says = pytest.raises(RunError, match=r"text\.txt: could not be written \(No space left")
    with says, replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_directory_that_is_not_there_is_an_error_for_people(tmp_path):
    says = pytest.raises(RunError, match="could not be written")
    with says, replacing(tmp_path / "absent" / "file") as file:
        file.write(b"")


# Windows


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 200), st.integers(1, 12), st.integers(1, 40))
def test_every_token_is_predicted_once_from_the_one_before(tokens, batch, steps):
    if tokens < 2 * batch:
        return
    ids = np.arange(tokens, dtype=np.uint16)
    windows = Windows(ids, batch, steps)
    seen: list[int] = []
    streams: list[list[int]] = [[] for _ in range(batch)]
    for x, y in windows:
        assert x.shape == y.shape == (batch, x.shape[1]) and x.dtype == y.dtype == torch.int64
        assert 1 <= x.shape[1] <= steps and x.is_contiguous() and y.is_contiguous()
        assert torch.equal(x + 1, y)
        seen += y.flatten().tolist()
        for stream, row in zip(streams, x.tolist(), strict=True):
            stream += row
    assert sorted(seen) == list(range(1, 1 + windows.scored))
    assert windows.scored + windows.dropped == tokens - 1
    assert 0 <= windows.dropped < batch
    for stream in streams:  # state is carried: a row goes on where it stopped
        assert stream == list(range(stream[0], stream[0] + windows.length))


def test_one_stream_leaves_nothing_out():
    windows = Windows(np.arange(1000), 1, 37)
    assert windows.dropped == 0 and windows.scored == 999
    assert len(windows) == len(list(windows)) == 27


def test_windows_resume_where_they_stopped():
    windows = Windows(np.arange(500), 3, 20)
    every = list(windows)
    for start in (0, 4, len(windows)):
        rest = list(windows.from_window(start))
        assert len(rest) == len(every) - start
        for (x, y), (u, v) in zip(rest, every[start:], strict=True):
            assert torch.equal(x, u) and torch.equal(y, v)
    for bad in (-1, len(windows)):
        with pytest.raises(IndexError):
            windows.window(bad)


def test_windows_copy_out_of_the_map(tmp_path):
    path = write(tmp_path, LINES)
    made = encode_files([path], Tokenizer.train([path], "char"), tmp_path / "t.bin")
    x, _ = Windows(made.ids, 2, 5).window(0)
    before = made.ids[:5].tolist()
    x.zero_()
    assert made.ids[:5].tolist() == before


@pytest.mark.parametrize(
    ("tokens", "batch", "says"),
    [(39, 20, "lower the batch to 19 or less"), (1, 1, "give more text"), (0, 4, "at least 8")],
)
def test_too_few_tokens_say_what_to_lower(tokens, batch, says):
    with pytest.raises(CorpusError, match=says):
        Windows(np.zeros(tokens, np.uint16), batch, 10)
    if tokens >= 2:
        Windows(np.zeros(tokens, np.uint16), tokens // 2, 10)


@pytest.mark.parametrize(("batch", "steps"), [(0, 5), (5, 0), (-1, 5)])
def test_sizes_below_one_are_refused(batch, steps):
    with pytest.raises(CorpusError, match="must be at least 1"):
        Windows(np.zeros(100), batch, steps)


def test_two_threads_encode_the_same(tmp_path):
    path = write(tmp_path, LINES)
    tokenizer = Tokenizer.train([path], "bpe", 300)
    made = []
    threads = [
        threading.Thread(
            target=lambda n=n: made.append(encode_files([path], tokenizer, tmp_path / f"{n}.bin"))
        )
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({m.tokens for m in made}) == 1 and len(made) == 3
