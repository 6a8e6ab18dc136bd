"""What datasets' parts hold, as people and programs read it: images by part and class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from suite.cli.console import escape, keep_names_whole, make_table

if TYPE_CHECKING:
    from rich.table import Table

    from suite.data.composition import Composition


def format_compositions(compositions: Sequence[Composition]) -> Iterator[Table | str]:
    """A table of images by part and class, and what should be known of them."""
    from suite.data.composition import SUBSETS

    if not compositions:
        return
    table = make_table("dataset", "part", "images", "by class", right=("images",))
    for composition in compositions:
        label = escape(composition.dataset)
        for subset, title in SUBSETS.items():
            images = f"{sum(composition.counts[subset]):,}"
            table.add_row(label, title, images, escape(composition.describe_subset(subset)))
            label = ""
    keep_names_whole(table, [composition.dataset for composition in compositions])
    yield table
    for composition in compositions:
        yield from format_notes(composition)


def format_notes(composition: Composition) -> Iterator[str]:
    """What makes comparisons void, then what a reader should know, a line each."""
    void = composition.find_void()
    if void:
        yield f"[red]void[/] {escape(composition.dataset)}: {escape(void)}"
    for note in composition.list_notes():
        yield f"[yellow]note[/] {escape(composition.dataset)}: {escape(note)}"


def composition_as_dict(composition: Composition) -> dict[str, Any]:
    """For programs; `duplicates` is null where no image is decoded yet."""
    found = composition.duplicates
    duplicates = None
    if found:
        duplicates = {"validation": found.validation, "test": found.test, "conflicting": found.conflicting}
    return {
        "dataset": composition.dataset,
        "classes": list(composition.class_names),
        "images": {subset: list(counts) for subset, counts in composition.counts.items()},
        "duplicates": duplicates,
        "passed_over": list(composition.passed_over),
        "void": composition.find_void(),
    }
