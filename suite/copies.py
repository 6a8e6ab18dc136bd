"""The cache directory as a whole: the decoded copies in it, of whatever settings, and whether more can be written."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.datasets._cache import cache_directory


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A decoded part.

    Attributes:
        origin: which images they are, as their source says it; None: that can't be read.
        shape: of every image; None: not known.
        size: bytes.
    """

    origin: str | None
    shape: tuple[int, ...] | None
    size: int
    folder: str


def copies() -> list[Copy]:
    """All that lie in the cache directory; not what is being made just now."""
    found = (manifest.parent for manifest in sorted(cache_directory().glob("*/manifest.json")))
    return [_copy(folder) for folder in found if folder.suffix not in {".building", ".old"}]


def _copy(folder: Path) -> Copy:
    said = _manifest(folder)
    origin, shape = said.get("origin"), said.get("shape")
    return Copy(
        origin=origin if isinstance(origin, str) else None,
        shape=tuple(shape) if isinstance(shape, list) else None,
        size=bytes_in(folder),
        folder=str(folder),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):  # torn, or just being replaced
        said = json.loads((folder / "manifest.json").read_bytes())
        return said if isinstance(said, dict) else {}
    return {}


def bytes_in(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # just being replaced
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def cache_trouble() -> str | None:
    """Why no decoded copy can be written, as a sentence; None: it can, as far as is known without writing."""
    directory = cache_directory()
    there = next(path for path in (directory, *directory.parents) if os.access(path, os.F_OK))
    remedy = "set GRAFTBENCH_CACHE to a directory on a writable disk"
    if not there.is_dir():
        return f"{there} is a file, not a directory; remove it, or {remedy}"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} can't be written; {remedy}"
