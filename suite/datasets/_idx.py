"""MNIST's file format, IDX, in torchvision's layout: `<folder>/raw/*-ubyte`, plain or `.gz`."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.fetch import download_file, fetch_remedy
from suite.data.source import Arrays, Images, Labels, Part

PREFIX: dict[Part, str] = {"train": "train", "test": "t10k"}
KINDS = ("images-idx3", "labels-idx1")
EXAMPLES: dict[Part, int] = {"train": 60_000, "test": 10_000}
CLASSES = 10
SIDE = 28
IMAGES_MAGIC, LABELS_MAGIC = 0x00000803, 0x00000801  # unsigned bytes in 3 dimensions, in 1 dimension


def channels_setting() -> Setting:
    return Setting(1, "1: grey, as stored; 3: repeated, for networks whose counts are of colour images", choices=(1, 3))


@dataclass(frozen=True)
class IdxSet:
    """MNIST, or a set made to replace it: `name` in studies, `folder` on the disk.

    Attributes:
        md5: of the unpacked files, by their names, where they are known.
        channels: 1, or 3 equal ones.
    """

    name: str
    folder: str
    md5: Mapping[str, str] = field(default_factory=dict)
    channels: int = 1

    def find_missing(self, root: Path) -> str | None:
        """Which file isn't there, and the command that fetches it."""
        for part in PREFIX:
            for kind in KINDS:
                if self._find_file(root, part, kind) is None:
                    file = self._file_stem(root, part, kind)
                    return f"{file} (or .gz) is missing; fetch it with `{fetch_remedy(self.name)}`"
        return None

    def open_part(self, root: Path, part: Part) -> Arrays:
        """Images (channels, 28, 28) in the files' order. Raises UserError when a file is missing."""
        found = [self._find_file(root, part, kind) for kind in KINDS]
        files = [file for file in found if file is not None]
        if len(files) < len(KINDS):
            raise UserError(f"{self.name}: {self.find_missing(root)}")
        origin = f"{self.name} {part} in {files[0].parent}"
        return Arrays(origin, (self.channels, SIDE, SIDE), files, lambda: self._read_part(part, *files))

    def fetch_files(self, root: Path, mirror: str, archives: Mapping[str, str]) -> None:
        """Downloads the packed files; `archives` has their names and MD5 sums."""
        for name, md5 in archives.items():
            download_file(f"{mirror}{name}", root / self.folder / "raw" / name, md5)

    def _file_stem(self, root: Path, part: Part, kind: str) -> Path:
        return Path(root).absolute() / self.folder / "raw" / f"{PREFIX[part]}-{kind}-ubyte"

    def _find_file(self, root: Path, part: Part, kind: str) -> Path | None:
        stem = self._file_stem(root, part, kind)
        return next((path for path in (stem, stem.with_name(f"{stem.name}.gz")) if path.is_file()), None)

    def _read_part(self, part: Part, images_file: Path, labels_file: Path) -> tuple[Images, Labels]:
        images, labels = self._read_array(images_file, IMAGES_MAGIC), self._read_array(labels_file, LABELS_MAGIC)
        expected = (EXAMPLES[part], SIDE, SIDE)
        if images.shape != expected:
            raise self._make_error(images_file, f"holds {_format_shape(images.shape)}, not {_format_shape(expected)}")
        if labels.shape != (EXAMPLES[part],):
            raise self._make_error(labels_file, f"holds {len(labels)} labels, not {EXAMPLES[part]}")
        if labels.max() >= CLASSES:
            row = labels.argmax()
            raise self._make_error(labels_file, f"has label {labels[row]} in row {row}, not one of 0..{CLASSES - 1}")
        return images[:, None].repeat(self.channels, axis=1), labels.astype(np.int64)

    def _read_array(self, path: Path, magic: int) -> NDArray[np.uint8]:
        """The array of a file of unsigned bytes: magic number, sizes (big-endian 32 bits each), then the values."""
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rb") as file:
                data: bytes = file.read()
        except (OSError, EOFError, zlib.error) as error:
            raise self._make_error(path, f"can't be read ({error})") from error
        dimensions = magic & 0xFF
        header = 4 * (1 + dimensions)
        if len(data) < header or int.from_bytes(data[:4], "big") != magic:
            raise self._make_error(path, f"doesn't start with the IDX magic number {magic:#010x}")
        shape = tuple(int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(1, 1 + dimensions))
        if len(data) - header != math.prod(shape):
            raise self._make_error(path, f"holds {len(data) - header} bytes for {_format_shape(shape)} values")
        if self.md5.get(path.name.removesuffix(".gz")) not in {
            None,
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
        }:
            raise self._make_error(path, "has another checksum than the published file")
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()

    def _make_error(self, path: Path, what: str) -> UserError:
        return UserError(f"{self.name}: {path} {what}; delete it and fetch it again with `{fetch_remedy(self.name)}`")


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
