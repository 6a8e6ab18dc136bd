"""The images of a study, made ready before any trial starts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from suite.core.errors import UserError
from suite.core.records import FINISHED, Record
from suite.data.cache import Decoded, cache_directory
from suite.data.dataset import PARTS, Dataset
from suite.data.source import Part
from suite.study.checked_plans import compose_datasets, open_datasets
from suite.study.plan import Plan

Result = TypeVar("Result")


def prepare_data(plan: Plan, data: Path, finished: Iterable[Record], console: Console) -> list[str]:
    """Every dataset that the plan trains on, decoded into this machine's cache where it isn't yet.

    Refused where files are missing or unusable, or aren't those that finished trials were trained on; else a line for
    people about each dataset: where its images are read.
    """
    datasets = open_datasets(plan, data)
    # What is missing or void is said before anything is decoded, and all that is wrong at once.
    _apply_to_all(Dataset.open_source, datasets)
    compose_datasets(plan, datasets)
    residency = plan.study.resources.residency

    def decode(dataset: Dataset, part: Part) -> str:
        return _decode_part(dataset, part, dataset.is_streamed(residency), console).digest

    missing = [(dataset, dataset.list_missing_copies()) for dataset in datasets]
    try:
        digests = _apply_to_all(decode, datasets)
    except UserError:
        for dataset, parts in missing:
            dataset.remove_shared_copies(parts)
        raise
    lines = []
    compositions = {composition.dataset: composition for composition in compose_datasets(plan, datasets)}
    for dataset in datasets:
        label = dataset.component.label
        where = "streamed from their files" if dataset.is_streamed(residency) else f"decoded in {cache_directory()}"
        lines.append(f"{label}: {sum(map(dataset.count_examples, PARTS)):,} images, {where}")
        if label in compositions:
            lines += [f"{label}: {note}" for note in compositions[label].list_notes()]
        for record in finished:
            if record.dataset == label and record.status in FINISHED:
                _compare_digests(record, digests[dataset, "train"], digests[dataset, "test"])
    return lines


def _apply_to_all(
    action: Callable[[Dataset, Part], Result], datasets: Iterable[Dataset]
) -> dict[tuple[Dataset, Part], Result]:
    """Raises UserError with the sentences of all that are refused."""
    results, refusals = {}, dict[str, None]()
    for dataset, part in itertools.product(datasets, PARTS):
        try:
            results[dataset, part] = action(dataset, part)
        except UserError as refusal:
            refusals[str(refusal)] = None
    if refusals:
        raise UserError("\n".join(refusals))
    return results


def _decode_part(dataset: Dataset, part: Part, streamed: bool, console: Console) -> Decoded:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"decoding {escape(dataset.component.label)}, {part}", visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        return dataset.load_part(part, keep_images=not streamed, progress=show)


def _compare_digests(record: Record, train: str, test: str) -> None:
    for part, digest, recorded in (("train", train, record.data), ("test", test, record.test_data)):
        if recorded and recorded != digest:
            raise UserError(
                f"{record.dataset}: its {part} images are not those that the study's finished trials were trained on "
                f"({digest}, and {recorded} then; another version of Pillow may decode differently too); put the "
                "old files back and run `graftbench data warm`, give the study a new name, or remove its results with "
                "`graftbench clean STUDY --all`"
            )
