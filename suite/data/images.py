"""One encoded image to an array of a given shape, its pixels as people see them."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, features

from suite.core.settings import Setting

# Pillow's formats that are decoded, of those that this Pillow was built with: none of them runs a program, as EPS does.
# UNSIGNED have no signature, so they are tried last, and only where a file's suffix promises an image.
BUILT_IN = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF")
OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
UNSIGNED = ("DIB", "TGA")
SIGNED = BUILT_IN + tuple(name for name, feature in OPTIONAL.items() if feature in features.get_supported())
FORMATS = SIGNED + UNSIGNED

LARGEST_FILE = 2**30  # bytes
LARGEST_IMAGE = 178_956_970  # pixels, stored or scaled; where Pillow's own check refuses, so that there is one bound
Image.MAX_IMAGE_PIXELS = LARGEST_IMAGE  # Pillow would warn from the half of it

GREY_MODES = frozenset({"1", "L", "LA", "La"})
# Whole numbers of 16 or 32 bits, or fractions: Pillow would clip their values at 255.
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
GROUND = "white"  # what shows through transparent pixels

# What EXIF's orientation asks for, as in Pillow's ImageOps.exif_transpose. That function isn't used, since it also
# writes the EXIF block anew, and fails at blocks that can be read but not written.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset({5, 6, 7, 8})  # height and width change places

# squash: to the shape, whatever the photograph's proportions (torchvision's Resize((side, side)));
# crop: the shorter side to the shape, then the centre (Resize(side) and CenterCrop(side)); none: as stored.
Resize = Literal["squash", "crop", "none"]

RESIZE_REMEDY = "write `size: "  # how the remedy for a good image of another shape begins


class Unreadable(Exception):
    """An image can't be decoded, or has another shape; the message says why, without naming it."""


# -- files


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
                raise Unreadable(f"can't be decoded: it has {size:,} bytes, more than the {LARGEST_FILE:,} of an image")
            return file.readall()
    except (OSError, MemoryError) as error:
        raise Unreadable(_describe_error(error)) from error


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


# -- pixels


def decode_image(encoded: bytes | Path, shape: tuple[int, int, int], resize: Resize) -> NDArray[np.uint8]:
    """An image as uint8 (channels, height, width) of `shape`: 1 channel from grey images, or RGB from any.

    Turned as its EXIF orientation says, transparent pixels over a white ground, then resized with Pillow's antialiased
    bilinear filter, torchvision's default for PIL images.

    Raises:
        Unreadable: broken bytes, more than 8 bits per channel, more than LARGEST_IMAGE pixels, a colour image where
            grey is asked, or another shape where nothing is resized.
    """
    data = read_encoded(encoded) if isinstance(encoded, Path) else encoded
    channels, height, width = shape
    try:
        with _open_image(data) as image:
            picture = _show_image(image, channels)
            if resize == "none" and picture.size != (width, height):
                raise Unreadable(
                    f"is {picture.height} pixels high and {picture.width} wide, not {height} and {width} "
                    f"({RESIZE_REMEDY}{max(height, width)}` in the dataset's entry to resize all images)"
                )
            pixels = np.asarray(_resize_picture(picture, height, width, resize))
        return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(describe_content(data) or _describe_error(error)) from error


def read_stored_shape(encoded: bytes) -> tuple[int, int, int]:
    """(channels, height, width) that an encoded image has where it isn't resized. Raises Unreadable."""
    try:
        with _open_image(encoded) as image:
            channels = 1 if image.mode in GREY_MODES else 3
            width, height = image.size
            # Pillow turns a TIFF itself, and gives its size turned already.
            if image.format != "TIFF" and _read_orientation(image) in SIDEWAYS:
                width, height = height, width
            return channels, height, width
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(describe_content(encoded) or _describe_error(error)) from error


def _open_image(encoded: bytes) -> ImageFile.ImageFile:
    """Reads the header. Raises Unreadable where the pixels are too many or too deep, and what Pillow raises."""
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    if image.format in UNSIGNED and describe_content(encoded):  # as an icon, which may look like the header of a TGA
        raise UnidentifiedImageError
    if image.width * image.height > LARGEST_IMAGE:
        raise Image.DecompressionBombError
    if _is_deep(image, encoded):
        raise Unreadable(
            "has more than 8 bits per channel, and nothing says which values are its black and white; store it with 8"
        )
    return image


def _is_deep(image: ImageFile.ImageFile, encoded: bytes) -> bool:
    """Whether an image has more than 8 bits per channel: where it is colour, Pillow would keep the high ones alone."""
    if image.mode in DEEP_MODES:
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits: tuple[int, ...] = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        return max(bits) > 8
    if image.format == "JPEG2000":
        return _count_jpeg2000_bits(encoded) > 8
    layout = image.tile[0][3] if image.tile else None  # how Pillow's decoder is to read the pixels
    if image.format == "PNG":
        return "16" in str(layout)  # as in RGB;16B
    if image.format == "PPM":
        return isinstance(layout, tuple) and layout[1] > 255  # the file's greatest value
    return False


def _count_jpeg2000_bits(encoded: bytes) -> int:
    """Of the deepest channel, from the segment of sizes that begins the code stream (ISO/IEC 15444-1, A.5.1)."""
    segment = encoded[encoded.index(b"\xff\x4f\xff\x51") :]
    channels = int.from_bytes(segment[40:42], "big")
    depths = segment[42 : 42 + 3 * channels : 3]
    return max(depth & 0x7F for depth in depths) + 1


def _show_image(image: Image.Image, channels: int) -> Image.Image:
    """An opened image as people see it, as L or RGB."""
    if channels == 1 and image.mode not in GREY_MODES:
        raise Unreadable(f"is a colour image ({image.mode}) among grey ones; set channels: 3 where the dataset can")
    image.load()
    picture = _lay_on_ground(image) if image.has_transparency_data else image
    mode = "L" if channels == 1 else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    # Asked only now: Pillow turns a TIFF itself as it loads, and then says that there is nothing to turn.
    turn = TURNS.get(_read_orientation(image))
    return picture if turn is None else picture.transpose(turn)


def _lay_on_ground(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # grey multiplied by its alpha, which Pillow converts to LA alone
        image = image.convert("LA")
    ground = Image.new("RGBA", image.size, GROUND)
    return Image.alpha_composite(ground, image.convert("RGBA"))


def _read_orientation(image: Image.Image) -> int:
    """EXIF's orientation, or XMP's; 1, as it is, where they are broken: many good photographs have such a block."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return orientation if orientation in TURNS else 1
    except Exception:  # noqa: BLE001 - Pillow's readers of the two raise all kinds
        return 1


def _resize_picture(picture: Image.Image, height: int, width: int, resize: Resize) -> Image.Image:
    if picture.size == (width, height):
        return picture
    if resize == "squash":
        return picture.resize((width, height), Image.Resampling.BILINEAR)
    # torchvision's Resize(side): the shorter side exactly, the longer one rounded down.
    short, side = min(picture.size), height
    wide, high = (side if length == short else int(side * length / short) for length in picture.size)
    if wide * high > LARGEST_IMAGE:
        raise Unreadable(
            f"is {picture.height:,} pixels high and {picture.width:,} wide, which `resize: crop` would scale to "
            f"{high:,} and {wide:,}, more than {LARGEST_IMAGE:,} pixels; remove it, or set resize: squash"
        )
    scaled = picture.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - side) / 2.0), round((high - side) / 2.0)
    return scaled.crop((left, top, left + side, top + side))


# -- what isn't an image, by its name

HEAD = 1024  # bytes that tell what a file is
HTML = (b"<!doctype html", b"<html", b"<head", b"<body")
# Where their signature stands, and what they are: images that aren't read, ...
FOREIGN_IMAGES = (
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypavi", "AVIF"),  # where this Pillow was built without it
    (8, b"WEBP", "WEBP"),
    (128, b"DICM", "DICOM"),
)
# ... and archives.
ARCHIVES = (
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
)


def describe_file(path: Path) -> str | None:
    """What a file is instead of what was expected, and the remedy; None: nothing known."""
    try:
        with _open_regular(path) as file:
            return describe_content(file.read(HEAD))
    except OSError as error:
        return f"can't be read ({error.strerror}); remove it or put it back"


def describe_content(encoded: bytes) -> str | None:
    """What a file that can't be decoded is instead, and the remedy; None: nothing known.

    Args:
        encoded: its bytes, or the first HEAD of them.
    """
    if not encoded:
        return "is empty; download it again"
    if encoded.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer; run `git lfs pull` to download what it stands for"
    text = encoded[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(HTML):
        return "is an HTML page: its download failed; download it again"
    if text.startswith(b"<") and b"<svg" in text:
        return "is SVG, which isn't read; convert it to PNG"
    if text.startswith(b"<?xml"):
        return "is an XML page: its download failed; download it again"
    for offset, signature, name in FOREIGN_IMAGES:
        if encoded.startswith(signature, offset) and name not in FORMATS:
            return f"is {name}, which isn't read; convert it to JPEG or PNG"
    for offset, signature, name in ARCHIVES:
        if encoded.startswith(signature, offset):
            return f"is {name}; extract it"
    return None


def _describe_error(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"can't be decoded: it has more than {LARGEST_IMAGE:,} pixels"
    if isinstance(error, UnidentifiedImageError):  # its message is the file's name, or an address in memory
        return "can't be decoded: no image format that is read"
    if isinstance(error, MemoryError):
        return "can't be decoded: there is no memory for it"
    reason = error.strerror if isinstance(error, OSError) else None
    return f"can't be decoded: {reason or error or type(error).__name__}"


# -- settings of datasets whose images are resized

LARGEST = 4096  # pixels a side


def size_setting(side: int) -> Setting:
    return Setting(
        side, "image side in pixels; photographs are resized to it once, when they are decoded", low=1, high=LARGEST
    )


def resize_setting(how: str) -> Setting:
    doc = "squash: to the square as it is; crop: the shorter side to the size, then the centre"
    return Setting(how, doc, choices=("squash", "crop"))
