"""MLflow in, Parquet out: the only file of the analysis that knows MLflow.

A database is read by SQL (one read-only snapshot), a server through its REST calls; both give the same files:
`trials.parquet` (the columns of `suite.core.records.COLUMNS`, then `run_id`, `started` and `ended` in milliseconds
since 1970), `epochs/` (Parquet files of `EPOCH_COLUMNS`), `predictions/<trial_key>.parquet`, `study.json`, and
`manifest.json`, which says what was seen: the next time only runs that have changed since are read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.records import epoch_files
from analysis.records.manifest import Manifest, lock_folder
from analysis.records.mlflow_runs import Run, read_number
from analysis.records.update import RunSource, update_folder
from suite.core.records import STUDY_TAG, NewerSchemaError, check_experiment_schema
from suite.core.redaction import redact_text, redact_uri

log = logging.getLogger(__name__)

DEFAULT_URI = "sqlite:///runs/mlflow.db"
EPOCH_PREFIX = "epoch/"
_SECONDS = 5  # for a server to answer at all


class StudyNotFoundError(LookupError):
    """No such study, or no store that can be read, at a tracking URI; the message is one sentence for people."""


def default_uri() -> str:
    """Where a study's records are looked for unless the command line says: MLFLOW_TRACKING_URI, else a local file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def collect_study(tracking_uri: str, study: str, out: Path, full: bool = False) -> Path:
    """Bring the records of `study` under `out` up to date, whole or not at all, and return `out`.

    Args:
        full: read every run again, whatever the manifest says.

    Raises:
        StudyNotFoundError: the store or the study is not there, or can't be read; the message says what to do.
        NewerSchemaError: a later version wrote the study, or what `out` holds.
    """
    with _open_source(tracking_uri, study) as source:
        plan = _study_of(source.tags, study, tracking_uri)
        out.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat("T", "seconds")
        head = Manifest(study, redact_uri(tracking_uri), source.experiment_id, now)
        with lock_folder(out):
            update_folder(source, plan, out, head, full)
    return out


def _study_of(tags: Mapping[str, str], study: str, uri: str) -> dict[str, Any]:
    """The study's tag; one longer than MLflow's limit of 20,000 characters goes on in `graftbench.study.1`, `.2`..."""
    if STUDY_TAG not in tags:
        raise StudyNotFoundError(f"Experiment {study!r} at {redact_uri(uri)} was not written by Graftbench.")
    try:
        check_experiment_schema(tags)
    except NewerSchemaError as error:
        raise NewerSchemaError(f"Study {study!r} at {redact_uri(uri)}: {error}.") from error
    text, index = tags[STUDY_TAG], 1
    while f"{STUDY_TAG}.{index}" in tags:
        text += tags[f"{STUDY_TAG}.{index}"]
        index += 1
    plan: dict[str, Any] = json.loads(text)
    return plan


def _not_found(study: str, uri: str, studies: Iterable[str]) -> StudyNotFoundError:
    names = ", ".join(sorted(studies)) or "none"
    return StudyNotFoundError(f"No study {study!r} at {redact_uri(uri)}; studies there: {names}.")


class _Source:
    """What a database and a server share: artifacts lie in files, or where MLflow fetches them."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def read_predictions(self, run: Run) -> bytes | None:
        source = f"{run.artifact_uri}/predictions.parquet"
        if source.startswith("file://"):
            from urllib.request import url2pathname  # it imports HTTP and TLS

            source = url2pathname(source.removeprefix("file://"))
        if "://" not in source:
            return Path(source).read_bytes() if Path(source).is_file() else None
        mlflow = _import_mlflow()
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = mlflow.artifacts.download_artifacts(source, dst_path=folder, tracking_uri=self._uri)
                return Path(path).read_bytes()
        except (mlflow.exceptions.MlflowException, OSError) as error:
            log.debug("%s: %s", source, error)
            return None


@contextmanager
def _open_source(uri: str, study: str) -> Iterator[RunSource]:
    if uri.startswith(("http://", "https://")):
        with _server_errors(uri):
            yield _Server(uri, study)
    elif re.match(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?://", uri):
        with _connect(uri) as query:
            yield _Database(query, uri, study)
    else:
        raise StudyNotFoundError(
            f"{redact_uri(uri)!r} is no tracking store: give sqlite:///, postgresql:// or http(s)://."
        )


# --- a database, by SQL

_RUNS = """
    SELECT r.run_uuid, r.status, r.start_time, r.end_time, r.artifact_uri FROM runs r
    JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'kind' AND k.value = 'trial'
    WHERE r.experiment_id = :experiment AND r.lifecycle_stage = 'active'
"""
_TAGS = "SELECT run_uuid, key, COALESCE(value, '') FROM tags WHERE run_uuid IN :runs"
_VALUE = "CASE WHEN is_nan = '1' THEN NULL ELSE value END"  # so written it is true in SQLite and in PostgreSQL
_METRICS = f"SELECT run_uuid, key, {_VALUE} FROM latest_metrics WHERE run_uuid IN :runs AND key NOT LIKE 'epoch/%'"
_EPOCHS = "FROM metrics WHERE run_uuid IN :runs AND key LIKE 'epoch/%'"
_GROUPS = (
    f"SELECT run_uuid, key, COUNT(*), COUNT(DISTINCT step) {_EPOCHS} GROUP BY run_uuid, key ORDER BY run_uuid, key"
)
_POINTS = f"SELECT step, {_VALUE} {_EPOCHS} ORDER BY run_uuid, key, step"  # MLflow's index has this order


Query = Callable[..., Sequence[Any]]  # a statement and its named values, to rows; `runs` is a list of ids


@contextmanager
def _connect(uri: str) -> Iterator[Query]:
    """Read-only."""
    connect = _connect_sqlite if re.match(r"sqlite(\+pysqlite)?:", uri) else _connect_server
    try:
        with connect(uri) as query:
            yield query
    except Exception as error:
        if not _is_database_error(error):
            raise
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise StudyNotFoundError(
            f"The tracking database {redact_uri(uri)} can't be read ({reason}): check its address and login, and that "
            "MLflow wrote it."
        ) from error


def _is_database_error(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return True
    sqlalchemy = sys.modules.get("sqlalchemy")  # where it wasn't imported, nothing of it was raised
    return sqlalchemy is not None and isinstance(error, sqlalchemy.exc.SQLAlchemyError)


@contextmanager
def _connect_sqlite(uri: str) -> Iterator[Query]:
    """By Python's own driver: SQLAlchemy takes a third of a second to import."""
    path = Path(uri.partition(":///")[2].partition("?")[0])
    if not path.is_file():
        raise StudyNotFoundError(f"No tracking database at {redact_uri(uri)}.")

    def query(statement: str, **values: Any) -> Sequence[Any]:
        runs = values.pop("runs", [])
        names = [f"run{number}" for number in range(len(runs))]
        marks = ", ".join(f":{name}" for name in names)
        statement = statement.replace(":runs", f"({marks})")
        return connection.execute(statement, values | dict(zip(names, runs, strict=True))).fetchall()

    # Not opened read-only: what a killed run had half written is undone by whoever opens it first.
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON")
        yield query


@contextmanager
def _connect_server(uri: str) -> Iterator[Query]:
    """PostgreSQL and others. PostgreSQL is read in one transaction: one snapshot for all."""
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(uri)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
            options["connect_args"] = {"connect_timeout": _SECONDS}
        engine = sqlalchemy.create_engine(url, **options)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # not shown: it may hold a password
        raise StudyNotFoundError("Not the address of a database: write postgresql://USER@HOST/NAME.") from error
    except ImportError as error:
        raise StudyNotFoundError(f"The database's driver is not installed ({error}): pip install it.") from error

    def query(statement: str, **values: Any) -> Sequence[Any]:
        """The driver's own tuples: rows of SQLAlchemy take several times as long."""
        text = sqlalchemy.text(statement)
        if "runs" in values:
            text = text.bindparams(sqlalchemy.bindparam("runs", expanding=True))
        result = connection.execute(text, values)
        rows: Sequence[Any] = result.cursor.fetchall()
        result.close()
        return rows

    try:
        with engine.connect() as connection:
            yield query
    finally:
        engine.dispose()


class _Database(_Source):
    def __init__(self, query: Query, uri: str, study: str) -> None:
        super().__init__(uri)
        self._query = query
        active = "SELECT e.name, e.experiment_id FROM experiments e WHERE e.lifecycle_stage = 'active'"
        experiments: dict[str, Any] = dict(self._query(active))
        if study not in experiments:
            tagged = f"e.experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = '{STUDY_TAG}')"
            raise _not_found(study, uri, dict(self._query(f"{active} AND {tagged}")))
        self._experiment = experiments[study]
        self.experiment_id = str(self._experiment)
        tags = "SELECT key, COALESCE(value, '') FROM experiment_tags WHERE experiment_id = :experiment"
        self.tags: dict[str, str] = dict(self._query(tags, experiment=self._experiment))

    def list_runs(self) -> list[Run]:
        return [Run(*row) for row in self._query(_RUNS, experiment=self._experiment)]

    def fill_runs(self, runs: Sequence[Run]) -> None:
        by_id = {run.run_id: run for run in runs}
        for run_id, key, value in self._query(_TAGS, runs=list(by_id)):
            by_id[run_id].tags[key] = value
        for run_id, key, value in self._query(_METRICS, runs=list(by_id)):
            by_id[run_id].metrics[key] = read_number(value)

    def read_histories(self, runs: Sequence[Run]) -> pa.Table:
        trial_keys = {run.run_id: run.trial_key for run in runs}
        statement = _POINTS
        keys, metrics, sizes = [], [], []
        for run_id, metric, points, steps in self._query(_GROUPS, runs=list(trial_keys)):
            keys.append(trial_keys[run_id])
            metrics.append(metric.removeprefix(EPOCH_PREFIX))
            sizes.append(points)
            if points != steps:  # an epoch was written twice
                statement = f"{_POINTS}, timestamp"
        rows = self._query(statement, runs=list(trial_keys))
        return epoch_files.make_table(keys, metrics, sizes, np.fromiter(rows, epoch_files.POINT, len(rows)))


# --- a server, by REST


def _import_mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # an analysis tells nobody that it ran
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    return mlflow


@contextmanager
def _server_errors(uri: str) -> Iterator[None]:
    """Trouble with a server as a sentence; one that doesn't answer is noticed before MLflow's minutes of retries."""
    import requests

    mlflow, insecure = _import_mlflow(), os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true"
    login = (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN) to one that may read it"
    )
    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_SECONDS, verify=not insecure)
        yield
    except mlflow.exceptions.MlflowException as error:
        text = str(error)
        if error.get_http_status_code() in (401, 403) or re.search(r"error code 40[13]|status code 40[13]", text):
            raise StudyNotFoundError(f"The MLflow server at {redact_uri(uri)} refuses the login: {login}.") from error
        raise StudyNotFoundError(
            f"The MLflow server at {redact_uri(uri)} can't be read ({redact_text(text.splitlines()[0])})."
        ) from error
    except requests.RequestException as error:
        raise StudyNotFoundError(
            f"No MLflow server answers at {redact_uri(uri)} ({type(error).__name__}): check the address, or start it."
        ) from error


class _Server(_Source):
    def __init__(self, uri: str, study: str) -> None:
        super().__init__(uri)
        self._client = _import_mlflow().MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None or experiment.lifecycle_stage != "active":
            studies = [item.name for item in self._client.search_experiments() if STUDY_TAG in item.tags]
            raise _not_found(study, uri, studies)
        self.experiment_id = str(experiment.experiment_id)
        self.tags: dict[str, str] = dict(experiment.tags)
        self._data: dict[str, Any] = {}  # of the runs, by id: it comes with them

    def list_runs(self) -> list[Run]:
        runs, token = [], None
        while True:
            filters = {"filter_string": "tags.kind = 'trial'", "max_results": 1000, "page_token": token}
            page = self._client.search_runs([self.experiment_id], **filters)
            for item in page:
                info = item.info
                runs.append(Run(info.run_id, info.status, info.start_time, info.end_time, info.artifact_uri))
                self._data[info.run_id] = item.data
            token = page.token
            if not token:
                return runs

    def fill_runs(self, runs: Sequence[Run]) -> None:
        for run in runs:
            data = self._data[run.run_id]
            run.tags, run.metrics = dict(data.tags), {key: read_number(value) for key, value in data.metrics.items()}

    def read_histories(self, runs: Sequence[Run]) -> pa.Table:
        run_ids, keys, metrics = [], [], []
        for run in runs:
            for metric in run.metrics:
                if metric.startswith(EPOCH_PREFIX):
                    run_ids.append(run.run_id)
                    keys.append(run.trial_key)
                    metrics.append(metric)
        with ThreadPoolExecutor(8) as pool:  # one call per run and metric is all that REST offers: 19 ms each
            histories = list(pool.map(self._client.get_metric_history, run_ids, metrics))
        points = []
        for history in histories:
            history.sort(key=lambda point: (point.step, point.timestamp))
            points += [(point.step, point.value) for point in history]
        names = [metric.removeprefix(EPOCH_PREFIX) for metric in metrics]
        return epoch_files.make_table(keys, names, list(map(len, histories)), np.fromiter(points, epoch_files.POINT))
