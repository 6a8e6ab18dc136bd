"""Types of the shared fixtures in conftest.py, and helpers that several test files use."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


_CUT_OFF = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.executescript("PRAGMA cache_size = 1; BEGIN; CREATE TABLE cut_off (x)")
database.executemany("INSERT INTO cut_off VALUES (?)", [(1000 * "x",)] * 2000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def cut_off_write(path: Path) -> None:
    """Leave an SQLite database as a process that was killed in the middle of a transaction does."""
    ended = subprocess.run([sys.executable, "-c", _CUT_OFF, str(path)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL and path.with_name(f"{path.name}-journal").stat().st_size
