"""A dataset's facts, and the images of one part as its files hold them: decoded once, or again and again."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.data.images import RESIZE_REMEDY, Resize, Unreadable, decode_image

Part = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of a dataset without reading its images.

    Attributes:
        shape: (channels, height, width) of every image, decoded.
        mean, std: per channel on the 0-1 scale, over the training part; None: computed when it is decoded.
        validation: examples held out of the training part when neither recipe nor study says otherwise.
        missing: why the files can't be used, with the path and the command that makes them; None when they are there.
        passed_over: what lies among the files and isn't read, a phrase each: `90 files .heic`.
    """

    title: str
    classes: int
    shape: tuple[int, int, int]
    train_examples: int
    test_examples: int
    validation: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    licence: str
    source: str  # where images, mean and std come from
    class_names: tuple[str, ...] = ()
    missing: str | None = None
    passed_over: tuple[str, ...] = ()


Images = NDArray[np.uint8]
Hashes = NDArray[np.uint8]  # (N, 16)
Labels = NDArray[np.int64]


class ImageSource(ABC):
    """The images of one part, in a fixed order.

    Opening one is cheap: warm trials do it only to see whether the files are still those that were decoded.

    Attributes:
        origin: what decides the pixels and isn't in `files`' content: the directory, the part, settings.
        shape: (channels, height, width) of every decoded image.
        files: everything that images and labels are read from.
        streams: whether single images can be decoded cheaply; False: they come as one array.
        validation_rows: sorted rows of the training part that the files themselves hold out; None: they say nothing,
            and the study's `split_seed` draws them.
    """

    origin: str
    shape: tuple[int, int, int]
    files: Sequence[Path]
    streams: bool
    validation_rows: Labels | None = None

    @property
    def watched(self) -> Sequence[Path]:
        """The files whose change makes a decoded copy doubtful: these, or more."""
        return self.files

    @property
    @abstractmethod
    def labels(self) -> Labels:
        """int64 (N,). Raises UserError, naming path and remedy, when the files are missing or broken."""

    @abstractmethod
    def decode(self, row: int) -> Images:
        """uint8 of `shape`; from several threads at once. Raises Unreadable, or UserError for a broken file."""

    @abstractmethod
    def name(self, row: int) -> str:
        """How a message names an image: its file, or file and row."""


class Arrays(ImageSource):
    """Images that their files hold as one array: `read()` gives uint8 (N, *shape) and int64 (N,)."""

    streams = False

    def __init__(
        self,
        origin: str,
        shape: tuple[int, int, int],
        files: Sequence[Path],
        read: Callable[[], tuple[Images, Labels]],
    ) -> None:
        self.origin, self.shape, self.files, self._read = origin, shape, files, read

    @cached_property
    def _arrays(self) -> tuple[Images, Labels]:
        try:
            return self._read()
        except OSError as error:
            raise UserError(f"{self.origin} can't be read: {error}") from error

    @property
    def labels(self) -> Labels:
        return self._arrays[1]

    def decode(self, row: int) -> Images:
        image: Images = self._arrays[0][row]
        return image

    def name(self, row: int) -> str:
        return f"{self.origin}, row {row}"


class ImageFiles(ImageSource):
    """One encoded image per file, made RGB and `resize`d to `shape`.

    Args:
        files: of the images, one a row.
        labels: int64 (N,), likewise.
        watched: all files that decide which images are in the part; default: `files`.
        validation_rows: as of `ImageSource`.
    """

    streams = True

    def __init__(
        self,
        origin: str,
        shape: tuple[int, int, int],
        files: Sequence[Path],
        labels: Labels,
        resize: Resize,
        watched: Sequence[Path] | None = None,
        *,
        validation_rows: Labels | None = None,
    ) -> None:
        self.origin, self.shape, self.files = f"{origin} {resize}", shape, files
        self._labels, self._resize, self._watched = labels, resize, watched
        self.validation_rows = validation_rows

    @property
    def watched(self) -> Sequence[Path]:
        return self._watched or self.files

    @property
    def labels(self) -> Labels:
        return self._labels

    def decode(self, row: int) -> Images:
        return decode_image(self.files[row], self.shape, self._resize)

    def name(self, row: int) -> str:
        return str(self.files[row])


ROWS = 256  # images decoded at a time
HASH_BYTES = 16
ProgressCallback = Callable[[int, int], None]  # images done, of how many


class PartDecoder:
    """Decodes a part in order, summing up what is said of it on the way.

    Attributes:
        hashes: uint8 (N, 16), of each image's pixels: equal images have equal ones.
        unreadable: why an image can't be decoded, by row.
    """

    def __init__(self, source: ImageSource, count: int) -> None:
        self.source, self._count = source, count
        self._histograms = np.zeros((source.shape[0], 256), np.int64)
        self._sum = hashlib.sha256()
        self.hashes: Hashes = np.zeros((count, HASH_BYTES), np.uint8)
        self.unreadable: dict[int, str] = {}
        self._warnings: set[tuple[int, str]] = set()  # rows, and what Pillow said of them
        self._decoding = threading.local()

    def chunks(self, progress: ProgressCallback) -> Iterator[Images]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, self._count, ROWS):
                rows = range(start, min(start + ROWS, self._count))
                chunk = np.zeros((len(rows), *self.source.shape), np.uint8)
                with warnings.catch_warnings():  # filters and hook are those of all threads
                    warnings.simplefilter("always")
                    warnings.showwarning = self._hear_warning  # type: ignore[assignment]
                    list(pool.map(self._decode, rows, chunk))
                self._sum.update(chunk.data)
                for row, image in zip(rows, chunk, strict=True):
                    self._hash_image(row, image)
                    for channel, histogram in zip(image, self._histograms, strict=True):
                        histogram += np.bincount(channel.reshape(-1), minlength=256)
                yield chunk
                progress(rows.stop, self._count)

    def _hash_image(self, row: int, image: Images) -> None:
        self.hashes[row] = np.frombuffer(xxhash.xxh3_128_digest(image.data), np.uint8)

    @property
    def warned(self) -> Counter[str]:
        """How many images Pillow warned of, by what it said."""
        return Counter(message for _, message in self._warnings)

    def _hear_warning(self, message: Warning | str, *_: Any) -> None:
        self._warnings.add((getattr(self._decoding, "row", -1), str(message)))

    def _decode(self, row: int, into: Images) -> None:
        self._decoding.row = row
        try:
            into[:] = self.source.decode(row)
        except (Unreadable, OSError) as error:  # the others too are looked at, so that all can be repaired at once
            self.unreadable[row] = str(error)

    def moments(self) -> dict[str, list[float]]:
        """Per channel, exact. A constant channel gets the standard deviation 1, so that it becomes 0 and not NaN."""
        values, mean, std = np.arange(256), [], []
        for counts in self._histograms:  # in whole numbers: rounding would give a constant channel a tiny deviation
            n, total, squares = (int((counts * values**power).sum()) for power in (0, 1, 2))
            mean.append(total / (255 * n))
            std.append(math.sqrt(n * squares - total**2) / (255 * n) or 1.0)
        return {"mean": mean, "std": std}

    def digest(self, labels: Labels) -> str:
        """16 hexadecimal digits that name the images, all of them decoded, and their labels."""
        whole = self._sum.copy()
        whole.update(np.ascontiguousarray(labels).data)
        return whole.hexdigest()[:16]

    def list_unreadable(self, path: Path) -> str:
        """Writes the list of them, and says where it is."""
        lines = "".join(f"{self.source.name(row)}\t{why}\n" for row, why in sorted(self.unreadable.items()))
        path.write_text(lines, encoding="utf-8", errors="surrogateescape")
        count = "1 image is" if len(self.unreadable) == 1 else f"{len(self.unreadable):,} images are"
        are_whole = all(RESIZE_REMEDY in why for why in self.unreadable.values())  # only of several sizes
        return f"{count} unusable, listed in {path}" + ("" if are_whole else ": repair or remove them")
