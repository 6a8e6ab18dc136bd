"""The rows of Hugging Face Parquet files as single images: in order they cost one read per row group."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from suite.core.errors import UserError
from suite.data.images import Resize, Unreadable, decode_image, read_stored_shape
from suite.data.parquet_files import Columns, read_labels, read_metadata
from suite.data.source import Images, ImageSource, Labels

KEPT = 3  # row groups in memory: threads that decode neighbouring rows touch two at a time
NO_BYTES = "has no image bytes; embed the images in the files"


@dataclass(frozen=True)
class _Group:
    """A row group: `first` is its first row in the part, `first_in_file` in its file."""

    file: Path
    index: int
    first: int
    first_in_file: int
    rows: int


class ParquetRows(ImageSource):
    """Images of the files' rows, in order, made grey or RGB as `shape` asks and `resize`d to it."""

    streams = True

    def __init__(
        self,
        origin: str,
        shape: tuple[int, int, int],
        files: Sequence[Path],
        columns: Columns,
        resize: Resize,
        *,
        validation_rows: Labels | None = None,
    ) -> None:
        self.origin, self.shape, self.files = origin, shape, files
        self._columns, self._resize = columns, resize
        self.validation_rows = validation_rows
        self._kept: OrderedDict[_Group, Any] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def labels(self) -> Labels:  # type: ignore[override]
        return read_labels(self.files, self._columns)

    def decode(self, row: int) -> Images:
        group = self._find_group(row)
        cell = self._read_cells(group)[row - group.first].as_py()
        return decode_image(_read_bytes(cell), self.shape, self._resize)

    def name(self, row: int) -> str:
        group = self._find_group(row)
        return f"{group.file} row {group.first_in_file + row - group.first}"

    def _find_group(self, row: int) -> _Group:
        return self._list_groups[bisect_right(self._list_groups, row, key=lambda group: group.first) - 1]

    @cached_property
    def _list_groups(self) -> list[_Group]:
        groups = []
        first = 0
        for file in self.files:
            described = read_metadata(file)
            in_file = 0
            for index in range(described.num_row_groups):
                rows = described.row_group(index).num_rows
                if rows:
                    groups.append(_Group(file, index, first + in_file, in_file, rows))
                in_file += rows
            first += in_file
        return groups

    def _read_cells(self, group: _Group) -> Any:
        """The image column of a row group; read once while it is among the last few that were asked for."""
        with self._lock:
            cells = self._kept.pop(group, None)
            if cells is None:
                cells = self._read_group(group)
            self._kept[group] = cells
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return cells

    def _read_group(self, group: _Group) -> Any:
        name = self._columns.image
        try:
            with pyarrow.parquet.ParquetFile(group.file) as table:
                return table.read_row_group(group.index, columns=[name]).column(name)
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            raise _unlike_first(group.file, error) from error


def first_shape(file: Path, columns: Columns) -> tuple[int, int, int]:
    """(channels, height, width) of the first image, from its header."""
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            batch = next(table.iter_batches(batch_size=1, columns=[columns.image]), None)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unlike_first(file, error) from error
    if batch is None or not len(batch):
        raise UserError(f"parquet: {file} has no rows; fetch it again")
    try:
        return read_stored_shape(_read_bytes(batch.column(columns.image)[0].as_py()))
    except Unreadable as error:
        raise UserError(f"parquet: {file} row 0 {error}; repair or remove it") from error


def _read_bytes(cell: Any) -> bytes:
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(data, bytes) or not data:
        raise Unreadable(NO_BYTES)
    return data


def _unlike_first(file: Path, error: Exception) -> UserError:
    return UserError(f"parquet: {file} can't be read like its first train file ({error}); fetch it again")
