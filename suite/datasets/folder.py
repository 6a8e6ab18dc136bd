"""Any images in class folders below the data directory.

Either `train/` and `test/` (or `val/`, `valid/`, `validation/`, the first of these that is there), each with class
folders, or class folders directly: then a fixed share of each class, rounded down, is the test part.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.class_folders import Tree, choose_test_rows, scan_class_folders
from suite.data.images import Resize, resize_setting, size_setting
from suite.data.layouts import path_setting
from suite.data.source import DatasetInfo, ImageFiles, ImageSource, Labels, Part
from suite.data.splits import FIFTH_OR_TENTH, held_out, validation_setting

SETTINGS = {
    "path": path_setting(),
    "size": size_setting(224),
    "resize": resize_setting("squash"),
    "validation": validation_setting(FIFTH_OR_TENTH),
    "test": Setting(30, "test part in percent of each class, where the directory has no parts", low=1, high=99),
}

TEST_FOLDERS = ("test", "val", "valid", "validation")


def facts(
    root: Path, *, path: str = "", size: int = 224, resize: Resize = "squash", validation: int = 0, test: int = 30
) -> DatasetInfo:
    """From the names of folders and files.

    Raises:
        UserError: the directory or a part is missing, or has another layout. There are no facts without the files, so
            they are refused here, not reported as `missing`.
    """
    train, train_files, _ = _part(root, "train", path, test)
    _, test_files, _ = _part(root, "test", path, test)
    return DatasetInfo(
        title=PurePosixPath(path).name,
        classes=len(train.classes),
        shape=(3, size, size),
        train_examples=len(train_files),
        test_examples=len(test_files),
        validation=validation or held_out(len(train_files), len(train.classes)),
        mean=None,
        std=None,
        licence="not stated in the files; see the data set's own page",
        source=f"image files in {path}; mean and std computed from the training part",
        class_names=train.classes,
    )


def source(
    root: Path,
    part: Part,
    *,
    path: str = "",
    size: int = 224,
    resize: Resize = "squash",
    validation: int = 0,
    test: int = 30,
) -> ImageSource:
    """The part's images, class by class. Raises UserError as `facts` does."""
    tree, files, labels = _part(root, part, path, test)
    split = "" if _test_directory(root, path) else f" {test} %"
    return ImageFiles(f"folder {part}{split} in {tree.directory}", (3, size, size), files, labels, resize, tree.files)


def _part(root: Path, part: Part, path: str, test: int) -> tuple[Tree, list[Path], Labels]:
    """The tree that the part is read from, its files, and their labels among the training part's classes."""
    directory = _directory(root, path)
    test_directory = _test_directory(root, path)
    if test_directory is None:
        tree = scan_class_folders("folder", directory)
        held = choose_test_rows(tree, "folder", test)
        files, labels = tree.choose_rows(held == (part == "test"))
        if not files:
            raise UserError(
                f"folder: {directory} has too few images for a {part} part; choose another share with `test`"
            )
        return tree, files, labels
    train = scan_class_folders("folder", directory / "train")
    if part == "train":
        return train, list(train.files), train.labels
    tree = scan_class_folders("folder", test_directory)
    unknown = sorted(set(tree.classes) - set(train.classes))
    if unknown:
        raise UserError(
            f"folder: {test_directory / unknown[0]} is a class that {train.directory} doesn't have; add images of it "
            "there, or remove it"
        )
    among_train = np.array([train.classes.index(name) for name in tree.classes], np.int64)
    return tree, list(tree.files), among_train[tree.labels]


def _directory(root: Path, path: str) -> Path:
    if not path:
        raise UserError(
            "folder.path: name the directory below the data directory that holds the class folders, or train/ and "
            "test/ with class folders, for instance {name: folder, path: flowers}"
        )
    directory = Path(root).absolute() / path
    if not directory.is_dir():
        raise UserError(f"folder: {directory} is missing; put the class folders there")
    return directory


def _test_directory(root: Path, path: str) -> Path | None:
    """Where the test part lies; None: there are no parts."""
    directory = _directory(root, path)
    found = [directory / name for name in TEST_FOLDERS if (directory / name).is_dir()]
    if not (directory / "train").is_dir():
        if found:
            raise UserError(f"folder: {directory} has {found[0].name}/ but no train/; add it")
        return None
    if not found:
        wanted = "/, ".join(TEST_FOLDERS)
        raise UserError(f"folder: {directory} has train/ but none of {wanted}/; add one, or name {path}/train as path")
    return found[0]
