"""Collecting from a real MLflow store: by SQL from SQLite, by REST from a server over the same file.

What happens to a folder that was collected before is in test_collect_again.py, PostgreSQL in test_collect_postgres.py.
"""

import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.records import epoch_files
from analysis.records.collect import StudyNotFoundError, collect_study
from analysis.records.load import load_records
from analysis.verdicts.cells import judge_cells
from suite.core.records import COLUMNS, SCHEMA
from suite.tracking.mlflow_store import check_store
from tests.fixtures import Command, cut_off_write

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

CELL = {"dataset": "digits", "backbone": "cnn", "variant": "baseline", "settings": ""}
STUDY = {
    "study": "demo",
    "metric": "top1",
    "rope": 0.005,
    "alpha": 0.05,
    "seeds": 3,
    "search_trials": 0,
    "profile": None,
    "cells": [{**CELL, "refused": None}, {**CELL, "variant": "sire", "settings": "lambda=0.1", "refused": None}],
}
FACTS = {"epochs": 2, "epochs_run": 2, "test_reads": 1, "batch": 64, "threads": 2, "parameters": 1000, "macs": 5}


class Store:
    """Writes runs as the suite's tracking does."""

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient

        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = MlflowClient(self.uri)
        self.experiment = self.client.create_experiment("demo", artifact_location=(folder / "artifacts").as_uri())
        self.client.set_experiment_tag(self.experiment, "graftbench.study", json.dumps(STUDY))
        self.parent = self.client.create_run(self.experiment, tags={"kind": "cell"}).info.run_id

    def trial(self, key: str, seed: int, status: str | None, end: str | None = "FINISHED", **own: Any) -> str:
        from mlflow.entities import Metric, RunTag

        row = {**CELL, "stage": "confirm", "recipe": "standard", "trial_key": key, **FACTS, "seed": seed, **own}
        tags = {name: str(value) for name, value in row.items() if COLUMNS[name] is str} | {"seed": str(seed)}
        tags |= {"kind": "trial", "mlflow.parentRunId": self.parent}
        run = self.client.create_run(self.experiment, tags=tags).info.run_id
        epochs = [(1, 1, 0.5), (2, 2, 0.4), (1, 9, 0.45)] if status else [(1, 1, 0.5)]  # epoch 1 twice: resumed
        metrics = [
            Metric(f"epoch/{name}", value, at, step) for name in ("train_loss", "m") for step, at, value in epochs
        ]
        if status:
            metrics += [Metric(name, row[name], 1, 0) for name in row if COLUMNS[name] is not str]
        self.client.log_batch(run, metrics=metrics, tags=[RunTag("status", status)] if status else [])
        if status == "completed":
            self._predictions(run)
        if end:
            self.client.set_terminated(run, status=end)
        return run

    def _predictions(self, run: str) -> None:
        import tempfile

        columns = {"index": pa.array([0, 1], pa.int32()), "confidence": pa.array([0.5, 0.9], pa.float32())}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "predictions.parquet"
            pq.write_table(pa.table(columns), path)
            self.client.log_artifact(run, str(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("a store"))  # a blank in the path: artifact addresses are quoted
    for seed, error in enumerate([0.1, 0.12, 0.11]):
        store.trial(f"base{seed}", seed, "completed", test_top1_error=error, validation_loss=0.3)
    sire = {"variant": "sire", "settings": "lambda=0.1"}
    store.trial("sire0", 0, "completed", test_top1_error=0.08, **sire)
    store.trial("sire1", 1, "completed", test_top1_error=0.09, **sire)
    store.trial("sire1", 1, "failed", end="FAILED", reason="out of memory", **sire)  # an earlier or later failure
    store.trial("sire2", 2, None, end=None, **sire)  # interrupted
    bad: dict[str, Any] = {"train_seconds": math.inf, "train_top1_error": -math.inf, "validation_loss": math.nan}
    store.trial("draw0", 0, "diverged", stage="search", **bad, **sire)
    store.trial("draw1", 1, None, end="KILLED", stage="search", **sire)
    gone = store.trial("gone", 7, "completed", test_top1_error=0.5)
    store.client.delete_run(gone)
    return store


@pytest.fixture(scope="module")
def by_sql(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect_study(store.uri, "demo", tmp_path_factory.mktemp("sql") / "records")


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri, "--host", "127.0.0.1"]
    command += [
        "--port",
        str(port),
        "--workers",
        "1",
        "--artifacts-destination",
        str(tmp_path_factory.mktemp("served")),
    ]
    with (tmp_path_factory.mktemp("log") / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the MLflow server ended"
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)


def epochs_in(folder: Path) -> pd.DataFrame:
    """The long table of epochs, in one order."""
    table = epoch_files.read_epochs((folder / "epochs").iterdir()).to_pandas().astype({"trial_key": str, "metric": str})
    return table.sort_values(["trial_key", "metric", "epoch"], ignore_index=True)


def test_files_and_types(by_sql: Path) -> None:
    assert sorted(path.name for path in by_sql.iterdir()) == [
        "epochs",
        "manifest.json",
        "predictions",
        "study.json",
        "trials.parquet",
    ]
    schema = pq.read_schema(by_sql / "trials.parquet")
    assert schema.names == [*COLUMNS, "run_id", "started", "ended"]
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    assert all(schema.field(name).type == arrow[kind] for name, kind in COLUMNS.items())
    assert json.loads((by_sql / "study.json").read_text()) == STUDY
    assert {path.stem for path in (by_sql / "predictions").iterdir()} == {"base0", "base1", "base2", "sire0", "sire1"}


def test_rows(by_sql: Path) -> None:
    rows = {row["trial_key"]: row for row in pq.read_table(by_sql / "trials.parquet").to_pylist()}
    assert sorted(rows) == ["base0", "base1", "base2", "draw0", "draw1", "sire0", "sire1", "sire2"]
    assert rows["sire1"]["status"] == "completed" and rows["sire1"]["reason"] == ""
    assert (rows["sire2"]["status"], rows["sire2"]["seed"]) == ("running", 2)
    assert rows["draw1"]["status"] == "failed" and "KILLED" in rows["draw1"]["reason"]
    assert rows["draw0"]["train_seconds"] == math.inf and rows["draw0"]["train_top1_error"] == -math.inf
    assert math.isnan(rows["draw0"]["validation_loss"])
    assert rows["base0"]["micro_batch"] is None and rows["base0"]["parameters"] == 1000


def test_epochs_count_once(by_sql: Path) -> None:
    epochs = epochs_in(by_sql)
    mine = epochs[(epochs["trial_key"] == "base0") & (epochs["metric"] == "train_loss")].sort_values("epoch")
    assert list(zip(mine["epoch"], mine["value"], strict=True)) == [(1, 0.45), (2, 0.4)]


def test_verdict_names_the_unfinished_seed(by_sql: Path) -> None:
    (one,) = judge_cells(load_records(by_sql))
    assert one.verdict == "NOT COMPARABLE"
    assert "1 of 3 seeds not finished (2)" in one.reason


def test_server_gives_the_same(store: Store, server: str, by_sql: Path, tmp_path: Path) -> None:
    by_rest = collect_study(server, "demo", tmp_path / "records")
    assert (
        pq.read_table(by_rest / "trials.parquet")
        .to_pandas()
        .equals(pq.read_table(by_sql / "trials.parquet").to_pandas())
    )
    pd.testing.assert_frame_equal(epochs_in(by_rest), epochs_in(by_sql))
    for name in ("study.json", *(f"predictions/{path.name}" for path in (by_sql / "predictions").iterdir())):
        assert (by_rest / name).read_bytes() == (by_sql / name).read_bytes()
    with pytest.raises(StudyNotFoundError, match=r"No study 'other' at http://.*studies there: demo\."):
        collect_study(server, "other", tmp_path / "none")


def test_what_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFoundError, match=r"No study 'other' at sqlite.*studies there: demo\."):
        collect_study(store.uri, "other", tmp_path / "out")
    with pytest.raises(StudyNotFoundError, match="No tracking database"):
        collect_study(f"sqlite:///{tmp_path}/none.db", "demo", tmp_path / "out")
    with pytest.raises(StudyNotFoundError, match="no tracking store"):
        collect_study("file:///tmp/mlruns", "demo", tmp_path / "out")
    with pytest.raises(StudyNotFoundError, match="was not written by Graftbench"):
        collect_study(store.uri, "Default", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_long_study_goes_on_in_further_tags(store: Store, tmp_path: Path) -> None:
    text = json.dumps(STUDY)
    experiment = store.client.create_experiment("long")
    for name, part in (("graftbench.study", text[:100]), ("graftbench.study.1", text[100:])):
        store.client.set_experiment_tag(experiment, name, part)
    out = collect_study(store.uri, "long", tmp_path / "out")
    assert json.loads((out / "study.json").read_text()) == STUDY
    assert load_records(out).trials.empty


def test_the_manifest_says_what_was_collected(store: Store, by_sql: Path) -> None:
    said = json.loads((by_sql / "manifest.json").read_text())
    assert (said["schema"], said["study"], said["tracking"]) == (SCHEMA, "demo", store.uri)
    assert said["experiment_id"] == store.experiment and said["collected"].endswith("+00:00")
    assert len(said["runs"]) == 9  # the failed attempt of sire1 is known, though another run stands for its key
    written = {path.relative_to(by_sql).as_posix() for path in by_sql.rglob("*") if path.is_file()}
    assert set(said["files"]) == written - {"manifest.json"}
    assert said["files"]["trials.parquet"]["rows"] == 8
    source = load_records(by_sql).source
    assert (source["tracking_uri"], source["experiment_id"]) == (store.uri, store.experiment)


class Gate:
    """A server that asks for a login, and hands what passes to another one; it counts what was asked for."""

    def __init__(self, behind: str) -> None:
        import base64
        import threading
        import urllib.error
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        self.asked: list[str] = []
        asked = self.asked
        wanted = "Basic " + base64.b64encode(b"me:right").decode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path.partition("?")[0])
                if self.path != "/health" and self.headers.get("Authorization") != wanted:
                    self.answer(401, b"You are not authenticated.")
                    return
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size) if size else None
                kind = {"Content-Type": self.headers.get("Content-Type") or "text/plain"}
                request = urllib.request.Request(behind + self.path, body, kind, method=self.command)
                try:
                    with urllib.request.urlopen(request, timeout=60) as reply:
                        self.answer(reply.status, reply.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, error.read())

            do_POST = do_GET  # noqa: N815

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gate(server: str) -> Iterator[Gate]:
    gate = Gate(server)
    yield gate
    gate.close()


def test_a_server_with_login(gate: Gate, by_sql: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(StudyNotFoundError, match=r"refuses the login: set MLFLOW_TRACKING_USERNAME and .*PASSWORD"):
        collect_study(gate.uri, "demo", tmp_path / "records")
    assert not (tmp_path / "records").exists() and len(gate.asked) == 2  # no retry with a password that is wrong
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "right")
    collect_study(gate.uri, "demo", tmp_path / "records")
    pd.testing.assert_frame_equal(epochs_in(tmp_path / "records"), epochs_in(by_sql))
    histories = [path for path in gate.asked if path.endswith("metrics/get-history")]
    assert len(histories) == 16  # two metrics of the eight runs that count
    del gate.asked[:]
    collect_study(gate.uri, "demo", tmp_path / "records")
    again = [path for path in gate.asked if path.endswith("metrics/get-history")]
    assert len(again) == 2  # of the one run that has not ended


def test_a_server_that_does_not_answer_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.records.collect._SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
        for listens in (False, True):
            if listens:
                silent.listen()
            with pytest.raises(StudyNotFoundError, match=r"No MLflow server answers at http://127") as raised:
                collect_study(address, "demo", tmp_path / "out")
            assert "secret" not in str(raised.value)


def test_other_databases_are_named(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(StudyNotFoundError, match=r"can't be read \(file is not a database\)"):
        collect_study(f"sqlite:///{tmp_path}/other.db", "demo", tmp_path / "out")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StudyNotFoundError, match=r"no such table: experiments.*MLflow wrote it"):
        collect_study(f"sqlite:///{tmp_path}/empty.db", "demo", tmp_path / "out")
    with pytest.raises(StudyNotFoundError, match="Not the address of a database"):
        collect_study("postgresql://me:secret@host:port/x", "demo", tmp_path / "out")


def test_the_command(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graftbench: Command) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert graftbench("collect", "demo", "--out", tmp_path / "out") == (0, f"{tmp_path / 'out'}\n", "")
    answer = graftbench("collect", "other", "--out", tmp_path / "none")
    assert answer.code == 2 and answer.err.startswith("graftbench: No study 'other' at")
    (tmp_path / "file").touch()
    answer = graftbench("collect", "demo", "--out", tmp_path / "file")
    assert answer.code == 2 and answer.err.count("\n") == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path)
    answer = graftbench("collect", "demo", "--out", "none")
    assert answer.code == 2 and "No tracking database at sqlite:///runs/mlflow.db" in answer.err


def test_collects_without_torch_and_ray(store: Store, tmp_path: Path) -> None:
    """As on a laptop that has neither."""
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'ray', 'timm', 'optuna']))"
    arguments = ["graftbench", "collect", "demo", "--out", str(tmp_path / "out")]
    code = f"{block}; sys.argv = {arguments!r}; from suite.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(tmp_path / "out" / "trials.parquet").num_rows == 8


def test_a_store_that_a_killed_run_was_writing_is_read(tmp_path: Path) -> None:
    """SQLite undoes what was half written, and can't where it is opened for reading alone."""
    store = Store(tmp_path)
    store.trial("a", 0, "completed")
    cut_off_write(tmp_path / "mlflow.db")
    check_store(store.uri)
    assert len(load_records(collect_study(store.uri, "demo", tmp_path / "out")).trials) == 1
