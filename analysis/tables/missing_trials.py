"""What a study planned and doesn't have: failed, diverged, skipped, missing and superseded trials, each as a row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from analysis import formatting
from analysis.records.arrange import records_of
from analysis.records.model import CellResults
from analysis.tables import Column, Table, Value, fill_table
from analysis.verdicts.results import StudyResults
from suite.core.records import STATUSES, Record
from suite.core.specs import format_label

_OPEN = 40  # rows of one kind of table; with more of them its tables are folded
_MOST = 2000  # rows on a page; the file beside it has all
_WITH_RESULT = ("completed", "stopped")


def build_tables(findings: StudyResults) -> list[Table]:
    """Trials by their end, what has no result, and the searches."""
    return [_build_statuses(findings), _build_missing(findings), *_build_searches(findings)]


def _build_statuses(findings: StudyResults) -> Table:
    """Trials by stage and status."""
    trials = findings.records.trials
    counts = Counter(zip(trials["stage"], trials["status"], strict=True))
    others = {str(status) for status in trials["status"]} - set(STATUSES)
    unknown = "not finished: interrupted, or still running"
    columns: list[Column[str]] = [
        Column("status", "status", str),
        Column("search", "search", lambda status: counts["search", status], numeric=True),
        Column("confirm", "confirm", lambda status: counts["confirm", status], numeric=True),
        Column("meaning", "meaning", lambda status: STATUSES.get(status, unknown).replace("`", "")),
    ]
    statuses = [*STATUSES, *sorted(others)]
    return fill_table("trials-by-status", "Trials", "Every trial of the study by its end.", columns, statuses)


# -- what has no result


@dataclass(frozen=True)
class _Gap:
    """A trial without a result, or several that never ran."""

    dataset: str
    backbone: str
    variant: str
    stage: str
    seed: str
    status: str
    reason: str
    trial: Value | str = ""  # its key


_GAP_COLUMNS = [Column(field.name, field.name, attrgetter(field.name)) for field in dataclasses.fields(_Gap)]


def _build_missing(findings: StudyResults) -> Table:
    """Every trial that left no result, every planned one without a record, every superseded row."""
    records = findings.records
    runs = _find_runs(findings)
    without_result = records.trials[~records.trials["status"].isin(_WITH_RESULT)]
    gaps = [_describe_trial(trial, str(trial.status), trial.reason, runs) for trial in records_of(without_result)]
    for group in findings.groups:
        for cell in group.cells:
            gaps += _list_unrecorded(cell)
    for trial in records_of(records.superseded):
        gaps.append(_describe_trial(trial, "superseded", "run under an earlier protocol of this study", runs))
    title = "Failed, diverged, skipped, missing and superseded"
    caption = "What was planned and has no result, and what a later protocol replaced. No average has any of it."
    notes = () if gaps else ("Nothing is missing: every planned trial ran.",)
    return fill_table("failures", title, caption, _GAP_COLUMNS, gaps, notes)


def _find_runs(findings: StudyResults) -> dict[str, str]:
    """MLflow run id by trial key, superseded trials included."""
    runs: dict[str, str] = {}
    for trials in (findings.records.superseded, findings.records.trials):
        if "run_id" in trials:
            runs.update(zip(trials["trial_key"], trials["run_id"].fillna(""), strict=True))
    return runs


def _describe_trial(trial: Record, status: str, reason: str, runs: dict[str, str]) -> _Gap:
    variant = format_label(trial.variant, trial.settings)
    seed = "" if trial.seed is None else str(trial.seed)
    run = runs.get(trial.trial_key)
    key = Value(trial.trial_key, runs=(run,) if run else ())
    return _Gap(trial.dataset or "unknown", trial.backbone, variant, trial.stage, seed, status, reason, key)


def _list_unrecorded(cell: CellResults) -> Iterator[_Gap]:
    place = (cell.dataset, cell.backbone, cell.label)
    if cell.refused:
        yield _Gap(*place, "", "", "refused", cell.refused)
        return
    recorded = cell.records_by_seed()
    seeds = formatting.format_ranges(seed for seed in cell.expected if seed not in recorded)
    if seeds:
        reason = cell.fruitless_search or "expected, but no usable trial was recorded"
        yield _Gap(*place, "confirm", seeds, "missing", reason)
    short = cell.searches - len(cell.search)
    if short > 0:
        yield _Gap(*place, "search", "", "missing", f"{short} of {cell.searches} planned")


# -- searches


def _build_searches(findings: StudyResults) -> list[Table]:
    """Per cell: its search trials by status, what its confirm trials ran with, and the error of that in the search."""
    cells = [cell for group in findings.groups for cell in group.cells if cell.search]
    caption = "What the search found on validation data; the confirm trials ran with it."
    return [fill_table("search", "Search", caption, _SEARCH_COLUMNS, cells)] if cells else []


def _count_statuses(cell: CellResults) -> str:
    counts = Counter(str(trial.status) for trial in cell.search)
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))


def _find_chosen(cell: CellResults) -> set[str]:
    """What its confirm trials ran with."""
    return {trial.hyperparameters for trial in cell.confirm}


def _name_chosen(cell: CellResults) -> str | None:
    return "; ".join(sorted(text or "defaults" for text in _find_chosen(cell))) or None


def _find_error(cell: CellResults) -> float | None:
    chosen = _find_chosen(cell)
    trials = [trial for trial in cell.search if trial.status == "completed" and trial.hyperparameters in chosen]
    errors = [trial.validation_top1_error for trial in trials if trial.validation_top1_error is not None]
    return min(errors, default=None)


_SEARCH_COLUMNS: list[Column[CellResults]] = [
    Column("dataset", "dataset", attrgetter("dataset")),
    Column("backbone", "backbone", attrgetter("backbone")),
    Column("variant", "variant", attrgetter("label")),
    Column("trials", "search trials", _count_statuses),
    Column("chosen", "chosen", _name_chosen),
    Column("validation_error", "its validation error, %", _find_error, formatting.format_percent, numeric=True),
]


# -- on a page


def shorten_table(table: Table) -> tuple[Table, str]:
    """The table as a page can hold it, and the sentence that says what is left out ('' when nothing is)."""
    over = len(table.rows) - _MOST
    if over <= 0:
        return table, ""
    cut = dataclasses.replace(table, rows=table.rows[:_MOST])
    return cut, f"The first {_MOST:,} rows; {over:,} more are in tables/{table.id}.csv beside this page."


Kind = tuple[str, str, list[tuple[str, Table, str]], bool]


def group_by_kind(tables: Sequence[Table]) -> list[Kind]:
    """Tables such as `Leaderboard: digits` under one heading: kind, common caption, (name, table, rest), whether open.

    The caption is empty where the tables of a kind have different ones.
    """
    kinds: dict[str, list[tuple[str, Table]]] = {}
    for table in tables:
        kind, _, name = table.title.partition(": ")
        kinds.setdefault(kind, []).append((name, table))
    groups = []
    for kind, named in kinds.items():
        captions = {table.caption for _, table in named}
        caption = captions.pop() if len(captions) == 1 else ""
        is_open = sum(len(table.rows) for _, table in named) <= _OPEN
        groups.append((kind, caption, [(name, *shorten_table(table)) for name, table in named], is_open))
    return groups
