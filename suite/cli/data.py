"""`graftbench data`: the verbs about datasets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.common import DEFAULT_DATA, Data, Json
from suite.cli.console import escape, have_room, keep_names_whole, make_table, print_parts, print_result
from suite.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from suite.data.catalog import Copy, Listed, Warmed
    from suite.data.composition import Composition
    from suite.data.source import ProgressCallback
    from suite.data.verify import Inspection

app = typer.Typer(help="Datasets: list, fetch, verify, and decode them ahead of a study.", no_args_is_help=True)

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="A dataset by its name, or as `data list` prints it; or a study file: all its datasets."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the named dataset, e.g. path=birds; repeatable."),
]


@app.command("list")
def list_(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Say of every dataset what it is, and whether it is found, decoded, or missing and how to get it."""
    from dataclasses import asdict, replace

    from suite.data.catalog import list_copies, list_datasets

    datasets, copies = list_datasets(data), list_copies()
    found = []
    for dataset in datasets:
        composition = composition_as_dict(dataset.composition) if dataset.composition else None
        found.append({**asdict(replace(dataset, composition=None)), "composition": composition})
    plain = {"datasets": found, "copies": list(map(asdict, copies))}
    print_result(as_json, plain, _format_listing(datasets, copies, data))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name.")], data: Data = DEFAULT_DATA
) -> None:
    """Download a dataset into the data directory, unless it is there. Nothing else ever downloads."""
    from suite.data.fetch import fetch_dataset

    print_parts(map(escape, fetch_dataset(name, data)))


@app.command()
def verify(target: Target, data: Data = DEFAULT_DATA, settings: Set = None) -> None:
    """Look at every label, image and decoded copy; exit code 2 and what is wrong where they aren't whole."""
    from suite.data.catalog import verify_dataset
    from suite.study.data_targets import find_targets

    broken = 0
    for dataset in find_targets(target, settings or [], data):
        with _show_progress(dataset.label) as progress:
            verified = verify_dataset(dataset, data, progress)
        for part, inspection in verified.parts.items():
            print_parts(_format_inspection(f"{dataset.label} {part}", inspection))
            broken += bool(inspection.problems)
        if verified.composition:
            print_parts(format_compositions([verified.composition]))
            print_parts(f"  {escape(sentence)}" for sentence in verified.copies)
            broken += verified.composition.find_void() is not None
    if broken:
        verb = "is" if broken == 1 else "are"
        raise UserError(f"{target}: {broken} of the parts looked at {verb} not whole, see above")


def _format_inspection(part: str, inspection: Inspection) -> Iterator[str]:
    state = "[yellow]not whole[/]" if inspection.problems else "whole"
    copy = f"decoded copy in {inspection.entry}" if inspection.entry else "no decoded copy"
    yield f"{escape(part)}: {_format_image_count(inspection.images)}, {state}; {escape(copy)}"
    for problem in inspection.problems:
        yield f"  {escape(problem)}"
    for warning, count in inspection.warned.items():
        yield f"  Pillow warned of {_format_image_count(count)}: {escape(warning)}"


@app.command()
def warm(
    target: Target,
    data: Data = DEFAULT_DATA,
    settings: Set = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Decode again what is decoded already.")] = False,
) -> None:
    """Decode a dataset into the cache now, so that no trial waits for it; accepts files that have changed."""
    from suite.data.catalog import warm_dataset
    from suite.study.data_targets import find_residency, find_targets

    residency = find_residency(target)
    for dataset in find_targets(target, settings or [], data):
        changes: list[str] = []
        try:
            with _show_progress(dataset.label) as progress:
                result = warm_dataset(
                    dataset, data, rebuild=rebuild, residency=residency, progress=progress, accepted=changes.append
                )
        finally:  # also where the other part is refused
            print_parts(escape(f"accepted: {change}") for change in dict.fromkeys(changes))
        print_parts([escape(f"{dataset.label}: {_format_warmed(result)}")])
        if result.composition:
            print_parts(format_notes(result.composition))


def _format_warmed(warmed: Warmed) -> str:
    how = "decoded already" if warmed.seconds is None else f"decoded in {warmed.seconds:.1f} s"
    places = ", ".join(map(str, warmed.entries))
    return f"{_format_image_count(warmed.images)}, {_format_mib(warmed.size)} MiB, {how}, in {places}"


def _format_image_count(count: int | None) -> str:
    if count is None:
        return "unknown number of images"
    return "1 image" if count == 1 else f"{count:,} images"


def _format_mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _format_listing(datasets: list[Listed], copies: list[Copy], data: Path) -> Iterator[Table | str]:
    from suite.data.cache import cache_directory

    yield _build_dataset_table(datasets)
    yield ""
    yield from format_compositions([dataset.composition for dataset in datasets if dataset.composition])
    for dataset in datasets:
        if dataset.remedy:
            yield f"[yellow]{dataset.state}[/] {escape(dataset.dataset)}: {escape(dataset.remedy)}"
    if copies:
        yield ""
        yield _build_copy_table(copies)
    yield f"decoded copies lie in {escape(str(cache_directory()))} (GRAFTBENCH_CACHE)"
    place = f"files are looked up in {escape(str(data))} (GRAFTBENCH_DATA, or --data)"
    if data.is_dir():
        yield place
    elif data.exists():
        yield f"{place}, which is not a directory"
    else:
        yield f"{place}, which doesn't exist"


def _build_dataset_table(datasets: list[Listed]) -> Table:
    table = make_table()
    names = [dataset.dataset for dataset in datasets]
    is_wide = have_room(names)  # where it is scarce, titles give way first
    table.add_column("dataset", no_wrap=is_wide, overflow="fold")
    if is_wide:
        table.add_column("title", overflow="fold")
    for name in ("classes", "shape", "training", "held out", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for dataset in datasets:
        row = [escape(dataset.dataset)]
        if is_wide:
            row.append(escape(dataset.title or ""))
        row += [str(dataset.classes or ""), _format_shape(dataset.shape)]
        for count in (dataset.train_examples, dataset.validation, dataset.test_examples):
            row.append("" if count is None else f"{count:,}")
        states = {"found": "found", "decoded": f"decoded, {_format_mib(dataset.size)} MiB"}
        table.add_row(*row, states.get(dataset.state, f"[yellow]{dataset.state}[/]"))
    keep_names_whole(table, names)
    return table


def _build_copy_table(copies: list[Copy]) -> Table:
    table = make_table()
    table.add_column("decoded copies", overflow="fold")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("MiB", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for copy in copies:
        name, folder = escape(copy.origin or "incomplete"), escape(Path(copy.folder).name)
        table.add_row(name, _format_shape(copy.shape), _format_mib(copy.size), folder)
    return table


def _format_shape(shape: tuple[int, ...] | None) -> str:
    return " x ".join(map(str, shape or ()))


@contextlib.contextmanager
def _show_progress(label: str) -> Iterator[ProgressCallback]:
    """A line that moves on a terminal, on stderr; nothing in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task(escape(label), total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)


# -- what parts hold: images by part and class


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
