"""`graftbench reproduce`: which study redraws a published table, its figures beside ours, and its parameter counts."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli import common
from suite.cli.common import DEFAULT_DATA, Data, Json, Profile
from suite.cli.console import escape, make_table, print_parts, print_result, write_json
from suite.core.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from analysis.published.tables import PublishedRow, PublishedTable
    from suite.core.specs import Cell

IMAGENET_SHAPE, IMAGENET_CLASSES = (3, 224, 224), 1000  # of the printed counts, whatever the dataset (sire.yaml)
_PRINTED = re.compile(r"(\d+(?:\.\d+)?)(?:M| million)")

_WITHOUT = {  # a figure or text says itself what corresponds to it here
    "results": "what it measured is not defined well enough to be run",
    "architecture": "networks, not results",
}


def reproduce(
    table: Annotated[str | None, typer.Argument(help="A published table, e.g. sire-table-4; none: list them.")] = None,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: common.Local = False,
    check_parameters: Annotated[
        bool, typer.Option("--check-parameters", help="Only compare parameter counts; trains nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Redraw a published table: plan and run its study, then print the paper's figures beside ours."""
    if table is None:
        print_parts([build_listing(), "redraw one: graftbench reproduce TABLE [--profile quick]"])
        return
    from analysis.published.tables import load_table

    try:
        published = load_table(table)
    except LookupError as error:
        raise UserError(f"{str(error).rstrip('.')}; `graftbench reproduce` lists them") from error
    if check_parameters:
        rows = parameter_rows(published)
        print_result(as_json, rows, parameter_table(rows))
    else:
        _redraw_table(published, profile, data, local=local, as_json=as_json)


def _redraw_table(table: PublishedTable, profile: str, data: Path, *, local: bool, as_json: bool) -> None:
    study = find_table_studies().get(table.id)
    if study is None:
        raise UserError(f"{table.id}: no ready study redraws it; `graftbench reproduce` lists those that do")
    checked = common.build_checked_plan(study, data, profile)
    from suite.cli.render import outcome_lines, plan_tables
    from suite.study.study_files import digest_study
    from suite.sweep.run import Options

    command = f"reproduce {table.id}"
    if profile:
        command += f" --profile {shlex.quote(profile)}"
    if not as_json:
        print_parts(plan_tables(checked))
    options = Options(data, local, source=digest_study(study, profile))
    outcome = common.train_missing(checked, options, command, stderr=as_json)
    records = common.collect_records(study, profile)
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
        print_parts(outcome_lines(checked, outcome, common.format_study_argument(study, profile)))
        print_parts([f"this table: {escape(str(folder / table.id))}.md; report: {escape(str(written))}"])
    common.exit_after(outcome)


def find_table_studies() -> dict[str, Path]:
    """The ready study, by name, of every published table that has one."""
    from suite.study.config import load_study
    from suite.study.study_files import ready_studies

    studies: dict[str, Path] = {}
    for name, path in ready_studies().items():
        studies |= dict.fromkeys(load_study(path).reproduces, Path(name))
    return studies


def build_listing() -> Table:
    """Every published table, and its study."""
    from analysis.published.tables import list_tables, load_table
    from suite.study.config import load_study

    studies = find_table_studies()
    listing = make_table("table", "printed as", "study", "its question")
    listing.columns[0].no_wrap = True  # names are copied
    for name in list_tables():
        table = load_table(name)
        if name in studies:
            listing.add_row(name, table.place, str(studies[name]), escape(load_study(studies[name]).description))
        else:
            listing.add_row(name, table.place, "[dim]none[/]", f"[dim]{escape(table.here or _WITHOUT[table.kind])}[/]")
    return listing


def parameter_rows(table: PublishedTable) -> list[dict[str, Any]]:
    """Per row with a printed count: published, ours, the difference, and an explanation where there is one.

    Counts of backbones with a `stem` are those of its imagenet form with 1000 classes; the others' those of the
    dataset. Nothing is trained.
    """
    rows = []
    for row in table.rows:
        printed = _PRINTED.fullmatch(row.parameters_printed)
        if row.cell is not None and printed:
            rows.append(_compare_parameters(row, row.cell, printed[1]))
    if not rows:
        raise UserError(f"{table.id}: prints no parameter counts; leave --check-parameters out")
    return rows


def _compare_parameters(row: PublishedRow, cell: Cell, printed: str) -> dict[str, Any]:
    """`printed`: in millions."""
    from dataclasses import replace

    from suite.core import registry
    from suite.core.specs import Component, freeze_settings
    from suite.data.dataset import Dataset
    from suite.models.assembly import cell_costs

    facts = Dataset(cell.dataset, Path()).info
    shape, classes = facts.shape, facts.classes
    if "stem" in registry.load_component("backbone", cell.backbone.name).SETTINGS:
        settings = freeze_settings({**dict(cell.backbone.settings), "stem": "imagenet"})
        cell = replace(cell, backbone=Component(cell.backbone.name, settings))
        shape, classes = IMAGENET_SHAPE, IMAGENET_CLASSES
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
    figures = ("published", "ours", "difference")
    table, following = make_table("row", "counted for", *figures, "follows", "explanation", right=figures), 0
    for row in rows:
        follows = "no"
        if row["agrees"] != "no":
            follows = f"yes, {row['agrees']}"
            following += 1
        ours, difference = f"{row['ours']:,}", f"{row['difference_millions']:+.2f} M"
        cells = (row["row"], row["counted_for"], row["published"], ours, difference, follows, row["explanation"])
        table.add_row(*map(escape, cells))
    yield table
    yield f"{following} of {len(rows)} printed counts follow from ours"
