"""Pixels as people see them, against Pillow's own exif_transpose and alpha_composite; limits; what isn't an image."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from suite.data import images
from suite.data.images import (
    LOADABLE_SUFFIXES,
    Unreadable,
    decode_image,
    describe_content,
    describe_file,
    is_encoded_image,
    read_encoded,
    read_stored_shape,
)

WIDTH, HEIGHT = 12, 7
LOSSLESS: dict[str, dict[str, Any]] = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
LOSSY: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "AVIF": {}}
ORIENTED = [kind for kind in (*LOSSLESS, *LOSSY) if kind in images.FORMATS]
TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")


def draw(channels: int = 3, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    """Random pixels (height, width, channels), or (height, width) for 1."""
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif_block(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def decode_whole(encoded: bytes) -> NDArray[np.uint8]:
    """(height, width, channels), or (height, width) for 1: an image in its own shape."""
    pixels = decode_image(encoded, read_stored_shape(encoded), "none")
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def png(bits: int, colour: int, rows: list[bytes], **chunks: bytes) -> bytes:
    """A PNG that Pillow can't write: `colour` 0 is grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    width = len(rows[0]) * 8 // (bits * channels)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(channels: int, bits: int, data: bytes, width: int, height: int) -> bytes:
    """An uncompressed TIFF, grey or RGB, of any depth."""
    start = 8 + 2 + 9 * 12 + 4
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, start if channels > 2 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, start + len(depths)),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", 0) + depths + data


# --- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ORIENTED)
def test_every_format_is_turned_alike_and_once(kind: str, orientation: int) -> None:
    upright = Image.fromarray(draw())
    options = {**LOSSLESS, **LOSSY}[kind]
    encoded = encode(upright, kind, exif=exif_block(orientation), **options)
    with Image.open(io.BytesIO(encoded)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    swapped = orientation in (5, 6, 7, 8)
    assert expected.shape == ((WIDTH, HEIGHT, 3) if swapped else (HEIGHT, WIDTH, 3))
    assert read_stored_shape(encoded) == (3, *expected.shape[:2])
    np.testing.assert_array_equal(decode_whole(encoded), expected)
    if kind in LOSSLESS:  # that Pillow's function itself did it: upright again after the inverse turn
        turns = {3: 2, 6: 1, 8: 3}
        if orientation in turns:
            np.testing.assert_array_equal(decode_whole(encoded), np.rot90(draw(), -turns[orientation]))


@pytest.mark.parametrize("compression", TIFF_COMPRESSIONS)
def test_pillow_turns_every_kind_of_tiff_itself_and_we_not_again(compression: str) -> None:
    encoded = encode(Image.fromarray(draw()), "TIFF", compression=compression, tiffinfo={274: 6})
    np.testing.assert_array_equal(decode_whole(encoded), np.rot90(draw(), -1))


def test_an_mpo_is_a_jpeg() -> None:
    first, second = Image.fromarray(draw(seed=1)), Image.fromarray(draw(seed=2))
    encoded = encode(first, "MPO", save_all=True, append_images=[second], quality=95, exif=exif_block(6))
    with Image.open(io.BytesIO(encoded)) as stored:
        assert stored.format == "MPO"
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(decode_whole(encoded), expected)


def test_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'
    encoded = encode(Image.fromarray(draw()), "WEBP", xmp=xmp, lossless=True)
    with Image.open(io.BytesIO(encoded)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    assert read_stored_shape(encoded) == (3, WIDTH, HEIGHT)
    np.testing.assert_array_equal(decode_whole(encoded), expected)


def test_grey_images_with_alpha_are_turned_too() -> None:
    encoded = encode(Image.fromarray(draw(2), "LA"), exif=exif_block(8))
    assert read_stored_shape(encoded) == (1, WIDTH, HEIGHT)
    upright = decode_whole(encode(Image.fromarray(draw(2), "LA")))
    np.testing.assert_array_equal(decode_whole(encoded), np.rot90(upright))


def test_images_are_turned_before_they_are_resized() -> None:
    upright = Image.fromarray(draw(size=(40, 90)))
    encoded = encode(upright.transpose(Image.Transpose.ROTATE_90), exif=exif_block(6))
    for resize in ("squash", "crop"):
        expected = decode_image(encode(upright), (3, 16, 16), resize)  # type: ignore[arg-type]
        np.testing.assert_array_equal(decode_image(encoded, (3, 16, 16), resize), expected)  # type: ignore[arg-type]


TRUNCATED_IFD = b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12\0\x03"
BROKEN: dict[str, dict[str, bytes]] = {
    "no header": {"exif": b"Exif\0\0rubbish"},
    "truncated": {"exif": TRUNCATED_IFD},
    "wild offset": {"exif": b"Exif\0\0II*\0\xff\xff\xff\x7f"},
    "impossible value": {"exif": bytes(exif_block(6).tobytes()).replace(b"\0\x06", b"\0\x63")},
    "xmp of other bytes": {"xmp": b"\xff\xfe\x00<x"},
    "xmp without a number": {"xmp": b'tiff:Orientation="x"'},
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_and_xmp_are_survived_and_ignored(kind: str, broken: str) -> None:
    options = {"quality": 95, "lossless": True} if kind != "PNG" else {}
    plain = encode(Image.fromarray(draw()), kind, **options)
    encoded = encode(Image.fromarray(draw()), kind, **options, **BROKEN[broken])
    assert read_stored_shape(encoded) == (3, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_whole(encoded), decode_whole(plain))


def test_a_broken_profile_in_a_png_is_ignored() -> None:
    rows = [row.tobytes() for row in draw()]
    encoded = png(8, 2, rows, zTXt=b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      4\nnothex"))
    with Image.open(io.BytesIO(encoded)) as stored, pytest.raises(ValueError, match="non-hexadecimal"):
        stored.getexif()
    np.testing.assert_array_equal(decode_whole(encoded), draw())


def test_an_exif_block_that_pillow_cant_write_again_still_turns() -> None:
    """Its ImageOps.exif_transpose fails at it, and Hugging Face's reader with it."""
    entry = struct.pack("<HHII", 274, 3, 1, 6) + struct.pack("<HHII", 0x0100, 2, 4, 0x00434241)
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + b"\0\0\0\0"
    encoded = encode(Image.fromarray(draw()), "JPEG", quality=95, exif=block)
    assert read_stored_shape(encoded) == (3, WIDTH, HEIGHT)
    upright = decode_whole(encode(Image.fromarray(draw()), "JPEG", quality=95))
    np.testing.assert_array_equal(decode_whole(encoded), np.rot90(upright, -1))


# --- alpha


def over_white(picture: Image.Image) -> NDArray[np.uint8]:
    colours = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(ground, colours).convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white_as_pillow_composites(kind: str) -> None:
    picture = Image.fromarray(draw(4), "RGBA")
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    encoded = encode(picture, kind, **options)
    assert read_stored_shape(encoded) == (3, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_whole(encoded), over_white(picture))


def test_colours_under_full_transparency_dont_show() -> None:
    pixels = draw(4)
    pixels[..., 3] = 0
    assert (decode_whole(encode(Image.fromarray(pixels, "RGBA"))) == 255).all()
    pixels[..., 3] = 255
    np.testing.assert_array_equal(decode_whole(encode(Image.fromarray(pixels, "RGBA"))), pixels[..., :3])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_stays_grey(kind: str) -> None:
    picture = Image.fromarray(draw(2), "LA")
    encoded = encode(picture, kind)
    assert read_stored_shape(encoded) == (1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_whole(encoded), over_white(picture)[..., 0])
    in_colour = decode_image(encoded, (3, HEIGHT, WIDTH), "none")
    np.testing.assert_array_equal(in_colour.transpose(1, 2, 0), over_white(picture))


def test_grey_multiplied_by_its_alpha() -> None:
    pixels = draw(2)
    premultiplied = np.stack([pixels[..., 0] * (pixels[..., 1] / 255.0), pixels[..., 1]], -1).round().astype(np.uint8)
    encoded = encode(Image.fromarray(premultiplied, "LA"), "TIFF")
    extra_samples = struct.pack("<HHI", 338, 3, 1)
    assert encoded.count(extra_samples + b"\2") == 1
    encoded = encoded.replace(extra_samples + b"\2", extra_samples + b"\1")
    with Image.open(io.BytesIO(encoded)) as stored:
        assert stored.mode == "La"
    assert read_stored_shape(encoded) == (1, HEIGHT, WIDTH)
    alpha = pixels[..., 1].astype(float)
    expected = pixels[..., 0] * alpha / 255 + 255 - alpha
    assert abs(decode_whole(encoded) - expected).max() <= 2, "rounded three times"


def test_palettes_with_transparency() -> None:
    picture = Image.fromarray(draw() // 64 * 64).quantize(8)
    alphas = bytes(range(0, 256, 32))
    several, one = encode(picture, transparency=alphas), encode(picture, transparency=3)
    gif = encode(picture, "GIF", transparency=3)
    for encoded in (several, one, gif):
        with Image.open(io.BytesIO(encoded)) as stored:
            assert stored.mode == "P" and "transparency" in stored.info
            expected = over_white(stored)
            opaque = np.asarray(stored.convert("RGBA"))[..., :3]
        assert (expected != opaque).any()
        np.testing.assert_array_equal(decode_whole(encoded), expected)


def test_a_transparent_colour_of_a_png_without_alpha() -> None:
    colour, grey = draw(), draw(1)
    encoded = encode(Image.fromarray(colour), transparency=tuple(map(int, colour[2, 3])))
    expected = colour.copy()
    expected[(colour == colour[2, 3]).all(-1)] = 255
    np.testing.assert_array_equal(decode_whole(encoded), expected)

    encoded = encode(Image.fromarray(grey), transparency=int(grey[2, 3]))
    assert read_stored_shape(encoded) == (1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_whole(encoded), np.where(grey == grey[2, 3], 255, grey))


# --- depth


def wide(channels: int) -> list[bytes]:
    """Rows of 16-bit pixels of 12 bits: their high bytes are nearly black."""
    values = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH * channels)).astype(">u2")
    return [row.tobytes() for row in values]


def jpeg2000_of_16_bits() -> bytes:
    encoded = bytearray(encode(Image.fromarray(draw()), "JPEG2000", no_jp2=True))
    assert encoded[42] == 7, "8 bits, less one"
    encoded[42:51:3] = bytes([15, 15, 15])
    return bytes(encoded)


DEEP: dict[str, Callable[[], bytes]] = {
    "grey PNG": lambda: png(16, 0, wide(1)),
    "colour PNG": lambda: png(16, 2, wide(3)),
    "grey PNG with alpha": lambda: png(16, 4, wide(2)),
    "colour PNG with alpha": lambda: png(16, 6, wide(4)),
    "grey TIFF": lambda: tiff(1, 16, b"".join(wide(1)), WIDTH, HEIGHT),
    "colour TIFF": lambda: tiff(3, 16, b"".join(wide(3)), WIDTH, HEIGHT),
    "fractions": lambda: encode(Image.fromarray(np.zeros((HEIGHT, WIDTH), np.float32)), "TIFF"),
    "32 bits": lambda: encode(Image.fromarray(np.zeros((HEIGHT, WIDTH), np.int32)), "TIFF"),
    "grey PGM": lambda: b"P5 12 7 65535\n" + b"".join(wide(1)),
    "colour PPM": lambda: b"P6 12 7 65535\n" + b"".join(wide(3)),
    "colour PPM of 12 bits": lambda: b"P6 12 7 4095\n" + b"".join(wide(3)),
    "plain PPM": lambda: b"P3 1 1 4095\n4000 0 7\n",
    "colour JPEG 2000": jpeg2000_of_16_bits,
    "grey JPEG 2000": lambda: encode(Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)), "JPEG2000"),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_8_bits_are_refused_in_grey_and_colour_alike(name: str) -> None:
    if "JPEG 2000" in name and "JPEG2000" not in images.FORMATS:
        pytest.skip("this Pillow was built without JPEG 2000")
    encoded = DEEP[name]()
    with Image.open(io.BytesIO(encoded)) as stored:
        assert stored.width >= 1, "Pillow itself opens it"
    for channels in (1, 3):
        with pytest.raises(Unreadable, match=r"^has more than 8 bits per channel.*; store it with 8$"):
            decode_image(encoded, (channels, HEIGHT, WIDTH), "none")
    with pytest.raises(Unreadable, match="more than 8 bits"):
        read_stored_shape(encoded)


@pytest.mark.parametrize("kind", ["JPEG2000", "PPM", "TIFF", "PNG", "BMP", "TGA", "DIB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_8_bits_of_the_same_formats_are_read(kind: str, channels: int) -> None:
    if kind not in images.FORMATS:
        pytest.skip("this Pillow was built without it")
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    encoded = encode(Image.fromarray(draw(channels)), kind, **options)
    assert read_stored_shape(encoded) == (channels, HEIGHT, WIDTH)
    np.testing.assert_array_equal(decode_whole(encoded), draw(channels))


def test_few_bits_are_scaled_to_8() -> None:
    encoded = png(4, 0, [bytes([0x0F, 0xA5])])
    np.testing.assert_array_equal(decode_whole(encoded), [[0, 255, 170, 85]])
    encoded = encode(Image.fromarray(draw(1) > 127))
    np.testing.assert_array_equal(decode_whole(encoded), np.where(draw(1) > 127, 255, 0))
    np.testing.assert_array_equal(decode_whole(b"P2 3 1 15\n0 15 5\n"), [[0, 255, 85]])


# --- grey and colour, first pictures


def test_a_colour_image_or_a_palette_among_grey_ones_is_refused() -> None:
    for picture in (Image.fromarray(draw()), Image.fromarray(draw()).quantize(8)):
        encoded = encode(picture)
        assert read_stored_shape(encoded)[0] == 3
        with pytest.raises(Unreadable, match=r"is a colour image \((RGB|P)\) among grey ones; set channels: 3"):
            decode_image(encoded, (1, HEIGHT, WIDTH), "none")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_picture_of_several_counts(kind: str) -> None:
    if kind not in images.FORMATS:
        pytest.skip("this Pillow was built without it")
    first, second = Image.fromarray(draw(seed=1)), Image.fromarray(draw(seed=2))
    encoded = encode(first, kind, save_all=True, append_images=[second])
    with Image.open(io.BytesIO(encoded)) as stored:
        assert getattr(stored, "n_frames", 1) == 2
        expected = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(decode_whole(encoded), expected)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_colour_spaces_are_converted_as_pillow_does(mode: str) -> None:
    drawn = Image.fromarray(draw())
    encoded = {
        "CMYK": lambda: encode(drawn.convert("CMYK"), "JPEG"),
        "YCbCr": lambda: encode(drawn, "TIFF", compression="jpeg"),
        "LAB": lambda: encode(Image.frombytes("LAB", (4, 3), draw(3, size=(3, 4)).tobytes()), "TIFF"),
    }[mode]()
    with Image.open(io.BytesIO(encoded)) as stored:
        expected = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(decode_whole(encoded), expected)


# --- limits


def test_a_thin_strip_isnt_scaled_to_gigapixels() -> None:
    encoded = encode(Image.new("RGB", (60_000, 2)))
    with pytest.raises(Unreadable, match=r"2 pixels high and 60,000 wide.* scale to 224 and 6,720,000, .*squash"):
        decode_image(encoded, (3, 224, 224), "crop")
    assert decode_image(encoded, (3, 224, 224), "squash").shape == (3, 224, 224)
    tall = encode(Image.new("L", (2, 60_000)))
    with pytest.raises(Unreadable, match=r"60,000 pixels high and 2 wide.* scale to 6,720,000 and 224"):
        decode_image(tall, (1, 224, 224), "crop")


def bare_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14)


@pytest.mark.parametrize("side", [13_378, 20_000, 60_000])
@pytest.mark.filterwarnings("ignore")
def test_too_many_pixels_are_refused_by_one_bound_before_they_are_decoded(side: int) -> None:
    assert 13_377**2 <= images.LARGEST_IMAGE < 13_378**2
    encoded = bare_png(side, side)
    for refused in (lambda: read_stored_shape(encoded), lambda: decode_image(encoded, (1, 8, 8), "squash")):
        with pytest.raises(Unreadable, match=r"^can't be decoded: it has more than 178,956,970 pixels$"):
            refused()
    assert read_stored_shape(bare_png(13_377, 13_377)) == (1, 13_377, 13_377)


@pytest.mark.filterwarnings("error")
def test_what_is_within_the_bound_brings_no_warning() -> None:
    assert Image.MAX_IMAGE_PIXELS == images.LARGEST_IMAGE
    read_stored_shape(bare_png(10_000, 10_000))


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), struct.error("odd"), SyntaxError("broken PNG")]
)
def test_whatever_decoding_and_resizing_raise_is_said(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode(Image.fromarray(draw()))

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    for name in ("resize", "load"):
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, name, fail)
            with pytest.raises(Unreadable, match=r"^can't be decoded: \w+") as refusal:
                decode_image(encoded, (3, 4, 4), "squash")
            assert str(refusal.value).endswith(str(error) or "no memory for it")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "TGA", "PPM"])
def test_every_truncation_is_unreadable_or_an_image(kind: str) -> None:
    if kind not in images.FORMATS:
        pytest.skip("this Pillow was built without it")
    encoded = encode(Image.fromarray(draw()), kind)
    refused = 0
    for end in range(0, len(encoded), max(1, len(encoded) // 60)):
        try:
            decode_image(encoded[:end], (3, HEIGHT, WIDTH), "none")
        except Unreadable as error:
            refused += 1
            assert str(error).startswith("can't be decoded: ") or not end, end
    assert refused > 30


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_fifo, "it is not a regular file"),
        (make_socket, "No such device or address"),
        (Path.mkdir, "Is a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], None], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("image.png")
    make(path)
    for look in (lambda: read_encoded(path), lambda: decode_image(path, (3, 4, 4), "squash")):
        with pytest.raises(Unreadable, match=f"^can't be decoded: {reason}$"):
            look()
    assert not is_encoded_image(path)


def test_a_link_to_an_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(encode(Image.fromarray(draw())))
    (tmp_path / "link").symlink_to("image")
    assert read_encoded(tmp_path / "link") == (tmp_path / "image").read_bytes() and is_encoded_image(tmp_path / "link")


def test_a_huge_file_isnt_read(tmp_path: Path) -> None:
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(images.LARGEST_FILE + 1)
    with pytest.raises(Unreadable, match=r"it has 1,073,741,825 bytes, more than the 1,073,741,824 of an image"):
        read_encoded(tmp_path / "film.png")


# --- formats


def test_suffixes_are_those_of_the_formats() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(IMG_EXTENSIONS) <= set(LOADABLE_SUFFIXES)
    assert {".jfif", ".jpe", ".gif", ".dib", ".pbm", ".pnm", ".apng", ".tga", ".mpo"} <= set(LOADABLE_SUFFIXES)
    assert not {".eps", ".ps", ".pdf", ".psd", ".ico", ".svg", ".heic", ".h5", ".wmf"} & set(LOADABLE_SUFFIXES)
    known = Image.registered_extensions()
    assert {known[suffix] for suffix in LOADABLE_SUFFIXES} == {*images.FORMATS, "MPO"}


@pytest.mark.parametrize("kind", images.SIGNED)
def test_content_tells_an_image(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "0001"
    path.write_bytes(encode(Image.fromarray(draw()), kind))
    assert is_encoded_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"P1 of the text", b"BMW", b"P6", b"\x89PNG", b"{}", bytes(100), b"%!PS-Adobe"]
)
def test_content_tells_what_is_no_image(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "README"
    path.write_bytes(content)
    assert not is_encoded_image(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def test_postscript_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    with Image.open(io.BytesIO(EPS)) as stored:
        assert stored.format == "EPS", "Pillow itself would open it"
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("started"))
    (tmp_path / "photo.jpg").write_bytes(EPS)
    with pytest.raises(Unreadable, match=r"^is PostScript, which isn't read; convert it to JPEG or PNG$"):
        decode_image(tmp_path / "photo.jpg", (3, 8, 8), "squash")


ICON = b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\x18\0" + bytes(64)
NAMED = [
    (b"", "is empty; download it again"),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a Git LFS pointer; run `git lfs pull`",
    ),
    (b"<!DOCTYPE html>\n<html>", "is an HTML page: its download failed"),
    (b"\xef\xbb\xbf\n  <HTML lang=en>", "is an HTML page: its download failed"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is an XML page: its download failed"),
    (
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "is SVG, which isn't read; convert it to PNG",
    ),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "is HEIC, which isn't read; convert it to JPEG or PNG"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "is HEIC, which isn't read; convert it to JPEG or PNG"),
    (b"%PDF-1.7\n", "is PDF, which isn't read"),
    (b"8BPS\0\1", "is a Photoshop file, which isn't read"),
    (ICON, "is an icon, which isn't read"),
    (bytes(128) + b"DICM" + bytes(50), "is DICOM, which isn't read"),
    (b"\xff\x0a\x00", "is JPEG XL, which isn't read"),
    (b"PK\3\4" + bytes(30), "is a ZIP archive; extract it"),
    (b"\x1f\x8b\x08" + bytes(30), "is a gzip archive; extract it"),
]


@pytest.mark.parametrize(("content", "sentence"), NAMED)
def test_what_isnt_an_image_is_called_what_it_is(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "0001.jpg").write_bytes(content)
    for look in (
        lambda: decode_image(tmp_path / "0001.jpg", (3, 8, 8), "squash"),
        lambda: decode_image(content, (3, 8, 8), "squash"),
        lambda: read_stored_shape(content),
    ):
        with pytest.raises(Unreadable) as refusal:
            look()
        assert str(refusal.value).startswith(sentence)
        assert str(refusal.value) == describe_content(content[:1024]) == describe_file(tmp_path / "0001.jpg")


def test_other_content_is_said_to_be_no_image() -> None:
    with pytest.raises(Unreadable, match=r"^can't be decoded: no image format that is read$"):
        decode_image(b"some text", (3, 8, 8), "squash")
