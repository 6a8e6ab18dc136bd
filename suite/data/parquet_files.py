"""Hugging Face's Parquet files of a dataset: which files are a part, which columns its images and labels, which class a
label means. Nothing is guessed against what the files say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from pyarrow import types

from suite.core.errors import UserError, did_you_mean
from suite.data.images import describe_file
from suite.data.source import Labels

# What the field calls a column of labels, in lower case.
LABEL_NAMES = frozenset(
    ("label", "labels", "target", "targets", "class", "classes", "category", "categories", "y", "annotation")
)
LABEL_ENDS = ("_label", "_labels", "_target", "_class", "_category")
Parts = Mapping[Any, Sequence[Path]]  # by "train", "test", and "validation" where that is named


@dataclass(frozen=True)
class Columns:
    """The columns of images and labels, and the classes.

    Attributes:
        classes: what the label column means by 0, 1, ...: the names that the files store, else its distinct values.
        class_names: the same for people; empty where the labels are 0, 1, ... without names.
        stored_names: whether labels are positions in names that each file stores.
    """

    image: str
    label: str
    classes: tuple[Any, ...]
    stored_names: bool

    @property
    def class_names(self) -> tuple[str, ...]:
        is_numbered = self.classes == tuple(range(len(self.classes))) and bool not in map(type, self.classes)
        if is_numbered and not self.stored_names:
            return ()
        return tuple(map(str, self.classes))


def find_columns(parts: Parts, image: str = "", label: str = "") -> Columns:
    """The columns that every file of every part has, and the classes.

    Args:
        image, label: names of columns, where the files leave a choice.

    Raises:
        UserError: a file can't be read, a column is missing or ambiguous, files contradict each other, or every row
            has a label of its own.
    """
    first = parts["train"][0]
    image = _choose_image(first, image)
    label = _choose_label(first, image, label)
    for files in parts.values():
        for file in files:
            _check_like_first(file, first, (image, label))
    names = _read_class_names(first, label)
    if names:
        for files in parts.values():
            for file in files:
                _check_class_names(file, first, names, label)
        return Columns(image, label, names, stored_names=True)
    return Columns(image, label, _list_classes(parts, label), stored_names=False)


def read_labels(files: Sequence[Path], columns: Columns) -> Labels:
    """int64 (N,): the class of each row; one that the dataset hasn't stays what it is, for the cache to name its row.

    Raises:
        UserError: rows without a label, or of a class that the training part hasn't.
    """
    labels = [_read_file_labels(file, columns) for file in files]
    return np.concatenate(labels)


def count_rows(files: Sequence[Path]) -> int:
    """Rows of all files, as they say themselves. Raises UserError as `read_metadata` does."""
    return sum(read_metadata(file).num_rows for file in files)


def check_test_labels(files: Sequence[Path], columns: Columns, validation: str) -> None:
    """Refuses a test part whose labels are withheld: all null, or all -1.

    Args:
        validation: the split that may be the test part instead; empty: there is none.
    """
    for file in files:
        values = _read_values(file, columns.label)
        if any(value is not None and value != -1 for value in values):
            return
    remedy = f"set `test: {validation}`" if validation else "add labelled files"
    raise UserError(f"parquet: the test part, {files[0].name}, has no labels, they are withheld; {remedy}")


def read_metadata(file: Path) -> Any:
    """A file's own description. Raises UserError when it has none."""
    if file.exists() and not file.is_file():  # pyarrow would wait for ever at a FIFO
        raise UserError(f"parquet: {file} is not a regular file; remove it")
    try:
        return pyarrow.parquet.read_metadata(file)
    except (pyarrow.ArrowException, OSError) as error:
        fault = describe_file(file) or f"is not a readable Parquet file ({error}); fetch it again"
        raise UserError(f"parquet: {file} {fault}") from error


# -- columns


def _read_schema(file: Path) -> Any:
    """Names, types and the stored class names; read again where the file has changed."""
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(f"parquet: {file} can't be read ({error.strerror}); fetch it again") from error
    return _read_schema_once(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=512)
def _read_schema_once(file: Path, size: int, changed: int) -> Any:
    return read_metadata(file).schema.to_arrow_schema()


def _choose_image(file: Path, wanted: str) -> str:
    schema = _read_schema(file)
    structs: list[str] = [field.name for field in schema if _is_image_struct(field.type)]
    encoded: list[str] = [field.name for field in schema if _is_binary(field.type)]
    images = structs or encoded
    if wanted:
        if wanted not in structs + encoded:
            raise UserError(
                f"parquet.image: {file} has no column {wanted!r} of encoded images{did_you_mean(wanted, images)}"
            )
        return wanted
    if len(images) != 1:
        found = ", ".join(images) or "none"
        raise UserError(
            f"parquet.image: {file} needs one column of encoded images (bytes, or struct<bytes, path>) and has "
            f"{found}; set image to the one to use"
        )
    return images[0]


def _is_image_struct(kind: Any) -> bool:
    if not types.is_struct(kind):
        return False
    names = {kind.field(index).name for index in range(kind.num_fields)}
    return names in ({"bytes", "path"}, {"bytes"})


def _is_binary(kind: Any) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _choose_label(file: Path, image: str, wanted: str) -> str:
    """The label column: the one that is asked for, named like one, stored with class names, or the only other."""
    schema = _read_schema(file)
    others = [field.name for field in schema if field.name != image]
    readable = [name for name in others if _is_label_type(schema.field(name).type)]
    known = ", ".join(others) or "none"
    if wanted:
        if wanted not in others:
            raise UserError(f"parquet.label: {file} has no column {wanted!r}; it has {known}")
        return _refuse_unreadable(file, schema, wanted)
    if not others:
        raise UserError(f"parquet.label: {file} has no column of labels beside the images; add one")
    named = [name for name in others if _is_label_name(name)]
    if "label" in named:
        return _refuse_unreadable(file, schema, "label")
    if not named:
        named = [name for name in readable if _read_class_names(file, name)]
    if not named and len(others) == 1:
        named = others
    if len(named) != 1:
        raise UserError(f"parquet.label: {file} has the columns {known}; set label to the one to classify")
    return _refuse_unreadable(file, schema, named[0])


def _is_label_name(name: str) -> bool:
    lower = name.lower()
    return lower in LABEL_NAMES or lower.endswith(LABEL_ENDS)


def _is_label_type(kind: Any) -> bool:
    if types.is_dictionary(kind):
        return _is_label_type(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return bool(is_text or types.is_integer(kind) or types.is_boolean(kind))


def _refuse_unreadable(file: Path, schema: Any, name: str) -> str:
    kind = schema.field(name).type
    if not _is_label_type(kind):
        raise UserError(
            f"parquet.label: the column {name!r} of {file} holds {kind}, and labels are whole numbers, texts or truth "
            "values, one a row; set label to another column"
        )
    return name


def _check_like_first(file: Path, first: Path, names: Sequence[str]) -> None:
    schema, wanted = _read_schema(file), _read_schema(first)
    for name in names:
        if name not in schema.names:
            raise UserError(f"parquet: {file} has no column {name!r}, and {first} has; fetch the files again")
        if _describe_type(schema.field(name).type) != _describe_type(wanted.field(name).type):
            raise UserError(
                f"parquet: the column {name!r} of {file} holds {schema.field(name).type}, and that of {first} "
                f"{wanted.field(name).type}; fetch the files again"
            )


def _describe_type(kind: Any) -> str:
    """What makes two columns differ: not the number of bits of a whole number, nor how a text is stored."""
    if types.is_dictionary(kind):
        return _describe_type(kind.value_type)
    if types.is_integer(kind):
        return "whole number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    return "bytes" if _is_binary(kind) else str(kind.id)


# -- classes


def _read_class_names(file: Path, label: str) -> tuple[str, ...]:
    """Names of a ClassLabel feature as the `datasets` library stores them; empty where there are none."""
    metadata = _read_schema(file).metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _check_class_names(file: Path, first: Path, names: tuple[str, ...], label: str) -> None:
    own = _read_class_names(file, label)
    if own and set(own) != set(names):
        different = sorted(set(own) ^ set(names))[0]
        raise UserError(
            f"parquet: {file} and {first} name other classes (one alone has {different!r}); put files of one data set "
            "there"
        )


def _list_classes(parts: Parts, label: str) -> tuple[Any, ...]:
    """The distinct values of the training part, sorted, as the field does; withheld labels are none."""
    values: set[Any] = set()
    rows = 0
    for file in parts["train"]:
        column = _read_values(file, label)
        rows += len(column)
        values.update(column)
    values -= {None, -1}
    if len(values) == rows > 2:
        raise UserError(
            f"parquet.label: the column {label!r} has another value in each of its {rows:,} rows, so it is no label; "
            "set label to the column to classify"
        )
    return tuple(sorted(values))


def _read_file_labels(file: Path, columns: Columns) -> Labels:
    values = _read_values(file, columns.label)
    if None in values:
        raise UserError(f"parquet: {file} has rows without a label; remove them or repair the file")
    if not columns.stored_names:
        return _index_values(file, values, columns)
    labels = np.array(values, np.int64)
    names = _read_class_names(file, columns.label)
    if names and names != columns.classes:  # the same classes in another order
        inside = (labels >= 0) & (labels < len(names))
        positions = np.array([columns.classes.index(name) for name in names], np.int64)
        labels[inside] = positions[labels[inside]]
    return labels


def _index_values(file: Path, values: Sequence[Any], columns: Columns) -> Labels:
    index = {value: number for number, value in enumerate(columns.classes)}
    index.setdefault(-1, -1)  # withheld; the cache names the row
    for row, value in enumerate(values):
        if value not in index:
            raise UserError(
                f"parquet: {file} row {row} has label {value!r}, a class that the training part hasn't; remove the "
                "row, or add training images"
            )
    return np.array([index[value] for value in values], np.int64)


def _read_values(file: Path, label: str) -> Sequence[Any]:
    """A file's labels as Python values; its images aren't read. Read again where the file has changed."""
    state = file.stat()
    return _read_column(file, label, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=512)
def _read_column(file: Path, label: str, size: int, changed: int) -> Sequence[Any]:
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            column = table.read(columns=[label]).column(label)
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise UserError(f"parquet: {file} can't be read ({error}); fetch it again") from error
    values: list[Any] = column.to_pylist()
    return values
