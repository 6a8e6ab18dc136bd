"""Images in class folders, as torchvision's ImageFolder reads them, a fixed split for trees without parts; Caltech's
two sets.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.core.specs import hash_parts
from suite.data.fetch import fetch_remedy
from suite.data.images import Resize, resize_setting, size_setting
from suite.data.source import DatasetInfo, ImageFiles, Labels, Part
from suite.data.splits import validation_setting

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


LICENCE = "CC BY 4.0 (CaltechDATA)"
TEST_PERCENT = 30


def photograph_settings() -> dict[str, Setting]:
    return {
        "size": size_setting(224),
        "resize": resize_setting("squash"),
        "validation": validation_setting("a tenth of the training part"),
    }


@dataclass(frozen=True)
class CaltechSet:
    """One of the two sets as published; `test` of its images are the test part, TEST_PERCENT of each class."""

    name: str
    folder: str
    classes: int
    images: int
    test: int
    without: tuple[str, ...] = ()

    def describe_set(self, root: Path, title: str, size: int, validation: int, source: str) -> DatasetInfo:
        """Known without the files, but for the class names; `missing` says whether all images are there."""
        missing, class_names = None, tuple[str, ...]()
        try:
            class_names = self._scan_folders(root).classes
        except UserError as refusal:
            missing = str(refusal).removeprefix(f"{self.name}: ")
        train = self.images - self.test
        return DatasetInfo(
            title=title,
            classes=self.classes,
            shape=(3, size, size),
            train_examples=train,
            test_examples=self.test,
            validation=validation or round(train / 10),
            mean=None,
            std=None,
            licence=LICENCE,
            source=source,
            class_names=class_names,
            missing=missing,
        )

    def open_part(self, root: Path, part: Part, size: int, resize: Resize) -> ImageFiles:
        """The part's photographs, class by class. Raises UserError when they aren't those that were published."""
        tree = self._scan_folders(root)
        files, labels = tree.choose_rows(choose_test_rows(tree, self.name, TEST_PERCENT) == (part == "test"))
        return ImageFiles(f"{self.name} {part} in {tree.directory}", (3, size, size), files, labels, resize, tree.files)

    def _scan_folders(self, root: Path) -> Tree:
        directory = Path(root).absolute() / self.folder
        if not directory.is_dir():
            raise UserError(f"{self.name}: {directory} is missing; fetch it with `{fetch_remedy(self.name)}`")
        tree = scan_class_folders(self.name, directory, without=self.without, ignore_folders=True)
        if (len(tree.classes), len(tree.files)) != (self.classes, self.images):
            raise UserError(
                f"{self.name}: {directory} holds {len(tree.files):,} images in {len(tree.classes)} classes, not "
                f"{self.images:,} in {self.classes}; fetch them all with `{fetch_remedy(self.name)}`, or name what is "
                f"there as `{{name: folder, path: {self.folder}}}`"
            )
        return tree
