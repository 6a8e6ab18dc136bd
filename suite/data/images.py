"""One encoded image to an array of a given shape."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from suite.core.settings import Setting

GREY_MODES = frozenset({"1", "L"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})  # Pillow would clip their values at 255

# Pillow's formats that are decoded, of those that this Pillow was built with: none of them runs a program, as EPS does.
# Those of the second line have no signature, so they are tried last, and only where a file's suffix promises an image.
BUILT_IN = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF")
OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
UNSIGNED = ("DIB", "TGA")
SIGNED = BUILT_IN + tuple(name for name, feature in OPTIONAL.items() if features.check(feature))
FORMATS = SIGNED + UNSIGNED
LARGEST_FILE = 2**30  # bytes

# squash: to the shape, whatever the photograph's proportions (torchvision's Resize((side, side)));
# crop: the shorter side to the shape, then the centre (Resize(side) and CenterCrop(side)); none: as stored.
Resize = Literal["squash", "crop", "none"]


class Unreadable(Exception):
    """An image can't be decoded, or has another shape; the message says why, without naming it."""


def _list_suffixes() -> tuple[str, ...]:
    # An MPO is a JPEG with more images behind the first: the same plugin opens it.
    registered = Image.registered_extensions()
    return tuple(sorted(suffix for suffix, name in registered.items() if name in (*FORMATS, "MPO")))


LOADABLE_SUFFIXES = _list_suffixes()  # lower case, with their dots


def read_encoded(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        Unreadable: it isn't there or may not be read, is no regular file, or is larger than LARGEST_FILE.
    """
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST_FILE:
                raise Unreadable(f"can't be decoded: it has {size:,} bytes, more than any image")
            return file.readall()
    except (OSError, MemoryError) as error:
        raise Unreadable(f"can't be decoded: {_describe_read_error(error)}") from error


def is_encoded_image(path: Path) -> bool:
    """Whether a file's content starts as an image of one of the formats; looks at its header alone."""
    try:
        with io.BufferedReader(_open_regular(path)) as file, Image.open(file, formats=SIGNED):
            return True
    except Exception:  # noqa: BLE001 - whatever Pillow stumbles over, it is no image
        return False


def _open_regular(path: Path) -> io.FileIO:
    """Opens a regular file; never waits for a writer, as opening a FIFO does."""
    file = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def _describe_read_error(error: OSError | MemoryError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "there is no memory for it"


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
