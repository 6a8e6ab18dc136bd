"""`graftbench retry`: trains again what failed, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from suite.cli import common
from suite.cli.common import DEFAULT_DATA, Data, Profile
from suite.cli.console import escape, print_parts
from suite.core.errors import UserError, one_of

if TYPE_CHECKING:
    from suite.core.records import Record
    from suite.study.plan import Plan
    from suite.sweep.run import Options
    from suite.sweep.storage import StudyStorage

_SHOWN = 20  # trials and cells that are listed
_FAIR = ("failed",)
_UNFAIR = {  # trained again until they come out otherwise, they would give a cell more than the others get
    "completed": "it is a result, and choosing among several of one trial is cherry-picking",
    "stopped": "ASHA stopped it for its error, which is a result",
    "diverged": "that is a result, and training until it comes out otherwise is cherry-picking",
    "skipped": "its cell was refused, or no search trial completed; `graftbench status` says which",
}


Cells = Annotated[
    list[str] | None,
    typer.Option("--cell", metavar="DATASET/BACKBONE/VARIANT", help="A cell by its labels, * for any; repeatable."),
]
Ended = Annotated[str, typer.Option(help="Which trials; all other statuses than `failed` are results.")]


def retry(
    study: common.StudyFile,
    cell: Cells = None,
    status: Ended = "failed",
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: common.Local = False,
    address: common.Address = None,
    device: common.Device = "auto",
) -> None:
    """Train again the trials that failed, and nothing else."""
    common.check_place(local, address, device)
    check_status(status)
    checked = common.build_checked_plan(study, data, profile)
    from suite.study.study_files import digest_study
    from suite.sweep.run import Options
    from suite.sweep.storage import StudyStorage

    storage = StudyStorage(checked.study)
    storage.check_study()
    labels = choose_cells([planned.cell.label for planned in checked.cells], cell or ["*"])
    storage.check_idle()
    failed = [record for record in find_failed(checked, storage) if _name_cell(record) in labels]
    decided = _list_decided(failed, storage)
    if decided:
        print_parts([_explain_decided(len(decided))])
        failed = [record for record in failed if record not in decided]
    if not failed:
        print_parts([f"nothing to train again: no {'other ' if decided else ''}trial of these cells failed"])
        return
    print_parts(_announce_trials(failed))
    only = frozenset(record.trial_key for record in failed)
    options = Options(data, local, address, device, digest_study(study, profile), only)
    _train_again(checked, storage, options, study, profile)


def _train_again(checked: Plan, storage: StudyStorage, options: Options, study: Path, profile: str) -> NoReturn:
    from suite.cli.render import outcome_lines
    from suite.sweep.run import needs_training

    argument = common.format_study_argument(study, profile, options.data)
    outcome = common.train_missing(checked, options, f"retry {argument}")
    print_parts(outcome_lines(checked, outcome, common.format_study_argument(study, profile)))
    if needs_training(checked, storage):
        print_parts([f"more is missing, which this trains: graftbench run {argument}"])
    common.exit_after(outcome)


def check_status(status: str) -> None:
    """Refuse to train again what has a result."""
    if status in _UNFAIR:
        raise UserError(
            f"--status: a {status} trial is not trained again: {_UNFAIR[status]}; legal: {', '.join(_FAIR)}"
        )
    if status not in _FAIR:
        raise UserError(f"--status: {one_of(status, _FAIR)}")


def choose_cells(labels: Sequence[str], patterns: Iterable[str]) -> set[str]:
    """The labels that fit any of the patterns, spaces around `/` left aside.

    Raises:
        UserError: a pattern fits none; the message names the cells.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        plain = pattern.replace(" / ", "/")
        fitting = {label for label in labels if label.replace(" / ", "/") == plain}
        fitting = fitting or {label for label in labels if fnmatchcase(label.replace(" / ", "/"), plain)}
        if not fitting:
            known = "; ".join(label.replace(" / ", "/") for label in labels[:_SHOWN])
            if len(labels) > _SHOWN:
                known += f"; and {len(labels) - _SHOWN} more"
            raise UserError(f"--cell: the study has no cell {pattern!r}; its cells: {known}")
        chosen |= fitting
    return chosen


def find_failed(plan: Plan, storage: StudyStorage) -> list[Record]:
    """The records of failed trials that the plan asks for, in the order of the plan."""
    order = {planned.cell.label: position for position, planned in enumerate(plan.cells)}
    planned_cells = {planned.cell.label: planned for planned in plan.runnable}
    failed = []
    for record in storage.read_records().values():
        planned = planned_cells.get(_name_cell(record))
        if record.status != "failed" or planned is None or record.revision != planned.revision:
            continue
        trials = plan.study.search.trials if record.stage == "search" else plan.count_seeds(planned.cell)
        if record.seed < trials:
            failed.append(record)
    return sorted(failed, key=lambda record: (order[_name_cell(record)], record.stage, record.seed))


def _list_decided(failed: Iterable[Record], storage: StudyStorage) -> list[Record]:
    """The search trials among them whose cell went on without them and has confirm trials."""
    final = [record for record in failed if record.is_final]
    if not final:
        return []
    confirmed = {_name_cell(record) for record in storage.read_records().values() if record.stage == "confirm"}
    return [record for record in final if _name_cell(record) in confirmed]


def _explain_decided(count: int) -> str:
    from analysis.formatting import format_plural

    return (
        f"not trained again: {format_plural(count, 'failed search trial')} whose cell has confirm trials, since a "
        "choice that changes after the test part was read is a second look"
    )


def _name_cell(record: Record) -> str:
    from suite.core.specs import CellId

    return CellId(record.dataset, record.backbone, record.variant, record.settings).label


def _announce_trials(failed: Sequence[Record]) -> list[str]:
    from analysis.formatting import format_plural
    from suite.sweep.journal import shorten_reason

    lines = [f"training {format_plural(len(failed), 'failed trial')} again:"]
    for record in failed[:_SHOWN]:
        lines.append(
            f"  {escape(f'{_name_cell(record)}, {record.stage} {record.seed}: {shorten_reason(record.reason)}')}"
        )
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN} more")
    return lines
