"""Images in class folders, as torchvision's ImageFolder reads them; what is passed over beside them; and a fixed split
for trees without parts.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.specs import hash_parts
from suite.data.images import LOADABLE_SUFFIXES, is_encoded_image
from suite.data.source import Labels

# -- what lies in a folder

SUFFIX = re.compile(r"\.(?=[^.]*[a-z])[a-z0-9_~-]{1,12}", re.IGNORECASE)  # `.0001` and `. jpg of 2019` are none
UNREAD_IMAGES = frozenset({".heic", ".heif"})  # of phones; Pillow alone doesn't read them
# Left behind by systems and tools, in lower case; so is all that begins with a dot.
LEFT_BEHIND = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "@eadir",
        "$recycle.bin",
        "lost+found",
        "system volume information",
    }
)


@dataclass(frozen=True)
class Listing:
    """What lies in a folder: names by kind, each kind sorted.

    Attributes:
        images: files with the suffix of an image, or with none and an image's content.
        others: files that are no images.
        hidden, hidden_folders: left behind by systems and tools, or named with a dot before.
        special: pipes, sockets, devices.
        broken: links that lead nowhere, or round in a circle.
    """

    directory: Path
    folders: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    hidden_folders: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Images and others."""
        return self.images + self.others


Scans = dict[Hashable, Any]
_SCANS: ContextVar[Scans | None] = ContextVar("scans", default=None)
Found = TypeVar("Found")


@contextlib.contextmanager
def share_scans(scans: Scans) -> Iterator[None]:
    """In this block what is in `scans` isn't scanned again, and what is scanned is added to it.

    Whoever holds `scans` decides how long they are believed. A memory of this module's own would have to tell by a
    folder's time of change whether it still holds, and many file systems' clocks tick too seldom for that.
    """
    token = _SCANS.set(scans)
    try:
        yield
    finally:
        _SCANS.reset(token)


def scan_once(key: Hashable, scan: Callable[[], Found]) -> Found:
    """What `scan()` finds, or has found under this key in the block of `share_scans`."""
    scans = _SCANS.get()
    if scans is None:
        return scan()
    if key not in scans:
        scans[key] = scan()
    found: Found = scans[key]
    return found


def list_folder(owner: str, directory: Path) -> Listing:
    """What lies in a folder.

    Raises:
        UserError: it can't be read, or a link in it leads nowhere. `owner`, the dataset, begins the sentence.
    """
    return scan_once(directory, partial(_list_whole_folder, owner, directory))


def _list_whole_folder(owner: str, directory: Path) -> Listing:
    try:
        listing = _read_folder(directory)
    except OSError as error:
        remedy = "put the images there" if isinstance(error, FileNotFoundError) else "let it be read, or remove it"
        raise UserError(f"{owner}: {directory} can't be read ({error.strerror}); {remedy}") from error
    for name in listing.broken:
        _refuse_link(owner, directory / name)
    return listing


def peek_into_folder(directory: Path, at_most: int | None = None) -> Listing:
    """All folders in a folder, and its first `at_most` files; none where it may not be read, as `lost+found` of a
    mounted disk.
    """
    return scan_once(("peek", directory, at_most), partial(_peek_into_folder, directory, at_most))


def _peek_into_folder(directory: Path, at_most: int | None) -> Listing:
    try:
        return _read_folder(directory, at_most)
    except OSError:
        return Listing(directory)


def _read_folder(directory: Path, at_most: int | None = None) -> Listing:
    """Asks the disk for the list alone: of files that aren't links nothing more is looked up, so that a tree of a
    million photographs is listed in seconds. After `at_most` files or links only folders are listed."""
    found: dict[str, list[str]] = {}
    files = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            files += not entry.is_dir(follow_symlinks=False)
            if at_most is None or files <= at_most or entry.is_dir(follow_symlinks=False):
                found.setdefault(_tell_kind(entry), []).append(entry.name)
    return Listing(directory, **{kind: tuple(sorted(names)) for kind, names in found.items()})


def _tell_kind(entry: os.DirEntry[str]) -> str:
    """The attribute of Listing that an entry belongs to."""
    if entry.name.startswith(".") or entry.name.lower() in LEFT_BEHIND:
        return "hidden_folders" if entry.is_dir(follow_symlinks=False) else "hidden"
    if entry.is_symlink() and _is_broken(entry):
        return "broken"
    if entry.is_dir():
        return "folders"
    if not entry.is_file():
        return "special"
    suffix = find_suffix(entry.name)
    if suffix:
        return "images" if suffix in LOADABLE_SUFFIXES else "others"
    return "images" if is_encoded_image(Path(entry.path)) else "others"


def has_photographs(listing: Listing) -> bool:
    """Whether it has images, also such as can't be read: phones' HEIC."""
    return bool(listing.images) or not UNREAD_IMAGES.isdisjoint(map(find_suffix, listing.others))


def find_suffix(name: str) -> str:
    """`.jpg` of `A.JPG`; empty where what follows the last dot is no suffix."""
    _, dot, end = name.rpartition(".")
    return (dot + end).lower() if SUFFIX.fullmatch(dot + end) else ""


def _is_broken(link: os.DirEntry[str]) -> bool:
    try:
        link.stat()
    except OSError:
        return True
    if not link.is_dir():
        return False
    path = Path(link.path)
    return path.parent.resolve().is_relative_to(path.resolve())


def _refuse_link(owner: str, link: Path) -> None:
    target = link.readlink()
    if link.exists():
        raise UserError(f"{owner}: {link} is a link to a folder that it lies in ({target}); remove it")
    raise UserError(
        f"{owner}: {link} is a link to {target}, which can't be read; mount or restore that, or remove the link"
    )


# -- class folders


@dataclass(frozen=True)
class Tree:
    """Class folders in sorted order, and their files in sorted order, class by class.

    Attributes:
        listings: of the directory, and of every class folder.
    """

    directory: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Labels
    listings: tuple[Listing, ...] = ()

    def choose_rows(self, rows: NDArray[np.bool_]) -> tuple[list[Path], Labels]:
        """Files and labels of the rows that the mask has."""
        return [self.files[row] for row in np.flatnonzero(rows)], self.labels[rows]


def scan_class_folders(
    owner: str, directory: Path, *, without: Collection[str] = (), ignore_folders: bool = False
) -> Tree:
    """The class folders of a directory and their images; hidden files and folders are skipped.

    Args:
        owner: the dataset, as it begins a refusal.
        without: class folders left out.
        ignore_folders: pass over folders inside a class folder, which are refused otherwise.

    Raises:
        UserError: no directory, no class folder, an image beside them, a folder in one, one without images, or two
            whose names look the same.
    """
    top = list_folder(owner, directory)
    names = tuple(name for name in top.folders if name not in without)
    if not names:
        raise UserError(f"{owner}: {directory} has no class folders; give each class a folder of its images there")
    if top.images:
        raise UserError(
            f"{owner}: {directory / top.images[0]} lies beside the class folders; put it into its class's folder, or "
            "remove it"
        )
    _refuse_twins(owner, directory, names)
    listings, files, labels = [top], list[Path](), list[int]()
    for label, name in enumerate(names):
        listing = list_folder(owner, directory / name)
        _check_class_folder(owner, listing, ignore_folders)
        listings.append(listing)
        files += [listing.directory / image for image in listing.images]
        labels += [label] * len(listing.images)
    return Tree(directory, names, tuple(files), np.array(labels, np.int64), tuple(listings))


def list_class_folders(owner: str, directory: Path) -> list[str]:
    """The names of the class folders, sorted; doesn't look into them."""
    return list(list_folder(owner, directory).folders)


def normalize_name(name: str) -> str:
    """One spelling of names that look the same: `é` is one character or two, as the system that wrote it has it."""
    return unicodedata.normalize("NFC", name)


def match_classes(tree: Tree, train: Tree) -> list[int | None]:
    """The label of each class of a tree among the training part's; None: it has no class of that name."""
    labels = {normalize_name(name): label for label, name in enumerate(train.classes)}
    return [labels.get(normalize_name(name)) for name in tree.classes]


def _refuse_twins(owner: str, directory: Path, names: Collection[str]) -> None:
    seen: set[str] = set()
    for name in map(normalize_name, names):
        if name in seen:
            raise UserError(
                f"{owner}: {directory} has two class folders {name!r} that differ only in Unicode normalisation (NFC, "
                "NFD); put their images into one"
            )
        seen.add(name)


def _check_class_folder(owner: str, listing: Listing, ignore_folders: bool) -> None:
    directory = listing.directory
    if listing.folders and not ignore_folders:
        raise UserError(
            f"{owner}: {directory / listing.folders[0]} is a folder inside the class folder {directory.name}; move its "
            f"images up, or the folder out of {directory}"
        )
    if listing.images:
        return
    if not listing.others:
        raise UserError(f"{owner}: {directory} holds no images; put some there, or remove the folder")
    kinds = ", ".join(count_suffixes([listing]))
    remedy = "put images there, or remove the folder"
    if has_photographs(listing):
        remedy = "convert them to JPEG"
    raise UserError(f"{owner}: {directory} holds no images that can be read, only {kinds}; {remedy}")


# -- what is passed over


def describe_passed_over(trees: Sequence[Tree], above: Listing | None = None) -> list[str]:
    """Phrases on what lies in trees and is not read: `90 files .heic`, `1 hidden file`.

    Args:
        above: of the directory that the trees lie in, where they are parts: its hidden files count too.
    """
    tops = [tree.listings[0] for tree in trees]
    classes = [listing for tree in trees for listing in tree.listings[1:]]
    phrases = count_suffixes(classes)
    beside = sum(len(top.others) for top in tops)
    if beside:
        phrases.append(f"{count_things(beside, 'file')} beside the class folders")
    return phrases + count_hidden([*tops, *classes, *([above] if above else [])])


def count_suffixes(listings: Collection[Listing]) -> list[str]:
    """The files that are no images by their suffix, the most frequent first."""
    suffixes = Counter(find_suffix(name) for listing in listings for name in listing.others)
    phrases = []
    for suffix, count in sorted(suffixes.items(), key=lambda item: (-item[1], item[0])):
        phrases.append(f"{count_things(count, 'file')} {suffix or 'without a suffix'}")
    return phrases


def count_hidden(listings: Collection[Listing]) -> list[str]:
    counts = {
        "hidden file": sum(len(listing.hidden) for listing in listings),
        "hidden folder": sum(len(listing.hidden_folders) for listing in listings),
        "special file": sum(len(listing.special) for listing in listings),
    }
    return [count_things(count, thing) for thing, count in counts.items() if count]


def count_things(count: int, thing: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


# -- a test part for trees without parts


def choose_test_rows(tree: Tree, tag: str, percent: int) -> NDArray[np.bool_]:
    """Which rows are the test part: of each class `percent`, rounded down; by hash of the names, so that no seed
    moves it.

    The rounding is what gives Caltech-256's 21,531 and 9,076 images of Avola et al. 2022, section 4.1.
    """
    mask = np.zeros(len(tree.labels), dtype=bool)
    first = 0
    for name, count in zip(tree.classes, np.bincount(tree.labels).tolist(), strict=True):
        ranks = [hash_parts(tag, "test", name, file.name) for file in tree.files[first : first + count]]
        mask[first + np.argsort(ranks, kind="stable")[: count * percent // 100]] = True
        first += count
    return mask
