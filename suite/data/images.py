"""One encoded image to an array of a given shape."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from suite.core.settings import Setting

GREY_MODES = frozenset({"1", "L"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})  # Pillow would clip their values at 255

# squash: to the shape, whatever the photograph's proportions (torchvision's Resize((side, side)));
# crop: the shorter side to the shape, then the centre (Resize(side) and CenterCrop(side)); none: as stored.
Resize = Literal["squash", "crop", "none"]


class Unreadable(Exception):
    """An image can't be decoded, or has another shape; the message says why, without naming it."""


def decode_image(encoded: bytes | Path, shape: tuple[int, int, int], resize: Resize) -> NDArray[np.uint8]:
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
                raise Unreadable(
                    f"is a colour image ({image.mode}) among grey ones; set channels: 3 where the dataset can"
                )
            picture = image.convert("L" if channels == 1 else "RGB")
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(_describe_error(error)) from error
    if resize == "none" and picture.size != (width, height):
        raise Unreadable(
            f"is {picture.height} pixels high and {picture.width} wide, not {height} and {width} (set size to resize)"
        )
    pixels = np.asarray(_resize_picture(picture, height, width, resize))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_stored_shape(encoded: bytes) -> tuple[int, int, int]:
    """(channels, height, width) of an encoded image. Raises Unreadable."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return (1 if image.mode in GREY_MODES else 3), image.height, image.width
    except Exception as error:
        raise Unreadable(_describe_error(error)) from error


def _describe_error(error: Exception) -> str:
    unknown = isinstance(error, UnidentifiedImageError)  # its message is the file's name, or an address in memory
    return f"can't be decoded: {'no image format that Pillow knows' if unknown else error}"


def _resize_picture(picture: Image.Image, height: int, width: int, resize: Resize) -> Image.Image:
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


# -- settings of datasets whose images are resized

LARGEST = 4096  # pixels a side


def size_setting(side: int) -> Setting:
    return Setting(
        side, "image side in pixels; photographs are resized to it once, when they are decoded", low=1, high=LARGEST
    )


def resize_setting(how: str) -> Setting:
    doc = "squash: to the square as it is; crop: the shorter side to the size, then the centre"
    return Setting(how, doc, choices=("squash", "crop"))
