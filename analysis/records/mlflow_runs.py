"""MLflow's runs as rows of trials: one per trial, with the columns of `suite.core.records.COLUMNS`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from analysis.records.manifest import SeenRun
from suite.core.records import COLUMNS, FINISHED

RUNNING = "running"  # a row whose trial has not ended, or whose driver died: as good as missing
INFINITE = 1.797e308  # MLflow stores +-inf as the largest double
BATCH = 500  # runs that are read at once; their epochs make one file
LARGEST = 1e100  # nothing measures larger figures, and their sums overflow
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}
SCHEMA = pa.schema(
    [(name, _ARROW[kind]) for name, kind in COLUMNS.items()]
    + [("run_id", pa.string()), ("started", pa.int64()), ("ended", pa.int64())]
)


@dataclass
class Run:
    """One MLflow run of a trial. `tags` and `metrics` are empty until they are read.

    Attributes:
        trial_key, record: of the tags; `record` is the record's own status. Known of an unchanged run without reading.
    """

    run_id: str
    status: str
    started: int | None
    ended: int | None
    artifact_uri: str
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    trial_key: str = ""
    record: str = ""

    @property
    def alive(self) -> bool:
        return self.status in ("RUNNING", "SCHEDULED")

    def is_as(self, seen: SeenRun) -> bool:
        """Whether nothing can have been written to it since."""
        return not self.alive and (seen.status, seen.started, seen.ended) == (self.status, self.started, self.ended)

    def note_seen(self, part: str) -> SeenRun:
        return SeenRun(self.status, self.started, self.ended, self.trial_key, self.record, part)


def one_per_key(runs: Iterable[Run]) -> list[Run]:
    """One run per trial key: the finished one, else the latest. Runs that have no key yet are all kept."""
    best: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.record in FINISHED, run.started or 0, run.run_id)):
        best[run.trial_key or run.run_id] = run
    return list(best.values())


def split_batches(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """The runs, as many at once as one read asks for."""
    for start in range(0, len(runs), BATCH):
        yield runs[start : start + BATCH]


def trials_table(runs: Iterable[Run], unchanged: pa.Table) -> pa.Table:
    """One row per run, and the `unchanged` rows of an earlier table, in the order of their start."""
    table = pa.Table.from_pylist(list(map(_make_row, runs)), schema=SCHEMA)
    return pa.concat_tables([unchanged, table]).sort_by([("started", "ascending"), ("run_id", "ascending")])


def read_number(value: float | None) -> float:
    """A metric as it was logged; None stands for NaN."""
    if value is None:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else float(value)


def _make_row(run: Run) -> dict[str, Any]:
    """A trial's columns from tags (text) and metrics (numbers). A run that left no status is running, or failed."""
    row: dict[str, Any] = {"run_id": run.run_id, "started": run.started, "ended": run.ended}
    for name, kind in COLUMNS.items():
        if kind is str:
            row[name] = run.tags.get(name, "")
        else:
            row[name] = run.metrics.get(name)
            if kind is int and row[name] is not None:
                row[name] = int(row[name]) if math.isfinite(row[name]) else None
    if row["seed"] is None and run.tags.get("seed", "").isdigit():  # interrupted before its metrics were written
        row["seed"] = int(run.tags["seed"])
    if not row["status"] and run.alive:
        row |= {"status": RUNNING, "reason": "interrupted, or still running"}
    elif not row["status"]:
        row |= {"status": "failed", "reason": f"its run ended as {run.status} without a record"}
    return row
