"""Native: LLVM IR to machine code for this processor, kept on disk between runs."""

import ctypes
import functools
import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellwright.targets.llvm import share
from cellwright.targets.llvm.micro import Machine

SHARE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
MAGIC = b"cellwright-object-1\n"


@functools.cache
def missing() -> str | None:
    """Say why machine code cannot be made here, or None where it can."""
    try:
        _binding()
    except ImportError:
        return "the package llvmlite is not installed (pip install llvmlite)"
    except Exception as error:  # noqa: BLE001  LLVM without this processor: a reason, not a crash
        return f"LLVM does not start on this machine ({error})"
    return None


@functools.cache
def _binding() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def processor() -> tuple[str, str]:
    """Return LLVM's name of this processor and its features."""
    llvm = _binding()
    features = llvm.get_host_cpu_features()
    # LLVM prefers half-wide vectors on some processors with AVX-512; our tiles are whole ones.
    flags = features.flatten() + (",-prefer-256-bit" if features.get("avx512f") else "")
    return llvm.get_host_cpu_name(), flags


def machine(dtype: str) -> Machine:
    """Describe this processor's vectors and the tile that fits its registers."""
    flags = processor()[1].split(",") if missing() is None else []
    size = 4 if dtype == "float" else 8
    if "+avx512f" in flags:
        return Machine(64 // size, dtype, rows=6, vectors=4)  # 32 registers of 64 bytes
    if "+avx" in flags:
        return Machine(32 // size, dtype, rows=6, vectors=2)  # 16 registers of 32 bytes
    if platform.machine().lower() in ("arm64", "aarch64"):
        return Machine(16 // size, dtype, rows=6, vectors=4)  # 32 registers of 16 bytes
    return Machine(16 // size, dtype, rows=3, vectors=2)


@dataclass(frozen=True)
class Code:
    """A compiled loop: the function that takes shares of it, and whether the cache had it."""

    share: Callable[..., None]
    share_address: int
    engine: object  # keeps the code in memory
    cached: bool


def compiled(text: str) -> Code:
    """Return the machine code of a loop's IR, from the cache where it has been made before."""
    text += share.emit()
    llvm = _binding()
    name, flags = processor()
    version = ".".join(str(part) for part in llvm.llvm_version_info)
    key = hashlib.sha256("\n".join([version, name, flags, text]).encode()).hexdigest()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=name, features=flags, opt=2
    )
    entry = cache_folder() / f"{key}.o"
    code = _read(entry)
    cached = code is not None
    if code is None:
        code = _assembled(llvm, target, text)
        _write(entry, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address("share")
    return Code(SHARE(address), address, engine, cached)


def _assembled(llvm: Any, target: Any, text: str) -> bytes:
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    # The text is already in vectors and unrolled as it should be.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    return target.emit_object(module)


def cache_folder() -> Path:
    """Return where machine code is kept: `CELLWRIGHT_CACHE`, or the user's cache folder."""
    given = os.environ.get("CELLWRIGHT_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cellwright"


def _read(entry: Path) -> bytes | None:
    """Return an entry's code, or None where there is none or it is damaged."""
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    head, digest, code = data[: len(MAGIC)], data[len(MAGIC) :][:32], data[len(MAGIC) + 32 :]
    if head != MAGIC or hashlib.sha256(code).digest() != digest:
        return None
    return code


def _write(entry: Path, code: bytes) -> None:
    """Keep code for the next run; where the folder cannot be written, this run goes on without."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=entry.parent, delete=False) as file:
            file.write(MAGIC + hashlib.sha256(code).digest() + code)
        Path(file.name).replace(entry)
    except OSError:
        return
