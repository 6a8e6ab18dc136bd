"""What an error costs: parameters, operations and time beside it, and which cells nothing beats at a lower cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analysis import formatting
from analysis.records.model import CellResults
from analysis.tables import EMPTY, Column, Table, Value, without_empty
from analysis.tables.leaderboard import choose_board_decimals, error_value, metric_name
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell, run_ids, runs_of
from analysis.verdicts.results import StudyResults, cell_name
from suite.core.records import Record

# Key of a row -> its name for people, where it is a cost that a front can be over.
COSTS: dict[str, str] = {
    "parameters": "params",
    "macs": "MACs",
    "inference_macs": "inference MACs",
    "train_seconds": "train s",
    "confirm_seconds": "hours",
    "total_seconds": "hours with search",
}
_TIMES = frozenset({"train_seconds", "confirm_seconds", "total_seconds"})
_DEVICE_HOURS = {"cuda": "GPU-hours", "cpu": "CPU-hours"}


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset: every cell with its costs, lowest error first."""
    by_dataset: dict[str, list[Row]] = {}
    cells = {cell_name(cell): cell for group in findings.groups for cell in group.cells}
    for row in build_cell_rows(findings):
        by_dataset.setdefault(row["dataset"], []).append(row | sum_seconds(cells[row_cell(row)]))
    ids = run_ids(findings.records)
    return [_build_table(findings, dataset, board, cells, ids) for dataset, board in by_dataset.items()]


def sum_seconds(cell: CellResults) -> dict[str, float | None]:
    """Seconds of training of the cell's confirm trials, and of all its trials; None if any trial didn't measure its."""
    confirm, every = _sum_trials(cell.confirm), _sum_trials((*cell.search, *cell.confirm))
    return {"confirm_seconds": confirm, "total_seconds": every}


def _sum_trials(trials: Sequence[Record]) -> float | None:
    # a trial that failed before its first step has none and cost none
    found = [trial.train_seconds for trial in trials if trial.train_seconds is not None or trial.epochs_run]
    if not found or any(one is None or not math.isfinite(one) for one in found):
        return None
    return math.fsum(one for one in found if one is not None)


def find_front(errors: Sequence[float | None], costs: Sequence[float | None]) -> list[bool]:
    """Which are on the front: no other has at most its error and at most its cost, and less of one.

    Equal points are on it together; what lacks a figure is not.
    """
    cheapest: dict[float, float] = {}
    for error, cost in zip(errors, costs, strict=True):
        if error is not None and cost is not None and math.isfinite(cost):
            cheapest[error] = min(cost, cheapest.get(error, math.inf))
    front, lowest = set(), math.inf  # the least cost at any lower error
    for error, cost in sorted(cheapest.items()):
        if cost < lowest:
            front.add((error, cost))
            lowest = cost
    return [pair in front for pair in zip(errors, costs, strict=True)]


def find_fronts(board: Sequence[Row], same_device: bool = True) -> dict[str, list[bool]]:
    """Per cost, which rows are on its front against the mean error; rows that aren't comparable are on none.

    Args:
        same_device: times of different devices don't compare, so without it no front is over time.
    """
    errors = [round(row["mean_error"], 12) if row["comparable"] else None for row in board]
    costs = [name for name in COSTS if same_device or name not in _TIMES]
    return {name: find_front(errors, [row[name] for row in board]) for name in costs}


def _build_table(
    findings: StudyResults,
    dataset: str,
    board: Sequence[Row],
    cells: Mapping[tuple[str, str, str, str], CellResults],
    ids: Mapping[str, str],
) -> Table:
    trials = [trial for row in board for trial in _list_trials(cells[row_cell(row)])]
    devices = sorted({trial.device or trial.device_kind for trial in trials} - {""})
    hours = _hours_name({trial.device_kind for trial in trials} - {""})
    on_front = find_fronts(board, same_device=len(devices) < 2)
    digits = choose_board_decimals(board)
    rows = []
    for index, row in enumerate(board):
        marks = {name: marked[index] for name, marked in on_front.items()}
        every = _list_trials(cells[row_cell(row)])
        rows.append(_make_values(row, digits, marks, hours, len(every), runs_of(every, ids)))
    columns, shown = without_empty(_make_columns(hours), rows, frozenset({"decoders"}))
    return Table(
        id=f"costs-{formatting.slug_of_name(dataset)}",
        title=f"Error and cost: {dataset}",
        caption=_write_caption(findings, hours),
        columns=columns,
        rows=shown,
        notes=tuple(_write_notes(findings, devices)),
    )


def _list_trials(cell: CellResults) -> tuple[Record, ...]:
    return (*cell.search, *cell.confirm)


def _hours_name(kinds: set[str]) -> str:
    return _DEVICE_HOURS.get(next(iter(kinds)), "device-hours") if len(kinds) == 1 else "device-hours"


def _make_columns(hours: str) -> tuple[Column, ...]:
    names = _name_costs(hours)
    return (
        Column("backbone", "backbone"),
        Column("variant", "variant"),
        Column("error", "error %", numeric=True),
        Column("decoders", "decoders", numeric=True),
        *(Column(name, names[name], numeric=True) for name in COSTS),
        Column("trials", "trials", numeric=True),
        Column("front", "on the front of"),
    )


def _name_costs(hours: str) -> dict[str, str]:
    return {name: text.replace("hours", hours, 1) for name, text in COSTS.items()}


def _make_values(
    row: Row, digits: int, marks: Mapping[str, bool], hours: str, trials: int, runs: tuple[str, ...]
) -> tuple[Value, ...]:
    names = _name_costs(hours)
    plain = error_value(row | {"bold": False}, digits) if row["comparable"] else EMPTY
    costs = []
    for name in COSTS:
        cost = row[name]
        form = (
            formatting.format_count
            if name not in _TIMES
            else formatting.format_seconds
            if name == "train_seconds"
            else formatting.format_hours
        )
        behind = runs if name == "total_seconds" else ()
        costs.append(Value(form(cost), cost, marks.get(name, False), runs=behind))
    front = "all" if all(marks.values()) else ", ".join(names[name] for name, mark in marks.items() if mark)
    return (
        Value(row["backbone"]),
        Value(row["label"]),
        plain,
        Value(str(row["decoders"] or formatting.NONE), row["decoders"]),
        *costs,
        Value(str(trials), trials),
        Value(front or formatting.NONE),
    )


def _write_caption(findings: StudyResults, hours: str) -> str:
    return (
        f"Test {metric_name(findings.records)} error (mean ± half the "
        f"{formatting.format_level(findings.records.alpha)} interval) against what it costs. MACs: of one image's "
        "forward pass as trained and at inference. train s: mean of a confirm trial, training steps only. "
        f"{hours}: the cell's confirm trials together, and with its search trials, each on one device; JSON and CSV "
        "hold seconds. Bold: on the Pareto front of error against that cost: no cell here has a lower error at no "
        "higher cost. By the means; no test says so."
    )


def _write_notes(findings: StudyResults, devices: Sequence[str]) -> list[str]:
    notes = []
    if len(devices) > 1:
        notes.append(f"Times are of several devices ({', '.join(devices)}), so no front is over time.")
    aside = len(findings.records.superseded)
    if aside:
        notes.append(
            f"{formatting.format_plural(aside, 'superseded trial')} of the study cost time too, not counted here."
        )
    return notes
