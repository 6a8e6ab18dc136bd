"""The only place that downloads: a dataset into a staging folder, checked, and moved into the data directory whole."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

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
        raise UserError(f"{name}: the download failed and nothing of it was kept ({what}); fetch it again") from error


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


FAILURES = (
    RuntimeError,
    OSError,
    ImportError,
    EOFError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    HTTPException,
)
ARCHIVES = ("*.tar.gz", "*.zip", "*/*.tar", "*/*.tar.gz", "*/*.zip")


def fetch_remedy(name: str) -> str:
    """The command that brings the files."""
    return f"graftbench data fetch {name}"


def download_torchvision(name: str, class_name: str, root: Path) -> None:
    """What `torchvision.datasets.<class_name>` downloads, extracted below the empty directory `root`.

    Raises:
        UserError: no network, a wrong checksum, a missing package, a full disk.
    """
    try:
        from torchvision import datasets  # takes seconds, and nothing else here needs it

        getattr(datasets, class_name)(str(root), download=True)
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{name}: torchvision.datasets.{class_name} couldn't download it ({reason}); check network and disk and "
            "try again, or copy the files from a machine that has them"
        ) from error
    for pattern in ARCHIVES:
        for archive in root.glob(pattern):
            archive.unlink()
