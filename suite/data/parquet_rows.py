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

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.specs import hash_parts
from suite.data.images import Resize, Unreadable, decode_image, read_stored_shape
from suite.data.parquet_files import Columns, count_rows, read_labels, read_metadata
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
    """Images of the files' rows, in order, made grey or RGB as `shape` asks and `resize`d to it.

    Args:
        rows: sorted rows of the files that are the part; None: all.
    """

    streams = True

    def __init__(
        self,
        origin: str,
        shape: tuple[int, int, int],
        files: Sequence[Path],
        columns: Columns,
        resize: Resize,
        *,
        rows: Labels | None = None,
        validation_rows: Labels | None = None,
    ) -> None:
        self.origin, self.shape, self.files = origin, shape, files
        self._columns, self._resize, self._rows = columns, resize, rows
        self.validation_rows = validation_rows
        self._kept: OrderedDict[_Group, Any] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def labels(self) -> Labels:  # type: ignore[override]
        labels = read_labels(self.files, self._columns)
        return labels if self._rows is None else labels[self._rows]

    def decode(self, row: int) -> Images:
        group, row_in_group = self._find_row(row)
        cell = self._read_cells(group)[row_in_group].as_py()
        return decode_image(_read_bytes(cell), self.shape, self._resize)

    def name(self, row: int) -> str:
        group, row_in_group = self._find_row(row)
        return f"{group.file} row {group.first_in_file + row_in_group}"

    def _find_row(self, row: int) -> tuple[_Group, int]:
        """The row group of a row of the part, and the row in it."""
        row_in_files = row if self._rows is None else int(self._rows[row])
        group = self._list_groups[bisect_right(self._list_groups, row_in_files, key=lambda group: group.first) - 1]
        return group, row_in_files - group.first

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


def choose_test_rows(files: Sequence[Path], columns: Columns, percent: int) -> NDArray[np.bool_]:
    """Which of the files' rows are the test part: of each class `percent`, rounded down; by hash of file and row, so
    that no seed moves it. Raises UserError as `read_labels` does.
    """
    labels = read_labels(files, columns)
    ranks = np.concatenate([_rank_rows(file) for file in files])
    mask = np.zeros(len(labels), dtype=bool)
    for label in range(len(columns.classes)):
        rows = np.flatnonzero(labels == label)
        mask[rows[np.argsort(ranks[rows], kind="stable")[: len(rows) * percent // 100]]] = True
    return mask


def _rank_rows(file: Path) -> Labels:
    ranks = [hash_parts("parquet", "test", file.name, row) for row in range(count_rows([file]))]
    return np.array(ranks, np.int64)


SAMPLED = 64  # images of a file whose headers are looked at


def sample_shapes(file: Path, columns: Columns, count: int = SAMPLED) -> list[tuple[int, int, int]]:
    """(channels, height, width) of the first `count` images of a file, from their headers.

    Raises:
        UserError: the file or the first image can't be read. Others that can't are passed over here.
    """
    shapes = []
    for row, cell in enumerate(_read_first_cells(file, columns, count)):
        try:
            shapes.append(read_stored_shape(_read_bytes(cell.as_py())))
        except Unreadable as error:
            if row == 0:
                raise UserError(f"parquet: {file} row 0 {error}; repair or remove it") from error
    return shapes


def _read_first_cells(file: Path, columns: Columns, count: int) -> Any:
    """The image column's first rows, without reading the rest of their row group."""
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=count, columns=[columns.image]):
                if len(batch):
                    return batch.column(columns.image)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unlike_first(file, error) from error
    raise UserError(f"parquet: {file} has no rows; fetch it again")


def _read_bytes(cell: Any) -> bytes:
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(data, bytes) or not data:
        raise Unreadable(NO_BYTES)
    return data


def _unlike_first(file: Path, error: Exception) -> UserError:
    return UserError(f"parquet: {file} can't be read like its first train file ({error}); fetch it again")
