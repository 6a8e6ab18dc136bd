"""The records of one study, arranged as groups of cells. Nothing vanishes: what did not finish keeps its row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from analysis.formatting import format_plural
from analysis.records import superseded
from analysis.records.description import PlannedCell, StudyDescription
from analysis.records.model import CellResults, Group, Records
from suite.core.records import COLUMNS, Record
from suite.core.specs import BASELINE, CellId


def arrange_records(trials: pd.DataFrame, epochs: pd.DataFrame, study: StudyDescription) -> Records:
    """Records from tables already in memory; sets aside the rows of superseded protocols.

    Only rows that say when they `started` supersede or are superseded: without that nothing says which of two counts,
    and a seed that has both is a gap of its cell. A `skipped` or unfinished confirm row whose cell and seed has a
    result is dropped: it tells of another pass.
    """
    stale = trials.index.isin(superseded.find_stale(trials))
    current = trials[~stale]
    replaced = superseded.find_replaced(current)
    problems: tuple[str, ...] = ()
    if replaced.any():
        count = format_plural(int(replaced.sum()), "skipped or unfinished trial")
        problems = (f"{count} not used, for another pass has a result of the seed.",)
    return Records(current[~replaced], epochs, study, trials[stale], problems=problems)


def records_of(rows: pd.DataFrame) -> list[Record]:
    """Rows as `suite.core.records.Record`, with None for what was not measured (NaN included)."""
    columns = [rows[name].to_numpy(dtype=object, na_value=None) for name in COLUMNS]
    return [Record(**dict(zip(COLUMNS, values, strict=True))) for values in zip(*columns, strict=True)]


def group_cells(records: Records) -> list[Group]:
    """Every cell that was planned or left a trial, grouped by dataset and backbone in the order of the plan.

    A group must have every seed that any of its cells tried, whatever became of it: a seed that failed or diverged
    everywhere would else vanish. One that was never run, or is not finished yet, tells of more seeds to come.
    """
    planned = {cell.cell_id: cell for cell in records.study.cells}
    trials: dict[CellId, list[Record]] = defaultdict(list)
    tried: dict[tuple[str, str], set[int]] = defaultdict(set)
    for dataset, backbone, seed in records.lost:
        tried[dataset, backbone].add(seed)
    for record in records_of(records.trials[records.trials["dataset"] != ""]):  # some were cut off before their tags
        trials[CellId(record.dataset, record.backbone, record.variant, record.settings)].append(record)
        if record.stage == "confirm" and record.seed is not None and record.status not in superseded.WITHOUT_END:
            tried[record.dataset, record.backbone].add(record.seed)
    groups: dict[tuple[str, str], list[CellResults]] = defaultdict(list)
    for name in dict.fromkeys([*planned, *trials]):
        place = name.dataset, name.backbone
        groups[place].append(_make_cell(name, planned.get(name), trials[name], records.study, tried[place]))
    arranged = []
    for (dataset, backbone), cells in groups.items():
        baselines = [cell for cell in cells if cell.is_baseline]
        baseline = baselines[0] if len(baselines) == 1 else None
        arranged.append(Group(dataset, backbone, baseline, tuple(cells)))
    return arranged


def _make_cell(
    name: CellId, planned: PlannedCell | None, trials: Sequence[Record], study: StudyDescription, tried: set[int]
) -> CellResults:
    """One cell. Its seeds: those planned, and those that any cell of its group tried (more seeds were asked for)."""
    by_stage: dict[str, list[Record]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: -1 if trial.seed is None else trial.seed):
        if trial.status != "skipped":
            by_stage[trial.stage].append(trial)
    plan = planned or PlannedCell(name, "", None)
    refused = plan.refused
    if not refused and trials and not by_stage:
        refused = trials[0].reason
    seeds = study.seeds if plan.seeds is None else plan.seeds
    return CellResults(
        *name,
        refused=refused or None,
        in_family=name.variant != BASELINE and not plan.refused and (planned is not None or not refused),
        expected=tuple(sorted(tried.union(range(seeds)))),
        searches=study.search_trials,
        search=tuple(by_stage["search"]),
        confirm=tuple(by_stage["confirm"]),
    )
