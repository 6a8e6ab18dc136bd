"""Image classification in Hugging Face's Parquet layout: `train-*.parquet`, `test-*.parquet`, images as encoded bytes.

A directory below the data directory, the files in it or in its `data/`. Without `test-*` files the `validation-*`
files are the test part (ImageNet's own habit).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from suite.datasets import Facts, Part
from suite.datasets._parquet_columns import Columns, find_columns
from suite.datasets._parquet_images import decode_all, decode_one
from suite.settings import Refused, Setting

ROWS = 512  # decoded at a time


def parse_path(given: Any) -> str:
    """A directory name below the data directory. Raises ValueError with a sentence."""
    if not isinstance(given, str):
        raise ValueError(f"must be the name of a directory below the data directory, not {given!r}")
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"must be a name below the data directory, without a leading / or .., not {given!r}")
    return str(path) if given else ""


SETTINGS = {
    "path": Setting("", "directory below the data directory that holds the files; must be given", parse=parse_path),
    "label": Setting("", "name of the label column, needed where there are several"),
    "validation": Setting(0, "training images held out; 0: a fifth, or a tenth where there are 100 classes", low=0),
}


def facts(root: Path, *, path: str = "", label: str = "", validation: int = 0) -> Facts:
    """From the files' metadata, the label column where no class names are stored, and the first image.

    Raises:
        Refused: the directory, a part, or a column is missing. There are no facts without the files, so they are
            refused here, not reported as `missing`.
    """
    parts: dict[Part, list[Path]] = {part: _files(Path(root), path, part) for part in ("train", "test")}
    columns = find_columns(parts["train"][0], label)
    rows = {part: sum(_metadata(file).num_rows for file in files) for part, files in parts.items()}
    classes = len(columns.class_names) or _largest_label(parts["train"], columns) + 1
    return Facts(
        title=PurePosixPath(path).name,
        classes=classes,
        shape=_shape(parts["train"][0], columns),
        train_examples=rows["train"],
        test_examples=rows["test"],
        validation=validation or round(rows["train"] / (10 if classes == 100 else 5)),
        mean=None,
        std=None,
        licence="not stated in the files; see the data set's own page",
        source=f"Parquet files in {path}; mean and std computed from the training part",
        class_names=columns.class_names,
    )


def load(
    root: Path, part: Part, *, path: str = "", label: str = "", validation: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, channels, height, width) and labels, in the files' order.

    Raises:
        Refused: as `facts`, or an image is broken or of another shape, or a label is outside the classes.
    """
    known = facts(root, path=path, label=label)
    columns = find_columns(_files(Path(root), path, "train")[0], label)
    count = known.train_examples if part == "train" else known.test_examples
    images = np.empty((count, *known.shape), np.uint8)
    labels = np.empty(count, np.int64)
    filled = 0
    for file in _files(Path(root), path, part):
        start = filled
        for image_column, label_column in _batches(file, columns):
            rows = slice(filled, filled + len(label_column))
            labels[rows] = _checked(label_column, known.classes, file, filled - start)
            decode_all(image_column.to_pylist(), images[rows], file, filled - start)
            filled = rows.stop
    return images, labels


def _files(root: Path, path: str, part: Part) -> list[Path]:
    if not path:
        raise Refused(
            "parquet.path: name the directory below the data directory that holds train-*.parquet and "
            "test-*.parquet, for instance parquet: {path: cifar10-parquet}"
        )
    directory = root / path
    prefixes = ("train",) if part == "train" else ("test", "validation")
    for prefix in prefixes:
        for folder in (directory, directory / "data"):
            if files := sorted(folder.glob(f"{prefix}-*.parquet")):
                return files
    wanted = " or ".join(f"{prefix}-*.parquet" for prefix in prefixes)
    raise Refused(
        f"parquet: no {wanted} in {directory} or its data/; put the data set's Parquet files there, for instance with "
        f"`huggingface-cli download --repo-type dataset NAME --local-dir {directory}`"
    )


def _metadata(file: Path) -> Any:
    try:
        return pyarrow.parquet.read_metadata(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise Refused(f"parquet: {file} is not a readable Parquet file ({error}); fetch it again") from error


def _batches(file: Path, columns: Columns, rows: int = ROWS) -> Any:
    """Pairs of image and label columns, `rows` at a time."""
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=rows, columns=[columns.image, columns.label]):
                yield batch.column(columns.image), batch.column(columns.label)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise Refused(f"parquet: {file} can't be read like its first train file ({error}); fetch it again") from error


def _checked(column: Any, classes: int, file: Path, first_row: int) -> NDArray[np.int64]:
    if column.null_count:
        raise Refused(f"parquet: {file} has rows without a label; remove them or repair the file")
    labels: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype(np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        raise Refused(
            f"parquet: {file} has label {labels[outside[0]]} in row {first_row + outside[0]}, "
            f"outside 0..{classes - 1}; repair the file, or its class names"
        )
    return labels


def _largest_label(files: list[Path], columns: Columns) -> int:
    largest = -1
    for file in files:
        column = pyarrow.parquet.read_table(file, columns=[columns.label]).column(columns.label)
        values = column.combine_chunks().drop_null().to_numpy(zero_copy_only=False)
        largest = max(largest, int(values.max(initial=-1)))
    return largest


def _shape(file: Path, columns: Columns) -> tuple[int, int, int]:
    for image_column, _ in _batches(file, columns, rows=1):
        channels, height, width = decode_one(image_column[0].as_py(), None, file, 0).shape
        return channels, height, width
    raise Refused(f"parquet: {file} has no rows; fetch it again")
