"""What an error costs: parameters, operations and time beside it, and which cells nothing beats at a lower cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter

from analysis import formatting
from analysis.records.model import CellResults
from analysis.tables import EMPTY, Column, Table, Value, fill_table
from analysis.tables.leaderboard import CELL, DECODERS, group_rows, make_plain_error, name_metric
from analysis.verdicts.cell_rows import Row, row_cell, run_ids, runs_of
from analysis.verdicts.results import StudyResults
from suite.core.records import Record
from suite.core.specs import CellId

# Key of a row -> its title, and how it is written, where it is a cost that a front can be over.
_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("params", formatting.format_count),
    "macs": ("MACs", formatting.format_count),
    "inference_macs": ("inference MACs", formatting.format_count),
    "train_seconds": ("train s", formatting.format_seconds),
    "confirm_seconds": ("hours", formatting.format_hours),
    "total_seconds": ("hours with search", formatting.format_hours),
}
_TIMES = frozenset({"train_seconds", "confirm_seconds", "total_seconds"})
_DEVICE_HOURS = {"cuda": "GPU-hours", "cpu": "CPU-hours"}


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset: every cell with its costs, lowest error first."""
    cells = {cell.cell_id: cell for group in findings.groups for cell in group.cells}
    return [_build_table(findings, dataset, board, cells) for dataset, board in group_rows(findings).items()]


def _build_table(
    findings: StudyResults, dataset: str, board: Sequence[Row], cells: Mapping[CellId, CellResults]
) -> Table:
    ids, devices, kinds, rows = run_ids(findings.records), set(), set(), []
    for row in board:
        cell = cells[row_cell(row)]
        trials = (*cell.search, *cell.confirm)
        devices |= {trial.device or trial.device_kind for trial in trials}
        kinds |= {trial.device_kind for trial in trials}
        seconds = {"confirm_seconds": _sum_seconds(cell.confirm), "total_seconds": _sum_seconds(trials)}
        rows.append(row | seconds | {"trials": len(trials), "every_run": runs_of(trials, ids)})
    devices, kinds = devices - {""}, kinds - {""}
    _mark_fronts(rows, same_device=len(devices) < 2)
    hours = _DEVICE_HOURS.get(kinds.pop(), "device-hours") if len(kinds) == 1 else "device-hours"
    slug, title = formatting.slug_of_name(dataset), f"Error and cost: {dataset}"
    notes = _list_notes(findings, sorted(devices))
    return fill_table(f"costs-{slug}", title, _write_caption(findings, hours), _list_columns(hours), rows, notes)


def _sum_seconds(trials: Sequence[Record]) -> float | None:
    """Seconds of training of the trials together; None if any trial didn't measure its."""
    # a trial that failed before its first step has none and cost none
    seconds = [trial.train_seconds for trial in trials if trial.train_seconds is not None or trial.epochs_run]
    known = [number for number in seconds if number is not None and math.isfinite(number)]
    return math.fsum(known) if known and len(known) == len(seconds) else None


def find_front(errors: Sequence[float | None], costs: Sequence[float | None]) -> list[bool]:
    """Which are on the front: no other has at most its error and at most its cost, and less of one.

    Equal points are on it together; what lacks a figure is not.
    """
    points = list(zip(errors, costs, strict=True))
    known = {(error, cost) for error, cost in points if error is not None and cost is not None and math.isfinite(cost)}
    front: set[tuple[float | None, float | None]] = set()
    lowest = math.inf  # cost of any point before: with a lower error, or the same and a lower cost
    for error, cost in sorted(known):
        if cost < lowest:
            front.add((error, cost))
            lowest = cost
    return [point in front for point in points]


def _mark_fronts(rows: Sequence[Row], same_device: bool) -> None:
    """Give each row its `fronts`: per cost, whether it is on its front against the mean error.

    A row that isn't comparable is on none. Times of different devices don't compare: then no front is over time.
    """
    errors: list[float | None] = []
    for row in rows:
        row["fronts"] = {}
        errors.append(round(row["mean_error"], 12) if row["comparable"] else None)
    for name in _COSTS:
        if name in _TIMES and not same_device:
            continue
        marks = find_front(errors, [row[name] for row in rows])
        for row, mark in zip(rows, marks, strict=True):
            row["fronts"][name] = mark


def _list_columns(hours: str) -> list[Column[Row]]:
    """`hours`: as they are named for the device."""
    titles = {name: title.replace("hours", hours, 1) for name, (title, _) in _COSTS.items()}
    costs = [Column(name, titles[name], partial(_make_cost, name), numeric=True) for name in _COSTS]
    return [
        *CELL,
        Column("error", "error %", lambda row: make_plain_error(row) if row["comparable"] else EMPTY, numeric=True),
        DECODERS,
        *costs,
        Column("trials", "trials", itemgetter("trials"), numeric=True),
        Column("front", "on the front of", partial(_name_fronts, titles)),
    ]


def _make_cost(name: str, row: Row) -> Value:
    _, write = _COSTS[name]
    runs = row["every_run"] if name == "total_seconds" else ()
    return Value(write(row[name]), row[name], row["fronts"].get(name, False), runs=runs)


def _name_fronts(titles: Mapping[str, str], row: Row) -> str | None:
    if all(row["fronts"].values()):
        return "all"
    names = [titles[name] for name, is_on in row["fronts"].items() if is_on]
    return ", ".join(names) or None


def _write_caption(findings: StudyResults, hours: str) -> str:
    return (
        f"Test {name_metric(findings.records)} error (mean ± half the "
        f"{formatting.format_level(findings.records.alpha)} interval) against what it costs. MACs: of one image's "
        "forward pass as trained and at inference. train s: mean of a confirm trial, training steps only. "
        f"{hours}: the cell's confirm trials together, and with its search trials, each on one device; JSON and CSV "
        "hold seconds. Bold: on the Pareto front of error against that cost: no cell here has a lower error at no "
        "higher cost. By the means; no test says so."
    )


def _list_notes(findings: StudyResults, devices: Sequence[str]) -> Iterator[str]:
    if len(devices) > 1:
        yield f"Times are of several devices ({', '.join(devices)}), so no front is over time."
    superseded = len(findings.records.superseded)
    if superseded:
        trials = formatting.format_plural(superseded, "superseded trial")
        yield f"{trials} of the study cost time too, not counted here."
