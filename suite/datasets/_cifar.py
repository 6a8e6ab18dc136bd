"""CIFAR's Python batches in torchvision's layout, read by torchvision, which checks each file's MD5 sum first."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suite.core.errors import UserError
from suite.data.fetch import fetch_remedy
from suite.data.source import Arrays, Images, Labels, Part

SHAPE = (3, 32, 32)
EXAMPLES: dict[Part, int] = {"train": 50_000, "test": 10_000}


@dataclass(frozen=True)
class CifarSet:
    """One of the two sets: its name in studies, torchvision's class, and the files in its folder."""

    name: str
    class_name: str
    folder: str
    files: dict[Part, tuple[str, ...]]
    meta: str

    def find_missing(self, root: Path) -> str | None:
        """Which file isn't there, and the command that fetches it; torchvision wants all of them for either part."""
        directory = self._find_directory(root)
        for file in (*self.files["train"], *self.files["test"], self.meta):
            if not (directory / file).is_file():
                return f"{directory / file} is missing; fetch it with `{fetch_remedy(self.name)}`"
        return None

    def open_part(self, root: Path, part: Part) -> Arrays:
        """Images in the batches' order. Raises UserError when a file is missing."""
        if missing := self.find_missing(root):
            raise UserError(f"{self.name}: {missing}")
        directory = self._find_directory(root)
        files = [directory / file for file in self.files[part]]
        return Arrays(f"{self.name} {part} in {directory}", SHAPE, files, lambda: self._read_part(directory, part))

    def _find_directory(self, root: Path) -> Path:
        return Path(root).absolute() / self.folder

    def _read_part(self, directory: Path, part: Part) -> tuple[Images, Labels]:
        from torchvision import datasets  # takes seconds; a warm trial doesn't need it

        reader = getattr(datasets, self.class_name)
        try:
            loaded = reader(str(directory.parent), train=part == "train", download=False)
            images = np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2))
            labels = np.asarray(loaded.targets, np.int64)
        except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            broken = _find_broken_file(directory, reader) or directory
            raise UserError(
                f"{self.name}: {broken} isn't the published file ({error}); delete {directory} and fetch it again "
                f"with `{fetch_remedy(self.name)}`"
            ) from error
        return images, labels


def _find_broken_file(directory: Path, reader: Any) -> Path | None:
    """The first file whose MD5 sum isn't the published one."""
    from torchvision.datasets.utils import check_integrity

    meta = (reader.meta["filename"], reader.meta["md5"])
    for file, md5 in (*reader.train_list, *reader.test_list, meta):
        if not check_integrity(str(directory / file), md5):
            return directory / str(file)
    return None
