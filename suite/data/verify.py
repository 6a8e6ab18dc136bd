"""Every label, every image and every cached byte of a part, looked at anew; no entry of the cache is believed."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from suite.core.errors import UserError
from suite.data.cache import Decoded, Entry, entry_of, entry_path
from suite.data.source import ROWS, Hashes, ImageSource, Labels, PartDecoder, ProgressCallback

SHOWN = 20  # unreadable images that get a line of their own; the list file has them all


@dataclass(frozen=True)
class Inspection:
    """
    Attributes:
        images: how many there are; None: the files can't be read.
        entry: the part's cache entry; None: there is none.
        problems: a sentence each; none: the part is whole.
        labels, hashes: int64 (N,) and uint8 (N, 16), as of `Decoded`; None: not every image can be decoded.
        warned: how many images Pillow warned of, by what it said.
    """

    images: int | None
    entry: Path | None
    problems: tuple[str, ...]
    labels: Labels | None = None
    hashes: Hashes | None = None
    warned: Mapping[str, int] = field(default_factory=dict)


def inspect(source: ImageSource, name: str, target: str, classes: int, progress: ProgressCallback) -> Inspection:
    """Decodes the whole part, and reads its cache entry where there is one.

    Args:
        name: begins the entry's name.
        target: the dataset, as a remedy names it.
    """
    place = entry_of(source, name, classes)
    problems: list[str] = []
    count = fresh = pixels = None
    try:
        labels = np.ascontiguousarray(source.labels, np.int64)
        count = len(labels)
        problems += _wrong_labels(source, labels, classes)
        pixels = PartDecoder(source, count)
        for _ in pixels.chunks(progress):
            pass
        problems += _listed(pixels, place.unreadable)
        fresh = None if pixels.unreadable else pixels.digest(labels)
    except UserError as refusal:  # a file broken as a whole
        problems.append(str(refusal))
    entry = entry_path(source, name)
    if entry:
        problems += _of_entry(place, target, fresh)
    if fresh is None or pixels is None:
        return Inspection(count, entry, tuple(problems))
    return Inspection(count, entry, tuple(problems), labels, pixels.hashes, pixels.warned)


def _wrong_labels(source: ImageSource, labels: Labels, classes: int) -> Iterator[str]:
    outside = np.flatnonzero((labels < 0) | (labels >= classes)).tolist()
    for row in outside[:SHOWN]:
        yield f"{source.name(row)} has label {labels[row]}, outside 0..{classes - 1}"
    if outside:
        yield f"{are(len(outside), 'label')} outside 0..{classes - 1}: repair the file, or its class names"


def are(count: int, noun: str) -> str:
    """`1 label is`, `2 labels are`."""
    return f"{count:,} {noun} is" if count == 1 else f"{count:,} {noun}s are"


def _listed(pixels: PartDecoder, listed: Path) -> Iterator[str]:
    """The first unreadable ones, and the file in which all of them are listed."""
    for row, why in sorted(pixels.unreadable.items())[:SHOWN]:
        yield f"{pixels.source.name(row)} {why}"
    if pixels.unreadable:
        try:
            listed.parent.mkdir(parents=True, exist_ok=True)
            yield pixels.list_unreadable(listed)
        except OSError as error:
            yield f"{are(len(pixels.unreadable), 'image')} unusable ({listed} can't be written: {error.strerror})"


def _of_entry(entry: Entry, target: str, fresh: str | None) -> Iterator[str]:
    """What is wrong with the entry, given the digest of what the files hold now; None: not known."""
    try:
        # An entry without images is opened without them, as trials that stream do.
        opened = entry.open_decoded(True, accept_changes=False) or entry.open_decoded(False, accept_changes=False)
    except UserError as refusal:  # files have changed since
        yield str(refusal)
        return
    remedy = f"`graftbench data warm {shlex.quote(target)} --rebuild` decodes anew, or delete that folder"
    kept = (entry.path / "images.npy").exists()
    touched = opened is None and entry.is_touched()  # trials will see for themselves whether images have changed
    if not touched and (opened is None or (opened.images is None and kept)):
        yield f"the decoded copy {entry.path} is incomplete, or another version of Pillow made it; {remedy}"
    elif opened and opened.images is not None and _digest(opened) != opened.digest:
        yield f"the decoded copy {entry.path} has a checksum mismatch: its bytes aren't those written; {remedy}"
    elif fresh not in {None, opened.digest if opened else entry.read_digest()}:
        yield f"the decoded copy {entry.path} holds other images than the files do now; {remedy}"


def _digest(decoded: Decoded) -> str:
    found = hashlib.sha256()
    assert decoded.images is not None
    for start in range(0, len(decoded.images), ROWS):
        found.update(decoded.images[start : start + ROWS].tobytes())
    found.update(decoded.labels.tobytes())
    return found.hexdigest()[:16]
