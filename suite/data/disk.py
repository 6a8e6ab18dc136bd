"""Writing what must be whole: room reserved first, bytes on the disk before a name counts, refusals as sentences."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from numpy.lib import format as npy

from suite.core.errors import UserError


def npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def reserve_room(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header, and the room for all images: a full disk says so now."""
    file.write(npy_header(shape))
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), math.prod(shape))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # a file system without it
            raise


@contextlib.contextmanager
def open_flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file, on the disk before a rename makes it count."""
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
def disk_errors(entry: Path, size: int = 0) -> Iterator[None]:
    """Turns what the disk refuses into a sentence with a remedy."""
    try:
        yield
    except OSError as error:
        need = f" with {size / 2**20:,.0f} MiB free" if size else ""
        raise UserError(
            f"cache: {error.filename or entry} can't be used ({error.strerror}); set GRAFTBENCH_CACHE to a directory "
            f"on a writable disk{need}"
        ) from error
