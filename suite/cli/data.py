"""`graftbench data`: the verbs about datasets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from suite.cli.console import DEFAULT_DATA, Data, Json, make_console, print_parts, write_json
from suite.core.errors import UserError

if TYPE_CHECKING:
    from suite.data.catalog import Copy, Listed, Warmed
    from suite.data.source import ProgressCallback

app = typer.Typer(
    help="Datasets: list, fetch, verify, and decode them ahead of a study.",
    no_args_is_help=True,
)

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A dataset by its name, or as `data list` prints it; or a study file: all its datasets.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the named dataset, e.g. path=birds; repeatable."),
]


@app.command("list")
def list_(data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Say of every dataset what it is, and whether it is found, decoded, or missing and how to get it."""
    from dataclasses import asdict

    from suite.data.catalog import list_copies, list_datasets

    found, decoded = list_datasets(data), list_copies()
    if as_json:
        write_json({"datasets": list(map(asdict, found)), "copies": list(map(asdict, decoded))})
    else:
        print_parts(_format_listing(found, decoded, data))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset's name.")], data: Data = DEFAULT_DATA
) -> None:
    """Download a dataset into the data directory, unless it is there. Nothing else ever downloads."""
    from suite.data.fetch import fetch_dataset as fetched

    print_parts(escape(line) for line in fetched(name, data))


@app.command()
def verify(target: Target, data: Data = DEFAULT_DATA, given: Set = None) -> None:
    """Look at every label, image and decoded copy; exit code 2 and what is wrong where they aren't whole."""
    from suite.data.catalog import verify_dataset as verified
    from suite.study.data_targets import find_targets

    wrong = 0
    for dataset in find_targets(target, given or [], data):
        with _show_progress(dataset.label) as heard:
            for part, found in verified(dataset, data, heard):
                state = "[yellow]not whole[/]" if found.problems else "whole"
                copy = f"decoded copy in {found.entry}" if found.entry else "no decoded copy"
                print_parts(
                    [f"{escape(dataset.label)} {part}: {_format_image_count(found.images)}, {state}; {escape(copy)}"]
                )
                print_parts(f"  {escape(problem)}" for problem in found.problems)
                wrong += bool(found.problems)
    if wrong:
        raise UserError(
            f"{target}: {wrong} of the parts looked at {'is' if wrong == 1 else 'are'} not whole, see above"
        )


@app.command()
def warm(
    target: Target,
    data: Data = DEFAULT_DATA,
    given: Set = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Decode again what is decoded already.")] = False,
) -> None:
    """Decode a dataset into the cache now, so that no trial waits for it; accepts files that have changed."""
    from suite.data.catalog import warm_dataset as warmed
    from suite.study.data_targets import find_residency, find_targets

    lives = find_residency(target)
    for dataset in find_targets(target, given or [], data):
        changed: list[str] = []
        try:
            with _show_progress(dataset.label) as heard:
                done = warmed(dataset, data, rebuild=rebuild, residency=lives, progress=heard, accepted=changed.append)
        finally:  # also where the other part is refused
            print_parts(escape(f"accepted: {what}") for what in dict.fromkeys(changed))
        print_parts([escape(f"{dataset.label}: {_format_warmed(done)}")])


def _format_warmed(done: Warmed) -> str:
    how = "decoded already" if done.seconds is None else f"decoded in {done.seconds:.1f} s"
    places = ", ".join(map(str, done.entries))
    return f"{_format_image_count(done.images)}, {_format_mib(done.size)} MiB, {how}, in {places}"


def _format_image_count(count: int | None) -> str:
    if count is None:
        return "unknown number of images"
    return f"{count:,} image" if count == 1 else f"{count:,} images"


def _format_mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _format_listing(found: list[Listed], decoded: list[Copy], data: Path) -> Iterator[Table | str]:
    from suite.data.cache import cache_directory

    yield _build_dataset_table(found)
    for one in found:
        if one.remedy:
            yield f"[yellow]{one.state}[/] {escape(one.dataset)}: {escape(one.remedy)}"
    if decoded:
        yield ""
        yield _build_copy_table(decoded)
    yield f"decoded copies lie in {escape(str(cache_directory()))} (GRAFTBENCH_CACHE)"
    lost = "" if data.is_dir() else ", which is not a directory" if data.exists() else ", which doesn't exist"
    yield f"files are looked up in {escape(str(data))} (GRAFTBENCH_DATA, or --data){lost}"


def _build_dataset_table(found: list[Listed]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    # Room for names, next to what the numbers take; where it is scarce, titles give way first.
    whole = max(len(one.dataset) for one in found) <= make_console().width - 80
    table.add_column("dataset", no_wrap=whole, overflow="fold")
    if whole:
        table.add_column("title", overflow="fold")
    for name in ("classes", "shape", "training", "held out", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for one in found:
        shape = " x ".join(map(str, one.shape or ()))
        counts = [f"{n:,}" if n is not None else "" for n in (one.train_examples, one.validation, one.test_examples)]
        state = {"found": "found", "decoded": f"decoded, {_format_mib(one.size)} MiB"}
        names = [escape(one.dataset), escape(one.title or "")][: 1 + whole]
        table.add_row(
            *names, str(one.classes or ""), shape, *counts, state.get(one.state, f"[yellow]{one.state}[/]"),
        )  # fmt: skip
    return table


def _build_copy_table(decoded: list[Copy]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("decoded copies", overflow="fold")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("MiB", justify="right", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for one in decoded:
        shape = " x ".join(map(str, one.shape or ()))
        table.add_row(escape(one.origin or "incomplete"), shape, _format_mib(one.size), escape(Path(one.folder).name))
    return table


@contextlib.contextmanager
def _show_progress(label: str) -> Iterator[ProgressCallback]:
    """A line that moves on a terminal, on stderr; nothing in a log."""
    stderr = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as shown:
        task = shown.add_task(escape(label), total=None)
        yield lambda done, of: shown.update(task, completed=done, total=of)
