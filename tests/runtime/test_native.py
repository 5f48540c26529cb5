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


def test_code_is_named_by_all_that_it_depends_on(text: str, monkeypatch: pytest.MonkeyPatch):
    """The text, LLVM and its platform, the processor, and how LLVM is told to go about it."""
    names = [native.key(text), native.key(text + "; changed")]

    def changed(module: object, name: str, value: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            native._compiler.cache_clear()
            names.append(native.key(text))

    binding = native._binding()
    changed(binding, "get_default_triple", lambda: "riscv64-unknown-linux-gnu")
    changed(binding, "llvm_version_info", (1, 2, 3))
    changed(native, "processor", lambda: ("haswell", "+avx2"))
    changed(native, "OPTIMISED", (3, 1))
    changed(native, "PIPELINE", {**native.PIPELINE, "loop_unrolling": True})
    native._compiler.cache_clear()
    assert len(set(names)) == len(names) == 7
    assert native.key(text) == names[0]
