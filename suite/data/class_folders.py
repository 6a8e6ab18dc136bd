"""Images in class folders, as torchvision's ImageFolder reads them, and a fixed split for trees without parts."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.specs import hash_parts
from suite.data.source import Labels

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's, in any case


@dataclass(frozen=True)
class Tree:
    """Class folders in sorted order, and their files in sorted order, class by class."""

    directory: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Labels

    def choose_rows(self, rows: NDArray[np.bool_]) -> tuple[list[Path], Labels]:
        """Files and labels of the rows that the mask has."""
        return [self.files[row] for row in np.flatnonzero(rows)], self.labels[rows]


def scan_class_folders(
    owner: str, directory: Path, *, without: Collection[str] = (), ignore_folders: bool = False
) -> Tree:
    """The class folders of a directory and their images; hidden files and folders are skipped.

    Args:
        owner: the dataset, as it begins a refusal.
        without: class folders left out.
        ignore_folders: pass over folders inside a class folder, which are refused otherwise.

    Raises:
        UserError: no directory, no class folder, an image beside them, a folder in one, or one without images.
    """
    classes, beside = _list_entries(owner, directory)
    stray = next((name for name in beside if _is_image(name)), None)
    if stray:
        raise UserError(
            f"{owner}: {directory / stray} lies beside the class folders; put it into its class's folder, or remove it"
        )
    names = tuple(name for name in classes if name not in without)
    if not names:
        raise UserError(f"{owner}: {directory} has no class folders; give each class a folder of its images there")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = _list_images(owner, directory / name, ignore_folders)
        files += found
        labels += [label] * len(found)
    return Tree(directory, names, tuple(files), np.array(labels, np.int64))


def class_folders(owner: str, directory: Path) -> list[str]:
    """The names of the class folders, sorted; doesn't look into them."""
    return _list_entries(owner, directory)[0]


def choose_test_rows(tree: Tree, tag: str, percent: int) -> NDArray[np.bool_]:
    """Which rows are the test part: of each class `percent`, rounded down; by hash of the names, so that no seed
    moves it.

    The rounding is what gives Caltech-256's 21,531 and 9,076 images of Avola et al. 2022, section 4.1.
    """
    mask = np.zeros(len(tree.labels), dtype=bool)
    first = 0
    for name, count in zip(tree.classes, np.bincount(tree.labels).tolist(), strict=True):
        ranks = [hash_parts(tag, "test", name, file.name) for file in tree.files[first : first + count]]
        mask[first + np.argsort(ranks, kind="stable")[: count * percent // 100]] = True
        first += count
    return mask


def _list_images(owner: str, directory: Path, ignore_folders: bool) -> list[Path]:
    folders, names = _list_entries(owner, directory)
    if folders and not ignore_folders:
        raise UserError(
            f"{owner}: {directory / folders[0]} is a folder inside the class folder {directory.name}; move its images "
            "up, or remove it"
        )
    found = [directory / name for name in names if _is_image(name)]
    if not found:
        known = ", ".join(EXTENSIONS)
        raise UserError(f"{owner}: {directory} holds no images ({known}); put some there, or remove the folder")
    return found


def _list_entries(owner: str, directory: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a directory, sorted, without hidden ones."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise UserError(f"{owner}: {directory} can't be read ({error.strerror}); put the images there") from error
    return sorted(folders), sorted(files)


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)
