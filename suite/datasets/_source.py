"""The images of one part as their files hold them: decoded once into the cache, or again and again as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.datasets._images import Resize, decoded
from suite.settings import Refused

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Source(ABC):
    """The images of one part, in a fixed order.

    Opening one is cheap: warm trials do it only to see whether the files are still those that were decoded.

    Attributes:
        origin: what decides the pixels and isn't in `files`' content: the directory, the part, settings.
        shape: (channels, height, width) of every decoded image.
        files: everything that images and labels are read from.
        streams: whether single images can be decoded cheaply; False: they come as one array.
    """

    origin: str
    shape: tuple[int, int, int]
    files: Sequence[Path]
    streams: bool

    @property
    def watched(self) -> Sequence[Path]:
        """The files whose change makes a decoded copy doubtful: these, or more."""
        return self.files

    @property
    @abstractmethod
    def labels(self) -> Labels:
        """int64 (N,). Raises Refused, naming path and remedy, when the files are missing or broken."""

    @abstractmethod
    def decode(self, row: int) -> Images:
        """uint8 of `shape`; from several threads at once. Raises Unreadable, or Refused for a broken file."""

    @abstractmethod
    def name(self, row: int) -> str:
        """How a message names an image: its file, or file and row."""


class Arrays(Source):
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
            raise Refused(f"{self.origin} can't be read: {error}") from error

    @property
    def labels(self) -> Labels:
        return self._arrays[1]

    def decode(self, row: int) -> Images:
        image: Images = self._arrays[0][row]
        return image

    def name(self, row: int) -> str:
        return f"{self.origin}, row {row}"


class ImageFiles(Source):
    """One encoded image per file, made RGB and `resize`d to `shape`.

    Args:
        files: of the images, one a row.
        labels: int64 (N,), likewise.
        watched: all files that decide which images are in the part; default: `files`.
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
    ) -> None:
        self.origin, self.shape, self.files = f"{origin} {resize}", shape, files
        self._labels, self._resize, self._watched = labels, resize, watched

    @property
    def watched(self) -> Sequence[Path]:
        return self._watched or self.files

    @property
    def labels(self) -> Labels:
        return self._labels

    def decode(self, row: int) -> Images:
        return decoded(self.files[row], self.shape, self._resize)

    def name(self, row: int) -> str:
        return str(self.files[row])
