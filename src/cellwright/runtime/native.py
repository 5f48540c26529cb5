"""Native: LLVM IR to machine code for this processor, kept on disk between runs."""

import ctypes
import functools
import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellwright.runtime import cache
from cellwright.targets.llvm import share
from cellwright.targets.llvm.micro import Machine

OPTIMISED = 2, 1  # how hard LLVM tries on the code and on the text
# The text is already in vectors and unrolled as it should be.
PIPELINE = {"loop_vectorization": False, "slp_vectorization": False, "loop_unrolling": False}
SHARE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


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
    return _machine(dtype, processor()[1] if missing() is None else "", platform.machine().lower())


@functools.cache
def _machine(dtype: str, features: str, family: str) -> Machine:
    flags = features.split(",")
    size = 4 if dtype == "float" else 8
    if family in ("arm64", "aarch64"):
        pause = "@llvm.aarch64.hint(i32 1)"
        return Machine(16 // size, dtype, rows=6, vectors=4, pause=pause)  # 32 of 16 bytes
    pause = "@llvm.x86.sse2.pause()" if family in ("x86_64", "amd64") else ""
    if "+avx512f" in flags:
        return Machine(64 // size, dtype, rows=6, vectors=4, pause=pause)  # 32 of 64 bytes
    if "+avx" in flags:
        return Machine(32 // size, dtype, rows=6, vectors=2, pause=pause)  # 16 of 32 bytes
    return Machine(16 // size, dtype, rows=3, vectors=2, pause=pause)


@dataclass(frozen=True)
class Code:
    """A compiled loop: the function that takes shares of it, and whether the cache had it."""

    share: Callable[..., None]
    share_address: int
    engine: object  # keeps the code in memory
    cached: bool


def compiled(text: str) -> Code:
    """Return the machine code of a loop's IR, from the cache where it has been made before."""
    llvm, target, place = _binding(), _target(), entry(text)
    code = cache.read(place)
    cached = code is not None
    if code is None:
        code = _assembled(llvm, target, text + share.emit())
        cache.write(place, code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address("share")
    return Code(SHARE(address), address, engine, cached)


def entry(text: str) -> Path | None:
    """Return where the machine code of a loop's IR is kept, or would be; None without a cache."""
    return cache.entry(key(text))


def key(text: str) -> str:
    """Name all that the machine code of a loop's IR depends on, in 64 hexadecimal digits."""
    whole = "\n".join([*_compiler(), *processor(), text + share.emit()])
    return hashlib.sha256(whole.encode()).hexdigest()


@functools.cache
def _compiler() -> tuple[str, ...]:
    """Say what compiles: LLVM's version, for which platform, and its passes."""
    llvm = _binding()
    version = ".".join(str(part) for part in llvm.llvm_version_info)
    return version, llvm.get_default_triple(), str(OPTIMISED), str(sorted(PIPELINE.items()))


def assembly(text: str) -> str:
    """Return a loop's IR as assembly for this processor, as it is when it is compiled."""
    llvm, target = _binding(), _target()
    return target.emit_assembly(_optimised(llvm, target, text + share.emit()))


def _target() -> Any:
    name, flags = processor()
    triple = _binding().Target.from_default_triple()
    return triple.create_target_machine(cpu=name, features=flags, opt=OPTIMISED[0])


def _assembled(llvm: Any, target: Any, text: str) -> bytes:
    return target.emit_object(_optimised(llvm, target, text))


def _optimised(llvm: Any, target: Any, text: str) -> Any:
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=OPTIMISED[1])
    for name, wanted in PIPELINE.items():
        setattr(options, name, wanted)
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    return module
