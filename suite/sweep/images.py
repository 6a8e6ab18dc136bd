"""The images of a study, made ready before any trial starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from suite.datasets import Part
from suite.datasets._cache import Decoded
from suite.library import PARTS, Dataset
from suite.plan import Plan
from suite.records import FINISHED, Record
from suite.settings import Refused


def prepare(plan: Plan, data: Path, finished: Iterable[Record], console: Console) -> None:
    """Every dataset that the plan trains on, decoded into this machine's cache where it isn't yet.

    Raises:
        Refused: files are missing or unusable, or they are not those that finished trials were trained on.
    """
    components = dict.fromkeys(planned.cell.dataset for planned in plan.runnable)
    datasets = [Dataset(component, data) for component in components]
    for dataset in datasets:  # what is missing is said before anything is decoded
        for part in PARTS:
            dataset.source(part)
    for dataset in datasets:
        streamed = dataset.streamed(plan.study.resources.residency)
        digests = {part: _decoded(dataset, part, streamed, console).digest for part in PARTS}
        for record in finished:
            if record.dataset == dataset.component.label and record.status in FINISHED:
                _compare(record, digests)


def _decoded(dataset: Dataset, part: Part, streamed: bool, console: Console) -> Decoded:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"decoding {escape(dataset.component.label)}, {part}", visible=False)

        def tell(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of, visible=True)

        return dataset.decoded(part, keep_images=not streamed, progress=tell)


def _compare(record: Record, digests: dict[Part, str]) -> None:
    recorded: dict[Part, str] = {"train": record.data, "test": record.test_data}
    for part, seen in recorded.items():
        if seen and seen != digests[part]:
            raise Refused(
                f"{record.dataset}: its {part} images are not those that the study's finished trials were trained on "
                f"({digests[part]}, and {seen} then); put the old files back, give the study a new name, or remove its "
                "results with `graftbench clean --all`"
            )
