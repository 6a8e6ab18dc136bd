"""Well-known datasets in either layout: the classic files, or Hugging Face's Parquet of the same set.

The two may hold the same images in another order, and so have other digests: records keep them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.class_folders import Listing, count_hidden, count_suffixes, count_things, list_folder
from suite.data.images import Resize
from suite.data.source import ImageSource, Part


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
    `hf download --local-dir` filled, or the Parquet files alone.

    Attributes:
        name: of the dataset in studies.
        repository: on the Hub.
        classes: how many; labels without stored names are 0, 1, ...
        image, label: columns.
        examples: rows of each part.
        class_names: by label; compared with those that the files store. Empty: not compared.
        splits: the split that is each part.
    """

    name: str
    repository: str
    classes: int
    image: str
    label: str
    examples: Mapping[Part, int]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    resize: Resize = "none"
    splits: Mapping[Part, str] = field(default_factory=lambda: {"train": "train", "test": "test"})

    def find_parts(self, root: Path) -> dict[Part, list[Path]]:
        """The files of both parts; empty where no file of the set is there.

        Raises:
            UserError: some are missing, or they are no single set of shards.
        """
        for folder in self._list_folders(root):
            splits = find_splits(folder)
            if not splits.keys() & set(self.splits.values()):
                continue
            for split in self.splits.values():
                if split not in splits:
                    raise UserError(f"no {split}-*.parquet in {folder}; fetch it with {self.format_download(root)}")
            return {part: choose_split(splits, [split]) for part, split in self.splits.items()}
        return {}

    def open_part(self, root: Path, parts: Mapping[Part, list[Path]], part: Part) -> ImageSource:
        """Images in the order of files and rows.

        Raises:
            UserError: columns are missing, or the files hold other rows or classes than the set has.
        """
        from suite.data import parquet_files  # pyarrow: only where it is needed
        from suite.data.parquet_rows import ParquetRows

        files = parts[part]
        rows = parquet_files.count_rows(files)
        if rows != self.examples[part]:
            raise UserError(
                f"{self.name}: the {part} part in {files[0].parent} has {rows:,} rows, not {self.examples[part]:,}; "
                f"fetch them with {self.format_download(root)}"
            )
        columns = parquet_files.find_columns(parts, self.image, self.label)
        if not columns.stored_names:
            columns = replace(columns, classes=tuple(range(self.classes)))
        self._check_class_names(files[0], columns.class_names)
        origin = f"{self.name} {part} in {files[0].parent}, {columns.image} and {columns.label}, {self.resize}"
        return ParquetRows(origin, self.shape, files, columns, self.resize)

    def format_download(self, root: Path) -> str:
        """The command that brings the files."""
        folder = Path(root).absolute() / f"{self.name}-parquet"
        return f"`hf download --repo-type dataset {self.repository} --local-dir {folder}`"

    def _list_folders(self, root: Path) -> list[Path]:
        names = (f"{self.name}-parquet", self.name, self.repository.rpartition("/")[2])
        return [Path(root).absolute() / name for name in dict.fromkeys(names)]

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


def find_missing(root: Path, classic: Layout, parquet: ParquetSet) -> str | None:
    """Why neither layout can be read, with a remedy for each; None when one can."""
    missing = classic.find_missing(root)
    if missing is None:
        return None
    try:
        parts = parquet.find_parts(root)
    except UserError as refusal:
        return str(refusal)
    if parts:
        return None
    return f"{missing}, or as Parquet with {parquet.format_download(root)}"


def open_part(root: Path, part: Part, classic: Layout, parquet: ParquetSet) -> ImageSource:
    """The part's images: from the classic files where they are whole, else from Parquet files.

    Raises:
        UserError: files are missing or broken.
    """
    missing = find_missing(root, classic, parquet)
    if missing:
        raise UserError(f"{parquet.name}: {missing}")
    if classic.find_missing(root) is None:
        return classic.open_part(root, part)
    return parquet.open_part(root, parquet.find_parts(root), part)


# -- folders of any name


def path_setting() -> Setting:
    return Setting("", "directory below the data directory that holds the files; must be given", parse=parse_path)


def parse_path(given: Any) -> str:
    """A directory name below the data directory. Raises ValueError with a sentence."""
    if not isinstance(given, str):
        raise ValueError(f"must be the name of a directory below the data directory, not {given!r}")
    path = PurePosixPath(given)
    if path.is_absolute() and path.name and ".." not in path.parts:
        raise ValueError(
            f"must be a name below the data directory, not {given!r}; write `path: {path.name}`, with --data or "
            f"GRAFTBENCH_DATA set to {path.parent}"
        )
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"must be a name below the data directory, without a leading / or .., not {given!r}")
    return str(path) if given else ""


def count_or_part_setting(default: int | str, doc: str, *, low: int, high: int | None = None) -> Setting:
    """A whole number of images or percent, or the name of a part of the files."""
    return Setting(default, doc, low=low, high=high, parse=partial(_parse_count_or_part, default))


def _parse_count_or_part(default: int | str, given: Any) -> int | str:
    if isinstance(given, bool) or not isinstance(given, int | str) or (given == "" and default != ""):
        raise ValueError(f"must be a whole number, or the name of a part, not {given!r}")
    if default == "" and str(given).isdecimal():  # as commands give it: they take a setting for a text, as its default
        return int(given)
    return given


def holds_parquet(directory: Path) -> bool:
    """Whether Parquet files lie in a directory, or in a folder of it."""
    return any(any(directory.glob(layout)) for layout in ("*.parquet", "*/*.parquet"))


# -- shards

TRAIN_SPLITS = ("train", "training")
VALIDATION_SPLITS = ("validation", "valid", "val", "dev")
TEST_SPLITS = ("test", "testing")
FOLDERS_DEEP = 2  # below the directory, that Parquet files are looked for in
SPLITS = frozenset((*TRAIN_SPLITS, *VALIDATION_SPLITS, *TEST_SPLITS))

# What a name is without `.parquet`, and without what some writers add for the compression:
# `train`, `train-0`, `train-00000-of-00005`, that with a fingerprint, `0000`, ...
STEM = re.compile(
    r"(?P<word>.*?)"
    r"(?P<separator>[-_.]?)(?P<number>\d+)(?:[-_]of[-_](?P<count>\d+)(?:-[0-9a-f]+)?)?",
    re.IGNORECASE,
)
# ... and Spark's `part-00000-<the writing job's UUID>-c000`.
SPARK_STEM = re.compile(r"(?P<word>part)-(?P<number>\d+)-.*?(?P<job>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}).*")
COMPRESSIONS = frozenset((".snappy", ".gz", ".gzip", ".zst", ".zstd", ".lz4", ".br", ".brotli"))
NAMELESS = frozenset(("", "part"))  # words that say nothing of the split: the folder's name does


@dataclass(frozen=True)
class Shard:
    """What a Parquet file's name says.

    Attributes:
        word: in lower case, before the number.
        number: among the shards; empty: the name has none, or none is meant.
        start: where the number stands in the name.
        count: of the shards; empty: the name doesn't say.
        job: that wrote it, where Spark did.
    """

    file: Path
    word: str
    number: str = ""
    start: int = 0
    count: str = ""
    job: str = ""

    @property
    def split(self) -> str:
        """`train` of `train-0.parquet`, of `train/0.parquet`, and of `train.parquet/part.0.parquet`."""
        folder = self.file.parent.name.lower().removesuffix(".parquet")
        if self.word not in SPLITS and (folder in SPLITS or self.word in NAMELESS):
            return folder
        return self.word

    @property
    def sharding(self) -> tuple[str, ...]:
        """The same for all shards of a complete set."""
        return self.word, self.count, self.job, "numbered" if self.number else ""

    def rename(self, number: int) -> Path:
        """The file of another number; without the fingerprint, which only its content gives."""
        before, after = self.file.name[: self.start], self.file.name[self.start + len(self.number) :]
        after = re.sub(r"([-_]of[-_]\d+)-[0-9a-f]+(?=\.)", r"\1", after)
        return self.file.with_name(f"{before}{number:0{len(self.number)}d}{after}")


def parse_shard(file: Path) -> Shard:
    """What the name of a Parquet file says; a number that follows an unknown word directly is part of the word."""
    stem = file.stem
    if Path(stem).suffix.lower() in COMPRESSIONS:
        stem = Path(stem).stem
    spark = SPARK_STEM.fullmatch(stem)
    if spark:
        return Shard(file, "part", spark["number"], spark.start("number"), job=spark["job"])
    found = STEM.fullmatch(stem)
    if not found:
        return Shard(file, stem.lower())
    word = found["word"].lower()
    if word and word not in SPLITS and not found["separator"]:  # `cifar10`
        return Shard(file, stem.lower())
    return Shard(file, word, found["number"], found.start("number"), found["count"] or "")


def find_splits(directory: Path) -> dict[str, list[Path]]:
    """The Parquet files in a directory by split, in lower case: `train-00000-of-00002.parquet`, `train.parquet`,
    `train/0000.parquet`; in the directory itself, or a folder or two below it (`data/`, `default/train/`). Any other
    name (`train_old.parquet`) is a split of its own. Whether a split is complete is looked at when it is chosen.
    """
    splits: dict[str, list[Path]] = {}
    for depth in range(FOLDERS_DEEP + 1):
        for file in _list_parquet(directory, depth):
            splits.setdefault(parse_shard(file).split, []).append(file)
    return splits


def choose_split(splits: Mapping[str, list[Path]], names: Sequence[str]) -> list[Path]:
    """The files of the first split that is there; empty where none is.

    Raises:
        UserError: the split's files lie in several folders, are of several shardings, or some are missing.
    """
    for name in names:
        if name in splits:
            _refuse_several_folders(name, splits[name])
            _refuse_incomplete([parse_shard(file) for file in splits[name]])
            return splits[name]
    return []


# How names of files begin that are not data, in lower case, and what downloads from the Hub leave.
DESCRIPTIONS = ("readme", "licen", "dataset_info")
LEFT_BY_THE_HUB = frozenset((".gitattributes", ".gitignore", ".cache", ".git", ".huggingface"))


def describe_other_files(directory: Path) -> list[str]:
    """Phrases on what lies below a directory and no split has: `3 files .arrow`, `1 hidden file`."""
    listings, folders = list[Listing](), [directory]
    for _ in range(FOLDERS_DEEP + 1):
        found = [list_folder("parquet", folder) for folder in folders]
        folders = [listing.directory / name for listing in found for name in listing.folders]
        listings += map(_keep_unknown, found)
    deeper = len(_list_parquet(directory, FOLDERS_DEEP + 1))
    phrases = [f"{count_things(deeper, 'file')} .parquet more than {FOLDERS_DEEP} folders down"] if deeper else []
    return phrases + count_suffixes(listings) + count_hidden(listings)


def _keep_unknown(listing: Listing) -> Listing:
    return replace(
        listing,
        others=tuple(filter(_is_unknown, listing.files)),
        hidden=tuple(name for name in listing.hidden if name not in LEFT_BY_THE_HUB),
        hidden_folders=tuple(name for name in listing.hidden_folders if name not in LEFT_BY_THE_HUB),
    )


def _is_unknown(name: str) -> bool:
    return not name.endswith(".parquet") and not name.lower().startswith(DESCRIPTIONS)


def _list_parquet(directory: Path, depth: int) -> list[Path]:
    """The Parquet files so many folders below a directory, sorted by name; hidden ones aren't looked for."""
    files = []
    for file in sorted(directory.glob("*/" * depth + "*.parquet")):
        hidden = any(part.startswith(".") for part in file.relative_to(directory).parts)
        if not hidden and not file.is_dir():
            files.append(file)
    return files


def _refuse_several_folders(split: str, files: Sequence[Path]) -> None:
    folders = list(dict.fromkeys(file.parent for file in files))
    if len(folders) == 1:
        return
    first, second, *_ = folders
    remedy = "move away those that don't count"
    if first not in second.parents:
        remedy = f"read one of these folders as `{{name: parquet, path: ...}}`, or {remedy}"
    raise UserError(f"parquet: {split} files lie in {first} and in {second}; {remedy}")


def _refuse_incomplete(shards: Sequence[Shard]) -> None:
    """Shards must be one set, of as many as their names say, or numbered from 0 without a gap."""
    first, same = shards[0], dict[int, Shard]()
    for shard in shards:
        if shard.sharding != first.sharding:
            raise UserError(
                f"parquet: {first.file} and {shard.file.name} are two shardings of one split; move one of them away"
            )
        twin = same.setdefault(int(shard.number or 0), shard)
        if twin is not shard:
            raise UserError(f"parquet: {shard.file} and {twin.file.name} are the same shard; move one away")
    if not first.number:
        return
    count = int(first.count or len(shards))
    start = 1 if first.count and count in same and 0 not in same else 0  # `1-of-2` and `2-of-2`
    numbers = range(start, start + count)
    missing = next((number for number in numbers if number not in same), None)
    if missing is not None:
        remedy = "fetch it too" if first.count else "fetch it too, or number the files from 0 without a gap"
        raise UserError(f"parquet: {first.rename(missing)} is missing beside {first.file.name}; {remedy}")
    for number, shard in same.items():
        if number not in numbers:
            raise UserError(f"parquet: {shard.file} is one shard more than the {count} that names tell; move it away")
