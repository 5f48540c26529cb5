"""A browser for the tests of pages, started when the first of them wants it."""

import os
from collections.abc import Iterator

import pytest

from tests.web.chromium import Chromium, binary


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    path = binary()
    if path is None:
        told = "no Chromium on this machine: install it (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(f"{told}; .ci/run should have done so")
        pytest.skip(told)
    made = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()
