"""The only place that downloads: a dataset into a staging folder, checked, and moved into the data directory whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from time import sleep
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from suite.core import registry
from suite.core.errors import UserError
from suite.core.specs import Component
from suite.data.dataset import PARTS, Dataset


def fetch_dataset(name: str, root: Path) -> Iterator[str]:
    """Downloads a dataset with its default settings, unless it is there; yields what to tell.

    Raises:
        UserError: it can't be downloaded, the download failed, or what came isn't whole. Nothing of it is kept then.
    """
    component, download = Component(name), getattr(registry.load_component("dataset", name), "fetch", None)
    try:
        missing = Dataset(component, root).info.missing
    except UserError as refusal:  # any folder will do, and none is named
        missing = str(refusal)
    if missing is None:
        yield f"{name} is there already: nothing to fetch"
        return
    if download is None:
        raise UserError(f"{name}: Graftbench can't download it: {missing}")
    with _make_staging(name, root) as staging:
        _run_download(name, download, staging)
        _check_whole(component, staging, root)
        for path, aside in _place_entries(staging, root):
            if aside:
                yield f"{path} was there and not whole: it is now {aside}, delete it when you don't need it"
            yield f"fetched {path}"


@contextlib.contextmanager
def _make_staging(name: str, root: Path) -> Iterator[Path]:
    """A folder on the data directory's disk, gone afterwards; so are those of killed fetches."""
    with _tidy_root(root), _lock_root(name, root):
        for left_over in root.glob(f".fetching-{name}-*"):  # of a killed process: we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".fetching-{name}-", dir=root))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _tidy_root(root: Path) -> Iterator[None]:
    """Removes what had to be made of the data directory and its parents, if nothing came into it."""
    new = [path for path in (root, *root.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with contextlib.suppress(OSError):  # not empty, or never made
                path.rmdir()


@contextlib.contextmanager
def _lock_root(name: str, root: Path) -> Iterator[None]:
    """The data directory, made where it isn't there; one process at a time fetches a dataset into it."""
    lock = root / f".fetching-{name}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = lock.open("ab")  # the system frees the lock of a killed process
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{name}: another process is fetching it into {root}; wait for that one") from error
    except OSError as error:
        raise UserError(f"{root} can't be written ({error.strerror}); name another directory with --data") from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.close()


def _run_download(name: str, download: Callable[[Path], None], staging: Path) -> None:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            download(staging)
    except FAILURES as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: the download failed and nothing of it was kept ({what}); check network and disk and try again"
        ) from error


def _check_whole(component: Component, staging: Path, root: Path) -> None:
    """Facts and labels as trials would read them."""
    try:
        dataset = Dataset(component, staging)
        for part in PARTS:
            dataset.check_count(part, len(dataset.open_source(part).labels))
    except UserError as refusal:
        what = str(refusal).replace(str(staging), str(root))
        raise UserError(f"{component.name}: what came isn't whole and nothing of it was kept ({what})") from refusal


def _place_entries(staging: Path, root: Path) -> Iterator[tuple[Path, Path | None]]:
    """Renames the top-level entries; one that is in the way is set aside, never deleted."""
    for entry in sorted(staging.iterdir()):
        place, aside = root / entry.name, None
        if place.exists():
            names = (place.with_name(f"{place.name}.before-{number}") for number in itertools.count(1))
            aside = next(path for path in names if not path.exists())
            place.rename(aside)
        entry.rename(place)
        yield place, aside


def fetch_remedy(name: str) -> str:
    """The command that brings the files."""
    return f"graftbench data fetch {name}"


# -- what datasets' `fetch` call

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # that bring nothing new, one after the other
PAUSE = 1.0  # seconds before the second attempt; doubled before each later one
CHUNK = 2**16  # bytes
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
PARTIAL_CONTENT, NO_SUCH_RANGE = 206, 416  # answers to a request for the rest of a file
WORTH_ANOTHER_TRY = (408, NO_SUCH_RANGE, 429)  # of the answers 4xx; the others: asked too slowly, too often

ShowProgress = Callable[[int, int | None], None]  # bytes done, of how many where that is known


class DownloadError(Exception):
    """A file can't be downloaded; the message names its address."""


FAILURES = (
    DownloadError,
    RuntimeError,
    OSError,
    ImportError,
    EOFError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    HTTPException,
)


def download_file(url: str, file: Path, md5: str, *, timeout: float = TIMEOUT) -> None:
    """Downloads a file; where the download breaks off it goes on from there, if the server allows.

    Args:
        md5: the published file's MD5 sum, 32 hexadecimal digits.
        timeout: seconds without a byte, after which the server is asked again.

    Raises:
        DownloadError: the server can't be reached, refuses, stalls or breaks off ATTEMPTS times, or sends another file.
        OSError: the disk is full or read-only.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.part")
    with _show_download(file.name) as show:
        _download_persistently(url, partial, timeout, show)
    if _compute_md5(partial) != md5:
        partial.unlink()
        raise DownloadError(f"{url} is another file than the published one: its MD5 sum is not {md5}")
    partial.rename(file)


def fetch_archive(url: str, folder: Path, md5: str) -> None:
    """Downloads an archive, unpacks it in `folder`, and removes it. Raises what `download_file` does."""
    archive = folder / url.rpartition("/")[2]
    download_file(url, archive, md5)
    unpack_archive(archive, folder)
    archive.unlink()


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpacks a .zip, a .tar or a compressed .tar."""
    if archive.suffix == ".zip":
        shutil.unpack_archive(archive, folder)
    else:
        shutil.unpack_archive(archive, folder, filter="data")


def _download_persistently(url: str, partial: Path, timeout: float, show: ShowProgress) -> None:
    """Asks again and again, until the file is whole or ATTEMPTS in a row have brought nothing new."""
    failures = furthest = 0
    while True:
        try:
            _continue_download(url, partial, timeout, show)
            return
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in FULL_DISK:
                raise
            size = partial.stat().st_size if partial.exists() else 0
            failures = 1 if size > furthest else failures + 1
            furthest = max(furthest, size)
            if failures >= ATTEMPTS or _is_final(error):
                raise DownloadError(f"{url}: {_describe_failure(error, timeout)}") from error
            if isinstance(error, HTTPError) and error.code == NO_SUCH_RANGE:
                partial.unlink()
        sleep(PAUSE * 2 ** (failures - 1))


def _continue_download(url: str, partial: Path, timeout: float, show: ShowProgress) -> None:
    """One request, for what is missing of the file. Raises OSError or HTTPException where it stays incomplete."""
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "graftbench"}  # some servers refuse Python's own
    if start:
        headers["Range"] = f"bytes={start}-"
    with urlopen(Request(url, headers=headers), timeout=timeout) as response:
        is_resumed = response.status == PARTIAL_CONTENT  # a server that knows no ranges sends all of it
        length = response.headers["Content-Length"]
        total = int(length) if length else None
        if total and is_resumed:
            total += start
        with partial.open("ab" if is_resumed else "wb") as file:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                show(file.tell(), total)
    size = partial.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the server broke off after {size:,} of {total:,} bytes")


def _is_final(error: OSError | HTTPException) -> bool:
    """Whether the server would answer the same again."""
    return isinstance(error, HTTPError) and error.code < 500 and error.code not in WORTH_ANOTHER_TRY


def _describe_failure(error: OSError | HTTPException, timeout: float) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} ({error.reason})"
    if isinstance(reason, TimeoutError):
        return f"the server sent nothing for {timeout:g} seconds"
    return str(reason) or type(reason).__name__


def _compute_md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _show_download(name: str) -> Iterator[ShowProgress]:
    """A line that moves on a terminal, on stderr; nothing in a log."""
    from rich.console import Console  # what trains can do without it
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task(escape(name), total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)
