"""Machine code on disk: kept, found again, rebuilt when damaged, done without when it must be."""

from pathlib import Path

import pytest

from cellwright.runtime import native
from cellwright.targets.llvm import outer

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))


@pytest.fixture
def text() -> str:
    return outer.emit(native.machine("float"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_code_is_found_again(folder: Path, text: str):
    assert not native.compiled(text).cached
    assert native.compiled(text).cached
    assert [entry.suffix for entry in folder.iterdir()] == [".o"]


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", b"x" * 4000])
def test_a_damaged_entry_is_made_again(folder: Path, text: str, damage: bytes):
    native.compiled(text)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage)
    assert not native.compiled(text).cached
    assert native.compiled(text).cached


def test_a_flipped_bit_is_noticed(folder: Path, text: str):
    native.compiled(text)
    (entry,) = folder.iterdir()
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    assert not native.compiled(text).cached


def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("CELLWRIGHT_CACHE", str(blocked))
    assert not native.compiled(text).cached
    assert blocked.read_text() == "not a folder"
