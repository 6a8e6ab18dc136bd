"""One encoded image to an array of a given shape."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY_MODES = frozenset({"1", "L"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})  # Pillow would clip their values at 255
BROKEN = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)  # what Pillow raises

# squash: to the shape, whatever the photograph's proportions (torchvision's Resize((side, side)));
# crop: the shorter side to the shape, then the centre (Resize(side) and CenterCrop(side)); none: as stored.
Resize = Literal["squash", "crop", "none"]


class Unreadable(Exception):
    """An image can't be decoded, or has another shape; the message says why, without naming it."""


def decoded(encoded: bytes | Path, shape: tuple[int, int, int], resize: Resize) -> NDArray[np.uint8]:
    """An image as uint8 (channels, height, width) of `shape`: 1 channel from grey images, or RGB from any.

    Resized with Pillow's antialiased bilinear filter, torchvision's default for PIL images.

    Raises:
        Unreadable: broken bytes, a colour image where grey is asked, or another shape where nothing is resized.
    """
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
            if image.mode in DEEP_MODES:
                raise Unreadable(f"has more than 8 bits per pixel and channel ({image.mode}); store it with 8")
            if channels == 1 and image.mode not in GREY_MODES:
                raise Unreadable(f"is a colour image ({image.mode}) among grey ones")
            picture = image.convert("L" if channels == 1 else "RGB")
    except BROKEN as error:
        raise Unreadable(f"can't be decoded: {error}") from error
    if resize == "none" and picture.size != (width, height):
        raise Unreadable(f"has {picture.height} x {picture.width} pixels, not {height} x {width}")
    pixels = np.asarray(_resized(picture, height, width, resize))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def stored_shape(encoded: bytes) -> tuple[int, int, int]:
    """(channels, height, width) of an encoded image. Raises Unreadable."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return (1 if image.mode in GREY_MODES else 3), image.height, image.width
    except BROKEN as error:
        raise Unreadable(f"can't be decoded: {error}") from error


def _resized(picture: Image.Image, height: int, width: int, resize: Resize) -> Image.Image:
    if picture.size == (width, height):
        return picture
    if resize == "squash":
        return picture.resize((width, height), Image.Resampling.BILINEAR)
    # torchvision's Resize(side): the shorter side exactly, the longer one rounded down.
    short, side = min(picture.size), height
    wide, high = (side if length == short else int(side * length / short) for length in picture.size)
    scaled = picture.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - side) / 2.0), round((high - side) / 2.0)
    return scaled.crop((left, top, left + side, top + side))
