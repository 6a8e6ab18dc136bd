"""The command line. Verbs import heavy things inside, so that `--help` and a wrong study file answer at once."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from suite import cli_data
from suite.settings import Refused
from suite.terminal import DEFAULT_DATA, DONE, INTERRUPTED, REFUSED, SOME_FAILED, Data, Json, console, show, write_json

if TYPE_CHECKING:
    from suite.plan import Plan

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


def _checked(study: Path, data: Path, strict: bool = False) -> Plan:
    """The checked plan of a study file. A wrong file is refused before the check imports torch."""
    from suite.config import load_study
    from suite.plan import make_plan

    planned = make_plan(load_study(study))
    from suite.check import check

    return check(planned, data, strict=strict)


@app.command()
def plan(study: StudyFile, data: Data = DEFAULT_DATA, as_json: Json = False, strict: Strict = False) -> None:
    """Show what a study amounts to: its cells, parameters, MACs, refusals and number of trials. Trains nothing."""
    checked = _checked(study, data, strict)
    from suite.check import missing
    from suite.show import plan_as_dict, plan_tables

    lacking = missing(checked, data)
    if as_json:
        write_json({**plan_as_dict(checked), "missing": lacking})
        return
    warnings = [f"[yellow]missing[/] {escape(label)}: {escape(what)}" for label, what in lacking.items()]
    show([*plan_tables(checked), *warnings, f"run it: graftbench run {escape(str(study))}"])


@app.command()
def run(
    study: StudyFile,
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
    checked = _checked(study, data, strict)
    from suite.show import outcome_lines
    from suite.sweep.run import Options, run_study
    from suite.training.execution import resolve_device

    if address is None:  # trials run on this machine
        resolve_device(device)
    try:
        outcome = run_study(checked, Options(data, local, address, device), console())
    except KeyboardInterrupt:
        again = f"graftbench run {escape(str(study))}"
        show([f"interrupted; finished trials are kept, and the rest resumes with: {again}"])
        raise typer.Exit(INTERRUPTED) from None
    show(outcome_lines(checked, outcome, study))
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


@app.command()
def status(study: StudyFile, data: Data = DEFAULT_DATA, as_json: Json = False) -> None:
    """Show how far a study is: per cell, its trials by status. Reads the storage only; safe during a run."""
    checked = _checked(study, data)
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
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Rank a study's cells by test error, with verdicts, intervals and cost."""
    records = _collect(study)
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
    out: Annotated[Path | None, typer.Option(help="Folder of the report; default: <storage>/report.")] = None,
) -> None:
    """Write a self-contained report.html and leaderboard.md: verdicts, tables, figures, failures, provenance."""
    records = _collect(study)
    from analysis.report import write_report

    written = write_report(records, out or records.parent / "report")
    show([f"report: {escape(str(written))}"])


def _collect(study: Path) -> Path:
    """The study's records as Parquet, fresh from its MLflow store."""
    from suite.config import load_study
    from suite.tracking.store import check_store, tracking_uri

    loaded = load_study(study)
    uri = tracking_uri(loaded)
    check_store(uri)
    from analysis.collect import StudyNotFoundError, collect

    try:
        return collect(uri, loaded.study, loaded.storage_path / "records")
    except StudyNotFoundError as error:
        raise Refused(f"{str(error).rstrip('.')}; `graftbench run {study}` makes results") from error


@app.command()
def ui(
    study: StudyFile,
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Open the MLflow UI on the study's store: every trial, curve, parameter and artifact. Ctrl-C ends it."""
    from suite.config import load_study
    from suite.tracking.server import serve
    from suite.tracking.store import check_store, tracking_uri

    uri = tracking_uri(load_study(study))
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

    loaded = load_study(study)
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
