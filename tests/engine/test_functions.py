"""How exact the vector forms of exp, sigmoid, tanh and log are, over everything a float can be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cellwright.language import Cell, Input, State, exp, hidden, log, sigmoid, tanh
from cellwright.runtime import plan
from tests.engine.agree import DTYPES, LLVM, Numbers, outcome
from tests.engine.machines import MACHINES

UNITS = 33  # whole vectors and a rest
FUNCTIONS = {"exp": 0, "sigmoid": 1, "tanh": 2, "log": 3}
# Units in the last place between what is found and the exact value, where that is a normal number.
ULPS = {"exp": 2.0, "sigmoid": 3.0, "tanh": 3.0, "log": 1.0}
# Below this argument sigmoid stays where it is, at most 2e-38 and 4e-308: near nothing.
SETTLED = {torch.float32: -87.0, torch.float64: -708.0}


class Functions(Cell):
    """Every function of its input."""

    x, h = Input(hidden), State()

    e = exp(x)
    s = sigmoid(x)
    t = tanh(x)
    n = log(x)
    h.next = x

    outputs = e, s, t, n


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """The function in a wider format than `x` has."""
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
        if name == "sigmoid":
            small = np.exp(-np.abs(wide))
            return np.where(wide < 0, small / (1 + small), 1 / (1 + small))
        formula: dict[str, Callable[[np.ndarray], np.ndarray]]
        formula = {"exp": np.exp, "tanh": np.tanh, "log": np.log}
        return formula[name](wide)


def grid(dtype: torch.dtype) -> np.ndarray:
    """Numbers of every size, the extremes among them; the whole of floats at even steps."""
    if dtype is torch.float32:
        bits = np.arange(0, 2**32, 8191, dtype=np.uint64).astype(np.uint32)
        spread = bits.view(np.float32)
    else:
        bits = np.arange(0, 2**64 - 2**46, 2**46, dtype=np.uint64)
        spread = bits.view(np.float64)
    kind = np.float32 if dtype is torch.float32 else np.float64
    ends = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 88.7228, -103.9, 709.78, -745.1]
    )
    most = np.finfo(kind)
    ends = np.append(ends, [most.max, most.min, most.tiny, most.smallest_subnormal])
    near = np.linspace(-760, 730, 200_001)
    found = np.concatenate([spread, ends.astype(kind), near.astype(kind), (near / 40).astype(kind)])
    return np.resize(found, -(-found.size // UNITS) * UNITS)


def found(x: np.ndarray, dtype: torch.dtype) -> dict[str, np.ndarray]:
    made = plan(Functions, {"hidden": UNITS})
    values = torch.from_numpy(x.copy()).view(1, -1, UNITS)
    state = torch.zeros(values.shape[1], UNITS, dtype=dtype)
    given = Numbers((values,), (state,), (), (), None, None, ())
    got = outcome(made, given, LLVM, track="")
    return {name: got[f"output {k}"].numpy().ravel() for name, k in FUNCTIONS.items()}


def assert_exact(name: str, x: np.ndarray, got: np.ndarray, settled: float) -> None:
    """Fail where a result is further from the exact one than the table allows."""
    want = exact(name, x)
    with np.errstate(all="ignore"):
        rounded = want.astype(x.dtype)
        far = np.abs(got.astype(want.dtype) - want)
        ulps = far / np.spacing(np.abs(rounded))
    smallest = np.finfo(x.dtype).tiny
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    ends = np.isinf(rounded)
    assert np.array_equal(got[ends], rounded[ends])
    finite = np.isfinite(rounded)
    low = finite & (x < settled) if name == "sigmoid" else np.zeros_like(finite)
    assert np.all(np.abs(got[low]) <= 2 * smallest)
    normal = finite & ~low & (np.abs(rounded) >= smallest)
    worst = np.argmax(np.where(normal, ulps, 0))
    assert ulps[worst] <= ULPS[name], f"{name}({x[worst]}) is off by {ulps[worst]:.1f} ulp"
    tail = finite & ~low & ~normal
    assert np.all(far[tail] <= np.finfo(x.dtype).smallest_subnormal)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("machine", MACHINES)
def test_functions(machine: str, dtype: torch.dtype, name: str, on_machine: Callable[[str], None]):
    if dtype is torch.float64 and np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no format here is wider than float64")
    on_machine(machine)
    x = grid(dtype)
    assert_exact(name, x, found(x, dtype)[name], SETTLED[dtype])
