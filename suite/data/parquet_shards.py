"""The shard files of one split in Hugging Face's Parquet layouts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from suite.core.errors import UserError

SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.parquet")


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
