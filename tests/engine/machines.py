"""Machines: processors other than the one the tests run on, whose code it can run too."""

import sys

import pytest

from cellwright.runtime import native

# Name for LLVM, features that say which tiles are used; the first is the processor at hand.
MACHINES = {
    "this one": None,
    "avx2": ("haswell", "+avx,+avx2,+fma,-avx512f"),
    "sse2": ("x86-64", "+sse2,-avx,-avx2,-avx512f"),
}
NEEDED = {"avx2": {"+avx2", "+fma"}, "sse2": {"+sse2"}}
KEEP = ("native", "threads", "plan")  # what these modules remember does not depend on the machine


def compile_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile for another processor until the test ends; skips where it cannot be run."""
    chosen = MACHINES[name]
    if chosen is None:
        return
    if not NEEDED[name] <= set(native.processor()[1].split(",")):
        pytest.skip(f"this processor has no {name}")
    monkeypatch.setattr(native, "processor", lambda: chosen)
    forget()


def forget() -> None:
    """Drop every compiled program from memory."""
    prefix = "cellwright.runtime."
    for name, module in sys.modules.items():
        if name.startswith(prefix) and name.removeprefix(prefix) not in KEEP:
            for thing in vars(module).values():
                if hasattr(thing, "cache_clear") and thing.__module__ == name:
                    thing.cache_clear()
