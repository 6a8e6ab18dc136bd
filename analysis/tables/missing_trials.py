"""What a study planned and doesn't have: failed, diverged, skipped, missing and superseded trials, each as a row."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from analysis import formatting
from analysis.records.arrange import records_of
from analysis.records.model import CellResults
from analysis.tables import Column, Table, Value
from analysis.verdicts.results import StudyResults
from suite.core.records import STATUSES, Record

_OPEN = 40  # rows of one kind of table; with more of them its tables are folded
_MOST = 2000  # rows on a page; the file beside it has all


def build_tables(findings: StudyResults) -> list[Table]:
    """Trials by their end, what has no result, and the searches."""
    return [_build_statuses(findings), _build_missing(findings), *_build_searches(findings)]


def _build_statuses(findings: StudyResults) -> Table:
    """Trials by stage and status."""
    trials = findings.records.trials
    counted = Counter(zip(trials["stage"], trials["status"], strict=True))
    known = [*STATUSES, *sorted({str(status) for status in trials["status"]} - set(STATUSES))]
    rows = [
        (
            Value(status),
            *(Value(str(number := counted[stage, status]), number) for stage in ("search", "confirm")),
            Value(STATUSES.get(status, "not finished: interrupted, or still running").replace("`", "")),
        )
        for status in known
    ]
    columns = (
        Column("status", "status"),
        Column("search", "search", numeric=True),
        Column("confirm", "confirm", numeric=True),
        Column("meaning", "meaning"),
    )
    return Table("trials-by-status", "Trials", "Every trial of the study by its end.", columns, tuple(rows))


def _build_missing(findings: StudyResults) -> Table:
    """Every trial that left no result, every planned one without a record, every superseded row."""
    run_ids = _run_ids(findings)
    rows = [
        _make_row(trial, str(trial.status), trial.reason, run_ids)
        for trial in records_of(findings.records.trials[~findings.records.trials["status"].isin(_WITH_RESULT)])
    ]
    for group in findings.groups:
        for cell in group.cells:
            rows += _never_ran(cell)
    rows += [
        _make_row(trial, "superseded", "run under an earlier protocol of this study", run_ids)
        for trial in records_of(findings.records.superseded)
    ]
    notes = () if rows else ("Nothing is missing: every planned trial ran.",)
    columns = (
        Column("dataset", "dataset"),
        Column("backbone", "backbone"),
        Column("variant", "variant"),
        Column("stage", "stage"),
        Column("seed", "seed"),
        Column("status", "status"),
        Column("reason", "reason"),
        Column("trial", "trial"),
    )
    caption = "What was planned and has no result, and what a later protocol replaced. No average has any of it."
    return Table("failures", "Failed, diverged, skipped, missing and superseded", caption, columns, tuple(rows), notes)


_WITH_RESULT = ("completed", "stopped")


def _run_ids(findings: StudyResults) -> dict[str, str]:
    found: dict[str, str] = {}
    for trials in (findings.records.superseded, findings.records.trials):
        if "run_id" in trials:
            found.update(zip(trials["trial_key"], trials["run_id"].fillna(""), strict=True))
    return found


def _make_row(trial: Record, status: str, reason: str, run_ids: dict[str, str]) -> tuple[Value, ...]:
    variant = f"{trial.variant} ({trial.settings})" if trial.settings else trial.variant
    seed = "" if trial.seed is None else str(trial.seed)
    run = run_ids.get(trial.trial_key) or ""
    texts = (trial.dataset or "unknown", trial.backbone, variant, trial.stage, seed, status, reason)
    return (*map(Value, texts), Value(trial.trial_key, runs=(run,) if run else ()))


def _never_ran(cell: CellResults) -> list[tuple[Value, ...]]:
    def row(stage: str, seed: str, status: str, reason: str) -> tuple[Value, ...]:
        return tuple(map(Value, (cell.dataset, cell.backbone, cell.label, stage, seed, status, reason, "")))

    if cell.refused:
        return [row("", "", "refused", cell.refused)]
    seen = cell.records_by_seed()
    seeds = [seed for seed in cell.expected if seed not in seen]
    lost = []
    if seeds:
        lost.append(
            row("confirm", formatting.format_ranges(seeds), "missing", "expected, but no usable trial was recorded")
        )
    short = cell.searches - len(cell.search)
    if short > 0:
        lost.append(row("search", "", "missing", f"{short} of {cell.searches} planned"))
    return lost


def _build_searches(findings: StudyResults) -> list[Table]:
    """Per cell: its search trials by status, what its confirm trials ran with, and the error of that in the search."""
    rows = []
    for cell in (cell for group in findings.groups for cell in group.cells if cell.search):
        counted = Counter(str(trial.status) for trial in cell.search)
        chosen = {trial.hyperparameters for trial in cell.confirm}
        found = [
            trial.validation_top1_error
            for trial in cell.search
            if trial.status == "completed" and trial.hyperparameters in chosen
        ]
        least = min((error for error in found if error is not None), default=None)
        rows.append(
            (
                Value(cell.dataset),
                Value(cell.backbone),
                Value(cell.label),
                Value(", ".join(f"{number} {status}" for status, number in sorted(counted.items()))),
                Value("; ".join(sorted(text or "defaults" for text in chosen)) or formatting.NONE),
                Value(formatting.format_percent(least), least),
            )
        )
    if not rows:
        return []
    columns = (
        Column("dataset", "dataset"),
        Column("backbone", "backbone"),
        Column("variant", "variant"),
        Column("trials", "search trials"),
        Column("chosen", "chosen"),
        Column("validation_error", "its validation error, %", numeric=True),
    )
    caption = "What the search found on validation data; the confirm trials ran with it."
    return [Table("search", "Search", caption, columns, tuple(rows))]


def shorten_table(table: Table) -> tuple[Table, str]:
    """The table as a page can hold it, and the sentence that says what is left out ('' when nothing is)."""
    over = len(table.rows) - _MOST
    if over <= 0:
        return table, ""
    cut = dataclasses.replace(table, rows=table.rows[:_MOST])
    return cut, f"The first {_MOST:,} rows; {over:,} more are in tables/{table.id}.csv beside this page."


Kind = tuple[str, str, list[tuple[str, Table, str]], bool]


def by_kind(tables: Sequence[Table]) -> list[Kind]:
    """Tables such as `Leaderboard: digits` under one heading: kind, common caption, (name, table, rest), whether open.

    The caption is empty where the tables of a kind have different ones.
    """
    kinds: dict[str, list[Table]] = {}
    for table in tables:
        kinds.setdefault(table.title.partition(": ")[0], []).append(table)
    found = []
    for kind, own in kinds.items():
        captions = {table.caption for table in own}
        names = [table.title.partition(": ")[2] for table in own]
        members = [(name, *shorten_table(table)) for name, table in zip(names, own, strict=True)]
        few = sum(len(table.rows) for table in own) <= _OPEN
        found.append((kind, own[0].caption if len(captions) == 1 else "", members, few))
    return found
