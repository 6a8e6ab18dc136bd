"""Image classification in Hugging Face's Parquet layout: `train-*.parquet`, `test-*.parquet`, images as encoded bytes.

A directory below the data directory; the files lie in it or in a folder of it. Without a test split the validation
split is the test part (ImageNet's own habit).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from suite.core.errors import UserError, did_you_mean
from suite.core.settings import Setting
from suite.core.specs import hash_parts
from suite.data.images import LARGEST, Resize, resize_setting
from suite.data.layouts import TEST_SPLITS, TRAIN_SPLITS, VALIDATION_SPLITS, choose_split, find_splits, path_setting
from suite.data.parquet_files import Columns, check_test_labels, find_columns, read_metadata
from suite.data.parquet_rows import ParquetRows, first_shape
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import FIFTH_OR_TENTH, held_out, validation_setting

SETTINGS = {
    "path": path_setting(),
    "image": Setting("", "name of the image column, needed where there are several"),
    "label": Setting("", "name of the label column, needed where there are several"),
    "train": Setting("", "split to train on; empty: train"),
    "test": Setting("", "split to test on; empty: test, else validation"),
    "validation": validation_setting(FIFTH_OR_TENTH),
    "size": Setting(
        0, "image side in pixels that images are resized to; 0: as stored, all of one shape", low=0, high=LARGEST
    ),
    "resize": resize_setting("squash"),
    "channels": Setting(0, "1: grey, 3: colour; 0: as the first image", choices=(0, 1, 3)),
}


def facts(
    root: Path,
    *,
    path: str = "",
    image: str = "",
    label: str = "",
    train: str = "",
    test: str = "",
    validation: int = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> DatasetInfo:
    """From every file's metadata and label column, and the first image.

    Raises:
        UserError: the directory, a part, or a column is missing, or files contradict each other. There are no facts
            without the files, so they are refused here, not reported as `missing`.
    """
    _choose_resize(size, resize)
    directory = _find_directory(root, path)
    splits = find_splits(directory)
    parts = _choose_parts(directory, splits, train, test)
    columns = find_columns(parts, image, label)
    check_test_labels(parts["test"], columns, not test and bool(choose_split(splits, VALIDATION_SPLITS)))
    rows = {part: sum(read_metadata(file).num_rows for file in files) for part, files in parts.items()}
    classes = len(columns.classes)
    return DatasetInfo(
        title=PurePosixPath(path).name,
        classes=classes,
        shape=_find_shape(parts["train"][0], columns, size, channels),
        train_examples=rows["train"],
        test_examples=rows["test"],
        validation=validation or held_out(rows["train"], classes),
        mean=None,
        std=None,
        licence="not stated in the files; see the data set's own page",
        source=f"Parquet files in {path}; mean and std computed from the training part",
        class_names=columns.class_names,
    )


def source(
    root: Path,
    part: Part,
    *,
    path: str = "",
    image: str = "",
    label: str = "",
    train: str = "",
    test: str = "",
    validation: int = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> ImageSource:
    """The part's images in the order of files and rows. Raises UserError as `facts` does."""
    directory = _find_directory(root, path)
    parts = _choose_parts(directory, find_splits(directory), train, test)
    columns = find_columns(parts, image, label)
    files, how = parts[part], _choose_resize(size, resize)
    classes = f"{hash_parts(*columns.classes):x}"[:8]  # another order of classes is another decoded copy
    origin = (
        f"parquet {files[0].name} in {files[0].parent}, {columns.image} and {columns.label} (classes {classes}), {how}"
    )
    shape = _find_shape(parts["train"][0], columns, size, channels)
    return ParquetRows(origin, shape, files, columns, how)


def _choose_parts(directory: Path, splits: Mapping[str, list[Path]], train: str, test: str) -> dict[Part, list[Path]]:
    parts: dict[Part, list[Path]] = {
        "train": _choose_part("train", directory, splits, train, TRAIN_SPLITS),
        "test": _choose_part("test", directory, splits, test, (*TEST_SPLITS, *VALIDATION_SPLITS)),
    }
    if parts["train"] == parts["test"]:
        raise UserError(f"parquet.test: {parts['test'][0]} is the training part too; name another split, or add one")
    return parts


def _find_directory(root: Path, path: str) -> Path:
    if not path:
        raise UserError(
            "parquet.path: name the directory below the data directory that holds train-*.parquet and "
            "test-*.parquet, for instance {name: parquet, path: my-set}"
        )
    directory = Path(root).absolute() / path
    if not directory.is_dir():
        raise UserError(f"parquet: {directory} is missing; {_format_remedy(directory)}")
    return directory


def _choose_part(
    part: Part, directory: Path, splits: Mapping[str, list[Path]], wanted: str, names: Sequence[str]
) -> list[Path]:
    if wanted and wanted.lower() not in splits:
        raise UserError(f"parquet.{part}: {directory} has no split {wanted!r}{did_you_mean(wanted, list(splits))}")
    files = choose_split(splits, (wanted.lower(),) if wanted else names)
    if files:
        return files
    others = sorted(set(splits) - {*TRAIN_SPLITS} if part == "test" else splits)
    known = _format_remedy(directory)
    if others:
        known = f"it has {', '.join(others)}; set {part} to one of them"
    patterns = " or ".join(f"{name}-*.parquet" for name in names[:: len(names) - 1])
    raise UserError(f"parquet: no {patterns} in {directory} or a folder of it; {known}")


def _format_remedy(directory: Path) -> str:
    return (
        "put the data set's Parquet files there, for instance with "
        f"`hf download --repo-type dataset NAME --local-dir {directory}`"
    )


def _choose_resize(size: int, resize: Resize) -> Resize:
    if not size and resize == "crop":
        raise UserError("parquet.resize: crop needs a size to resize the images to; name it as `size`")
    return resize if size else "none"


def _find_shape(file: Path, columns: Columns, size: int, channels: int) -> tuple[int, int, int]:
    stored, height, width = first_shape(file, columns)
    return (channels or stored, size, size) if size else (channels or stored, height, width)
