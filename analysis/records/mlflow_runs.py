"""MLflow's runs as rows of trials: one per trial, with the columns of `suite.core.records.COLUMNS`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from analysis.records.manifest import SeenRun
from suite.core.records import COLUMNS, FINISHED

RUNNING = "running"  # a row whose trial has not ended, or whose driver died: as good as missing
INFINITE = 1.797e308  # MLflow stores +-inf as the largest double
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

    def is_as(self, seen: SeenRun | None) -> bool:
        """Whether nothing can have been written to it since."""
        then = seen and (seen.status, seen.started, seen.ended)
        return not self.alive and then == (self.status, self.started, self.ended)

    def note_seen(self, part: str) -> SeenRun:
        return SeenRun(self.status, self.started, self.ended, self.trial_key, self.record, part)


def one_per_key(runs: Iterable[Run]) -> list[Run]:
    """One run per trial key: the finished one, else the latest. Runs that have no key yet are all kept."""

    def rank(run: Run) -> tuple[bool, int, str]:
        return run.record in FINISHED, run.started or 0, run.run_id

    best: dict[str, Run] = {}
    for run in sorted(runs, key=rank):
        best[run.trial_key or run.run_id] = run
    return list(best.values())


def trials_table(runs: Sequence[Run], unchanged: pa.Table | None = None) -> pa.Table:
    """One row per run, and the `unchanged` rows of an earlier table, in the order of their start."""
    table = pa.Table.from_pylist([_make_row(run) for run in runs], schema=SCHEMA)
    if unchanged is not None:
        table = pa.concat_tables([unchanged, table])
    return table.sort_by([("started", "ascending"), ("run_id", "ascending")])


def read_number(value: float | None) -> float:
    """A metric as it was logged; None stands for NaN."""
    if value is None or math.isnan(value):
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= INFINITE else float(value)


def _make_row(run: Run) -> dict[str, Any]:
    """A trial's columns from tags (text) and metrics (numbers). A run that left no status is running, or failed."""
    row: dict[str, Any] = {"run_id": run.run_id, "started": run.started, "ended": run.ended}
    for name, kind in COLUMNS.items():
        if kind is str:
            row[name] = run.tags.get(name, "")
        else:
            value = run.metrics.get(name)
            row[name] = value if value is None or kind is float else _to_integer(value)
    if row["seed"] is None and run.tags.get("seed", "").isdigit():  # interrupted before its metrics were written
        row["seed"] = int(run.tags["seed"])
    if not row["status"]:
        row["status"] = RUNNING if run.alive else "failed"
        ended = f"its run ended as {run.status} without a record"
        row["reason"] = "interrupted, or still running" if run.alive else ended
    return row


def _to_integer(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
