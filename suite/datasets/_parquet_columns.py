"""Which columns of a Hugging Face Parquet file hold the image and the label."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from suite.settings import Refused


@dataclass(frozen=True)
class Columns:
    """Names of the image and label columns; `class_names` is empty when the file stores none."""

    image: str
    label: str
    class_names: tuple[str, ...]


def find_columns(file: Path, label: str) -> Columns:
    """The columns by type: a struct of bytes and path, and whole numbers; `label` decides among several of these.

    Raises:
        Refused: the file can't be read, or a column is missing or ambiguous.
    """
    try:
        schema = pyarrow.parquet.read_schema(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise Refused(f"parquet: {file} is not a readable Parquet file ({error}); fetch it again") from error
    images = [field.name for field in schema if _is_image(field.type)]
    if len(images) != 1:
        found = ", ".join(images) or "none"
        raise Refused(f"parquet: {file} needs one image column of struct<bytes, path>, and has {found}")
    numbers = [field.name for field in schema if pyarrow.types.is_integer(field.type)]
    chosen = _label(file, numbers, label)
    return Columns(images[0], chosen, _class_names(schema.metadata or {}, chosen))


def _is_image(kind: Any) -> bool:
    return pyarrow.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _label(file: Path, numbers: list[str], wanted: str) -> str:
    known = ", ".join(numbers) or "none"
    if wanted:
        if wanted not in numbers:
            raise Refused(f"parquet.label: {file} has no whole-number column {wanted!r}; it has {known}")
        return wanted
    if "label" in numbers:
        return "label"
    if not numbers:
        names = ", ".join(pyarrow.parquet.read_schema(file).names)
        raise Refused(f"parquet: {file} has no column of whole numbers to be labels, only {names}; add one")
    if len(numbers) != 1:
        raise Refused(f"parquet.label: {file} has {known} as whole-number columns; set label to the one to classify")
    return numbers[0]


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...]:
    """Names of a ClassLabel feature as the `datasets` library stores them; empty where there are none."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(str(name) for name in names) if isinstance(names, list) else ()
