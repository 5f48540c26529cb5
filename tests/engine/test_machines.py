"""Code for processors other than this one: narrower vectors, smaller tiles, other words.

The code for AVX2 and for plain SSE2 runs on this processor; that for ARM is only assembled.
"""

from collections.abc import Callable

import pytest
import torch

from cellwright.compiler import vjp
from cellwright.runtime import native
from cellwright.targets.llvm import outer
from cellwright.targets.llvm.loop import emit
from cellwright.targets.llvm.micro import Machine
from tests.engine.agree import DTYPES, Case, assert_agree, both, planned
from tests.engine.machines import MACHINES

SOME = ("lstm", "gru", "layernorm-lstm", "clockwork")
OTHERS = [name for name, flags in MACHINES.items() if flags]
# lanes of a float, rows and vectors of a tile
TILES = {"avx2": (8, 6, 2), "sse2": (4, 3, 2)}
CASES = (Case(1, 3), Case(5, 4, "both", 2), Case(13, 6, "reset"))
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@pytest.mark.parametrize("other", OTHERS)
def test_the_other_machine_is_described(other: str, on_machine: Callable[[str], None]):
    on_machine(other)
    found = native.machine("float")
    assert (found.lanes, found.rows, found.vectors) == TILES[other]
    assert native.machine("double").lanes == TILES[other][0] // 2


@pytest.mark.slow
@dtypes
@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("other", OTHERS)
def test_other_machines(
    other: str, name: str, dtype: torch.dtype, on_machine: Callable[[str], None]
):
    on_machine(other)
    for seed, case in enumerate(CASES):
        found, wanted = both(planned(name, 7, 33), case, dtype, seed=seed)
        assert_agree(found, wanted, dtype, (other, name, case))


@pytest.mark.parametrize("dtype", ["float", "double"])
@pytest.mark.parametrize("name", SOME)
def test_code_for_arm_is_assembled(name: str, dtype: str):
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this build of LLVM writes no code for ARM")
    arm = target.create_target_machine(cpu="generic", features="+neon", opt=2)
    machine = Machine(16 // (4 if dtype == "float" else 8), dtype, rows=6, vectors=4)
    adjoint = vjp(planned(name, 7, 33).narrow())
    texts = [emit(program, machine).text for program in (adjoint.forward, adjoint.backward)]
    for text in texts:
        module = llvm.parse_assembly(text)
        module.verify()
        assembly = arm.emit_assembly(module)
        assert "fmla\tv" in assembly
    made = native._assembled(llvm, arm, outer.emit(machine))
    assert made[18:20] == b"\xb7\x00"  # ELF's number of AArch64
