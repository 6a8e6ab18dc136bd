"""`graftbench reproduce`: which study redraws a published table, its figures beside ours, and its parameter counts."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from suite.cli.common import Local, build_checked_plan, collect_records, format_study_argument, train_missing
from suite.cli.console import DEFAULT_DATA, DONE, SOME_FAILED, Data, Json, Profile, print_parts, write_json
from suite.core.errors import UserError

if TYPE_CHECKING:
    from analysis.published.tables import PublishedRow, PublishedTable

IMAGENET_SHAPE, IMAGENET_CLASSES = (3, 224, 224), 1000  # of the printed counts, whatever the dataset (sire.yaml)
_PRINTED = re.compile(r"(\d+(?:\.\d+)?)(?:M| million)")


_WITHOUT = {
    "results": "what it measured is not defined well enough to be run",
    "figure": "prints no values",
    "architecture": "networks, not results",
    "confusion_matrix": "the table of the same paper has its network",
}


def reproduce(
    table: Annotated[str | None, typer.Argument(help="A published table, e.g. sire-table-4; none: list them.")] = None,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: Local = False,
    check_parameters: Annotated[
        bool, typer.Option("--check-parameters", help="Only compare parameter counts; trains nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Redraw a published table: plan and run its study, then print the paper's figures beside ours."""
    if table is None:
        print_parts([build_listing(), "redraw one: graftbench reproduce TABLE [--profile quick]"])
        return
    found = find_published_table(table)
    if check_parameters:
        rows = parameter_rows(found)
        if as_json:
            write_json(rows)
        else:
            print_parts(parameter_table(rows))
        return
    _redraw_table(found, profile, data, local=local, as_json=as_json)


def _redraw_table(table: PublishedTable, profile: str, data: Path, *, local: bool, as_json: bool) -> None:
    study = study_file(table.id)
    checked = build_checked_plan(study, data, profile)
    from suite.cli.render import outcome_lines, plan_tables
    from suite.sweep.run import Options

    if not as_json:
        print_parts(plan_tables(checked))
    command = f"reproduce {table.id}" + (f" --profile {shlex.quote(profile)}" if profile else "")
    outcome = train_missing(checked, Options(data, local, None, "auto"), command, stderr=as_json)
    records = collect_records(study, profile)
    from analysis.records.load import load_records
    from analysis.report.build import write_report
    from analysis.tables.published import to_json, to_markdown
    from analysis.verdicts.results import StudyResults

    findings, folder = StudyResults(load_records(records)), records.parent / "report"
    text = to_markdown(table, findings)
    written = write_report(records, folder)
    (folder / f"{table.id}.md").write_text(text, encoding="utf-8")
    if as_json:
        write_json(to_json(table, findings))
    else:
        sys.stdout.write(text)
        print_parts(outcome_lines(checked, outcome, format_study_argument(study, profile)))
        print_parts([f"this table: {escape(str(folder / table.id))}.md; report: {escape(str(written))}"])
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


def find_published_table(table: str) -> PublishedTable:
    """
    Raises:
        UserError: no such table.
    """
    from analysis.published.tables import load_table

    try:
        return load_table(table)
    except LookupError as error:
        raise UserError(f"{str(error).rstrip('.')}; `graftbench reproduce` lists them") from error


def find_table_studies() -> dict[str, Path]:
    """The ready study, by name, of every published table that has one."""
    from suite.study.config import load_study, ready_studies

    return {table: Path(name) for name, path in ready_studies().items() for table in load_study(path).reproduces}


def study_file(table: str) -> Path:
    """
    Raises:
        UserError: no study file names the table.
    """
    found = find_table_studies().get(table)
    if found is None:
        raise UserError(f"{table}: no ready study redraws it; `graftbench reproduce` lists those that do")
    return found


def build_listing() -> Table:
    """Every published table, and its study."""
    from analysis.published.tables import list_tables, load_table
    from suite.study.config import load_study

    files = find_table_studies()
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("table", "printed as", "study", "its question"):
        shown.add_column(name, overflow="fold")
    for name in list_tables():
        table = load_table(name)
        if name in files:
            shown.add_row(name, table.place, str(files[name]), escape(load_study(files[name]).description))
        else:
            shown.add_row(name, table.place, "[dim]none[/]", f"[dim]{_WITHOUT[table.kind]}[/]")
    return shown


def parameter_rows(table: PublishedTable) -> list[dict[str, Any]]:
    """Per row with a printed count: published, ours, the difference, and an explanation where there is one.

    Counts of backbones with a `stem` are those of its imagenet form with 1000 classes; the others' those of the
    dataset. Nothing is trained.

    Raises:
        UserError: the table prints none.
    """
    counts = ((row, _PRINTED.fullmatch(row.parameters_printed)) for row in table.rows if row.cell is not None)
    found = [_compare_parameters(row, match[1]) for row, match in counts if match]
    if not found:
        raise UserError(f"{table.id}: prints no parameter counts; leave --check-parameters out")
    return found


def _compare_parameters(row: PublishedRow, printed: str) -> dict[str, Any]:
    """`printed`: in millions."""
    from dataclasses import replace

    from suite.core import registry
    from suite.core.specs import Component, freeze_settings
    from suite.data.dataset import Dataset
    from suite.models.assembly import cell_costs

    assert row.cell is not None
    cell, facts = row.cell, Dataset(row.cell.dataset, Path()).info
    shape, classes = facts.shape, facts.classes
    if "stem" in registry.load_component("backbone", cell.backbone.name).SETTINGS:
        imagenet = Component(cell.backbone.name, freeze_settings({**dict(cell.backbone.settings), "stem": "imagenet"}))
        cell, shape, classes = replace(cell, backbone=imagenet), IMAGENET_SHAPE, IMAGENET_CLASSES
    ours = cell_costs(cell, shape, classes).parameters
    return {
        "row": row.row,
        "cell": cell.label,
        "counted_for": f"{' x '.join(map(str, shape))}, {classes} classes",
        "published": row.parameters_printed,
        "ours": ours,
        "difference_millions": round(ours / 1e6 - float(printed), 3),
        "agrees": _describe_agreement(printed, ours),
        "explanation": "; ".join(row.remarks),
    }


def _describe_agreement(printed: str, ours: int) -> str:
    """How the printed count, in millions, follows from ours: `truncated`, `rounded`, or `no`."""
    places = len(printed.partition(".")[2])
    unit = 10 ** (6 - places)
    digits = round(float(printed) * 10**places)
    if ours // unit == digits:
        return "truncated"
    return "rounded" if round(ours / unit) == digits else "no"


def parameter_table(rows: list[dict[str, Any]]) -> Iterator[Table | str]:
    """The check for a terminal."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("row", "counted for", "published", "ours", "difference", "follows", "explanation"):
        shown.add_column(
            name, overflow="fold", justify="right" if name in {"published", "ours", "difference"} else "left"
        )
    for row in rows:
        cells = (
            row["row"],
            row["counted_for"],
            row["published"],
            f"{row['ours']:,}",
            f"{row['difference_millions']:+.2f} M",
        )
        follows = "no" if row["agrees"] == "no" else f"yes, {row['agrees']}"
        shown.add_row(*map(escape, cells), follows, escape(row["explanation"]))
    yield shown
    yield f"{sum(row['agrees'] != 'no' for row in rows)} of {len(rows)} printed counts follow from ours"
