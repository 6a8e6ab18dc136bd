"""Image classification in Hugging Face's Parquet layout: `train-*.parquet`, `test-*.parquet`, images as encoded bytes.

A directory below the data directory; the files lie in it or in a folder of it. Without a test split the validation
split is the test part (ImageNet's own habit), or `test` holds a share of each class out. A split that is named as
`validation` belongs to the training part, and is held out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError, did_you_mean
from suite.core.settings import Setting
from suite.core.specs import hash_parts
from suite.data.class_folders import list_folder, scan_once
from suite.data.image_parts import holds_parts_or_classes
from suite.data.images import LARGEST, Resize, resize_setting
from suite.data.layouts import (
    TEST_SPLITS,
    TRAIN_SPLITS,
    VALIDATION_SPLITS,
    choose_split,
    count_or_part_setting,
    describe_other_files,
    find_splits,
    path_setting,
)
from suite.data.parquet_files import Columns, count_rows, drop_empty_files, find_columns, read_labels
from suite.data.parquet_rows import SAMPLED, ParquetRows, choose_test_rows, sample_shapes
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import FIFTH_OR_TENTH, held_out

SETTINGS = {
    "path": path_setting(),
    "image": Setting("", "name of the image column, needed where there are several"),
    "label": Setting("", "name of the label column, needed where there are several"),
    "train": Setting("", "split to train on; empty: train"),
    "test": count_or_part_setting(
        "",
        "split to test on, or percent of each class of the training split; empty: test, else validation",
        low=1,
        high=99,
    ),
    "validation": count_or_part_setting(
        0, f"training images held out, or the validation split; 0: {FIFTH_OR_TENTH}", low=0
    ),
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
    test: int | str = "",
    validation: int | str = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> DatasetInfo:
    """From every file's metadata and label column, and the headers of some images of the first.

    Raises:
        UserError: the directory, a part, or a column is missing, or files contradict each other. There are no facts
            without the files, so they are refused here, not reported as `missing`.
    """
    _choose_resize(size, resize)
    parts = _find_parts(root, path, train, validation, test)
    columns = find_columns(parts.files, image, label, remedy=parts.labelled_remedy)
    rows = {part: count_rows(files) for part, files in parts.files.items()}
    if isinstance(test, int):
        rows["test"] = int(np.count_nonzero(_hold_out(parts, columns, test)))
        rows["train"] -= rows["test"]
    held = rows.get("validation", 0) if isinstance(validation, str) else validation
    classes = len(columns.classes)
    return DatasetInfo(
        title=PurePosixPath(path).name,
        classes=classes,
        shape=_find_shape(parts.files["train"][0], columns, size, channels),
        train_examples=rows["train"] + rows.get("validation", 0),
        test_examples=rows["test"],
        validation=held or held_out(rows["train"], classes),
        mean=None,
        std=None,
        licence="not stated in the files; see the data set's own page",
        source=f"Parquet files in {path}; mean and std computed from the training part",
        class_names=columns.class_names,
        passed_over=(*parts.describe_unread(), *describe_other_files(parts.directory)),
    )


def source(
    root: Path,
    part: Part,
    *,
    path: str = "",
    image: str = "",
    label: str = "",
    train: str = "",
    test: int | str = "",
    validation: int | str = 0,
    size: int = 0,
    resize: Resize = "squash",
    channels: int = 0,
) -> ImageSource:
    """The part's images in the order of files and rows. Raises UserError as `facts` does."""
    parts = _find_parts(root, path, train, validation, test)
    columns = find_columns(parts.files, image, label, remedy=parts.labelled_remedy)
    how = _choose_resize(size, resize)
    shape = _find_shape(parts.files["train"][0], columns, size, channels)
    classes = f"{hash_parts(*columns.classes):x}"[:8]  # another order of classes is another decoded copy
    described = f"{columns.image} and {columns.label} (classes {classes}), {how}"
    if isinstance(test, str):
        files, rows, share = parts.files[part], None, ""
    else:
        files, share = parts.files["train"], f"{part} part of {test} %, "
        rows = np.flatnonzero(_hold_out(parts, columns, test) == (part == "test"))
    origin = f"parquet {share}{files[0].name} in {files[0].parent}, {described}"
    held = parts.files.get("validation")
    if part == "test" or not held:
        return ParquetRows(origin, shape, files, columns, how, rows=rows)
    trained, validated = count_rows(files), count_rows(held)
    rows = np.arange(trained) if rows is None else rows
    return ParquetRows(
        f"{origin} and {held[0]}",
        shape,
        [*files, *held],
        columns,
        how,
        rows=np.concatenate([rows, np.arange(trained, trained + validated)]),
        validation_rows=np.arange(len(rows), len(rows) + validated, dtype=np.int64),
    )


@dataclass(frozen=True)
class _Parts:
    """The files of both parts, and of a named validation part, which belongs to the training part.

    Attributes:
        splits: all that lie in the directory.
        files: that have rows; of no test part where it is a share of the training part.
    """

    directory: Path
    splits: Mapping[str, list[Path]]
    files: Mapping[str, list[Path]]

    @property
    def spare_validation(self) -> str:
        """The name of a validation split that is no part; empty: there is none."""
        spare = [name for name in VALIDATION_SPLITS if name in self.splits]
        return next((name for name in spare if not self._is_read(name)), "")

    @property
    def labelled_remedy(self) -> str:
        """What to test on where the test part's labels are withheld."""
        return f"set `test: {self.spare_validation}`" if self.spare_validation else HOLD_OUT

    def _is_read(self, split: str) -> bool:
        return any(file in files for file in self.splits[split] for files in self.files.values())

    def describe_unread(self) -> list[str]:
        """`split validation with 1,000 rows (name it as validation: validation)`."""
        phrases = []
        for name, files in self.splits.items():
            if self._is_read(name):
                continue
            may_validate = name == self.spare_validation and "validation" not in self.files
            hint = f" (name it as validation: {name})" if may_validate else ""
            phrases.append(f"split {name} {_describe_rows(files)}{hint}")
        return phrases


def _describe_rows(files: Sequence[Path]) -> str:
    """`with 1,000 rows`; files that no part reads may be broken."""
    try:
        return f"with {count_rows(files):,} rows"
    except UserError:
        return "that can't be read"


HOLD_OUT = "set `test: 20` to hold out 20 % of each class of the training split"


def _find_parts(root: Path, path: str, train: str, validation: int | str, test: int | str) -> _Parts:
    directory = _find_directory(root, path)
    splits = find_splits(directory)
    if not splits:
        _refuse_without_splits(directory, path)
    files = {"train": _choose_part("train", directory, splits, train, TRAIN_SPLITS)}
    if isinstance(validation, str):
        files["validation"] = _choose_part("validation", directory, splits, validation, ())
    if isinstance(test, str):
        left = {name: found for name, found in splits.items() if test or found not in files.values()}
        files["test"] = _choose_part("test", directory, left, test, (*TEST_SPLITS, *VALIDATION_SPLITS))
    _refuse_overlaps(files)
    return _Parts(directory, splits, {part: drop_empty_files(found) for part, found in files.items()})


def _hold_out(parts: _Parts, columns: Columns, percent: int) -> NDArray[np.bool_]:
    """Which rows of the training split are the test part."""
    files = parts.files["train"]
    held = scan_once(("parquet test rows", *files, percent, columns), lambda: choose_test_rows(files, columns, percent))
    counts = np.bincount(read_labels(files, columns)[held], minlength=len(columns.classes))
    if np.count_nonzero(counts) < min(2, len(counts)):
        raise UserError(
            f"parquet.test: {percent} % of each class of the training split in {parts.directory}, rounded down, is too "
            "few images for a test part; set more, or add images"
        )
    return held


def _refuse_overlaps(files: Mapping[str, list[Path]]) -> None:
    seen: dict[Path, str] = {}
    for part, found in files.items():
        if found[0] in seen:
            title = seen[found[0]]
            raise UserError(f"parquet.{part}: {found[0]} is the {title} part too; name another split, or add one")
        seen[found[0]] = "training" if part == "train" else part


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


def _refuse_without_splits(directory: Path, path: str) -> None:
    """Says that the folder may not be read, where Parquet files lie, or which dataset reads what is there."""
    list_folder("parquet", directory)
    if holds_parts_or_classes(directory):
        remedy = f"name it as `{{name: folder, path: {path}}}`"
        raise UserError(f"parquet: {directory} holds folders of images and no Parquet files; {remedy}")
    deeper = next((file for file in sorted(directory.rglob("*.parquet")) if file.is_file()), None)
    if deeper:
        place = PurePosixPath(path) / deeper.parent.relative_to(directory)
        raise UserError(f"parquet: {directory} has Parquet files only further down; set `path: {place}`")


def _choose_part(
    part: str, directory: Path, splits: Mapping[str, list[Path]], wanted: str, names: Sequence[str]
) -> list[Path]:
    if wanted and wanted.lower() not in splits:
        raise UserError(f"parquet.{part}: {directory} has no split {wanted!r}{did_you_mean(wanted, list(splits))}")
    files = choose_split(splits, [wanted.lower()] if wanted else names)
    if files:
        return files
    others = sorted(set(splits) - {*TRAIN_SPLITS} if part == "test" else splits)
    hold_out = f", or {HOLD_OUT}" if part == "test" else ""
    known = _format_remedy(directory) + hold_out
    if others:
        known = f"it has {', '.join(others)}; set {part} to one of them{hold_out}"
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
    sampled = 1 if size else SAMPLED  # resized images may have any size
    shapes = scan_once(("parquet shapes", file, columns.image), lambda: sample_shapes(file, columns, sampled))
    stored, height, width = shapes[0]
    if size:
        return channels or stored, size, size
    sizes = list(dict.fromkeys((high, wide) for _, high, wide in shapes))
    if len(sizes) > 1:
        examples = ", ".join(f"{high} x {wide}" for high, wide in sizes[:2])
        raise UserError(
            f"parquet.size: {file} holds images of several sizes ({examples} pixels); write `size: "
            f"{_suggest_size(sizes)}` in the dataset's entry to resize all images"
        )
    return channels or stored, height, width


def _suggest_size(sizes: Sequence[tuple[int, int]]) -> int:
    """The middle one of the longer sides, but no more than networks for photographs take."""
    longer = sorted(map(max, sizes))
    return min(longer[len(longer) // 2], 224)
