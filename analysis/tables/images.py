"""What the images of each dataset were, as the trials recorded it: by part and class, copies, what was passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from analysis.formatting import format_plural
from analysis.tables import Column, Table, fill_table
from analysis.verdicts.audit import list_completed
from analysis.verdicts.results import StudyResults
from suite.core.records import Record

ID = "images"


@dataclass(frozen=True)
class _Part:
    """One part of a dataset. `copies`: images of it that stand in a part before it too; None: not recorded."""

    dataset: str
    part: str
    images: int | None
    by_class: str
    copies: int | None


def build_images(findings: StudyResults) -> list[Table]:
    """A row per dataset and part, from the first completed trial; no table where no record says it."""
    recorded: dict[str, Record] = {}
    for group in findings.groups:
        trials = (trial for cell in group.cells for trial in list_completed(cell) if trial.test_classes)
        first = next(trials, None)
        if first is not None:
            recorded.setdefault(group.dataset, first)
    if not recorded:
        return []
    parts = [part for record in recorded.values() for part in _list_parts(record)]
    columns: list[Column[_Part]] = [
        Column("dataset", "dataset", attrgetter("dataset")),
        Column("part", "part", attrgetter("part")),
        Column("images", "images", attrgetter("images"), "{:,}".format, numeric=True),
        Column("by_class", "by class", attrgetter("by_class")),
        Column("copies", "copies", attrgetter("copies"), "{:,}".format, numeric=True),
    ]
    caption = "Copies: images of the part that stand in a part above it too, pixel for pixel as they are decoded."
    return [fill_table(ID, "Images", caption, columns, parts, _list_notes(recorded.values()))]


def _list_parts(record: Record) -> Iterator[_Part]:
    dataset = record.dataset
    yield _Part(dataset, "training", record.train_examples, record.train_classes, None)
    held, copies = record.validation_examples, record.validation_duplicates
    yield _Part(dataset, "validation", held, record.validation_classes, copies)
    yield _Part(dataset, "test", record.test_examples, record.test_classes, record.test_duplicates)


def _list_notes(recorded: Iterable[Record]) -> Iterator[str]:
    """What a reader of results should know of the images, a sentence each."""
    for record in recorded:
        if record.test_duplicates:
            share = f"{record.test_duplicates:,} of {record.test_examples:,} test images"
            yield f"{record.dataset}: {share} are training or validation images too, so their error is too low."
        if record.conflicting_labels:
            images = format_plural(record.conflicting_labels, "image")
            yield f"{record.dataset}: {images} with a copy under another label."
        if record.passed_over:
            yield f"{record.dataset}: passed over: {record.passed_over}."
