"""What the tests of layers find: a fresh compiler, and a list of the machine code that ran."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from cellwright.runtime.fast import FastProgram


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Compile anew in each test, without the compiler's diary, which pytest would keep whole."""
    diary = logging.getLogger("torch.__trace")
    propagate, diary.propagate = diary.propagate, False
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    diary.propagate = propagate


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the programs that run as machine code, in the order in which they do."""
    names: list[str] = []
    call = FastProgram.__call__

    def counted(self: FastProgram, *args: Any, **kwargs: Any) -> Any:
        names.append(self.program.name)
        return call(self, *args, **kwargs)

    monkeypatch.setattr(FastProgram, "__call__", counted)
    return names
