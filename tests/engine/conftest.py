"""What the tests of the engine find: work is shared among threads, however little there is."""

from collections.abc import Callable, Iterator

import pytest

from cellwright.runtime import fast, loops, native
from tests.engine import machines


@pytest.fixture(autouse=True)
def every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide rows among threads even where that does not pay."""
    if native.missing() is not None:
        pytest.skip(str(native.missing()))
    for module in (fast, loops):
        monkeypatch.setattr(module, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(loops, "WORTH_PACKING", 0)


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Compile for a processor of `machines.MACHINES` until the test ends."""
    yield lambda name: machines.compile_for(name, monkeypatch)
    machines.forget()
