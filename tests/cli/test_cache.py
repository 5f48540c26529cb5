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
        "outdated": 0,
        "unfinished": 0,
        "writable": True,
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


@pytest.mark.parametrize("words", [(), ("--clear",), ("--json",)], ids=" ".join)
@pytest.mark.parametrize("under", ["", "a/b"])
def test_a_file_in_its_place_is_a_line(run, folder, words, under, monkeypatch):
    folder.write_text("mine")
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(folder / under))
    said = one_line(run("cache", *words), "cache")
    assert f"{folder}: expected a folder" in said and "CELLWRIGHT_CACHE" in said
    assert folder.read_text() == "mine"


def test_the_home_of_nobody_is_a_line(run, folder, monkeypatch):
    monkeypatch.setenv("CELLWRIGHT_CACHE", "~nobody-of-this-name/kept")
    assert "CELLWRIGHT_CACHE: '~nobody-of-this-name/kept'" in one_line(run("cache"), "cache")


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_is_said(run, folder, monkeypatch, there):
    if there:
        keep(1)
    asked = []

    def closed(path: Path, _: int) -> bool:
        asked.append(path)
        return False

    monkeypatch.setattr("os.access", closed)
    assert "cannot be written" in run("cache").out
    assert asked == [folder if there else folder.parent]
    assert json.loads(run("cache", "--json").out)["writable"] is False


def test_what_cannot_be_removed_is_a_line(run, folder, monkeypatch):
    keep(1)

    def closed(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", closed)
    assert "permission denied" in one_line(run("cache", "--clear"), "cache")


def test_entries_of_an_earlier_version_are_told_and_removed(run, folder):
    keep(2)
    old = next(folder.iterdir())
    old.write_bytes(old.read_bytes().replace(cache.MAGIC, cache.FAMILY + b"2\n"))
    shown = run("cache").out
    assert "1 entry of an earlier version" in shown and "damaged" not in shown
    assert "removed 2 entries" in run("cache", "--clear").out
    assert list(folder.iterdir()) == []


def test_without_a_folder_it_says_so(run, monkeypatch):
    monkeypatch.delenv("CELLWRIGHT_CACHE")
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
