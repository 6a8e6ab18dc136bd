"""The command line. Verbs import heavy things inside, so that `--help` and a wrong study file answer at once."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from suite import cli_data
from suite.settings import Refused
from suite.terminal import (
    DEFAULT_DATA,
    DONE,
    INTERRUPTED,
    REFUSED,
    SOME_FAILED,
    Data,
    Json,
    Profile,
    console,
    show,
    write_json,
)

if TYPE_CHECKING:
    from suite.plan import Plan
    from suite.sweep.run import Options, Outcome

app = typer.Typer(
    name="graftbench",
    help="Does grafting this extension onto this CNN backbone help, on these datasets, and at what cost?\n\n"
    "A study file names datasets, backbones, variants, a recipe and seeds. `plan` shows what it amounts to, `run` "
    "trains what is missing, `report` says what helps.",
    epilog="Start with: graftbench plan configs/demo.yaml    Exit codes: 0 done, 1 some trials failed, 2 refused, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_data.app, name="data")

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file, e.g. configs/demo.yaml.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse the whole study when any pair in it is refused.")]


def _checked(study: Path, data: Path, profile: str = "", strict: bool = False) -> Plan:
    """The checked plan of a study file. A wrong file is refused before the check imports torch."""
    from suite.config import load_study
    from suite.plan import make_plan

    loaded = load_study(study, profile)
    make_plan(loaded)
    from suite.check import check
    from suite.stand_ins import with_stand_ins

    planned = make_plan(with_stand_ins(loaded, data))

    return check(planned, data, strict=strict)


@app.command()
def plan(
    study: StudyFile,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
    strict: Strict = False,
) -> None:
    """Show what a study amounts to: its cells, parameters, MACs, refusals and number of trials. Trains nothing."""
    checked = _checked(study, data, profile, strict)
    from suite.check import missing
    from suite.show import plan_as_dict, plan_tables

    lacking = missing(checked, data)
    if as_json:
        write_json({**plan_as_dict(checked), "missing": lacking})
        return
    warnings = [f"[yellow]missing[/] {escape(label)}: {escape(what)}" for label, what in lacking.items()]
    show([*plan_tables(checked), *warnings, f"run it: graftbench run {_again(study, profile)}"])


@app.command()
def run(
    study: StudyFile,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: Annotated[bool, typer.Option("--local", help="One trial at a time in this process, without Ray.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Join a running Ray (`auto` finds it) instead of starting one here.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    strict: Strict = False,
) -> None:
    """Train what is missing of a study. The same command again trains nothing; after Ctrl-C it resumes."""
    if local and address:
        raise Refused("--local and --address contradict each other: leave one out")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise Refused(f"--device: must be auto, cpu, cuda or cuda:N, not {device!r}")
    checked = _checked(study, data, profile, strict)
    from suite.show import outcome_lines
    from suite.sweep.run import Options

    outcome = _trained(checked, Options(data, local, address, device), f"run {_again(study, profile)}")
    show(outcome_lines(checked, outcome, _again(study, profile)))
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


def _trained(checked: Plan, options: Options, again: str, *, stderr: bool = False) -> Outcome:
    """Runs what is missing of a plan.

    Args:
        again: the command that resumes it.
        stderr: where progress goes, so that stdout is JSON alone.
    """
    from suite.sweep.run import run_study
    from suite.training.execution import resolve_device

    if options.address is None:  # trials run on this machine
        resolve_device(options.device)
    try:
        return run_study(checked, options, console(stderr=stderr))
    except KeyboardInterrupt:
        show([f"interrupted; finished trials are kept, and the rest resumes with: graftbench {again}"])
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def reproduce(
    table: Annotated[str | None, typer.Argument(help="A published table, e.g. sire-table-4; none: list them.")] = None,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: Annotated[bool, typer.Option("--local", help="One trial at a time in this process, without Ray.")] = False,
    check_parameters: Annotated[
        bool, typer.Option("--check-parameters", help="Only compare parameter counts; trains nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Redraw a published table: plan and run its study, then print the paper's figures beside ours."""
    from suite import cli_reproduce

    if table is None:
        show([cli_reproduce.listing(), "redraw one: graftbench reproduce TABLE [--profile quick]"])
        return
    published = cli_reproduce.published(table)
    if check_parameters:
        rows = cli_reproduce.parameter_rows(published)
        if as_json:
            write_json(rows)
        else:
            show(cli_reproduce.parameter_table(rows))
        return
    study = cli_reproduce.study_file(table)
    checked = _checked(study, data, profile)
    from suite.show import outcome_lines, plan_tables
    from suite.sweep.run import Options

    if not as_json:
        show(plan_tables(checked))
    again = f"reproduce {table}" + (f" --profile {shlex.quote(profile)}" if profile else "")
    outcome = _trained(checked, Options(data, local, None, "auto"), again, stderr=as_json)
    records = _collect(study, profile)
    from analysis.report import write_report
    from analysis.reproduction import reproduce as compare
    from analysis.reproduction import to_markdown
    from analysis.select import load

    found = load(records)
    text, folder = to_markdown(published, found), records.parent / "report"
    written = write_report(records, folder)
    (folder / f"{table}.md").write_text(text, encoding="utf-8")
    if as_json:
        write_json([dataclasses.asdict(row) for row in compare(published, found)])
    else:
        sys.stdout.write(text)
        show(outcome_lines(checked, outcome, _again(study, profile)))
        show([f"this table: {escape(str(folder / table))}.md; report: {escape(str(written))}"])
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


@app.command()
def status(study: StudyFile, profile: Profile = "", data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show how far a study is: per cell, its trials by status. Reads the storage only; safe during a run."""
    checked = _checked(study, data, profile)
    from suite.show import status_table
    from suite.sweep.status import study_status

    found = study_status(checked)
    if as_json:
        write_json(found)
    else:
        show([status_table(found)])


@app.command()
def trial(
    key: Annotated[str, typer.Argument(help="A trial's key, or its first digits.")],
    storage: Annotated[Path, typer.Option(help="Where studies are stored.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show one trial: what defines it, how it ended, and how to run it alone."""
    from suite.folder import read_trial
    from suite.show import trial_lines
    from suite.sweep.status import find_trial

    folder = find_trial(storage, key)
    if as_json:
        write_json(read_trial(folder / "trial.json").to_dict())
    else:
        show(trial_lines(folder))


@app.command()
def leaderboard(
    study: StudyFile,
    profile: Profile = "",
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Rank a study's cells by test error, with verdicts, intervals and cost."""
    records = _collect(study, profile)
    from analysis.leaderboard import leaderboard as rank
    from analysis.leaderboard import to_markdown, to_text
    from analysis.select import load

    found = load(records)
    if as_json:
        write_json(rank(found))
    else:
        sys.stdout.write((to_markdown(found) if markdown else to_text(found)) + "\n")


@app.command()
def report(
    study: StudyFile,
    profile: Profile = "",
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: <storage>/report.")] = None,
) -> None:
    """Write a self-contained report.html and leaderboard.md: verdicts, tables, figures, failures, provenance."""
    records = _collect(study, profile)
    from analysis.report import write_report

    written = write_report(records, out or records.parent / "report")
    show([f"report: {escape(str(written))}"])


def _again(study: Path, profile: str) -> str:
    """The study as it was named on the command line, for commands that can be copied."""
    return escape(shlex.quote(str(study)) + (f" --profile {shlex.quote(profile)}" if profile else ""))


def _collect(study: Path, profile: str) -> Path:
    """The study's records as Parquet, fresh from its MLflow store."""
    from suite.config import load_study
    from suite.tracking.store import check_store, tracking_uri

    loaded = load_study(study, profile)
    uri = tracking_uri(loaded)
    check_store(uri)
    from analysis.collect import StudyNotFoundError, collect

    try:
        return collect(uri, loaded.study, loaded.storage_path / "records")
    except StudyNotFoundError as error:
        raise Refused(f"{str(error).rstrip('.')}; `graftbench run {_again(study, profile)}` makes results") from error


@app.command()
def ui(
    study: StudyFile,
    profile: Profile = "",
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on the study's store: every trial, curve, parameter and artifact. Ctrl-C ends it."""
    from suite.config import load_study
    from suite.tracking.server import serve
    from suite.tracking.store import check_store, tracking_uri

    uri = tracking_uri(load_study(study, profile))
    check_store(uri)
    serve(uri, port, console())


@app.command()
def doctor(
    data: Data = DEFAULT_DATA,
    tracking: Annotated[
        str | None, typer.Option(help="An MLflow store to try; default: the one `run` would use.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, which devices and datasets are found, and whether the tracking store answers."""
    from suite.doctor import examine, sections

    found = examine(data, tracking)
    if as_json:
        write_json(found)
    else:
        show(sections(found))


@app.command()
def clean(
    study: StudyFile,
    profile: Profile = "",
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Remove every result of the study; MLflow keeps them as deleted until `mlflow gc`.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove the checkpoints of finished trials; with --all, every result of the study."""
    from suite.config import load_study
    from suite.sweep.clean import remove_checkpoints, remove_study

    loaded = load_study(study, profile)
    if not everything:
        show([escape(remove_checkpoints(loaded))])
        return
    if not yes and not typer.confirm(f"Remove every result of {loaded.study} ({loaded.storage_path})?"):
        raise typer.Exit(DONE)
    show([escape(remove_study(loaded))])


def main() -> None:
    """Entry point: a refusal is one sentence on stderr and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        app()
    except Refused as refusal:
        sys.stderr.write(f"graftbench: {refusal}\n")
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
