"""The records of one study, arranged as groups of cells. Nothing vanishes: what did not finish keeps its row.

Reads what `analysis.collect` wrote, checked against its manifest, or results from elsewhere.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.formats import plural, ranges
from analysis.store import checks, manifest, parts, passes, runs
from analysis.store.description import check_study
from suite.records import COLUMNS, REQUIRED, Record
from suite.specs import BASELINE

METRICS = {"top1": "test_top1_error", "top5": "test_top5_error"}
NULLABLE = COLUMNS.keys() - REQUIRED[Record] - set(METRICS.values())  # a folder of an earlier version may lack them
_ATTEMPTS = 3  # to read a folder while it is being collected
CELL = passes.CELL


@dataclass(frozen=True, eq=False)
class Records:
    """Trials (one row each), epochs (long) and the study's plan.

    Attributes:
        superseded: rows of an earlier protocol.
        source: where they are from, as far as that is known: `tracking_uri` (without password), `experiment_id`,
            `collected` (UTC, ISO 8601); `files` of results from elsewhere.
        problems: what could not be used and why, what was taken for granted; sentences for people.
        lost: dataset, backbone and confirm seed of rows that were set aside: their groups must have those seeds.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: Mapping[str, Any]
    superseded: pd.DataFrame
    source: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    lost: frozenset[tuple[str, str, int]] = frozenset()

    @property
    def metric(self) -> str:
        """The column of the primary metric."""
        return METRICS[self.study.get("metric", "top1")]

    @property
    def alpha(self) -> float:
        """Chance of any false HELPS or HURTS at one look: the study's alpha, split evenly over its planned looks."""
        return float(self.study.get("alpha", 0.05)) / int(self.study.get("looks", 1))

    @property
    def rope(self) -> float:
        """Half-width of the region of practical equivalence, a fraction."""
        return float(self.study.get("rope", 0.005))


@dataclass(frozen=True)
class CellResults:
    """A cell with its trials. `refused`: the sentence with which the plan refused it.

    `in_family`: it counts in Holm's correction, whatever became of its trials (neither refused nor the baseline).
    """

    dataset: str
    backbone: str
    variant: str
    settings: str
    refused: str | None
    in_family: bool
    expected: tuple[int, ...]  # confirm seeds that the group must have, planned or tried
    searches: int  # planned search trials
    search: tuple[Record, ...]
    confirm: tuple[Record, ...]

    @property
    def label(self) -> str:
        return f"{self.variant} ({self.settings})" if self.settings else self.variant

    @property
    def is_baseline(self) -> bool:
        return self.variant == BASELINE

    def by_seed(self) -> dict[int, Record]:
        """The confirm trials by seed, whatever their status."""
        return {record.seed: record for record in self.confirm}

    @property
    def doubtful(self) -> frozenset[int]:
        """Confirm seeds with several trials of which nothing says which counts."""
        counted = Counter(record.seed for record in self.confirm)
        return frozenset(seed for seed, number in counted.items() if number > 1)

    def errors(self, metric: str) -> dict[int, float]:
        """Test error (fraction) by seed, of the completed confirm trials; a doubtful seed has none."""
        doubtful = self.doubtful
        done = (one for one in self.confirm if one.status == "completed" and one.seed not in doubtful)
        found = {record.seed: getattr(record, metric) for record in done}
        return {seed: error for seed, error in sorted(found.items()) if error is not None and math.isfinite(error)}

    def gap(self, metric: str) -> str:
        """Why the test errors of this cell are no full set; empty when they are.

        `2 of 5 seeds diverged (1, 3)`, `no confirm trial: all 4 search trials diverged`.
        """
        if self.refused:
            return f"refused: {self.refused}"
        present, seeds, doubtful = self.errors(metric), self.by_seed(), self.doubtful
        absent = [seed for seed in self.expected if seed not in present]
        if not absent:
            return ""
        if not self.confirm and self.search and all(trial.status == "diverged" for trial in self.search):
            return f"no confirm trial: all {plural(len(self.search), 'search trial')} diverged"
        kinds: dict[str, list[int]] = {}
        for seed in absent:
            kind = "with different results" if seed in doubtful else _absence(seeds.get(seed))
            kinds.setdefault(kind, []).append(seed)
        return "; ".join(
            f"{len(where)} of {plural(len(self.expected), 'seed')} {kind} ({ranges(where)})"
            for kind, where in kinds.items()
        )


def _absence(record: Record | None) -> str:
    if record is None or str(record.status) == "running":
        return "missing" if record is None else "not finished"
    return "without a test error" if record.status == "completed" else record.status


@dataclass(frozen=True)
class Group:
    """The cells of one dataset and backbone. `baseline` None: the records have none, or several."""

    dataset: str
    backbone: str
    baseline: CellResults | None
    cells: tuple[CellResults, ...]  # the baseline too, in the order of the plan

    @property
    def without_baseline(self) -> str:
        """Why nothing in the group has a reference; empty when it has one."""
        found = [cell.settings or "no settings" for cell in self.cells if cell.is_baseline]
        if self.baseline is not None:
            return ""
        return several_baselines("this group", found) if found else "this group has no baseline"


def several_baselines(group: str, settings: Sequence[str]) -> str:
    """`this group has 2 baselines (no settings; lr=0.1), and nothing says which counts`."""
    return f"{group} has {len(settings)} baselines ({'; '.join(settings)}), and nothing says which counts"


def load(path: Path) -> Records:
    """The records that `analysis.collect` wrote to a folder, or results from elsewhere (`analysis.store.foreign`).

    Args:
        path: a folder; of results from elsewhere also a single Parquet or CSV file.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file is cut short, changed since it was collected, lacks a column or has one of the wrong type;
            or an error is no fraction. The message names it and says what to do.
    """
    if not path.exists():
        raise FileNotFoundError(f"No records at {path}: there is no such file or folder.")
    for attempt in range(_ATTEMPTS):
        found = manifest.read(path) if path.is_dir() else None
        if found is None:
            from analysis.store import foreign  # it builds on this module

            return foreign.load(path)
        try:
            return _collected(path, found)
        except (manifest.DamagedError, FileNotFoundError):  # a collector at work may have just moved the file
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _collected(folder: Path, found: manifest.Manifest) -> Records:
    files = manifest.verify(folder, found)
    for name in ("trials.parquet", "study.json"):
        if name not in files:
            raise manifest.DamagedError(f"{folder / manifest.NAME} names no {name}: {manifest.REMEDY}.")
    table = manifest.readable(folder / "trials.parquet", lambda: pq.read_table(files["trials.parquet"]))
    checks.check_columns(str(folder / "trials.parquet"), table.schema, runs.SCHEMA, manifest.REMEDY, NULLABLE)
    table = checks.fill_columns(table, runs.SCHEMA)
    stored = [file for name, file in files.items() if name.startswith(f"{parts.FOLDER}/")]
    for file in stored:
        schema = manifest.readable(file, partial(pq.read_schema, file))
        checks.check_columns(str(file), schema, parts.SCHEMA, manifest.REMEDY)
    trials = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    described = manifest.readable(folder / "study.json", lambda: json.loads(files["study.json"].read_text()))
    study = check_study(described, str(folder / "study.json"))
    names = checks.trial_names(trials)
    checks.check_fractions(trials, names)
    trials, problems = checks.without_infinities(trials, METRICS[str(study.get("metric", "top1"))], names)
    epochs = manifest.readable(folder / parts.FOLDER, lambda: parts.read(stored).to_pandas())
    records = arrange(trials, epochs, study)
    source = {"tracking_uri": found.tracking, "experiment_id": found.experiment_id, "collected": found.collected}
    return replace(records, source=source, problems=(*problems, *records.problems))


def arrange(trials: pd.DataFrame, epochs: pd.DataFrame, study: Mapping[str, Any]) -> Records:
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
    stale = {index for stage in passes.PROTOCOL for index in passes.stale(ordered, stage)}
    aside = trials.index.isin(stale)
    current = trials[~aside]
    again = passes.ran_after_all(current)
    problems: tuple[str, ...] = ()
    if again.any():
        some = plural(int(again.sum()), "skipped or unfinished trial")
        problems = (f"{some} not used, for another pass has a result of the seed.",)
    return Records(current[~again], epochs, dict(study), trials[aside], problems=problems)


def records_of(rows: pd.DataFrame) -> list[Record]:
    """Rows as `suite.records.Record`, with None for what was not measured (NaN included)."""
    columns = [[None if pd.isna(value) else value for value in rows[name].tolist()] for name in COLUMNS]
    return [Record(**dict(zip(COLUMNS, row, strict=True))) for row in zip(*columns, strict=True)]


def groups(records: Records) -> list[Group]:
    """Every cell that was planned or left a trial, grouped by dataset and backbone in the order of the plan."""
    trials: dict[tuple[str, ...], list[Record]] = {}
    for record in records_of(records.trials[records.trials["dataset"] != ""]):  # some were cut off before their tags
        trials.setdefault((record.dataset, record.backbone, record.variant, record.settings), []).append(record)
    planned = {tuple(cell[name] for name in CELL): cell for cell in records.study.get("cells", ())}
    names = [*planned, *(name for name in trials if name not in planned)]
    arranged = []
    for dataset, backbone in dict.fromkeys((name[0], name[1]) for name in names):
        members = [name for name in names if name[:2] == (dataset, backbone)]
        tried = {one.seed for of in members for one in trials.get(of, []) if _was_tried(one)}
        tried |= {seed for *place, seed in records.lost if place == [dataset, backbone]}
        cells = tuple(_cell(name, planned, trials, records.study, tried) for name in members)
        baselines = [cell for cell in cells if cell.is_baseline]
        arranged.append(Group(dataset, backbone, baselines[0] if len(baselines) == 1 else None, cells))
    return arranged


def _was_tried(trial: Record) -> bool:
    """Whether the trial's seed is one that its whole group must have.

    Whatever became of it: a seed that failed or diverged everywhere would else vanish. One that was never run, or is
    not finished yet, tells of more seeds to come.
    """
    return trial.stage == "confirm" and trial.seed is not None and trial.status not in passes.WITHOUT_END


def _cell(
    name: tuple[str, ...],
    planned: Mapping[tuple[str, ...], Mapping[str, Any]],
    trials: Mapping[tuple[str, ...], list[Record]],
    study: Mapping[str, Any],
    tried: Set[int],
) -> CellResults:
    """One cell. Its seeds: those planned, and those that any cell of its group tried (more seeds were asked for)."""

    def stage(wanted: str) -> list[Record]:
        return sorted(
            (record for record in trials.get(name, []) if record.stage == wanted),
            key=lambda one: -1 if one.seed is None else one.seed,
        )

    mine = trials.get(name, [])
    refused = planned.get(name, {}).get("refused")
    in_family = not refused and name[2] != BASELINE
    skipped = [record for record in mine if record.status == "skipped"]
    if not refused and skipped and len(skipped) == len(mine):
        refused = skipped[0].reason
    own_seeds = planned.get(name, {}).get("seeds")
    seeds = int(study.get("seeds", 0) if own_seeds is None else own_seeds)
    return CellResults(
        name[0],
        name[1],
        name[2],
        name[3],
        refused=refused or None,
        in_family=in_family and (name in planned or not refused),
        expected=tuple(sorted(tried | set(range(seeds)))),
        searches=int(study.get("search_trials", 0)),
        search=tuple(record for record in stage("search") if record.status != "skipped"),
        confirm=tuple(record for record in stage("confirm") if record.status != "skipped"),
    )
