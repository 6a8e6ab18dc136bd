"""The records of one study, arranged as groups of cells. Nothing vanishes: what did not finish keeps its row."""

from __future__ import annotations

from collections.abc import Mapping, Set

import pandas as pd

from analysis.formatting import format_plural
from analysis.records import superseded as passes
from analysis.records.description import PlannedCell, StudyDescription
from analysis.records.model import CellResults, Group, Records
from suite.core.records import COLUMNS, Record
from suite.core.specs import BASELINE, CellId


def arrange_records(trials: pd.DataFrame, epochs: pd.DataFrame, study: StudyDescription) -> Records:
    """Records from tables already in memory; sets aside the rows of superseded protocols.

    Only rows that say when they `started` supersede or are superseded: without that nothing says which of two counts,
    and a seed that has both is a gap of its cell. A `skipped` or unfinished confirm row whose cell and seed has a
    result is dropped: it tells of another pass.

    Raises:
        ValueError: a column of the schema is missing.
    """
    lacking = sorted(set(COLUMNS) - set(trials.columns))
    if lacking:
        raise ValueError(f"The trials lack the columns {', '.join(lacking)}.")
    ordered = trials.iloc[:0]
    if "started" in trials:
        ordered = trials[trials["started"].notna()].sort_values("started", kind="stable")
    stale = {index for stage in passes.PROTOCOL for index in passes.find_stale(ordered, stage)}
    aside = trials.index.isin(stale)
    current = trials[~aside]
    again = passes.find_replaced(current)
    problems: tuple[str, ...] = ()
    if again.any():
        some = format_plural(int(again.sum()), "skipped or unfinished trial")
        problems = (f"{some} not used, for another pass has a result of the seed.",)
    return Records(current[~again], epochs, study, trials[aside], problems=problems)


def records_of(rows: pd.DataFrame) -> list[Record]:
    """Rows as `suite.core.records.Record`, with None for what was not measured (NaN included)."""
    columns = [[None if pd.isna(value) else value for value in rows[name].tolist()] for name in COLUMNS]
    return [Record(**dict(zip(COLUMNS, row, strict=True))) for row in zip(*columns, strict=True)]


def group_cells(records: Records) -> list[Group]:
    """Every cell that was planned or left a trial, grouped by dataset and backbone in the order of the plan."""
    trials: dict[CellId, list[Record]] = {}
    for record in records_of(records.trials[records.trials["dataset"] != ""]):  # some were cut off before their tags
        trials.setdefault(CellId(record.dataset, record.backbone, record.variant, record.settings), []).append(record)
    planned = {cell.cell_id: cell for cell in records.study.cells}
    names = [*planned, *(name for name in trials if name not in planned)]
    arranged = []
    for dataset, backbone in dict.fromkeys((name.dataset, name.backbone) for name in names):
        members = [name for name in names if (name.dataset, name.backbone) == (dataset, backbone)]
        tried = {one.seed for of in members for one in trials.get(of, []) if _was_tried(one)}
        tried |= {seed for *place, seed in records.lost if place == [dataset, backbone]}
        cells = tuple(_make_cell(name, planned.get(name), trials, records.study, tried) for name in members)
        baselines = [cell for cell in cells if cell.is_baseline]
        arranged.append(Group(dataset, backbone, baselines[0] if len(baselines) == 1 else None, cells))
    return arranged


def _was_tried(trial: Record) -> bool:
    """Whether the trial's seed is one that its whole group must have.

    Whatever became of it: a seed that failed or diverged everywhere would else vanish. One that was never run, or is
    not finished yet, tells of more seeds to come.
    """
    return trial.stage == "confirm" and trial.seed is not None and trial.status not in passes.WITHOUT_END


def _make_cell(
    name: CellId,
    planned: PlannedCell | None,
    trials: Mapping[CellId, list[Record]],
    study: StudyDescription,
    tried: Set[int],
) -> CellResults:
    """One cell. Its seeds: those planned, and those that any cell of its group tried (more seeds were asked for)."""

    def stage(wanted: str) -> list[Record]:
        return sorted(
            (record for record in trials.get(name, []) if record.stage == wanted),
            key=lambda one: -1 if one.seed is None else one.seed,
        )

    mine = trials.get(name, [])
    refused = planned.refused if planned else ""
    in_family = not refused and name.variant != BASELINE
    skipped = [record for record in mine if record.status == "skipped"]
    if not refused and skipped and len(skipped) == len(mine):
        refused = skipped[0].reason
    seeds = study.seeds
    if planned and planned.seeds is not None:
        seeds = planned.seeds
    return CellResults(
        *name,
        refused=refused or None,
        in_family=in_family and (planned is not None or not refused),
        expected=tuple(sorted(tried | set(range(seeds)))),
        searches=study.search_trials,
        search=tuple(record for record in stage("search") if record.status != "skipped"),
        confirm=tuple(record for record in stage("confirm") if record.status != "skipped"),
    )
