"""Writing files whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A name beside the path to write to; what was written takes the path's place once it is on the disk.

    Whoever reads meanwhile sees the file before or the file after; an error leaves the one before, and nothing else.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(text: str, path: Path) -> None:
    """UTF-8, whole or not at all."""
    with replace_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Whole or not at all."""
    write_text(json.dumps(value, indent=1), path)
