"""Well-known datasets in either layout: the classic files, or Hugging Face's Parquet of the same set.

The two may hold the same images in another order, and so have other digests: records keep them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from suite.core.errors import UserError
from suite.data.images import Resize
from suite.data.source import ImageSource, Part

SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.parquet")


class Layout(Protocol):
    """One way in which a dataset's files may lie below the data directory."""

    def find_missing(self, root: Path) -> str | None:
        """Which file isn't there, and what brings it; None when all are there."""

    def open_part(self, root: Path, part: Part) -> ImageSource:
        """The part's images. Raises UserError when files are missing or broken."""


@dataclass(frozen=True)
class ParquetSet:
    """A dataset as its repository on the Hugging Face Hub stores it.

    Looked up in `ROOT/NAME-parquet`, `ROOT/NAME` and `ROOT/REPOSITORY's own name`: the folder that
    `huggingface-cli download --local-dir` filled, or the Parquet files alone.

    Attributes:
        name: of the dataset in studies.
        repository: on the Hub.
        config: the folder in the repository that holds the files.
        image, label: columns.
        splits: the split that is each part.
        examples: rows of each part.
        class_names: by label; compared with those that the files store. Empty: not compared.
    """

    name: str
    repository: str
    config: str
    image: str
    label: str
    splits: Mapping[Part, str]
    examples: Mapping[Part, int]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    resize: Resize = "none"

    def has_files(self, root: Path) -> bool:
        """Whether any file of the set is there."""
        for folder in self._list_folders(root):
            for split in self.splits.values():
                if any(folder.glob(f"{split}-*.parquet")) or any(folder.glob(f"{split}/*.parquet")):
                    return True
        return False

    def find_missing(self, root: Path) -> str | None:
        for part in self.splits:
            try:
                files = self._list_files(root, part)
            except UserError as refusal:
                return str(refusal)
            if not files:
                folder = self._list_folders(root)[0]
                return f"no {self.splits[part]}-*.parquet in {folder}; fetch it with {self.format_download(root)}"
        return None

    def open_part(self, root: Path, part: Part) -> ImageSource:
        """Images in the order of files and rows.

        Raises:
            UserError: files or columns are missing, or the files hold other rows or classes than the set has.
        """
        from suite.data.parquet_rows import ParquetRows, find_columns, read_metadata  # pyarrow: only where it is needed

        missing = self.find_missing(root)
        if missing:
            raise UserError(f"{self.name}: {missing}")
        files = self._list_files(root, part)
        rows = sum(read_metadata(file).num_rows for file in files)
        if rows != self.examples[part]:
            raise UserError(
                f"{self.name}: the {part} part in {files[0].parent} has {rows:,} rows, not {self.examples[part]:,}; "
                f"fetch them with {self.format_download(root)}"
            )
        columns = find_columns(files[0], self.label)
        self._check_class_names(files[0], columns.class_names)
        origin = f"{self.name} {part} in {files[0].parent}, {columns.image} and {columns.label}, {self.resize}"
        return ParquetRows(origin, self.shape, files, columns, self.resize)

    def format_download(self, root: Path) -> str:
        """The command that brings the files."""
        folder = Path(root).absolute() / f"{self.name}-parquet"
        return f"`huggingface-cli download --repo-type dataset {self.repository} --local-dir {folder}`"

    def _list_folders(self, root: Path) -> list[Path]:
        names = (f"{self.name}-parquet", self.name, self.repository.rpartition("/")[2])
        return [
            Path(root).absolute() / name / subfolder
            for name in dict.fromkeys(names)
            for subfolder in ("", "data", self.config)
        ]

    def _list_files(self, root: Path, part: Part) -> list[Path]:
        return list_shards(self._list_folders(root), self.splits[part])

    def _check_class_names(self, file: Path, stored: tuple[str, ...]) -> None:
        """Refuses files whose labels mean other classes."""
        if not stored or not self.class_names:
            return
        if tuple(map(_normalize, stored)) != tuple(map(_normalize, self.class_names)):
            raise UserError(
                f"{self.name}: {file} names other classes, or in another order: {', '.join(stored)}; read it as "
                f"`{{name: parquet, path: ...}}`, or fetch {self.repository}"
            )


def _normalize(name: str) -> str:
    """A class name without the marks in which copies of a set differ: `T - shirt / top`, `T-shirt/top`."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def choose_layout(root: Path, classic: Layout, parquet: ParquetSet) -> Layout:
    """The classic files where they are whole, else Parquet files where there are any."""
    if classic.find_missing(root) and parquet.has_files(root):
        return parquet
    return classic


def find_missing(root: Path, classic: Layout, parquet: ParquetSet) -> str | None:
    """Why neither layout can be read, with a remedy for each; None when one can."""
    layout = choose_layout(root, classic, parquet)
    missing = layout.find_missing(root)
    if missing and layout is classic:
        missing += f", or as Parquet with {parquet.format_download(root)}"
    return missing


def open_part(root: Path, part: Part, classic: Layout, parquet: ParquetSet) -> ImageSource:
    """The part's images, from the layout that is there. Raises UserError when files are missing or broken."""
    missing = find_missing(root, classic, parquet)
    if missing:
        raise UserError(f"{parquet.name}: {missing}")
    return choose_layout(root, classic, parquet).open_part(root, part)


def list_shards(folders: Sequence[Path], split: str) -> list[Path]:
    """The files `split-*.parquet`, or `split/*.parquet`, of the first folder that has some; empty where none has.

    Raises:
        UserError: a shard that the files' names promise is missing.
    """
    for folder in folders:
        for pattern in (f"{split}-*.parquet", f"{split}/*.parquet"):
            files = sorted(folder.glob(pattern))
            if files:
                _refuse_missing_shards(files)
                return files
    return []


def _refuse_missing_shards(files: list[Path]) -> None:
    """Names like train-00000-of-00005.parquet say how many there must be."""
    names = {file.name for file in files}
    for file in files:
        shard = SHARD.fullmatch(file.name)
        if shard is None:
            continue
        for number in range(int(shard[2])):
            name = f"{shard[1]}-{number:05d}-of-{shard[2]}.parquet"
            if name not in names:
                raise UserError(f"parquet: {file.with_name(name)} is missing beside {file.name}; fetch it too")
