"""One decoded copy per machine: a part's images as a memory-mapped uint8 array, shared by all trial processes.

An entry is a folder in the cache directory: `images.npy`, `labels.npy`, `files.json` (path, size and time of every
source file) and `manifest.json`. It is written beside its place under a lock, and renamed to it when it is whole: a
process killed at any moment leaves no entry, and twenty trials that start together decode once.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from numpy.lib import format as npy
from numpy.typing import NDArray

from suite.datasets._images import Unreadable
from suite.datasets._source import Images, Labels, Source
from suite.settings import Refused

RULE = 1  # raise it when the same files would decode to other pixels
ROWS = 256  # images decoded at a time
Progress = Callable[[int, int], None]  # images done, of how many


@dataclass(frozen=True)
class Decoded:
    """A part, decoded.

    Attributes:
        images: uint8 (N, channels, height, width), pages shared with every process that maps it; None: not kept.
            Writing to it changes this process's copy alone.
        mean, std: per channel on the 0-1 scale, over the part; a constant channel has std 1.
        digest: 16 hexadecimal digits that name images and labels.
    """

    images: NDArray[np.uint8] | None
    labels: Labels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


def cache_directory() -> Path:
    """GRAFTBENCH_CACHE, else `graftbench` in the user's cache directory."""
    if given := os.environ.get("GRAFTBENCH_CACHE"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "graftbench"


def decoded_part(
    source: Source,
    name: str,
    classes: int,
    *,
    keep_images: bool = True,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> Decoded:
    """The part from its cache entry, which is made first where it is missing, torn, or decoded by another rule.

    Args:
        name: begins the entry's name, as `mnist-train`.
        keep_images: False looks at every image once, but keeps only what is said of them: for a part too large.
        accept_changes: decode again where source files have changed since, instead of refusing.

    Raises:
        Refused: source files changed under the entry; an image or a label is unusable; the disk is full or read-only.
    """
    entry = _Entry(source, cache_directory() / f"{name}-{_key(source)}", classes)
    found = entry.opened(keep_images, accept_changes)
    if found is not None:
        entry.tidy()
        return found
    with entry.locked():
        found = entry.opened(keep_images, accept_changes)  # another process may have made it meanwhile
        if found is None:
            entry.build(keep_images, progress or (lambda done, of: None))
            found = entry.opened(keep_images, accept_changes)
    if found is None:
        raise Refused(f"cache: {entry.path} vanished as it was made; run the command again")
    return found


def entry_path(source: Source, name: str) -> Path | None:
    """Where the part's finished entry lies; None when there is none."""
    path = cache_directory() / f"{name}-{_key(source)}"
    return path if (path / "manifest.json").is_file() else None


def _key(source: Source) -> str:
    return _digest(json.dumps([source.origin, source.shape]).encode())


class _Entry:
    def __init__(self, source: Source, path: Path, classes: int) -> None:
        self.source, self.path, self.classes = source, path, classes
        self._building, self._old = Path(f"{path}.building"), Path(f"{path}.old")

    def opened(self, keep_images: bool, accept_changes: bool) -> Decoded | None:
        """None: missing, torn, of another rule, or just being replaced. Raises Refused when the source has changed."""
        manifest = self._manifest()
        if manifest is None:
            return None
        files = _files(self.source)
        if manifest["files"] != _digest(files):
            if accept_changes:
                return None
            raise Refused(self._changed(files))
        stored = self._read("labels.npy") or b""
        if _digest(stored) != manifest["labels"] or (keep_images and not manifest["images"]):
            return None
        labels = self._checked_labels(np.load(io.BytesIO(stored)))
        images = self._mapped((len(labels), *self.source.shape)) if keep_images else None
        if (keep_images and images is None) or self._manifest() != manifest:  # replaced since it was read
            return None
        return Decoded(images, labels, tuple(manifest["mean"]), tuple(manifest["std"]), manifest["digest"])

    def _manifest(self) -> dict[str, Any] | None:
        """None: missing, torn, or of another rule."""
        try:
            found: Any = json.loads(self._read("manifest.json") or b"")
        except ValueError:
            return None
        whole = isinstance(found, dict) and found.pop("check", None) == _digest(json.dumps(found).encode())
        return found if whole and found["rule"] == _rule() else None

    def _mapped(self, shape: tuple[int, ...]) -> Images | None:
        header, path = _header(shape), self.path / "images.npy"
        with _disk_errors(path), contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size == len(header) + math.prod(shape)
            if whole and file.read(len(header)) == header:
                return np.memmap(file, np.uint8, "c", len(header), shape)
        return None

    def _read(self, name: str) -> bytes | None:
        with _disk_errors(self.path), contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_bytes()
        return None

    def _changed(self, files: bytes) -> str:
        before, now = _states(self._read("files.json") or b""), _states(files)
        what = f"{self.source.origin} has changed"
        for file in sorted(before.keys() | now.keys()) if before else ():
            if before.get(file) != now.get(file):
                how = "was added" if file not in before else "is gone" if file not in now else "has changed"
                what = f"{file} {how}"
                break
        return (
            f"{what} since it was decoded into {self.path}; put it back as it was, or accept the change with "
            "`graftbench data warm` (results on the old images don't compare with new ones)"
        )

    @contextlib.contextmanager
    def locked(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """One process at a time makes an entry; the system frees the lock of a killed one."""
        with _disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = Path(f"{self.path}.lock").open("ab")  # noqa: SIM115
        with file:
            with _disk_errors(self.path):
                fcntl.flock(file, how)
            yield

    def tidy(self) -> None:
        """Frees the room that a killed process left taken, unless one is at work or the disk is read-only."""
        if self._building.exists() or self._old.exists():
            with contextlib.suppress(Refused), self.locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._remove_left_overs()

    def build(self, keep_images: bool, progress: Progress) -> None:
        """Decodes into a folder beside the entry's place, and renames it. The lock must be held."""
        files = _files(self.source)  # before anything is read from them
        labels = self._checked_labels(self.source.labels)
        with _disk_errors(self.path, len(labels) * math.prod(self.source.shape) if keep_images else 0):
            self._remove_left_overs()
            self._building.mkdir()
            try:
                self._fill(files, labels, keep_images, progress)
                self._put_in_place()
            except BaseException:
                shutil.rmtree(self._building, ignore_errors=True)
                raise

    def _fill(self, files: bytes, labels: Labels, keep_images: bool, progress: Progress) -> None:
        pixels = _Pixels(self.source, len(labels))
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_flushed(self._building / "images.npy")) if keep_images else None
            if file:
                _reserve(file, (len(labels), *self.source.shape))
            for chunk in pixels.chunks(progress):
                if file:
                    file.write(chunk.data)
        if _files(self.source) != files:
            raise Refused(f"{self.source.origin} changed while it was being decoded; run the command again")
        if pixels.unreadable:
            raise Refused(self._unreadable(pixels.unreadable))
        Path(f"{self.path}-unreadable.txt").unlink(missing_ok=True)
        stored = io.BytesIO()
        np.save(stored, labels)
        pixels.sum.update(labels.data)
        manifest = {
            "rule": _rule(),
            "origin": self.source.origin,
            "images": keep_images,
            "files": _digest(files),
            "labels": _digest(stored.getvalue()),
            "digest": pixels.sum.hexdigest()[:16],
            **pixels.moments(),
        }
        manifest["check"] = _digest(json.dumps(manifest).encode())
        self._write("labels.npy", stored.getvalue())
        self._write("files.json", files)
        self._write("manifest.json", json.dumps(manifest, indent=1).encode())

    def _write(self, name: str, content: bytes) -> None:
        with _flushed(self._building / name) as file:
            file.write(content)

    def _put_in_place(self) -> None:
        """The new folder at its place; processes that mapped the old one keep what they mapped."""
        _sync(self._building)
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(self._old)
        self._building.rename(self.path)
        _sync(self.path.parent)
        self._remove_left_overs()

    def _remove_left_overs(self) -> None:
        for path in (self._building, self._old):
            if path.exists():
                shutil.rmtree(path)

    def _checked_labels(self, labels: Labels) -> Labels:
        if not len(labels):
            raise Refused(f"{self.source.origin} has no images; put them there")
        for row in np.flatnonzero((labels < 0) | (labels >= self.classes)):
            wrong = f"{self.source.name(int(row))} has label {labels[row]}, outside 0..{self.classes - 1}"
            raise Refused(f"{wrong}; repair the file, or its class names")
        return labels.astype(np.int64, copy=False)

    def _unreadable(self, found: dict[int, str]) -> str:
        """Writes the list of them, and says where it is."""
        listed = Path(f"{self.path}-unreadable.txt")
        lines = "".join(f"{self.source.name(row)}\t{why}\n" for row, why in sorted(found.items()))
        listed.write_text(lines, encoding="utf-8", errors="surrogateescape")
        row, why = min(found.items())
        count = "1 image is" if len(found) == 1 else f"{len(found)} images are"
        return f"{self.source.name(row)} {why}; {count} unusable, listed in {listed}: repair or remove them"


class _Pixels:
    """Decodes a part in order, summing up what is said of it on the way."""

    def __init__(self, source: Source, count: int) -> None:
        self._source, self._count = source, count
        self._histograms = np.zeros((source.shape[0], 256), np.int64)
        self.sum = hashlib.sha256()
        self.unreadable: dict[int, str] = {}

    def chunks(self, progress: Progress) -> Iterator[Images]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, self._count, ROWS):
                rows = range(start, min(start + ROWS, self._count))
                chunk = np.zeros((len(rows), *self._source.shape), np.uint8)
                list(pool.map(self._decode, rows, chunk))
                self.sum.update(chunk.data)
                for image in chunk:
                    for channel, histogram in zip(image, self._histograms, strict=True):
                        histogram += np.bincount(channel.reshape(-1), minlength=256)
                yield chunk
                progress(rows.stop, self._count)

    def _decode(self, row: int, into: Images) -> None:
        try:
            into[:] = self._source.decode(row)
        except Unreadable as error:  # the others too are looked at, so that all can be repaired at once
            self.unreadable[row] = str(error)

    def moments(self) -> dict[str, list[float]]:
        """Per channel, exact. A constant channel gets the standard deviation 1, so that it becomes 0 and not NaN."""
        values, mean, std = np.arange(256), [], []
        for counts in self._histograms:  # in whole numbers: rounding would give a constant channel a tiny deviation
            n, total, squares = (int((counts * values**power).sum()) for power in (0, 1, 2))
            mean.append(total / (255 * n))
            std.append(math.sqrt(n * squares - total**2) / (255 * n) or 1.0)
        return {"mean": mean, "std": std}


def _rule() -> list[Any]:
    return [RULE, f"Pillow {PIL.__version__}"]  # another Pillow may bring another JPEG decoder


def _files(source: Source) -> bytes:
    """Path, size and time of change of every source file, as JSON: it can hold any name."""
    states = []
    for file in source.files:
        try:
            state = file.stat()
        except OSError as error:
            raise Refused(f"{file} can't be read ({error.strerror}); put it back") from error
        states.append((str(file), state.st_size, state.st_mtime_ns))
    return json.dumps(states).encode()


def _states(files: bytes) -> dict[str, list[int]]:
    try:
        return {path: state for path, *state in json.loads(files)}
    except ValueError:  # torn
        return {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _reserve(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header, and the room for all images: a full disk says so now."""
    file.write(_header(shape))
    file.flush()
    try:
        os.posix_fallocate(file.fileno(), file.tell(), math.prod(shape))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # a file system without it
            raise


@contextlib.contextmanager
def _flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file, on the disk before a rename makes it count."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """The names in a directory to the disk, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


@contextlib.contextmanager
def _disk_errors(entry: Path, size: int = 0) -> Iterator[None]:
    """Turns what the disk refuses into a sentence with a remedy."""
    try:
        yield
    except OSError as error:
        need = f" with {size / 2**20:,.0f} MiB free" if size else ""
        raise Refused(
            f"cache: {error.filename or entry} can't be used ({error.strerror}); set GRAFTBENCH_CACHE to a directory "
            f"on a writable disk{need}"
        ) from error
