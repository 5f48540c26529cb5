"""Many calls at once, many calls in a row, and forked processes: same results, no growth."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cellwright.nn import LSTM, Recurrent
from cellwright.runtime import native

pytestmark = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
forked = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
PYTHON_THREADS = 8


def gradient(layer: Any, x: Tensor) -> list[Tensor]:
    """Output, final states, gradients: of this call alone, whatever other threads do."""
    output, state = layer(x)
    loss = output.square().sum() + sum(s.sum() for s in state)
    return [output, *state, *torch.autograd.grad(loss, list(layer.parameters()))]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_eight_python_threads_train_at_once(threads, recompute):
    torch.set_num_threads(threads)
    layer = LSTM(24, 48, 2, bidirectional=True, recompute=recompute, backend="llvm")
    inputs = [torch.randn(9, 3 + k, 24) for k in range(PYTHON_THREADS)]
    alone = [gradient(layer, x) for x in inputs]
    barrier = threading.Barrier(PYTHON_THREADS)

    def work(k: int) -> bool:
        torch.set_num_threads(threads)  # a thread of Python has a number of its own
        barrier.wait()
        return all(same(gradient(layer, inputs[k]), alone[k]) for _ in range(20))

    with ThreadPoolExecutor(PYTHON_THREADS) as pool:
        assert all(pool.map(work, range(PYTHON_THREADS)))


def test_eight_python_threads_compile_at_once():
    """The first call of a layer that nobody has run yet, from all sides."""
    layer = LSTM(5, 11, backend="llvm")
    x = torch.randn(3, 2, 5)
    barrier = threading.Barrier(PYTHON_THREADS)

    def work(_: int) -> list[Tensor]:
        barrier.wait()
        return gradient(layer, x)

    with ThreadPoolExecutor(PYTHON_THREADS) as pool:
        results = list(pool.map(work, range(PYTHON_THREADS)))
    assert all(same(r, results[0]) for r in results)


@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm-lstm"])
@pytest.mark.parametrize("threads", [1, 2])
def test_run_after_run_gives_the_same_bits(name, threads):
    torch.set_num_threads(threads)
    layer = Recurrent(name, 33, 70, backend="llvm")
    x = torch.randn(40, 7, 33)
    first = torch.cat([p.flatten() for p in _gradients(layer, x)])
    for _ in range(10):
        again = torch.cat([p.flatten() for p in _gradients(layer, x)])
        assert torch.equal(again, first)


def _gradients(layer: Recurrent, x: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))


def _in_child(layer: Any, x: Tensor, answers: "Queue[list[Any]]") -> None:
    # Torch's own threads do not outlive a fork; filling fresh memory with NaN would call them.
    torch.use_deterministic_algorithms(False)
    answers.put([t.detach().numpy() for t in gradient(layer, x)])


@forked
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_trains(threads):
    """The parent's threads are not there any more; its code and its layer are."""
    torch.set_num_threads(threads)
    layer, x = LSTM(16, 64, backend="llvm"), torch.randn(30, 16, 16)
    wanted = gradient(layer, x)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    children = [context.Process(target=_in_child, args=(layer, x, answers)) for _ in range(2)]
    for child in children:
        child.start()
    found = [answers.get(timeout=120) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    for answer in found:
        for a, b in zip(answer, wanted, strict=True):
            torch.testing.assert_close(torch.from_numpy(a), b, rtol=1e-4, atol=1e-5)
    assert same(gradient(layer, x), wanted)  # the parent goes on


FIRST_IMPORT = """
import multiprocessing, os, sys
import torch
torch.set_num_threads(2)
torch.randn(1000, 1000).tanh().sum()  # its threads run now, and stay behind in a fork

def child():
    from cellwright.nn import LSTM
    layer = LSTM(8, 64, backend="llvm")
    # So many rows that threads divide them, so few that they divide the units where they can; and
    # so few numbers that torch's own operations, which would hang here, need no second thread.
    for x in (torch.ones(20, 16, 8), torch.ones(90, 1, 8)):
        layer(x)[0].square().sum().backward()
    print("threads:", layer.explain().splitlines()[1], flush=True)

if sys.argv[1] == "process":
    forked = multiprocessing.get_context("fork").Process(target=child)
    forked.start()
    forked.join()
    sys.exit(forked.exitcode)
pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
@pytest.mark.parametrize("how", ["process", "fork"])
def test_a_fork_may_be_the_first_to_import_it(how):
    """Torch's threads ran in the parent: waiting for them would have no end."""
    words = [sys.executable, "-c", FIRST_IMPORT, how]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as started:
        try:
            said, faults = started.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            raise
    assert started.returncode == 0, faults
    assert "pool of Python threads" in said and "this process was forked" in said


class Encoded(Dataset):
    """Rows that a worker runs through a layer."""

    def __init__(self, layer: Any, rows: Tensor) -> None:
        self.layer, self.rows = layer, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> Tensor:
        with torch.no_grad():
            return self.layer(self.rows[k])[0]


@forked
@pytest.mark.slow
def test_workers_of_a_data_loader_run_a_layer():
    data = Encoded(LSTM(4, 9, backend="llvm"), torch.randn(12, 5, 4))
    here = torch.stack([data[k] for k in range(len(data))])
    loader = DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context="fork")
    assert torch.equal(torch.cat(list(loader)), here)


def resident() -> int:
    """Return the bytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize("use", ["inference", "training", "steps"])
def test_ten_thousand_calls_do_not_grow(use):
    layer = LSTM(8, 16, backend="llvm")
    x = torch.randn(4, 5, 8)
    state: Any = None

    def call() -> None:
        nonlocal state
        if use == "training":
            layer.zero_grad()
            layer(x)[0].sum().backward()
            return
        with torch.no_grad():
            if use == "inference":
                layer(x)
            else:
                _, state = layer.step(x[0], state)

    for _ in range(2000):
        call()
    alive, growths = tensors(), []
    for _ in range(4):  # in all 10,000 calls; what leaks grows in every one of the four
        before = resident()
        for _ in range(2500):
            call()
        growths.append(resident() - before)
    assert tensors() <= alive
    assert min(growths) < 128 << 10  # some 50 bytes a call
