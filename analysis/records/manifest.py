"""The manifest of a folder of collected records: what each file must hold, and changes that happen whole or not at all.

`manifest.json` names every file with its SHA-256. New files wait in `.next/` until the new manifest stands,
which is the one moment at which the folder changes; then they move to their places. Where a change was cut off in
between, `verify_files` finds a file in either place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from suite import __version__
from suite.core.records import SCHEMA, NewerSchemaError, NoRecordError, check_schema

NAME = "manifest.json"
REMEDY = "collect the study's records again"
_WAITING = ".next"
Content = TypeVar("Content")


class DamagedError(ValueError):
    """A file is not what the manifest says; the message is one sentence for people."""


@dataclass(frozen=True)
class Stored:
    """A file's SHA-256, and its rows when it is a table."""

    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class SeenRun:
    """An MLflow run as it was when it was collected; a run that shows anything else is read again.

    Attributes:
        record: the record's own status, empty as long as there is none.
        part: the file of `epochs/` that has its history; empty when there is none.
    """

    status: str
    started: int | None
    ended: int | None
    trial_key: str = ""
    record: str = ""
    part: str = ""


@dataclass(frozen=True)
class Manifest:
    """What was collected, from where and when. `tracking` has no password; `collected` is UTC, ISO 8601."""

    study: str
    tracking: str
    experiment_id: str
    collected: str
    runs: Mapping[str, SeenRun] = field(default_factory=dict)
    files: Mapping[str, Stored] = field(default_factory=dict)
    schema: int = SCHEMA
    version: str = __version__  # of the Graftbench that wrote it

    @property
    def origin(self) -> tuple[str, str, str]:
        return self.study, self.tracking, self.experiment_id


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest; None when it has none.

    Raises:
        DamagedError: it can't be read.
        NewerSchemaError: a later version wrote it.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        check_schema(content["schema"], content.setdefault("version", ""))
        content["runs"] = {name: SeenRun(**run) for name, run in content["runs"].items()}
        content["files"] = {name: Stored(**stored) for name, stored in content["files"].items()}
        if any(name.startswith("/") or ".." in name.split("/") for name in content["files"]):
            raise DamagedError(f"{path} names files outside its folder: {REMEDY}.")
        return Manifest(**{spec.name: content[spec.name] for spec in fields(Manifest) if spec.name in content})
    except NewerSchemaError as error:
        raise NewerSchemaError(f"{path}: {error}.") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError, NoRecordError) as error:
        raise DamagedError(f"{path} is damaged ({type(error).__name__}): {REMEDY}.") from error


def read_content(path: Path, read: Callable[[], Content]) -> Content:
    """What `read` reads of the file at `path`.

    Raises:
        DamagedError: it can't be read, though the manifest vouches for it.
    """
    try:
        return read()
    except (pa.ArrowException, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DamagedError(f"{path} is damaged ({reason.rstrip('.')}): {REMEDY}.") from error


def read_parquet(path: Path) -> pa.Table:
    """One file as it was written; `pq.read_table` would import what reads folders of them."""
    return pq.ParquetFile(path).read()


def _locate_file(folder: Path, name: str, stored: Stored) -> Path:
    for place in (folder, folder / _WAITING):
        path = os.path.join(place, name)  # noqa: PTH118  (there may be thousands of predictions)
        with suppress(FileNotFoundError):
            if _compute_sha256(path) == stored.sha256:
                return Path(path)
    what = "is not what was collected (cut short, or changed since)" if (folder / name).is_file() else "is missing"
    raise DamagedError(f"{folder / name} {what}: {REMEDY}.")


def verify_files(folder: Path, manifest: Manifest) -> dict[str, Path]:
    """Where each of the manifest's files is.

    Raises:
        DamagedError: one of them is missing, cut short or changed.
    """
    return {name: _locate_file(folder, name, stored) for name, stored in manifest.files.items()}


def _compute_sha256(path: str | Path) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """One collector at a time; a second one waits. The lock ends with its process."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Change:
    """New content for a folder, which counts from `commit` on. What is neither kept nor added then goes.

    Args:
        owned: the folder's files and subfolders that hold nothing else than what the manifest names.
    """

    def __init__(self, folder: Path, owned: tuple[str, ...]) -> None:
        self._folder, self._owned = folder, owned
        self._waiting = folder / _WAITING
        self._files: dict[str, Stored] = {}
        shutil.rmtree(self._waiting, ignore_errors=True)
        self._waiting.mkdir()

    def keep_file(self, name: str, stored: Stored) -> None:
        self._files[name] = stored

    def draft_path(self) -> Path:
        """Where to write a file before `add`."""
        return self._waiting / ".draft"

    def add_draft(self, name: str, rows: int | None = None) -> str:
        """Take the draft in under `name`, where `{}` stands for the first digits of its checksum; the name."""
        digest = _compute_sha256(self.draft_path())
        name = name.format(digest[:16])
        target = self._waiting / name
        target.parent.mkdir(exist_ok=True)
        self.draft_path().replace(target)
        self._files[name] = Stored(digest, rows)
        return name

    def commit_change(self, head: Manifest, runs: Mapping[str, SeenRun]) -> None:
        """Let the change count; `head` is the new manifest, without runs and files."""
        manifest = replace(head, runs=runs, files=self._files)
        self.draft_path().write_text(json.dumps(vars(manifest), default=vars))
        self.draft_path().replace(self._folder / NAME)
        settle_folder(self._folder, manifest, self._owned)


def settle_folder(folder: Path, manifest: Manifest, owned: tuple[str, ...]) -> None:
    """Move what waits to its place, and remove what the manifest doesn't know."""
    for waiting in list((folder / _WAITING).rglob("*")):
        name = waiting.relative_to(folder / _WAITING).as_posix()
        if name in manifest.files and _compute_sha256(waiting) == manifest.files[name].sha256:
            (folder / name).parent.mkdir(exist_ok=True)
            waiting.replace(folder / name)
    for name in owned:
        if (folder / name).is_dir():
            for path in (folder / name).iterdir():
                if f"{name}/{path.name}" not in manifest.files:
                    path.unlink()
        elif name not in manifest.files:
            (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _WAITING, ignore_errors=True)
