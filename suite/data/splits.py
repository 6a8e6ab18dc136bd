"""Splits of labelled examples: stratified, exact in size, decided by a seed."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.settings import Setting

Indices = NDArray[np.int64]
Labels = NDArray[np.int64]


def split(labels: Indices, validation: int, seed: int) -> tuple[Indices, Indices]:
    """Sorted indices of the training and of the validation part; disjoint, and together all examples.

    Every class gives its share of `validation`, and keeps one image at least to train on; a class's choice depends on
    the seed, the class, its size and its share alone.

    Raises:
        UserError: `validation` leaves a class nothing to train on.
    """
    classes, counts = np.unique(labels, return_counts=True)
    most = len(labels) - len(classes)
    if not 0 <= validation <= most:
        remedy = f"choose from 1..{most}" if most > 0 else "add images to them"
        raise UserError(
            f"validation: {validation} of {len(labels)} training images in {len(classes)} classes can't be held out, "
            f"since each class needs one to train on; {remedy}"
        )
    shares = _leave_one(counts, allocate(counts, validation))
    held = np.zeros(len(labels), dtype=bool)
    for label, share in zip(classes, shares, strict=True):
        members = np.flatnonzero(labels == label)
        # Ranks of raw uniforms: numpy promises more stability for them than for its shuffles.
        ranks = np.argsort(np.random.default_rng([seed, int(label)]).random(len(members)), kind="stable")
        held[members[ranks[:share]]] = True
    return np.flatnonzero(~held).astype(np.int64), np.flatnonzero(held).astype(np.int64)


def allocate(counts: Indices, total: int) -> list[int]:
    """`total` shared in proportion to `counts` by largest remainder; ties go to the first. Sums to `total` exactly."""
    everything = sum(int(count) for count in counts)
    shares = [int(count) * total // everything for count in counts]
    remainders = [int(count) * total % everything for count in counts]
    neediest = sorted(range(len(shares)), key=lambda i: (-remainders[i], i))
    for i in neediest[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _leave_one(counts: Indices, shares: list[int]) -> list[int]:
    """The shares of classes, none of a whole class; what one can't give comes from the class with most left."""
    given = np.minimum(shares, counts - 1)
    for _ in range(sum(shares) - int(given.sum())):
        given[np.argmax(counts - given)] += 1
    return [int(share) for share in given]


def limit_rows(train: Indices, labels: Labels, limit: int) -> Indices:
    """The first `limit` of sorted rows, 0: all; where they stand class by class (class folders), of each class its
    first in proportion, one at least.
    """
    first = train[: limit or None]
    wanted, counts = np.unique(labels[train], return_counts=True)
    changes = np.count_nonzero(np.diff(labels[train]))
    if len(first) == len(train) or changes >= len(wanted):  # a class begins again, so they are mixed
        return first
    shares = np.array(allocate(counts, len(first)))
    while len(first) >= len(wanted) and not shares.all():
        shares[np.argmax(shares)] -= 1
        shares[np.argmin(shares)] += 1
    chosen = [train[labels[train] == label][:share] for label, share in zip(wanted, shares, strict=True)]
    return np.sort(np.concatenate(chosen))


def digest(train: Indices, validation: Indices) -> str:
    """16 hexadecimal digits that name a split."""
    parts = (np.ascontiguousarray(part, dtype="<i8").tobytes() for part in (train, validation))
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]


def validation_setting(default: str) -> Setting:
    return Setting(0, f"training images held out; 0: {default}", low=0)


FIFTH_OR_TENTH = "a fifth, or a tenth where there are 100 classes or more"


def held_out(train_examples: int, classes: int) -> int:
    """How many training images are held out where neither study nor paper says: `FIFTH_OR_TENTH`."""
    return round(train_examples / (10 if classes >= 100 else 5))
