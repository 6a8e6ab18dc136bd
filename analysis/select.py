"""The records of one study, arranged as groups of cells. Nothing vanishes: what did not finish keeps its row.

Reads what `analysis.collect` wrote, checked against its manifest, or results from elsewhere.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.formats import plural, ranges
from analysis.store import checks, manifest, parts, runs
from suite.records import COLUMNS, Record
from suite.specs import BASELINE

METRICS = {"top1": "test_top1_error", "top5": "test_top5_error"}
_ATTEMPTS = 3  # to read a folder while it is being collected
CELL = ["dataset", "backbone", "variant", "settings"]
# What must be one thing per cell and stage. A cell run again under another protocol (an edited study) counts with its
# latest one alone; the earlier rows are listed as superseded.
_PROTOCOL = {
    "confirm": ["recipe", "hyperparameters", "epochs", "precision", "memory_format", "micro_batch"],
    "search": ["recipe", "epochs"],
}


@dataclass(frozen=True, eq=False)
class Records:
    """Trials (one row each), epochs (long) and the study's plan.

    Attributes:
        superseded: rows of an earlier protocol.
        source: where they are from, as far as that is known: `tracking_uri` (without password), `experiment_id`,
            `collected` (UTC, ISO 8601); `files` of results from elsewhere.
        problems: what could not be used and why, what was taken for granted; sentences for people.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    study: Mapping[str, Any]
    superseded: pd.DataFrame
    source: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

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
    expected: tuple[int, ...]  # confirm seeds that the group must have, planned or seen
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
    """The cells of one dataset and backbone. `baseline` None: the records have none."""

    dataset: str
    backbone: str
    baseline: CellResults | None
    cells: tuple[CellResults, ...]  # the baseline too, in the order of the plan


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
    table = pq.read_table(files["trials.parquet"])
    checks.check_columns(str(folder / "trials.parquet"), table.schema, runs.SCHEMA, manifest.REMEDY)
    stored = [file for name, file in files.items() if name.startswith(f"{parts.FOLDER}/")]
    for file in stored:
        checks.check_columns(str(file), pq.read_schema(file), parts.SCHEMA, manifest.REMEDY)
    trials = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    study = checks.check_study(json.loads(files["study.json"].read_text()), str(folder / "study.json"))
    names = checks.trial_names(trials)
    checks.check_fractions(trials, names)
    trials, problems = checks.without_infinities(trials, METRICS[str(study.get("metric", "top1"))], names)
    records = arrange(trials, parts.read(stored).to_pandas(), study)
    source = {"tracking_uri": found.tracking, "experiment_id": found.experiment_id, "collected": found.collected}
    return replace(records, source=source, problems=(*problems, *records.problems))


_WITHOUT_END = ("skipped", "running")


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
    stale = {index for stage in _PROTOCOL for index in _stale(ordered, stage)}
    aside = trials.index.isin(stale)
    current = trials[~aside]
    again = _ran_after_all(current)
    problems: tuple[str, ...] = ()
    if again.any():
        some = plural(int(again.sum()), "skipped or unfinished trial")
        problems = (f"{some} not used, for another pass has a result of the seed.",)
    return Records(current[~again], epochs, dict(study), trials[aside], problems=problems)


def _ran_after_all(trials: pd.DataFrame) -> pd.Series:
    """Which rows are `skipped` or unfinished confirm trials of a cell and seed that another row has a result of."""
    confirm, status = trials["stage"] == "confirm", trials["status"]
    names = pd.Series(list(zip(*(trials[name].astype(str) for name in [*CELL, "seed"]), strict=True)), trials.index)
    return confirm & status.isin(_WITHOUT_END) & names.isin(names[confirm & status.isin(["completed", "diverged"])])


def _stale(ordered: pd.DataFrame, stage: str) -> list[Any]:
    """Indices of the stage's rows that a later protocol of their cell, or a later trial of their seed, replaced."""
    # A trial without an end has not told its batch, threads, ... yet: it can't say which protocol counts.
    rows = ordered[(ordered["stage"] == stage) & ~ordered["status"].isin(_WITHOUT_END)]
    cells = list(rows[CELL].itertuples(index=False, name=None))
    protocols = [tuple(map(str, row)) for row in rows[_PROTOCOL[stage]].itertuples(index=False, name=None)]
    seeds = [(cell, str(seed)) for cell, seed in zip(cells, rows["seed"], strict=True)]
    latest = dict(zip(cells, protocols, strict=True))  # rows are in order of start: the last one stays
    newest = dict(zip(seeds, rows.index, strict=True))
    each = zip(rows.index, cells, seeds, protocols, strict=True)
    return [index for index, cell, seed, own in each if own != latest[cell] or newest[seed] != index]


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
        cells = tuple(_cell(name, planned, trials, records.study, members) for name in members)
        baseline = next((cell for cell in cells if cell.is_baseline), None)
        arranged.append(Group(dataset, backbone, baseline, cells))
    return arranged


def _cell(
    name: tuple[str, ...],
    planned: Mapping[tuple[str, ...], Mapping[str, Any]],
    trials: Mapping[tuple[str, ...], list[Record]],
    study: Mapping[str, Any],
    members: list[tuple[str, ...]],
) -> CellResults:
    """One cell. Its seeds: those planned, and any that another cell of the group has (more seeds were asked for)."""

    def stage(wanted: str, of: tuple[str, ...] = name) -> list[Record]:
        return sorted(
            (record for record in trials.get(of, []) if record.stage == wanted),
            key=lambda one: -1 if one.seed is None else one.seed,
        )

    mine = trials.get(name, [])
    refused = planned.get(name, {}).get("refused")
    in_family = not refused and name[2] != BASELINE
    skipped = [record for record in mine if record.status == "skipped"]
    if not refused and skipped and len(skipped) == len(mine):
        refused = skipped[0].reason
    seen = {one.seed for of in members for one in stage("confirm", of) if one.status == "completed"}
    return CellResults(
        name[0],
        name[1],
        name[2],
        name[3],
        refused=refused or None,
        in_family=in_family and (name in planned or not refused),
        expected=tuple(sorted(seen | set(range(int(planned.get(name, {}).get("seeds", study.get("seeds", 0))))))),
        searches=int(study.get("search_trials", 0)),
        search=tuple(record for record in stage("search") if record.status != "skipped"),
        confirm=tuple(record for record in stage("confirm") if record.status != "skipped"),
    )
