"""Any images in class folders below the data directory.

Either a training and a test part, each with class folders (`train/` and `test/`, `Training/` and `Testing/`,
`seg_train/` and `seg_test/`; without a test part the validation part is it), or class folders directly: then a fixed
share of each class, rounded down, is the test part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.class_folders import (
    Tree,
    choose_test_rows,
    describe_passed_over,
    list_folder,
    match_classes,
    scan_class_folders,
    scan_once,
)
from suite.data.image_parts import Parts, Wanted, describe_unread, find_parts
from suite.data.images import Resize, resize_setting, size_setting
from suite.data.layouts import count_or_part_setting, path_setting
from suite.data.source import DatasetInfo, ImageFiles, ImageSource, Labels, Part
from suite.data.splits import FIFTH_OR_TENTH, held_out

SETTINGS = {
    "path": path_setting(),
    "size": size_setting(224),
    "resize": resize_setting("squash"),
    "train": Setting("", "folder of the training part; empty: train, Training, seg_train and the like"),
    "validation": count_or_part_setting(
        0, f"training images held out, or the folder of a validation part; 0: {FIFTH_OR_TENTH}", low=0
    ),
    "test": count_or_part_setting(
        30,
        "test part in percent of each class, where the directory has none, or the folder of the part",
        low=1,
        high=99,
    ),
}


def facts(
    root: Path,
    *,
    path: str = "",
    size: int = 224,
    resize: Resize = "squash",
    train: str = "",
    validation: int | str = 0,
    test: int | str = 30,
) -> DatasetInfo:
    """From the names of folders and files.

    Raises:
        UserError: the directory or a part is missing, or has another layout. There are no facts without the files, so
            they are refused here, not reported as `missing`.
    """
    images = _find_images(root, path, train, validation, test)
    classes, trained = len(images.tree.classes), len(images.train[0])
    held = len(images.validation[0]) if isinstance(validation, str) else validation
    return DatasetInfo(
        title=PurePosixPath(path).name,
        classes=classes,
        shape=(3, size, size),
        train_examples=trained + len(images.validation[0]),
        test_examples=len(images.test[0]),
        validation=held or held_out(trained, classes),
        mean=None,
        std=None,
        licence="not stated in the files; see the data set's own page",
        source=f"image files in {path}; mean and std computed from the training part",
        class_names=images.tree.classes,
        passed_over=images.passed_over,
    )


def source(
    root: Path,
    part: Part,
    *,
    path: str = "",
    size: int = 224,
    resize: Resize = "squash",
    train: str = "",
    validation: int | str = 0,
    test: int | str = 30,
) -> ImageSource:
    """The part's images, class by class; those of a named validation part stand behind the training part's own.

    Raises:
        UserError: as `facts` does.
    """
    images = _find_images(root, path, train, validation, test)
    shape = (3, size, size)
    share = "" if images.test_tree else f" {test} %"
    if part == "test":
        tree, (files, labels) = images.test_tree or images.tree, images.test
        return ImageFiles(f"folder test{share} in {tree.directory}", shape, files, labels, resize, tree.files)
    origin, watched = f"folder train{share} in {images.tree.directory}", images.tree.files
    files, labels = images.train
    if images.validation_tree is None:
        return ImageFiles(origin, shape, files, labels, resize, watched)
    held_files, held_labels = images.validation
    return ImageFiles(
        f"{origin} and {images.validation_tree.directory}",
        shape,
        files + held_files,
        np.concatenate([labels, held_labels]),
        resize,
        watched + images.validation_tree.files,
        validation_rows=np.arange(len(files), len(files) + len(held_files), dtype=np.int64),
    )


Rows = tuple[list[Path], Labels]  # files, and their labels among the training part's classes


@dataclass(frozen=True)
class _Images:
    """What the parts hold, and the trees that they lie in.

    Attributes:
        tree: of the training part.
        test_tree: None: the test part is a share of the training part's tree.
        validation_tree: None: validation images are drawn from the training part.
    """

    tree: Tree
    test_tree: Tree | None
    validation_tree: Tree | None
    train: Rows
    test: Rows
    validation: Rows
    passed_over: tuple[str, ...]


def _find_images(root: Path, path: str, train: str, validation: int | str, test: int | str) -> _Images:
    key = ("folder", Path(root), path, train, validation, test)
    return scan_once(key, lambda: _scan_images(_find_directory(root, path), Wanted(path, train, validation, test)))


def _scan_images(directory: Path, wanted: Wanted) -> _Images:
    parts = find_parts(directory, wanted) or Parts(directory)
    tree = scan_class_folders("folder", parts.train)
    test_tree, validation_tree = _scan_part(parts.test), _scan_part(parts.validation)
    if test_tree:
        train_rows: Rows = list(tree.files), tree.labels
        test_rows = _match_rows(test_tree, tree)
    else:
        assert isinstance(wanted.test, int)  # a named part has a tree
        train_rows, test_rows = _divide_rows(tree, wanted.test, draws_validation=validation_tree is None)
    validation_rows: Rows = [], np.zeros(0, np.int64)
    if validation_tree:
        validation_rows = _match_rows(validation_tree, tree)
    trees = [part for part in (tree, validation_tree, test_tree) if part]
    passed_over = describe_passed_over(trees, None if parts.train == directory else list_folder("folder", directory))
    if parts.train != directory:
        passed_over += describe_unread(directory, parts)
    return _Images(tree, test_tree, validation_tree, train_rows, test_rows, validation_rows, tuple(passed_over))


def _scan_part(part: Path | None) -> Tree | None:
    return scan_class_folders("folder", part) if part else None


def _find_directory(root: Path, path: str) -> Path:
    if not path:
        raise UserError(
            "folder.path: name the directory below the data directory that holds the class folders, or train/ and "
            "test/ with class folders, for instance {name: folder, path: flowers}"
        )
    directory = Path(root).absolute() / path
    if directory.is_file():
        raise UserError(f"folder: {directory} is a file; name the directory that holds the class folders")
    if not directory.is_dir():
        raise UserError(f"folder: {directory} is missing; put the class folders there")
    return directory


def _match_rows(tree: Tree, train: Tree) -> Rows:
    """The images of another part, whose classes must be among the training part's."""
    positions = match_classes(tree, train)
    unknown = [name for name, position in zip(tree.classes, positions, strict=True) if position is None]
    if not unknown:
        return list(tree.files), np.array(positions, np.int64)[tree.labels]
    raise UserError(
        f"folder: {tree.directory / unknown[0]} is a class that {train.directory} doesn't have; add images of it "
        "there, or remove it"
    )


def _divide_rows(tree: Tree, percent: int, draws_validation: bool) -> tuple[Rows, Rows]:
    """Training and test images of a tree without a test part."""
    held = choose_test_rows(tree, "folder", percent)
    counts = np.bincount(tree.labels)
    trained = counts - counts * percent // 100
    tested = np.count_nonzero(counts - trained)
    if tested < min(2, len(counts)):
        why = f"{percent} % of each class of {tree.directory}, rounded down, is too few images for a test part"
        raise UserError(f"folder: {why} {_describe_too_few(tree, counts, percent, draws_validation)}")
    if draws_validation and trained.max() < 2:
        why = f"{tree.directory} has too few images to hold one out for validation and one of each class to train on"
        raise UserError(f"folder: {why} {_describe_too_few(tree, counts, percent, draws_validation)}")
    return tree.choose_rows(~held), tree.choose_rows(held)


def _describe_too_few(tree: Tree, counts: Labels, percent: int, draws_validation: bool) -> str:
    """How many images the smallest classes have, and what would be enough: another share, or so many images."""
    ordered = sorted(zip(counts.tolist(), tree.classes, strict=True))
    few = ", ".join(f"{name} {count}" for count, name in ordered[:5])
    least = next(least for least in range(2, 200) if _is_enough(np.maximum(counts, least), percent, draws_validation))
    remedy = f"add images until each class has {least}"
    share = -(-100 // ordered[0][0])
    if share < 100 and _is_enough(counts, share, draws_validation):
        remedy = f"set `test: {share}`, or {remedy}"
    return f"(images by class: {few}); {remedy}"


def _is_enough(counts: Labels, percent: int, draws_validation: bool) -> bool:
    """Whether each class has an image to test and one to train on, and as many can be held out as the facts say."""
    trained = counts - counts * percent // 100
    if not (trained < counts).all():
        return False
    return not draws_validation or 1 <= held_out(int(trained.sum()), len(counts)) <= trained.sum() - len(counts)
