"""MLflow in, Parquet out: the only file of the analysis that knows MLflow.

A database is read by SQL (one pass, read-only), a server through its REST calls; both give the same files:
`trials.parquet` (the columns of `suite.records.COLUMNS`, then `run_id`, `started` and `ended` in milliseconds since
1970), `epochs.parquet` (`EPOCH_COLUMNS`), `predictions/<trial_key>.parquet` and `study.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.parquet as pq

from suite.records import COLUMNS, EPOCH_COLUMNS, FINISHED

log = logging.getLogger(__name__)

STUDY_TAG = "graftbench.study"
EPOCH_PREFIX = "epoch/"
RUNNING = "running"  # a row whose trial has not ended, or whose driver died: as good as missing
_INFINITE = 1.797e308  # MLflow stores +-inf as the largest double
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}


class StudyNotFoundError(LookupError):
    """No such study (or no such store) at a tracking URI; the message is one sentence for people."""


@dataclass
class Run:
    """One MLflow run of a trial. `epochs` holds (metric, epoch, timestamp, value)."""

    run_id: str
    status: str
    started: int | None
    ended: int | None
    artifact_uri: str
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: list[tuple[str, int, int, float]] = field(default_factory=list)


def collect(tracking_uri: str, study: str, out: Path) -> Path:
    """Write the records of `study` under `out` and return `out`. Each file is replaced whole or not at all.

    Raises:
        StudyNotFoundError: the store or the study is not there; the message names the studies that are.
    """
    from_server = tracking_uri.startswith(("http://", "https://"))
    tags, runs = (_read_server if from_server else _read_database)(tracking_uri, study)
    plan, kept = _study_of(tags, study, tracking_uri), _one_per_key(runs)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".collecting-", dir=out) as name:
        fresh = Path(name)
        pq.write_table(_trials_table(kept), fresh / "trials.parquet")
        pq.write_table(_epochs_table(kept), fresh / "epochs.parquet")
        (fresh / "predictions").mkdir()
        _fetch_predictions(kept, tracking_uri, fresh / "predictions")
        (fresh / "study.json").write_text(json.dumps(plan, indent=1) + "\n")
        shutil.rmtree(out / "predictions", ignore_errors=True)
        for path in sorted(fresh.iterdir()):
            path.replace(out / path.name)
    return out


def _study_of(tags: dict[str, str], study: str, uri: str) -> dict[str, Any]:
    """The study's tag; one longer than MLflow's limit of 20,000 characters goes on in `graftbench.study.1`, `.2`..."""
    if STUDY_TAG not in tags:
        raise StudyNotFoundError(f"Experiment {study!r} at {_shown(uri)} was not written by Graftbench.")
    parts, index = [tags[STUDY_TAG]], 1
    while f"{STUDY_TAG}.{index}" in tags:
        parts.append(tags[f"{STUDY_TAG}.{index}"])
        index += 1
    plan: dict[str, Any] = json.loads("".join(parts))
    return plan


def _shown(uri: str) -> str:
    """The URI without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", uri)


def _not_found(study: str, uri: str, known: Iterable[str]) -> StudyNotFoundError:
    names = ", ".join(sorted(known)) or "none"
    return StudyNotFoundError(f"No study {study!r} at {_shown(uri)}; studies there: {names}.")


# --- rows


def _one_per_key(runs: Iterable[Run]) -> list[Run]:
    """One run per trial key: the finished one, else the latest. Runs that have no key yet are all kept."""

    def rank(run: Run) -> tuple[bool, int, str]:
        return run.tags.get("status") in FINISHED, run.started or 0, run.run_id

    best: dict[str, Run] = {}
    for run in sorted(runs, key=rank):
        best[run.tags.get("trial_key") or run.run_id] = run
    return sorted(best.values(), key=lambda run: (run.started or 0, run.run_id))


def _row(run: Run) -> dict[str, Any]:
    """A trial's columns from tags (text) and metrics (numbers). A run that left no status is running, or failed."""
    row: dict[str, Any] = {"run_id": run.run_id, "started": run.started, "ended": run.ended}
    for name, kind in COLUMNS.items():
        if kind is str:
            row[name] = run.tags.get(name, "")
        else:
            value = run.metrics.get(name)
            row[name] = value if value is None or kind is float else int(value)
    if row["seed"] is None and run.tags.get("seed", "").isdigit():  # interrupted before its metrics were written
        row["seed"] = int(run.tags["seed"])
    if not row["status"]:
        alive = run.status in ("RUNNING", "SCHEDULED")
        row["status"] = RUNNING if alive else "failed"
        row["reason"] = "interrupted, or still running" if alive else f"its run ended as {run.status} without a record"
    return row


def _trials_table(runs: list[Run]) -> pa.Table:
    own = [("run_id", pa.string()), ("started", pa.int64()), ("ended", pa.int64())]
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in COLUMNS.items()] + own)
    return pa.Table.from_pylist([_row(run) for run in runs], schema=schema)


def _epochs_table(runs: list[Run]) -> pa.Table:
    """Long table of epochs. A step written twice (a resumed trial) counts once, as it was written last."""
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in EPOCH_COLUMNS.items()])
    columns: dict[str, list[Any]] = {name: [] for name in EPOCH_COLUMNS}
    for run in runs:
        last = {(metric, epoch): value for metric, epoch, _, value in sorted(run.epochs, key=lambda item: item[:3])}
        for (metric, epoch), value in last.items():
            columns["trial_key"].append(run.tags.get("trial_key", ""))
            columns["epoch"].append(epoch)
            columns["metric"].append(metric)
            columns["value"].append(value)
    return pa.table(columns, schema=schema)


def _number(value: float, is_nan: bool = False) -> float:
    if is_nan or math.isnan(value):
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= _INFINITE else float(value)


# --- a database, by SQL

_OF_STUDY = "FROM runs r JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'kind' AND k.value = 'trial'"
_WHERE = "WHERE r.experiment_id = :experiment AND r.lifecycle_stage = 'active'"
_RUNS = f"SELECT r.run_uuid, r.status, r.start_time, r.end_time, r.artifact_uri {_OF_STUDY} {_WHERE}"
_TAGS = f"SELECT t.run_uuid, t.key, t.value {_OF_STUDY} JOIN tags t ON t.run_uuid = r.run_uuid {_WHERE}"
_METRICS = (
    f"SELECT m.run_uuid, m.key, m.value, m.is_nan {_OF_STUDY} JOIN latest_metrics m ON m.run_uuid = r.run_uuid {_WHERE}"
)
_EPOCHS = (
    f"SELECT m.run_uuid, m.key, m.step, m.timestamp, m.value, m.is_nan {_OF_STUDY} "
    f"JOIN metrics m ON m.run_uuid = r.run_uuid {_WHERE} AND m.key LIKE 'epoch/%'"
)


def _engine(uri: str) -> Any:
    """A read-only engine. SQLite is opened so by the driver, PostgreSQL by the transaction (one snapshot for all)."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not path.is_file():
            raise StudyNotFoundError(f"No tracking database at {uri}.")
        return sqlalchemy.create_engine(f"sqlite:///file:{path.resolve()}?mode=ro&uri=true")
    if url.get_backend_name() == "postgresql":
        return sqlalchemy.create_engine(
            url, isolation_level="REPEATABLE READ", execution_options={"postgresql_readonly": True}
        )
    return sqlalchemy.create_engine(url)


def _read_database(uri: str, study: str) -> tuple[dict[str, str], list[Run]]:
    import sqlalchemy

    if not re.match(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?://", uri):
        raise StudyNotFoundError(f"{_shown(uri)!r} is no tracking store: give sqlite:///, postgresql:// or http(s)://.")
    engine = _engine(uri)
    try:
        with engine.connect() as connection:

            def rows(statement: str, **values: Any) -> Iterator[Any]:
                return iter(connection.execute(sqlalchemy.text(statement), values))

            active = "FROM experiments e WHERE e.lifecycle_stage = 'active'"
            names = {name: number for number, name in rows(f"SELECT e.experiment_id, e.name {active}")}
            if study not in names:
                tagged = f"e.experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = '{STUDY_TAG}')"
                raise _not_found(study, uri, [name for (name,) in rows(f"SELECT e.name {active} AND {tagged}")])
            number = names[study]
            found = rows("SELECT key, value FROM experiment_tags WHERE experiment_id = :experiment", experiment=number)
            tags: dict[str, str] = {key: value or "" for key, value in found}
            runs = {row[0]: Run(*row) for row in rows(_RUNS, experiment=number)}
            for run_id, key, value in rows(_TAGS, experiment=number):
                runs[run_id].tags[key] = value or ""
            for run_id, key, value, is_nan in rows(_METRICS, experiment=number):
                runs[run_id].metrics[key] = _number(value, is_nan)
            for run_id, key, step, timestamp, value, is_nan in rows(_EPOCHS, experiment=number):
                name = key.removeprefix(EPOCH_PREFIX)
                runs[run_id].epochs.append((name, step, timestamp, _number(value, is_nan)))
    finally:
        engine.dispose()
    return tags, list(runs.values())


# --- a server, by REST


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # an analysis tells nobody that it ran
    import mlflow

    return mlflow


def _read_server(uri: str, study: str) -> tuple[dict[str, str], list[Run]]:
    client = _mlflow().MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise _not_found(study, uri, [item.name for item in client.search_experiments() if STUDY_TAG in item.tags])
    runs, token = [], None
    while True:
        filters = {"filter_string": "tags.kind = 'trial'", "max_results": 1000, "page_token": token}
        page = client.search_runs([experiment.experiment_id], **filters)
        runs += [_run_of(item) for item in page]
        token = page.token
        if not token:
            break
    jobs = [(run, key) for run in runs for key in run.metrics if key.startswith(EPOCH_PREFIX)]
    with ThreadPoolExecutor(8) as pool:  # one call per run and metric is all that REST offers: 19 ms each
        histories = pool.map(lambda job: client.get_metric_history(job[0].run_id, job[1]), jobs)
        for (run, key), history in zip(jobs, histories, strict=True):
            name = key.removeprefix(EPOCH_PREFIX)
            run.epochs += [(name, item.step, item.timestamp, _number(item.value)) for item in history]
    return dict(experiment.tags), runs


def _run_of(item: Any) -> Run:
    info, metrics = item.info, {key: _number(value) for key, value in item.data.metrics.items()}
    own = Run(info.run_id, info.status, info.start_time, info.end_time, info.artifact_uri)
    own.tags, own.metrics = dict(item.data.tags), metrics
    return own


# --- artifacts


def _fetch_predictions(runs: list[Run], uri: str, folder: Path) -> None:
    """Predictions of the completed confirm trials. One that is not there is logged, for the verdicts don't need it."""
    wanted = [run for run in runs if run.tags.get("stage") == "confirm" and run.tags.get("status") == "completed"]
    lacking = [run.tags["trial_key"] for run in wanted if not _fetch(run, uri, folder)]
    if lacking:
        log.warning("no predictions from %d of %d confirm trials: %s", len(lacking), len(wanted), ", ".join(lacking))


def _fetch(run: Run, uri: str, folder: Path) -> bool:
    key = run.tags.get("trial_key", "")
    if not re.fullmatch(r"[0-9A-Za-z_-]+", key):  # it becomes a file name
        return False
    target, source = folder / f"{key}.parquet", f"{run.artifact_uri}/predictions.parquet"
    if "://" not in source or source.startswith("file://"):
        local = Path(url2pathname(source.removeprefix("file://")) if source.startswith("file://") else source)
        if not local.is_file():
            return False
        shutil.copyfile(local, target)
        return True
    mlflow = _mlflow()
    try:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            got = mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=name, tracking_uri=uri)
            Path(got).replace(target)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        log.debug("%s: %s", source, error)
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """`python -m analysis.collect`; exit code 2 when the study is not there."""
    parser = argparse.ArgumentParser(prog="python -m analysis.collect", description="MLflow records to Parquet.")
    parser.add_argument("study", help="the study's name")
    parser.add_argument("--tracking-uri", default="sqlite:///runs/mlflow.db", help="sqlite:///, postgresql://, http://")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{collect(options.tracking_uri, options.study, options.out)}\n")
    except StudyNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
