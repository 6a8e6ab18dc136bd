"""Writing files whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_UNFINISHED = re.compile(r"\..+\.\d+")  # the names that `replace_file` writes to


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


def remove_unfinished(directory: Path) -> None:
    """Removes what `replace_file` began in a directory and a kill or a full disk left there.

    What is a minute old is nobody's work any more: a file takes seconds.
    """
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):  # gone meanwhile, or a folder
            if _UNFINISHED.fullmatch(entry.name) and time.time() - entry.stat(follow_symlinks=False).st_mtime > 60:
                Path(entry.path).unlink()


@contextlib.contextmanager
def open_flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file of a folder that is renamed when it is whole: on the disk when the block ends."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(directory: Path) -> None:
    """The names in a directory to the disk, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the file's lock; it is made where it is missing, and the lock ends with its process.

    Raises:
        BlockingIOError: another process holds it.
    """
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the file's lock; leaves no trace."""
    if not path.is_file():
        return False
    try:
        with hold_lock(path):
            return False
    except OSError:
        return True


def write_text(text: str, path: Path) -> None:
    """UTF-8, whole or not at all."""
    with replace_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Whole or not at all."""
    write_text(json.dumps(value, indent=1), path)
