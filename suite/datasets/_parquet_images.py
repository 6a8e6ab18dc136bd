"""The encoded images of a Parquet column to arrays, several at a time."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from suite.settings import Refused

GREY_MODES = frozenset({"1", "L"})
THREADS = 8  # at most: Pillow decodes outside the interpreter's lock
BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)  # what Pillow raises


def decode_all(cells: Sequence[Mapping[str, Any] | None], into: NDArray[np.uint8], file: Path, first_row: int) -> None:
    """Decode cells of `struct<bytes, path>` into (N, channels, height, width); rows are counted from `first_row`.

    Raises:
        Refused: an image is broken or of another shape, named by file and row.
    """

    def one(position: int) -> None:
        row = first_row + position
        image = decode_one(cells[position], into.shape[1], file, row)
        if image.shape != into.shape[1:]:
            raise Refused(
                f"parquet: {file} has an image of {_by(image)} in row {row}, and the first one is {_by(into[0])}; "
                "resize the images to one shape"
            )
        into[position] = image

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(one, range(len(cells))))


def decode_one(cell: Mapping[str, Any] | None, channels: int | None, file: Path, row: int) -> NDArray[np.uint8]:
    """One image as (channels, height, width): 1 channel for grey modes, else RGB. Grey becomes RGB where 3 are asked.

    Raises:
        Refused: there are no bytes, or they can't be decoded.
    """
    data = cell["bytes"] if cell else None
    if not data:
        raise Refused(f"parquet: {file} has no image bytes in row {row}; embed the images in the files")
    try:
        with Image.open(io.BytesIO(data)) as image:
            grey = image.mode in GREY_MODES and channels != 3
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except BROKEN as error:
        raise Refused(
            f"parquet: {file} has an image in row {row} that can't be decoded ({error}); repair or remove it"
        ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _by(image: NDArray[np.uint8]) -> str:
    return " x ".join(map(str, image.shape))
