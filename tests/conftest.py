"""What all tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.fixtures import Answer, Command

RAY = {"test_faults", "test_ray_connection", "test_run"}  # one Ray at a time: they start, find, count and kill it
UNSHARED = {"test_components"}  # hundreds of heavy tests that share nothing: dealt out one by one


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests run in one process, so that its fixtures are made once, and Ray's files in one too.

    `--dist loadgroup` would do it, but pytest-xdist 3.8 writes groups where pytest 9.2 no longer looks.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        name = Path(file).stem
        if name in UNSHARED:
            return nodeid
        return "ray" if name in RAY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray's tests first: they take longest, and nothing may be left to wait for them alone."""
    items.sort(key=lambda item: item.path.stem not in RAY)


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded images of the tests, and of the processes that they start, go to a folder that ends with them."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("GRAFTBENCH_CACHE", str(directory))
        yield directory


@pytest.fixture
def graftbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`graftbench("run", path)`: the command line in this process, from its entry point to its exit."""
    from suite.cli import main

    for name in ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED"):  # so that main's own are undone
        monkeypatch.setenv(name, "0")

    def command(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["graftbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return command


@pytest.fixture(scope="session")
def real() -> Callable[..., Path]:
    """`real("MNIST", "raw")`: the data directory that holds this path; skips the test where none does."""

    def directory(*parts: str) -> Path:
        roots = [Path(os.environ["GRAFTBENCH_DATA"])] if "GRAFTBENCH_DATA" in os.environ else []
        roots.append(Path(__file__).resolve().parents[2] / "shared" / "data")
        for root in roots:
            if root.joinpath(*parts).exists():
                return root
        pytest.skip(f"real data {'/'.join(parts)} is neither in GRAFTBENCH_DATA nor in ../shared/data")

    return directory


def pytest_collection_finish() -> None:
    """What was imported stays: statsmodels' `multipletests` collects garbage at every call, through all of torch."""
    gc.freeze()
