"""`cellwright cache`: what is kept, what is removed, and what is not."""

import hashlib
import json
from pathlib import Path

import pytest

from cellwright.cli.cache import size
from cellwright.runtime import cache
from tests.cli.test_train import one_line

CODE = b"\x00" * 1500


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def keep(number: int) -> None:
    for k in range(number):
        cache.write(cache.entry(hashlib.sha256(bytes([k])).hexdigest()), CODE)


def test_it_lists_what_is_kept(run, folder):
    keep(3)
    shown = run("cache")
    assert shown.code == 0
    assert shown.out.splitlines() == [str(folder), "3 entries, 4.7 kB"]


def test_it_says_what_is_damaged(run, folder):
    keep(2)
    next(folder.iterdir()).write_bytes(cache.MAGIC)
    assert "1 entry damaged" in run("cache").out
    assert json.loads(run("cache", "--json").out) == {
        "folder": str(folder),
        "entries": 2,
        "size": 1500 + 2 * len(cache.MAGIC) + cache.DIGEST,
        "damaged": 1,
        "unfinished": 0,
    }


def test_clear_says_what_it_freed_and_leaves_other_files(run, folder):
    keep(2)
    (folder / "mine.o").write_text("not yours")
    assert run("cache", "--clear").out == f"{folder}: removed 2 entries, 3.1 kB freed\n"
    assert [p.name for p in folder.iterdir()] == ["mine.o"]
    assert run("cache", "--clear").out == f"{folder}: nothing to remove\n"
    assert json.loads(run("cache", "--clear", "--json").out)["entries"] == 0


def test_a_folder_that_is_not_there_is_fine(run, folder):
    assert run("cache").out == f"{folder}\n0 entries, 0 B\n"
    assert run("cache", "--clear").code == 0
    assert not folder.exists()


def test_a_folder_that_cannot_be_read_is_a_line(run, folder, monkeypatch):
    keep(1)

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", closed)
    said = one_line(run("cache"), "cache")
    assert str(folder) in said and "permission denied" in said


def test_without_a_folder_it_says_so(run, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    assert "CELLWRIGHT_CACHE" in run("cache").out
    assert run("cache", "--clear").out == "no cache: nothing to remove\n"
    assert json.loads(run("cache", "--json").out)["folder"] is None


def test_sizes_are_read_by_people():
    assert [size(n) for n in (0, 999, 1000, 1_234_567, 2_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "2.0 GB",
    ]
