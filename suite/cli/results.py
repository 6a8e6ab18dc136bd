"""The verbs that read results: of a study file, or of a folder of records from anywhere."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.common import Json, Profile, collect_records, read_findings, refuse_errors
from suite.cli.console import escape, print_parts, print_result, write_json
from suite.core.errors import UserError, one_of

if TYPE_CHECKING:
    from analysis.verdicts.results import StudyResults

Study = Annotated[
    Path | None, typer.Argument(metavar="[STUDY]", help="A study file, or the name of a ready one: demo.")
]
RecordsFolder = Annotated[
    Path | None, typer.Option("--records", help="A folder of records (Parquet or CSV) instead of a study file.")
]

Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown; short for --format markdown.")]
Form = Annotated[str, typer.Option("--format", help="text, markdown, latex, csv, html or json.")]


def _find_records(study: Path | None, records: Path | None, profile: str) -> Path:
    """The folder of records that the command line names, by a study file or as such; neither or both are refused."""
    if study is not None and records is None:
        return collect_records(study, profile)
    if study is not None or records is None:
        raise UserError("name a study file, or a folder of records with --records DIR (one of them)")
    if profile:
        raise UserError("--profile: belongs to a study file; records know theirs, leave it out")
    return records


def _print_notes(findings: StudyResults) -> None:
    """What JSON has no place for, to stderr."""
    for note in findings.notes:
        sys.stderr.write(f"note: {note}\n")


def _choose_form(form: str, known: Collection[str], of: str, *, json: bool, markdown: bool) -> str:
    """The form of a table that the options name, `text` where they name none; two of them are refused."""
    forms = {form} - {""}
    if json:
        forms.add("json")
    if markdown:
        forms.add("markdown")
    if len(forms) > 1:
        raise UserError(f"{' and '.join(sorted(forms))} contradict each other: name one form of {of}")
    chosen = next(iter(forms), "text")
    if chosen not in known:
        raise UserError(f"--format: {one_of(chosen, known)}")
    return chosen


def verdicts(study: Study = None, records: RecordsFolder = None, profile: Profile = "", as_json: Json = False) -> None:
    """Say of every cell and every variant what the results allow to say, and why."""
    from analysis.verdicts import text

    findings = read_findings(_find_records(study, records, profile))
    if as_json:
        _print_notes(findings)
        write_json(text.to_json(findings))
    else:
        sys.stdout.write(text.to_text(findings) + "\n")


def leaderboard(
    study: Study = None,
    records: RecordsFolder = None,
    profile: Profile = "",
    as_json: Json = False,
    markdown: Markdown = False,
    form: Form = "",
) -> None:
    """Rank a study's cells by test error, with verdicts, intervals and cost."""
    from analysis.tables.leaderboard import FORMS

    form = _choose_form(form, FORMS, "the leaderboard", json=as_json, markdown=markdown)
    findings = read_findings(_find_records(study, records, profile))
    if form in ("json", "csv"):
        _print_notes(findings)
    sys.stdout.write(FORMS[form](findings).rstrip("\n") + "\n")


def speed(
    study: Study = None,
    records: RecordsFolder = None,
    profile: Profile = "",
    target: Annotated[
        float | None,
        typer.Option(help="Validation error in percent; default: what each group's baseline gets to, and the ROPE."),
    ] = None,
    as_json: Json = False,
    markdown: Markdown = False,
    form: Form = "",
) -> None:
    """Say how soon every cell reached an error, in epochs and seconds, and what it saved against its baseline."""
    from analysis.tables.speed import FORMS, build_speed

    form = _choose_form(form, FORMS, "the table", json=as_json, markdown=markdown)
    if target is not None and not 0 < target < 100:
        raise UserError(f"--target: a validation error in percent, above 0 and below 100, not {target:g}")
    findings = read_findings(_find_records(study, records, profile))
    tables = build_speed(findings, None if target is None else target / 100)
    if not tables:
        raise UserError("no validation curve is in these records, so nothing says when an error was reached")
    if form in ("json", "csv"):
        _print_notes(findings)
    sys.stdout.write(FORMS[form](tables[0]).rstrip("\n") + "\n")


def report(
    study: Study = None,
    records: RecordsFolder = None,
    profile: Profile = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; default: report/ in the study's storage, or in DIR.")
    ] = None,
    tex: Annotated[Path | None, typer.Option(help="Also write a LaTeX document with tables and figures here.")] = None,
    every_figure: Annotated[
        bool, typer.Option("--every-figure", help="Write every figure into figures/, as PNG and PDF too.")
    ] = False,
) -> None:
    """Write a self-contained report.html: verdicts first, then audit, tables, figures, failures, provenance."""
    folder = _find_records(study, records, profile)
    from analysis.report.build import write_report

    if out is None:
        out = (folder.parent if records is None else folder) / "report"
    with refuse_errors(OSError, ValueError):
        written = write_report(folder, out, tex=tex, every_figure=every_figure)
    print_parts([f"report: {escape(str(written))}"])
    if tex:
        print_parts([f"LaTeX: {escape(str(tex / 'report.tex'))}"])


def collect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study's name, which its MLflow experiment has.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    tracking: Annotated[
        str | None,
        typer.Option(help="sqlite:///PATH, postgresql://USER@HOST/NAME or http(s)://; default: MLFLOW_TRACKING_URI."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read every run again, not only what has changed.")] = False,
) -> None:
    """Bring a study's records from an MLflow store into a folder of Parquet files, which --records reads anywhere.

    A server that asks for a login gets MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
    """
    from analysis.records.collect import StudyNotFoundError, collect_study, default_uri

    with refuse_errors(StudyNotFoundError, OSError, ValueError):
        folder = collect_study(tracking or default_uri(), name, out, full)
    print_parts([escape(str(folder))])


def compare_networks(
    first: Annotated[str, typer.Argument(metavar="KEY", help="A trial's key, or its first digits.")],
    second: Annotated[str, typer.Argument(metavar="KEY", help="Another trial's, on the same test images.")],
    study: Annotated[Path | None, typer.Option("--study", metavar="STUDY", help="The study file of both.")] = None,
    records: RecordsFolder = None,
    profile: Profile = "",
    as_json: Json = False,
) -> None:
    """Compare two trained networks image by image (McNemar). It says nothing of the methods."""
    from analysis import compare_networks as networks

    folder = _find_records(study, records, profile)
    with refuse_errors(OSError, ValueError):
        comparison = networks.compare_networks(folder, first, second)
    print_result(as_json, comparison, [escape(networks.to_text(comparison))])
