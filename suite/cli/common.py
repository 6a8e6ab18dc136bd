"""What several verbs do: check a study file, train what is missing of it, collect its records."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from suite.cli.console import DONE, INTERRUPTED, SOME_FAILED, escape, make_console, print_parts
from suite.core.errors import RayLostError, UserError
from suite.core.records import NewerSchemaError

if TYPE_CHECKING:
    from analysis.verdicts.results import StudyResults
    from suite.study.plan import Plan
    from suite.sweep.run import Options, Outcome

DEFAULT_DATA = Path("data")
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
Data = Annotated[
    Path, typer.Option("--data", envvar="GRAFTBENCH_DATA", help="The data directory: datasets are looked up there.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Profile = Annotated[str, typer.Option("--profile", help="A profile of the study file, e.g. quick; default: none.")]
Local = Annotated[bool, typer.Option("--local", help="One trial at a time in this process, without Ray.")]
Address = Annotated[str | None, typer.Option(help="Join a running Ray (`auto` finds it) instead of starting one here.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file, or the name of a ready one: demo.")]


def build_checked_plan(study: Path, data: Path, profile: str = "", strict: bool = False) -> Plan:
    """The checked plan of a study file. A wrong file is refused before the check imports torch."""
    from suite.study.config import load_study
    from suite.study.plan import make_plan

    loaded = load_study(study, profile)
    from suite.study.data_targets import refuse_folder_names

    refuse_folder_names(loaded, data)
    planned = make_plan(loaded)
    from suite.study.checked_plans import check_plan_once
    from suite.sweep.interim_looks import with_looks

    return with_looks(check_plan_once(planned, data, strict=strict))


def check_place(local: bool, address: str | None, device: str) -> None:
    """Refuse options for where trials run that contradict each other, and names that no device has."""
    if local and address:
        raise UserError("--local and --address contradict each other: leave one out")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UserError(f"--device: must be auto, cpu, cuda or cuda:N, not {device!r}")


def train_missing(checked: Plan, options: Options, command: str, *, stderr: bool = False) -> Outcome:
    """Runs what is missing of a plan.

    Args:
        command: the verb and arguments that resume it.
        stderr: where progress goes, so that stdout is JSON alone.
    """
    from suite.sweep.run import run_study

    if options.address is None and options.device.startswith("cuda"):  # on this machine: is it there?
        from suite.training.execution import resolve_device  # torch: seconds, which other drivers do without

        resolve_device(options.device)
    try:
        return run_study(checked, options, make_console(stderr=stderr))
    except KeyboardInterrupt:
        print_parts([f"interrupted; finished trials are kept, and the rest resumes with: graftbench {command}"])
        raise typer.Exit(INTERRUPTED) from None
    except RayLostError as loss:
        print_parts([f"{loss}; finished trials are kept, and the rest resumes with: graftbench {command}"])
        raise typer.Exit(SOME_FAILED) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        print_parts(
            [f"{escape(str(error))}; finished trials are kept, and the rest resumes with: graftbench {command}"]
        )
        raise typer.Exit(SOME_FAILED) from None


def exit_after(outcome: Outcome) -> NoReturn:
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


@contextlib.contextmanager
def refuse_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, whose messages are for people, become refusals."""
    try:
        yield
    except kinds as error:
        raise UserError(str(error).rstrip(".")) from error


def collect_records(study: Path, profile: str) -> Path:
    """The study's records as Parquet, fresh from its MLflow store."""
    from suite.study.config import load_study
    from suite.tracking.mlflow_store import check_store, tracking_uri

    loaded = load_study(study, profile)
    uri = tracking_uri(loaded)
    check_store(uri)
    from analysis.records.collect import StudyNotFoundError, collect_study

    try:
        with refuse_errors(NewerSchemaError):
            return collect_study(uri, loaded.study, loaded.storage_path / "records")
    except StudyNotFoundError as error:
        command = f"graftbench run {format_study_argument(study, profile)}"
        raise UserError(f"{str(error).rstrip('.')}; `{command}` makes results") from error


def read_findings(folder: Path) -> StudyResults:
    """What a folder of records says; one that holds none that can be used is refused."""
    from analysis.records.load import load_records
    from analysis.verdicts.results import StudyResults

    with refuse_errors(OSError, ValueError):
        return StudyResults(load_records(folder))


def format_study_argument(study: Path, profile: str, data: Path | None = None) -> str:
    """The study as it was named on the command line, for commands that can be copied.

    Args:
        data: for verbs that read images; left out where the command finds it without being told.
    """
    argument = shlex.quote(str(study))
    if profile:
        argument += f" --profile {shlex.quote(profile)}"
    if data is not None and str(data) != os.environ.get("GRAFTBENCH_DATA", str(DEFAULT_DATA)):
        argument += f" --data {shlex.quote(str(data))}"
    return escape(argument)
