"""One decoded copy per machine: a part's images as a memory-mapped uint8 array, shared by all trial processes.

An entry is a folder in the cache directory: `images.npy`, `labels.npy`, `hashes.npy` (16 bytes of each image's pixels),
`files.json` (path, size and time of every source file) and `manifest.json`. It is written beside its place under a
lock, and renamed to it when it is whole: a process killed at any moment leaves no entry, and twenty trials that start
together decode once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from numpy.lib import format as npy
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.files import open_flushed, sync_folder
from suite.data.source import Hashes, ImageFiles, Images, ImageSource, Labels, PartDecoder, ProgressCallback

RULE = 3  # raise it when the same files would decode to other pixels, or have other hashes


class Changed(UserError):
    """Source files are not those that were decoded."""


@dataclass(frozen=True)
class Decoded:
    """A part, decoded.

    Attributes:
        images: uint8 (N, channels, height, width), pages shared with every process that maps it; None: not kept.
            Writing to it changes this process's copy alone.
        mean, std: per channel on the 0-1 scale, over the part; a constant channel has std 1.
        digest: 16 hexadecimal digits that name images and labels.
        hashes: uint8 (N, 16), of each image's pixels: equal images have equal ones.
        warned: how many images Pillow warned of, by what it said.
    """

    images: NDArray[np.uint8] | None
    labels: Labels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    hashes: Hashes
    warned: Mapping[str, int]


def cache_directory() -> Path:
    """GRAFTBENCH_CACHE, else `graftbench` in the user's cache directory."""
    if given := os.environ.get("GRAFTBENCH_CACHE"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "graftbench"


def load_decoded_part(
    source: ImageSource,
    name: str,
    classes: int,
    *,
    keep_images: bool = True,
    accept_changes: bool = False,
    rebuild: bool = False,
    progress: ProgressCallback | None = None,
) -> Decoded:
    """The part from its cache entry, which is made first where it is missing, torn, or decoded by another rule.

    Args:
        name: begins the entry's name, as `mnist-train`.
        keep_images: False looks at every image once, but keeps only what is said of them: for a part too large.
        accept_changes: decode again where source files have changed since, instead of refusing.
        rebuild: decode again whatever is there.

    Raises:
        Changed: source files have changed under the entry.
        UserError: an image or a label is unusable; the disk is full or read-only.
    """
    entry = entry_of(source, name, classes)
    found = None if rebuild else entry.open_decoded(keep_images, accept_changes)
    if found is not None:
        entry.remove_leftovers()
        return found
    with entry.lock_entry():
        found = None if rebuild else entry.open_decoded(keep_images, accept_changes)  # another process may have made it
        if found is None:
            wanted = None if rebuild or accept_changes else entry.read_digest()
            entry.build_entry(keep_images, progress or (lambda done, of: None), wanted)
            found = entry.open_decoded(keep_images, accept_changes)
    if found is None:
        raise UserError(f"cache: {entry.path} vanished as it was made; run the command again")
    return found


def entry_of(source: ImageSource, name: str, classes: int) -> Entry:
    """The part's place in the cache; arguments as of `load_decoded_part`."""
    return Entry(source, _entry_path(source, name), classes)


def read_entry(source: ImageSource, name: str, classes: int) -> Decoded | None:
    """The part from its finished entry; None: there is none, or its files have changed since."""
    entry = entry_of(source, name, classes)
    try:
        return entry.open_decoded(True, accept_changes=True) or entry.open_decoded(False, accept_changes=True)
    except UserError:  # labels or the disk; decoding says it
        return None


def entry_path(source: ImageSource, name: str) -> Path | None:
    """Where the part's finished entry lies; None when there is none."""
    path = _entry_path(source, name)
    return path if (path / "manifest.json").is_file() else None


def _entry_path(source: ImageSource, name: str) -> Path:
    return cache_directory() / f"{name}-{_compute_digest(json.dumps([source.origin, source.shape]).encode())}"


class Entry:
    """A part's place in the cache, whether or not anything is there."""

    def __init__(self, source: ImageSource, path: Path, classes: int) -> None:
        self.source, self.path, self.classes = source, path, classes
        self._building, self._old = Path(f"{path}.building"), Path(f"{path}.old")
        self.unreadable = Path(f"{path}-unreadable.txt")

    def open_decoded(self, keep_images: bool, accept_changes: bool) -> Decoded | None:
        """None: missing, incomplete, of another rule, or being replaced. Raises UserError when the source changed."""
        manifest = self._read_manifest()
        if manifest is None:
            return None
        files = _describe_files(self.source)
        if manifest["files"] != _compute_digest(files):
            if accept_changes or self._only_touched(files):
                return None
            raise Changed(self._describe_change(files))
        stored = {name: self._read_file(f"{name}.npy") or b"" for name in ("labels", "hashes")}
        is_whole = all(_compute_digest(content) == manifest[name] for name, content in stored.items())
        if not is_whole or (keep_images and not manifest["images"]):
            return None
        labels, hashes = (np.load(io.BytesIO(content)) for content in stored.values())
        labels = check_labels(self.source, labels, self.classes)
        change = self._find_changed_row(manifest, labels)
        if change and accept_changes:
            return None
        if change:
            raise Changed(self._refuse_change(change))
        images = self._map_images((len(labels), *self.source.shape)) if keep_images else None
        if (keep_images and images is None) or self._read_manifest() != manifest:  # replaced since it was read
            return None
        return Decoded(
            images,
            labels,
            tuple(manifest["mean"]),
            tuple(manifest["std"]),
            manifest["digest"],
            hashes,
            manifest["warned"],
        )

    def _find_changed_row(self, manifest: Mapping[str, Any], labels: Labels) -> str:
        """Which row has another image or label than was decoded; a table that isn't watched may have given them."""
        if not isinstance(self.source, ImageFiles):  # those of others are in the files that are watched
            return ""
        if manifest["rows"] != _describe_rows(self.source):
            return f"{self.source.origin} has other images, or has them in another order,"
        rows = np.flatnonzero(self.source.labels != labels)
        if not len(rows):
            return ""
        row = int(rows[0])
        return f"{self.source.name(row)} had label {labels[row]} and has {self.source.labels[row]}"

    def _read_manifest(self) -> dict[str, Any] | None:
        """None: missing, torn, or of another rule."""
        try:
            found: Any = json.loads(self._read_file("manifest.json") or b"")
        except ValueError:
            return None
        whole = isinstance(found, dict) and found.pop("check", None) == _compute_digest(json.dumps(found).encode())
        return found if whole and found["rule"] == _decoding_rule() else None

    def _map_images(self, shape: tuple[int, ...]) -> Images | None:
        header, path = _npy_header(shape), self.path / "images.npy"
        with disk_errors(path), contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size == len(header) + math.prod(shape)
            if whole and file.read(len(header)) == header:
                return np.memmap(file, np.uint8, "c", len(header), shape)
        return None

    def _read_file(self, name: str) -> bytes | None:
        with disk_errors(self.path), contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def read_digest(self) -> str | None:
        """Of what was decoded here before, if that can be told."""
        manifest = self._read_manifest()
        return manifest["digest"] if manifest else None

    def _only_touched(self, files: bytes) -> bool:
        """Whether files differ in their times alone: decoding them again will tell whether they have changed."""
        before, now = _stat_files(self._read_file("files.json") or b""), _stat_files(files)
        return bool(before) and {path: size for path, (size, _) in before.items()} == {
            path: size for path, (size, _) in now.items()
        }

    def is_touched(self) -> bool:
        """Whether files differ from those that were decoded, but in their times alone."""
        files = _describe_files(self.source)
        return self.read_digest() is not None and files != self._read_file("files.json") and self._only_touched(files)

    def _describe_change(self, files: bytes) -> str:
        before, now = _stat_files(self._read_file("files.json") or b""), _stat_files(files)
        what = f"{self.source.origin} has changed"
        for file in sorted(before.keys() | now.keys()) if before else ():
            if before.get(file) != now.get(file):
                how = "was added" if file not in before else "is gone" if file not in now else "has changed"
                what = f"{file} {how}"
                break
        return self._refuse_change(what)

    def _refuse_change(self, what: str) -> str:
        return (
            f"{what} since it was decoded into {self.path}; put it back as it was, or accept the change with "
            "`graftbench data warm STUDY` (results on the old images don't compare with new ones)"
        )

    @contextlib.contextmanager
    def lock_entry(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """One process at a time makes an entry; the system frees the lock of a killed one."""
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = Path(f"{self.path}.lock").open("ab")  # noqa: SIM115
        with file:
            with disk_errors(self.path):
                fcntl.flock(file, how)
            yield

    def remove_leftovers(self) -> None:
        """Frees the room that a killed process left taken, unless one is at work or the disk is read-only."""
        if self._building.exists() or self._old.exists():
            with contextlib.suppress(UserError), self.lock_entry(fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._clear_building()

    def remove_entry(self) -> None:
        """So that the next that needs it decodes anew; processes that mapped it keep what they mapped."""
        with self.lock_entry(), disk_errors(self.path), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def build_entry(self, keep_images: bool, progress: ProgressCallback, wanted: str | None) -> None:
        """Decodes into a folder beside the entry's place, and renames it. The lock must be held.

        Raises:
            Changed: the images don't have the digest `wanted`; what was there stays.
        """
        files = _describe_files(self.source)  # before anything is read from them
        labels = check_labels(self.source, self.source.labels, self.classes)
        with disk_errors(self.path, len(labels) * math.prod(self.source.shape) if keep_images else 0):
            self._clear_building()
            self._building.mkdir()
            try:
                self._fill_folder(files, labels, keep_images, progress, wanted)
                self._put_in_place()
            except BaseException:
                shutil.rmtree(self._building, ignore_errors=True)
                raise

    def _fill_folder(
        self, files: bytes, labels: Labels, keep_images: bool, progress: ProgressCallback, wanted: str | None
    ) -> None:
        pixels = PartDecoder(self.source, len(labels))
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_flushed(self._building / "images.npy")) if keep_images else None
            if file:
                _reserve_room(file, (len(labels), *self.source.shape))
            for chunk in pixels.chunks(progress):
                if file:
                    file.write(chunk.data)
        if _describe_files(self.source) != files:
            raise UserError(f"{self.source.origin} changed while it was being decoded; run the command again")
        if pixels.unreadable:
            row, why = min(pixels.unreadable.items())
            raise UserError(f"{self.source.name(row)} {why}; {pixels.list_unreadable(self.unreadable)}")
        if wanted not in {None, pixels.digest(labels)}:
            raise Changed(self._describe_change(files))
        self.unreadable.unlink(missing_ok=True)
        stored = {"labels": _to_npy(labels), "hashes": _to_npy(pixels.hashes)}
        manifest = {
            "rule": _decoding_rule(),
            "origin": self.source.origin,
            "shape": self.source.shape,
            "images": keep_images,
            "files": _compute_digest(files),
            "rows": _describe_rows(self.source),
            **{name: _compute_digest(content) for name, content in stored.items()},
            "digest": pixels.digest(labels),
            "warned": pixels.warned,
            **pixels.moments(),
        }
        manifest["check"] = _compute_digest(json.dumps(manifest).encode())
        for name, content in stored.items():
            self._write_file(f"{name}.npy", content)
        self._write_file("files.json", files)
        self._write_file("manifest.json", json.dumps(manifest, indent=1).encode())

    def _write_file(self, name: str, content: bytes) -> None:
        with open_flushed(self._building / name) as file:
            file.write(content)

    def _put_in_place(self) -> None:
        """The new folder at its place; processes that mapped the old one keep what they mapped."""
        sync_folder(self._building)
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(self._old)
        self._building.rename(self.path)
        sync_folder(self.path.parent)
        self._clear_building()

    def _clear_building(self) -> None:
        for path in (self._building, self._old):
            if path.exists():
                shutil.rmtree(path)


def check_labels(source: ImageSource, labels: Labels, classes: int) -> Labels:
    """The labels as int64 (N,).

    Raises:
        UserError: they are no whole numbers, none, or not those of so many classes.
    """
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{source.origin}: labels must be an array of whole numbers, int64 (N,), not {labels!r:.60}")
    if not len(labels):
        raise UserError(f"{source.origin} has no images; put them there")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        wrong = f"{source.name(int(outside[0]))} has label {labels[outside[0]]}, outside 0..{classes - 1}"
        raise UserError(f"{wrong}; repair the file, or its class names")
    return labels.astype(np.int64, copy=False)


def _decoding_rule() -> list[Any]:
    return [RULE, f"Pillow {PIL.__version__}"]  # another Pillow may bring another JPEG decoder


def _describe_files(source: ImageSource) -> bytes:
    """Path, size and time of change of every source file, as JSON: it can hold any name."""
    states = []
    for file in source.watched:
        try:
            state = file.stat()
        except OSError as error:
            raise UserError(f"{file} can't be read ({error.strerror}); put it back") from error
        states.append((str(file), state.st_size, state.st_mtime_ns))
    return json.dumps(states).encode()


def _describe_rows(source: ImageSource) -> str:
    """Names the image of each row, where a file is an image; empty elsewhere."""
    if not isinstance(source, ImageFiles):
        return ""
    return _compute_digest("\0".join(map(str, source.files)).encode(errors="surrogateescape"))


def _stat_files(files: bytes) -> dict[str, list[int]]:
    try:
        return {path: state for path, *state in json.loads(files)}
    except ValueError:  # torn
        return {}


def _compute_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# -- writing


def _to_npy(array: NDArray[Any]) -> bytes:
    stored = io.BytesIO()
    np.save(stored, array)
    return stored.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _reserve_room(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header, and the room for all images: a full disk says so now."""
    file.write(_npy_header(shape))
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), math.prod(shape))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # a file system without it
            raise


@contextlib.contextmanager
def disk_errors(entry: Path, size: int = 0) -> Iterator[None]:
    """Turns what the disk refuses into a sentence with a remedy."""
    try:
        yield
    except OSError as error:
        need = f" with {size / 2**20:,.0f} MiB free" if size else ""
        raise UserError(
            f"cache: {error.filename or entry} can't be used ({error.strerror}); set GRAFTBENCH_CACHE to a directory "
            f"on a writable disk{need}"
        ) from error
