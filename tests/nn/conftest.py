"""What the tests of layers find: a compiler that has compiled nothing yet."""

import logging
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Compile anew in each test, without the compiler's diary, which pytest would keep whole."""
    diary = logging.getLogger("torch.__trace")
    propagate, diary.propagate = diary.propagate, False
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    diary.propagate = propagate
