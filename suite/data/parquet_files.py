"""Hugging Face's Parquet files of a dataset: which files are a part, which columns its images and labels, which class a
label means. Nothing is guessed against what the files say.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from pyarrow import types

from suite.core.errors import UserError, did_you_mean
from suite.data.class_folders import normalize_name
from suite.data.images import describe_file
from suite.data.source import Labels

# What the field calls a column of labels, in lower case. Not `y`, which is a coordinate as often.
LABEL_NAMES = frozenset(
    ("label", "labels", "target", "targets", "class", "classes", "category", "categories", "annotation")
)
LABEL_ENDS = ("_label", "_labels", "_target", "_class", "_category")
LABEL_FORMS = re.compile("_(id|idx|index|name)$")  # `class_id`
# What it calls what is known of an image beside its class; none of these is a label by being the only column.
PROPERTY_NAMES = frozenset(
    (
        *("id", "ids", "uid", "uuid", "guid", "key", "__key__", "index", "idx", "row", "__index_level_0__"),
        *("width", "height", "w", "h", "x", "y", "size", "filesize", "bytes", "channels", "mode", "format"),
        *("name", "file", "filename", "path", "filepath", "url", "uri", "source", "split", "fold"),
        *("hash", "md5", "sha1", "sha256", "phash", "date", "time", "timestamp", "caption", "text", "description"),
    )
)
PROPERTY_ENDS = (
    *("_id", "_ids", "_uid", "_uuid", "_key", "_index", "_idx", "_number", "_width", "_height", "_size", "_bytes"),
    *("file_name", "_filename", "image_name", "img_name", "_path", "_url", "_hash", "_md5", "_date", "_time"),
)
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


def find_columns(
    parts: Parts, image: str = "", label: str = "", *, remedy: str = "add labelled files for it"
) -> Columns:
    """The columns that every file of every part has, and the classes.

    Args:
        image, label: names of columns, where the files leave a choice.
        remedy: for a test part whose labels are withheld.

    Raises:
        UserError: a file can't be read, a column is missing or ambiguous, the test part has no labels, files
            contradict each other, or the labels look like numbers of images.
    """
    first = parts["train"][0]
    image = _choose_image(first, image)
    chosen = _choose_label(first, image, label)
    train = [*parts["train"], *parts.get("validation", ())]
    _check_like_first(train, first, (image, chosen))
    test = parts.get("test", ())
    if test:
        _refuse_withheld(test, parts["train"], chosen, remedy)
    _check_like_first(test, first, (image, chosen))
    names = _find_class_names([*train, *test], chosen)
    if names:
        return Columns(image, chosen, names, stored_names=True)
    classes = _list_classes(parts["train"], chosen)
    if not classes:
        raise UserError(f"parquet: {first} and the files beside it have no labels in {chosen!r}; add labelled files")
    _refuse_numbers_of_images(parts["train"], image, chosen, len(classes), is_asked_for=bool(label))
    return Columns(image, chosen, classes, stored_names=False)


def read_labels(files: Sequence[Path], columns: Columns) -> Labels:
    """int64 (N,): the class of each row; one that the dataset hasn't stays what it is, for the cache to name its row.

    Raises:
        UserError: rows without a label, or of a class that the training part hasn't.
    """
    labels = [_read_file_labels(file, columns) for file in files]
    return np.concatenate(labels)


def count_rows(files: Sequence[Path]) -> int:
    """Rows of all files, as they say themselves. Raises UserError as `read_metadata` does."""
    return sum(_describe(file).rows for file in files)


def drop_empty_files(files: Sequence[Path]) -> list[Path]:
    """The files that have rows: the types of columns without any say nothing. Raises UserError where none has."""
    filled = [file for file in files if _describe(file).rows]
    if not filled:
        raise UserError(f"parquet: {files[0]} has no rows; fetch it again")
    return filled


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


@dataclass(frozen=True)
class _Description:
    schema: Any
    rows: int


def _read_schema(file: Path) -> Any:
    """Names, types and the stored class names."""
    return _describe(file).schema


def _describe(file: Path) -> _Description:
    """What a file says of itself; read again where it has changed."""
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(f"parquet: {file} can't be read ({error.strerror}); fetch it again") from error
    return _describe_once(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=512)
def _describe_once(file: Path, size: int, changed: int) -> _Description:
    metadata = read_metadata(file)
    schema = metadata.schema.to_arrow_schema()
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise UserError(f"parquet: {file} has two columns {twice[0]!r}; give them different names")
    return _Description(schema, metadata.num_rows)


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
    others = _list_others(file, image)
    known = ", ".join(others) or "none"
    if wanted:
        if wanted not in others:
            raise UserError(f"parquet.label: {file} has no column {wanted!r}; it has {known}")
        return _refuse_unreadable(file, image, wanted)
    if not others:
        raise UserError(f"parquet.label: {file} has no column of labels beside the images; add one")
    named = [name for name in others if _is_label_name(name)]
    if "label" in named:
        return _refuse_unreadable(file, image, "label")
    readable = _list_readable(file, image)
    if not named:
        named = [name for name in readable if _read_class_names(file, name)]
    if not named and [name.lower() for name in readable] == ["y"] and "x" not in map(str.lower, others):
        named = readable
    if not named and len(others) == 1:
        _refuse_property(file, others[0])
        named = others
    if len(named) != 1:
        raise UserError(f"parquet.label: {file} has the columns {known}; set label to the one to classify")
    return _refuse_unreadable(file, image, named[0])


def _list_others(file: Path, image: str) -> list[str]:
    return [field.name for field in _read_schema(file) if field.name != image]


def _list_readable(file: Path, image: str) -> list[str]:
    schema = _read_schema(file)
    return [name for name in _list_others(file, image) if _is_label_type(schema.field(name).type)]


def _refuse_property(file: Path, name: str) -> None:
    lower = name.lower()
    if lower in PROPERTY_NAMES or lower.endswith(PROPERTY_ENDS):
        raise UserError(
            f"parquet.label: {file} has no column of labels, since {name!r} is named like a property of an image; add "
            f"one, or set `label: {name}` if that is the class"
        )


def _suggest_label(file: Path, image: str, name: str) -> str:
    """A remedy for a column that is no label."""
    others = [other for other in _list_readable(file, image) if other != name]
    return f"set label to another column ({', '.join(others)})" if others else "add a column of labels"


def _is_label_name(name: str) -> bool:
    lower = LABEL_FORMS.sub("", name.lower())
    return lower in LABEL_NAMES or lower.endswith(LABEL_ENDS)


def _is_label_type(kind: Any) -> bool:
    if types.is_dictionary(kind):
        return _is_label_type(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return bool(is_text or types.is_integer(kind) or types.is_boolean(kind))


def _is_text(kind: Any) -> bool:
    return _describe_type(kind) == "text"


def _refuse_unreadable(file: Path, image: str, name: str) -> str:
    kind = _read_schema(file).field(name).type
    if not _is_label_type(kind):
        raise UserError(
            f"parquet.label: the column {name!r} of {file} holds {kind}, and labels are whole numbers, texts or truth "
            f"values, one a row; {_suggest_label(file, image, name)}"
        )
    return name


def _check_like_first(files: Sequence[Path], first: Path, names: Sequence[str]) -> None:
    wanted = _read_schema(first)
    for file in files:
        schema = _read_schema(file)
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
        stored = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    names = tuple(normalize_name(str(name)) for name in stored) if isinstance(stored, list) else ()
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"parquet: {file} stores the class name {twice[0]!r} twice, alike or but for Unicode normalisation (NFC, "
            "NFD); give each class a name of its own"
        )
    return names


def _find_class_names(files: Sequence[Path], label: str) -> tuple[str, ...]:
    """The names that all files store, in the order of the first; empty where none stores any.

    Raises:
        UserError: one stores other names, or none although its labels are numbers.
    """
    stored = {file: _read_class_names(file, label) for file in files}
    first = next((file for file in files if stored[file]), None)
    if first is None:
        return ()
    for file, names in stored.items():
        if not names and not _is_text(_read_schema(file).field(label).type):
            raise UserError(
                f"parquet: {file} stores no class names, and {first} does, so nothing says which classes its numbers "
                "mean; fetch all files from one place"
            )
        if names and set(names) != set(stored[first]):
            different = sorted(set(names) ^ set(stored[first]))[0]
            raise UserError(
                f"parquet: {file} and {first} name other classes (one alone has {different!r}); put files of one data "
                "set there"
            )
    return stored[first]


def _list_classes(files: Sequence[Path], label: str) -> tuple[Any, ...]:
    """The distinct values of the training part, sorted, as the field does; withheld labels are none."""
    distinct = _read_distinct(files, label)
    return tuple(sorted(value for value in distinct if _is_known(value, distinct)))


def _read_distinct(files: Sequence[Path], label: str) -> set[Any]:
    values: set[Any] = set()
    for file in files:
        values.update(_read_values(file, label))
    return values


def _is_known(value: Any, distinct: Collection[Any]) -> bool:
    """Whether a value is a label: -1 stands for a withheld one, but where the training part has -1 and 1 alone."""
    return value is not None and (value != -1 or set(distinct) == {-1, 1})


def _refuse_numbers_of_images(
    files: Sequence[Path], image: str, label: str, classes: int, *, is_asked_for: bool
) -> None:
    """Refuses a column with (nearly) another value in each row; of fewer than 10 rows nothing can be told by half."""
    rows = count_rows(files)
    remedy = _suggest_label(files[0], image, label)
    if classes == rows > 2:
        raise UserError(
            f"parquet.label: the column {label!r} has another value in each of its {rows:,} rows, so it is no label; "
            f"{remedy}"
        )
    if 2 * classes >= rows >= 10 and not is_asked_for:
        raise UserError(
            f"parquet.label: the column {label!r} has {classes:,} values in {rows:,} rows, so it looks like numbers of "
            f"images; {remedy}, or set `label: {label}` if these are the classes"
        )


def _refuse_withheld(files: Sequence[Path], train: Sequence[Path], label: str, remedy: str) -> None:
    """Refuses a test part without any label: no such column, or all null, empty or -1."""
    distinct = _read_distinct([file for file in files if label in _read_schema(file).names], label)
    if distinct - {None, -1}:
        return
    if -1 in distinct and _is_known(-1, _read_distinct(train, label)):
        return
    raise UserError(f"parquet: the test part, {files[0].name}, has no labels, they are withheld; {remedy}")


def _read_file_labels(file: Path, columns: Columns) -> Labels:
    values = _read_values(file, columns.label)
    if None in values:
        row = values.index(None)
        raise UserError(f"parquet: {file} row {row} is without a label; remove the row, or repair the file")
    if not columns.stored_names or _is_text(_read_schema(file).field(columns.label).type):
        return _index_values(file, values, columns)
    largest = np.iinfo(np.int64).max  # more may be in a column without signs
    labels = np.array([min(value, largest) for value in values], np.int64)
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
            lacking = "the stored class names haven't" if columns.stored_names else "the training part hasn't"
            remedy = "repair the file" if columns.stored_names else "remove the row, or add training images"
            raise UserError(f"parquet: {file} row {row} has label {value!r}, a class that {lacking}; {remedy}")
    return np.array([index[value] for value in values], np.int64)


def _read_values(file: Path, label: str) -> Sequence[Any]:
    """A file's labels as Python values, None where there is none; its images aren't read.

    Read again where the file has changed.
    """
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
    return _normalize_texts(file, values) if _is_text(column.type) else values


def _normalize_texts(file: Path, values: Sequence[str | None]) -> Sequence[str | None]:
    """Texts in one Unicode spelling, None for empty ones. Raises UserError where two differ in their spelling alone."""
    spellings: dict[str, str] = {}
    for value in dict.fromkeys(values):
        text = normalize_name(value or "")
        if text.strip() and spellings.setdefault(text, value or "") != value:
            raise UserError(
                f"parquet: {file} has two labels {text!r} that differ only in Unicode normalisation (NFC, NFD); write "
                "both alike"
            )
    return [normalize_name(value) if value and value.strip() else None for value in values]
