"""Image classification in Hugging Face's Parquet layout: `train-*.parquet`, `test-*.parquet`, images as encoded bytes.

A directory below the data directory, the files in it or in its `data/`. Without `test-*` files the `validation-*`
files are the test part (ImageNet's own habit).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.images import Resize
from suite.data.layouts import list_shards
from suite.data.parquet_rows import Columns, ParquetRows, find_columns, first_shape, label_column, read_metadata
from suite.data.settings import FIFTH_OR_TENTH, LARGEST, held_out, path_setting, resize_setting, validation_setting
from suite.data.source import DatasetInfo, ImageSource, Part

SETTINGS = {
    "path": path_setting(),
    "label": Setting("", "name of the label column, needed where there are several"),
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
    label: str = "",
    validation: int = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> DatasetInfo:
    """From the files' metadata, the label column where no class names are stored, and the first image.

    Raises:
        UserError: the directory, a part, or a column is missing. There are no facts without the files, so they are
            refused here, not reported as `missing`.
    """
    _choose_resize(size, resize)
    parts: dict[Part, list[Path]] = {part: _list_files(root, path, part) for part in ("train", "test")}
    columns = find_columns(parts["train"][0], label)
    rows = {part: sum(read_metadata(file).num_rows for file in files) for part, files in parts.items()}
    classes = len(columns.class_names) or _largest_label(parts["train"], columns) + 1
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
    label: str = "",
    validation: int = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> ImageSource:
    """The part's images in the order of files and rows. Raises UserError as `facts` does."""
    files, first = _list_files(root, path, part), _list_files(root, path, "train")[0]
    columns = find_columns(first, label)
    how = _choose_resize(size, resize)
    origin = f"parquet {part} in {files[0].parent}, {columns.image} and {columns.label}, {how}"
    return ParquetRows(origin, _find_shape(first, columns, size, channels), files, columns, how)


def _list_files(root: Path, path: str, part: Part) -> list[Path]:
    if not path:
        raise UserError(
            "parquet.path: name the directory below the data directory that holds train-*.parquet and "
            "test-*.parquet, for instance {name: parquet, path: cifar10-parquet}"
        )
    directory = Path(root).absolute() / path
    if not directory.is_dir():
        raise UserError(f"parquet: {directory} is missing; {_fetch_remedy(directory)}")
    prefixes = ("train",) if part == "train" else ("test", "validation")
    for prefix in prefixes:
        files = list_shards((directory, directory / "data"), prefix)
        if files:
            return files
    wanted = " or ".join(f"{prefix}-*.parquet" for prefix in prefixes)
    raise UserError(f"parquet: no {wanted} in {directory} or its data/; {_fetch_remedy(directory)}")


def _fetch_remedy(directory: Path) -> str:
    return (
        "put the data set's Parquet files there, for instance with "
        f"`huggingface-cli download --repo-type dataset NAME --local-dir {directory}`"
    )


def _choose_resize(size: int, resize: Resize) -> Resize:
    if not size and resize == "crop":
        raise UserError("parquet.resize: crop needs a size to resize the images to; name it as `size`")
    return resize if size else "none"


def _find_shape(file: Path, columns: Columns, size: int, channels: int) -> tuple[int, int, int]:
    stored, height, width = first_shape(file, columns)
    return (channels or stored, size, size) if size else (channels or stored, height, width)


def _largest_label(files: list[Path], columns: Columns) -> int:
    largest = -1
    for file in files:
        values = label_column(file, columns).drop_null().to_numpy(zero_copy_only=False)
        largest = max(largest, int(values.max(initial=-1)))
    return largest
