"""How many images of each class the parts hold, which images stand in two of them, and what makes a comparison void."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.data.dataset import Dataset
from suite.data.source import Hashes, Labels

Subset = Literal["train", "validation", "test"]
SUBSETS: dict[Subset, str] = {"train": "training", "validation": "validation", "test": "test"}

DEFAULT = Recipe()
NAMED = 12  # classes that are counted one by one; of more, the smallest and the largest are named
_MOST_NAMES = 5


@dataclass(frozen=True)
class Duplicates:
    """Images that are equal pixel for pixel, as they are decoded.

    Attributes:
        validation: validation images that are training images too.
        test: test images that are training or validation images too.
        conflicting: images, of all parts, that have a copy under another label.
        across: rows of the training part and of the test part that hold the same image, one pair a test image.
        under_two_labels: rows of such images, counted on from the training part into the test part, with their copy.
    """

    validation: int
    test: int
    conflicting: int
    across: tuple[tuple[int, int], ...] = ()
    under_two_labels: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Composition:
    """What a dataset's parts hold.

    Attributes:
        dataset: its label.
        class_names: by label; empty where they have none.
        counts: images of each class, by label.
        duplicates: None: no part is decoded yet, and only decoded images are compared.
        passed_over: as of `DatasetInfo`.
        warned: how many images Pillow warned of while they were decoded, by what it said.
    """

    dataset: str
    class_names: tuple[str, ...]
    counts: Mapping[Subset, tuple[int, ...]]
    duplicates: Duplicates | None = None
    passed_over: tuple[str, ...] = ()
    warned: Mapping[str, int] = field(default_factory=dict)

    def name_class(self, label: int) -> str:
        return self.class_names[label] if label < len(self.class_names) else f"class {label}"

    def find_void(self) -> str | None:
        """Why no comparison on these images means anything, as a sentence; None: nothing of the kind."""
        test = self.counts["test"]
        tested = [label for label, count in enumerate(test) if count]
        if len(tested) == 1:
            name = self.name_class(tested[0])
            return (
                f"all {sum(test):,} test images are of one class, {name}, which any network can learn to answer always "
                f"({self._format_all()}); add test images of other classes, or choose another test part"
            )
        untrained = [label for label in tested if not self.counts["train"][label]]
        if untrained:
            name, count = self.name_class(untrained[0]), test[untrained[0]]
            return (
                f"the class {name} has {count:,} test images and none to train on ({self._format_all()}); add training "
                "images of it, or remove it from the test part"
            )
        if not sum(self.counts["validation"]):
            return (
                "no image is held out for validation, so no epoch can be chosen; add training images, or name more "
                "than 0 as `validation`"
            )
        if self.duplicates and 2 * self.duplicates.test > sum(test):
            return (
                f"{self.duplicates.test:,} of {sum(test):,} test images are training or validation images too, pixel "
                "for pixel, so their error says nothing of new images; put other images into the test part"
            )
        return None

    def list_notes(self) -> Iterator[str]:
        """What a reader of results should know of the images, a sentence each, without a full stop."""
        test = self.counts["test"]
        untested = [label for label, count in enumerate(test) if not count]
        if untested:
            yield f"{len(untested)} of {len(test)} classes have no test image: {self._name_first(untested)}"
        unvalidated = [label for label, count in enumerate(self.counts["validation"]) if not count]
        if unvalidated and any(self.counts["train"][label] for label in unvalidated):
            yield f"{len(unvalidated)} of {len(test)} classes have no validation image: {self._name_first(unvalidated)}"
        found = self.duplicates
        if found and found.test:
            yield f"{found.test:,} of {sum(test):,} test images are training or validation images too, pixel for pixel"
        if found and found.validation:
            held = sum(self.counts["validation"])
            yield f"{found.validation:,} of {held:,} validation images are training images too, pixel for pixel"
        if found and found.conflicting:
            yield f"{found.conflicting:,} images have a copy under another label"
        if self.passed_over:
            yield f"passed over: {'; '.join(self.passed_over)}"
        for warning, count in self.warned.items():
            images = "1 image" if count == 1 else f"{count:,} images"
            yield f"Pillow warned of {images}: {warning}"

    def _name_first(self, labels: Sequence[int]) -> str:
        names = list(map(self.name_class, labels[:_MOST_NAMES]))
        return ", ".join(names) + (", ..." if len(labels) > _MOST_NAMES else "")

    def describe_subset(self, subset: Subset) -> str:
        """A part's images by class: `5,000 each of 10 classes`, `crow 400, owl 352`, or the smallest and largest."""
        return describe_counts(self.counts[subset], self.class_names)

    def _format_all(self) -> str:
        if len(self.counts["test"]) > NAMED:
            return f"{len(self.counts['test']):,} classes"
        return "; ".join(f"{title}: {self.describe_subset(subset)}" for subset, title in SUBSETS.items())


def describe_counts(counts: Sequence[int], names: Sequence[str]) -> str:
    """Images by class, for people; `names` may be empty."""
    if not counts:
        return ""
    if len(set(counts)) == 1:
        return f"{counts[0]:,} each of {len(counts):,} classes"
    titles = [names[label] if label < len(names) else f"class {label}" for label in range(len(counts))]
    if len(counts) <= NAMED:
        return ", ".join(f"{title} {count:,}" for title, count in zip(titles, counts, strict=True))
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    return f"{counts[least]:,} ({titles[least]}) to {counts[most]:,} ({titles[most]}) of {len(counts):,} classes"


def compose_dataset(dataset: Dataset, recipe: Recipe = DEFAULT, split_seed: int = 0) -> Composition | None:
    """What a study's trials train, validate and test on; None where that can't be told before images are decoded.

    Raises:
        UserError: files or labels are broken, or so many images can't be held out.
    """
    train, test = dataset.read_labels("train"), dataset.read_labels("test")
    if train is None or test is None:
        return None
    hashes = dataset.read_hashes("train"), dataset.read_hashes("test")
    composition = compose_parts(dataset, (train, hashes[0]), (test, hashes[1]), recipe, split_seed)
    return replace(composition, warned=dataset.count_warnings())


def compose_parts(
    dataset: Dataset,
    train: tuple[Labels, Hashes | None],
    test: tuple[Labels, Hashes | None],
    recipe: Recipe = DEFAULT,
    split_seed: int = 0,
) -> Composition:
    """As `compose_dataset`, from the labels of both parts and the hashes of their images, None where not decoded."""
    trained, held = dataset.split_training_part(train[0], recipe, split_seed)
    info = dataset.info
    counts: dict[Subset, tuple[int, ...]] = {
        "train": count_classes(train[0][trained], info.classes),
        "validation": count_classes(train[0][held], info.classes),
        "test": count_classes(test[0], info.classes),
    }
    duplicates = None
    if train[1] is not None and test[1] is not None:
        duplicates = find_duplicates((train[1], train[0]), held, (test[1], test[0]))
    return Composition(dataset.component.label, info.class_names, counts, duplicates, info.passed_over)


def name_duplicates(dataset: Dataset, found: Duplicates, at_most: int) -> Iterator[str]:
    """The first images that stand in both parts, and those under two labels, a sentence each."""
    train, test = dataset.open_source("train"), dataset.open_source("test")
    for row, copy in found.across[:at_most]:
        yield f"{test.name(copy)} is {train.name(row)}, pixel for pixel"
    first = len(train.labels)
    for row, copy in found.under_two_labels[:at_most]:
        names = [train.name(each) if each < first else test.name(each - first) for each in (copy, row)]
        yield f"{names[0]} is {names[1]}, pixel for pixel, under another label"


def check_composition(composition: Composition) -> None:
    """
    Raises:
        UserError: no comparison on these images means anything.
    """
    void = composition.find_void()
    if void:
        raise UserError(f"{composition.dataset}: {void}")


def count_classes(labels: Labels, classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def find_duplicates(
    train: tuple[Hashes, Labels], validation: NDArray[np.int64], test: tuple[Hashes, Labels] | None
) -> Duplicates:
    """
    Args:
        train: hashes uint8 (N, 16) and labels (N,) of the training part.
        validation: its rows that are held out.
        test: likewise of the test part; None: it isn't read.
    """
    parts = [train] if test is None else [train, test]
    groups = _group_equal(np.concatenate([hashes for hashes, _ in parts]))
    labels = np.concatenate([labels for _, labels in parts])
    first = len(train[1])
    held = np.zeros(len(labels), dtype=bool)
    held[validation] = True
    trained = ~held
    trained[first:] = False

    _, one_of = np.unique(groups, return_index=True)  # by group, its first row: in the training part where there is one
    is_known = (one_of < first)[groups[first:]]
    copied = first + np.flatnonzero(is_known)
    lowest, highest = np.full(len(one_of), labels.max()), np.zeros(len(one_of), labels.dtype)
    np.minimum.at(lowest, groups, labels)
    np.maximum.at(highest, groups, labels)
    conflicting = np.flatnonzero((lowest != highest)[groups])
    is_trained = np.bincount(groups[trained], minlength=len(one_of)) > 0
    return Duplicates(
        validation=int(is_trained[groups[held]].sum()),
        test=len(copied),
        conflicting=len(conflicting),
        across=tuple((int(one_of[groups[row]]), int(row) - first) for row in copied),
        under_two_labels=tuple(
            (int(one_of[groups[row]]), int(row)) for row in conflicting if one_of[groups[row]] != row
        ),
    )


def _group_equal(hashes: Hashes) -> NDArray[np.int64]:
    """A number for each row, the same for equal ones."""
    words = np.ascontiguousarray(hashes).view(np.uint64)
    order = np.lexsort(words.T)
    is_new = np.any(words[order][1:] != words[order][:-1], axis=1)
    groups = np.empty(len(words), np.int64)
    groups[order] = np.concatenate([[0], np.cumsum(is_new)])
    return groups
