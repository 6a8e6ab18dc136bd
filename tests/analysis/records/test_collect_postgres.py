"""Collecting from PostgreSQL: a server of this machine's, in a folder of its own. Skipped where there is none."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis.records.collect import StudyNotFoundError, collect_study
from analysis.records.load import load_records
from tests.postgres import running_postgres

pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install 'psycopg[binary]'")
CELL = {"dataset": "digits", "backbone": "cnn", "variant": "baseline", "settings": ""}


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    with running_postgres() as server:
        yield server.uri


@pytest.fixture(scope="module")
def trial(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, float], str]:
    """Writes a trial through MLflow, with a NaN, an infinity, and an epoch written twice."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

    client = MlflowClient(uri)
    experiment = client.create_experiment("demo", artifact_location=tmp_path_factory.mktemp("artifacts").as_uri())
    client.set_experiment_tag(
        experiment, "graftbench.study", json.dumps({"study": "demo", "seeds": 2, "cells": [CELL]})
    )

    def write(seed: int, error: float) -> str:
        tags = {**CELL, "kind": "trial", "trial_key": f"key{seed}", "stage": "confirm", "seed": str(seed)}
        run = client.create_run(experiment, tags=tags).info.run_id
        points = [(1, 1, 0.5), (2, 2, float("nan")), (1, 9, 0.45), (3, 3, float("inf"))]
        metrics = [Metric("epoch/train_loss", value, at, step) for step, at, value in points]
        final = {"seed": seed, "test_top1_error": error, "validation_loss": float("nan")}
        metrics += [Metric(name, value, 1, 0) for name, value in final.items()]
        client.log_batch(run, metrics=metrics, tags=[RunTag("status", "completed")])
        client.set_terminated(run)
        return str(run)

    return write


def test_collects_and_collects_again(uri: str, trial: Callable[[int, float], str], tmp_path: Path) -> None:
    trial(0, 0.1)
    out = collect_study(uri, "demo", tmp_path / "out")
    records = load_records(out)
    assert records.trials["test_top1_error"].tolist() == [0.1] and records.trials["validation_loss"].isna().all()
    epochs = records.epochs.sort_values("epoch")
    assert list(map(str, epochs["value"])) == ["0.45", "nan", "inf"]
    trial(1, 0.2)
    assert load_records(collect_study(uri, "demo", out)).trials["test_top1_error"].tolist() == [0.1, 0.2]
    assert len(load_records(out).epochs) == 6
    text = (out / "manifest.json").read_text()
    assert "secret" not in text and json.loads(text)["tracking"].startswith("postgresql://me:***@127.0.0.1:")


def test_nothing_can_be_written(uri: str) -> None:
    from analysis.records.collect import _connect

    with pytest.raises(StudyNotFoundError, match="read-only transaction"), _connect(uri) as query:
        query("CREATE TABLE mine (x int)")


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        (":secret@", ":guess@", "password authentication failed"),
        ("/postgres", "/none", 'database "none" does not exist'),
    ],
)
def test_what_is_wrong_is_one_sentence(uri: str, right: str, wrong: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(
        StudyNotFoundError, match=rf"can't be read \(.*{reason}.*\): check its address and login"
    ) as raised:
        collect_study(uri.replace(right, wrong), "demo", tmp_path / "out")
    assert "secret" not in str(raised.value) and "guess" not in str(raised.value) and "\n" not in str(raised.value)


def test_an_unreachable_server_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"postgresql://me:secret@127.0.0.1:{free.getsockname()[1]}/x"
        with pytest.raises(StudyNotFoundError, match=r"can't be read \(.*refused"):
            collect_study(address, "demo", tmp_path / "out")
