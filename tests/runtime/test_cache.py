"""The cache of machine code: whole or nothing, whoever writes, and only its own files."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellwright.runtime import cache, native

CODE = b"machine code" * 100
COMPILE = """
import sys
import torch
from cellwright.nn import Recurrent
torch.manual_seed(0)
torch.set_num_threads(1)
layer = Recurrent("gru", 3, 5, backend="llvm")
x = torch.linspace(-1, 1, 24).view(4, 2, 3)
print("ready", flush=True)
sys.stdin.readline()
y, _ = layer(x)
y.sum().backward()
print(float(y.detach().double().sum()), float(layer.weight_hh_l0.grad.double().sum()))
"""


def key(text: str = "a") -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    cache._say_once.cache_clear()
    return tmp_path / "cache"


def test_what_is_written_is_read(folder: Path):
    assert cache.read(cache.entry(key())) is None
    cache.write(cache.entry(key()), CODE)
    assert cache.read(cache.entry(key())) == CODE
    assert [p.name for p in folder.iterdir()] == [f"{key()}.o"]


@pytest.mark.parametrize("bit", [0, 5, 8 * len(cache.MAGIC), 8 * (len(cache.MAGIC) + 40)])
def test_a_flipped_bit_is_noticed(folder: Path, bit: int):
    place = cache.entry(key())
    assert place is not None
    cache.write(place, CODE)
    data = bytearray(place.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    place.write_bytes(data)
    assert cache.read(place) is None
    cache.write(place, CODE)
    assert cache.read(place) == CODE


def test_code_under_another_name_is_noticed(folder: Path):
    place, other = cache.entry(key("a")), cache.entry(key("b"))
    assert place is not None and other is not None
    cache.write(place, CODE)
    place.rename(other)
    assert cache.read(other) is None
    assert cache.survey().damaged == 1


@pytest.mark.parametrize("left", [0, 1, len(cache.MAGIC), len(cache.MAGIC) + 32, 500])
def test_an_entry_cut_short_is_noticed_and_cleared(folder: Path, left: int):
    place = cache.entry(key())
    assert place is not None
    cache.write(place, CODE)
    os.truncate(place, left)
    assert cache.read(place) is None
    assert cache.survey().damaged == 1
    assert cache.clear().entries == 1
    assert list(folder.iterdir()) == []


def test_clear_removes_nothing_of_the_users(folder: Path):
    folder.mkdir()
    theirs = {
        "notes.o": cache.MAGIC,
        f"{key('b')}.o": b"an object file of somebody else",
        f"{key('c')}.txt": cache.MAGIC,
        f"{key('d').upper()}.o": cache.MAGIC,
    }
    for name, data in theirs.items():
        (folder / name).write_bytes(data)
    (folder / f"{key('e')}.o").mkdir()
    outside = folder.parent / "outside"
    outside.write_bytes(cache.MAGIC)
    (folder / f"{key('f')}.o").symlink_to(outside)
    before = sorted(folder.iterdir())
    cache.write(cache.entry(key()), CODE)
    found = cache.survey()
    assert (found.entries, found.damaged, found.unfinished) == (1, 0, 0)
    assert found.size == len(CODE) + len(cache.MAGIC) + cache.DIGEST
    assert cache.clear() == cache.Cleared(folder, 1, found.size)
    assert sorted(folder.iterdir()) == before
    assert all((folder / name).read_bytes() == data for name, data in theirs.items())
    assert outside.read_bytes() == cache.MAGIC


def test_what_is_being_written_stays_what_was_left_goes(folder: Path):
    folder.mkdir()
    now, left = (folder / f".{key(name)}.abc_1234.tmp" for name in "ab")
    for path in (now, left):
        path.write_bytes(cache.MAGIC + b"...")
    long_ago = time.time() - 2 * cache.ABANDONED
    os.utime(left, (long_ago, long_ago))
    assert cache.survey().unfinished == 2
    assert cache.clear().entries == 1
    assert list(folder.iterdir()) == [now]


def test_without_a_folder_there_is_nothing(folder: Path):
    assert cache.survey() == cache.Holding(folder, 0, 0, 0, 0, 0, True)
    assert cache.clear() == cache.Cleared(folder, 0, 0)
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    folder.write_text("a file")
    for name in "abc":
        cache.write(cache.entry(key(name)), CODE)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(folder) in record.getMessage() and "CELLWRIGHT_CACHE" in record.getMessage()
    assert folder.read_text() == "a file"


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.write(cache.entry(key()), CODE)
    assert list(folder.iterdir()) == []
    assert "No space left on device" in caplog.text


def test_a_process_that_was_quicker_is_no_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    cache.write(cache.entry(key()), CODE)

    def busy(*_: object) -> None:
        raise PermissionError(13, "the file is in use")

    monkeypatch.setattr(Path, "replace", busy)
    cache.write(cache.entry(key()), CODE)
    assert not caplog.records
    assert cache.read(cache.entry(key())) == CODE


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CELLWRIGHT_CACHE", "~/mine")
    assert cache.folder() == tmp_path / "mine"
    monkeypatch.setenv("CELLWRIGHT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.folder() == Path("/somewhere/cellwright")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == tmp_path / ".cache/cellwright"


def test_without_a_home_there_is_no_cache(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CELLWRIGHT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    cache._say_once.cache_clear()
    assert cache.entry(key()) is None and cache.read(None) is None
    cache.write(None, CODE)
    assert "CELLWRIGHT_CACHE" in caplog.text
    assert cache.survey().folder is None and cache.clear().folder is None


@pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
def test_processes_that_compile_at_once_agree(folder: Path):
    """All begin on an empty folder together; one more finds damage, and mends it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started() -> subprocess.Popen[str]:
        words = [sys.executable, "-W", "error", "-c", COMPILE]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )

    def said(process: subprocess.Popen[str]) -> str:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and not err, err
        return out

    def go(process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    together = [started() for _ in range(3)]
    for process in together:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in together:
        go(process)
    answers = {said(process) for process in together}
    assert len(answers) == 1
    entries = sorted(folder.iterdir())
    assert entries and all(cache.read(p) is not None for p in entries)
    os.truncate(entries[0], 100)
    data = bytearray(entries[1].read_bytes())
    data[-1] ^= 1
    entries[1].write_bytes(data)
    last = started()
    go(last)
    assert said(last).removeprefix("ready\n") in answers
    assert sorted(folder.iterdir()) == entries
    assert all(cache.read(p) is not None for p in entries)
