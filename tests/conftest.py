"""What every test finds: one thread, a fixed seed, NaN in unwritten memory, no network."""

import os
import random
import socket
import sys
from collections.abc import Iterator

# Before torch is imported: with several workers on few cores, more threads only get in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Machine code made by the tests is kept for the next run of them, apart from the user's own.
os.environ.setdefault(
    "CELLWRIGHT_CACHE", __file__.replace("conftest.py", "../.pytest_cache/cellwright")
)

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def same_start() -> Iterator[None]:
    """Seed every generator, and let torch.empty hand out NaN instead of whatever lay there."""
    random.seed(0)
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    torch.manual_seed(0)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_default_dtype(dtype)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails, wherever it runs."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX or (
            isinstance(address, tuple) and address[0] in {"127.0.0.1", "::1", "localhost"}
        ):
            return connect(self, address)  # pyright: ignore[reportArgumentType]
        raise AssertionError(f"a test tried to connect to {address!r}")

    monkeypatch.setattr(socket.socket, "connect", local_only)
