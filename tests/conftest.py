"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images of the tests, and of the processes that they start, go to a folder that ends with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFTBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
