"""Collecting into a folder that was collected before: what is read, and what an interruption leaves."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.records import collect as module
from analysis.records import epoch_files, manifest
from analysis.records.collect import collect_study
from analysis.records.load import load_records
from suite.core.records import COLUMNS

CELL = {"dataset": "digits", "backbone": "cnn", "variant": "baseline", "settings": ""}
STUDY = {"study": "demo", "seeds": 0, "cells": [CELL]}


class Store:
    """A tracking database with MLflow's schema, whose rows are written by SQL."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        (folder / "mlflow.db").write_bytes(template.read_bytes())
        self._artifacts = folder / "artifacts"
        self._database = sqlite3.connect(folder / "mlflow.db", isolation_level=None, check_same_thread=False)
        self.run("PRAGMA synchronous = OFF")
        self.run("PRAGMA journal_mode = MEMORY")
        self._clock = 0

    def run(self, statement: str, *values: Any) -> None:
        self._database.execute(statement, values)

    def trial(self, number: int, error: float = 0.1, epochs: int = 3, status: str = "FINISHED", key: str = "") -> str:
        """A run as the suite leaves it; `number` is its seed and names it. In one piece: writers end runs last."""
        self.run("BEGIN IMMEDIATE")
        name, done = f"run{number}", status == "FINISHED"
        self._clock += 10
        end = self._clock + 5 if done else None
        self.run(
            "INSERT INTO runs (run_uuid, status, start_time, end_time, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, ?, ?, 'active', ?, 1)",
            *(name, status, self._clock, end, (self._artifacts / name).as_uri()),
        )
        tags = {**CELL, "kind": "trial", "trial_key": key or f"key{number}", "stage": "confirm", "seed": str(number)}
        for tag, value in (tags | ({"status": "completed"} if done else {})).items():
            self.run("INSERT INTO tags VALUES (?, ?, ?)", tag, value, name)
        if done:
            self.finish(name, number, error)
        for epoch in range(1, epochs + 1):
            self.epoch(name, epoch, 1 / epoch)
        self.run("COMMIT")
        return name

    def finish(self, name: str, seed: int, error: float) -> None:
        for metric, value in {"seed": seed, "test_top1_error": error}.items():
            self.run("INSERT INTO latest_metrics VALUES (?, ?, 0, 0, 0, ?)", metric, value, name)
        (self._artifacts / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pd_table({"index": [seed]}), self._artifacts / name / "predictions.parquet")

    def epoch(self, name: str, epoch: int, value: float, at: int = 0) -> None:
        for metric in ("epoch/train_loss", "epoch/validation_loss"):
            values = (metric, value, at or epoch, name, epoch)
            self.run(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", *values
            )
            self.run("INSERT OR REPLACE INTO latest_metrics VALUES (?, ?, ?, ?, 0, ?)", *values[:3], epoch, name)


def pd_table(columns: dict[str, list[int]]) -> Any:
    import pyarrow as pa

    return pa.table(columns)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which MLflow has made its tables and the study's experiment."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    experiment = client.create_experiment("demo")
    assert experiment == "1"
    client.set_experiment_tag(experiment, "graftbench.study", json.dumps(STUDY))
    return path


@pytest.fixture
def store(tmp_path: Path, template: Path) -> Store:
    store = Store(tmp_path, template)
    for number in range(4):
        store.trial(number)
    return store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs whose histories are read, as it happens."""
    seen: list[str] = []
    histories = module._Database.read_histories

    def spy(self: Any, runs: Sequence[Any]) -> Any:
        seen.extend(run.run_id for run in runs)
        return histories(self, runs)

    monkeypatch.setattr(module._Database, "read_histories", spy)
    return seen


def content(folder: Path) -> dict[str, Any]:
    """What a folder says, whatever files it says it in."""
    records = load_records(folder)
    epochs = records.epochs.astype({"trial_key": str, "metric": str})
    return {
        "trials": records.trials.reset_index(drop=True).to_dict("list"),
        "epochs": epochs.sort_values(["trial_key", "metric", "epoch"], ignore_index=True).to_dict("list"),
        "study": records.study.whole,
        "predictions": {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()},
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal, where missing equals missing."""
    frames = [(pd.DataFrame(one[name]), pd.DataFrame(other[name])) for name in ("trials", "epochs")]
    rest = all(one[name] == other[name] for name in ("study", "predictions"))
    return rest and all(left.equals(right) for left, right in frames)


def check_as_anew(store: Store, folder: Path) -> None:
    """The folder holds what collecting into an empty one gives, and nothing more."""
    fresh = folder.parent / f"fresh{time.monotonic_ns()}"
    collect_study(store.uri, "demo", fresh)
    assert same(content(folder), content(fresh))
    known = manifest.read_manifest(folder)
    assert known is not None
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {*known.files, "manifest.json"}


def test_nothing_new_reads_nothing(store: Store, tmp_path: Path, read: list[str]) -> None:
    out = tmp_path / "out"
    (tmp_path / "out").mkdir()
    (out / "report.html").write_text("mine")
    collect_study(store.uri, "demo", out)
    assert sorted(read) == ["run0", "run1", "run2", "run3"]
    read.clear()
    before = {path: path.stat().st_mtime_ns for path in (out / "epochs").iterdir()}
    collect_study(store.uri, "demo", out)
    assert read == [] and before == {path: path.stat().st_mtime_ns for path in (out / "epochs").iterdir()}
    assert (out / "report.html").read_text() == "mine"
    (out / "report.html").unlink()
    check_as_anew(store, out)


def test_of_many_runs_the_new_ones_alone_are_read(
    store: Store, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4, 500):
        store.trial(number, epochs=1)
    out = tmp_path / "out"
    collect_study(store.uri, "demo", out)
    read.clear()
    filled: list[int] = []
    fill = module._Database.fill_runs
    monkeypatch.setattr(
        module._Database, "fill_runs", lambda self, runs: (filled.append(len(runs)), fill(self, runs))[1]
    )
    new = [store.trial(number) for number in range(500, 510)]
    collect_study(store.uri, "demo", out)
    assert sorted(read) == sorted(new) and sum(filled) == 10
    check_as_anew(store, out)


def reopen(store: Store) -> None:
    store.run("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = 'run1'")
    store.run("DELETE FROM tags WHERE run_uuid = 'run1' AND key = 'status'")


def end_again(store: Store) -> None:
    store.run("UPDATE runs SET end_time = end_time + 1000 WHERE run_uuid = 'run1'")
    store.run("UPDATE latest_metrics SET value = 0.7 WHERE run_uuid = 'run1' AND key = 'test_top1_error'")
    store.epoch("run1", 2, 0.25, at=99)  # written again, which counts


def delete(store: Store) -> None:
    store.run("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = 'run1'")


def take_over(store: Store) -> None:
    """A later run of the same trial counts."""
    store.trial(7, error=0.3, epochs=2, key="key1")


@pytest.mark.parametrize("change", [reopen, end_again, delete, take_over])
def test_a_run_that_changed_is_noticed(
    store: Store, tmp_path: Path, read: list[str], change: Callable[[Store], None]
) -> None:
    out = tmp_path / "out"
    collect_study(store.uri, "demo", out)
    before = content(out)
    read.clear()
    change(store)
    collect_study(store.uri, "demo", out)
    assert len(read) == (0 if change is delete else 1)
    assert not same(content(out), before)
    check_as_anew(store, out)


def test_a_run_that_stood_behind_another_comes_forward(store: Store, tmp_path: Path) -> None:
    take_over(store)
    out = collect_study(store.uri, "demo", tmp_path / "out")
    assert "run1" not in set(load_records(out).trials["run_id"])
    store.run("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = 'run7'")
    collect_study(store.uri, "demo", out)
    assert "run1" in set(load_records(out).trials["run_id"])
    check_as_anew(store, out)


def test_what_runs_is_read_every_time(store: Store, tmp_path: Path, read: list[str]) -> None:
    store.trial(4, status="RUNNING", epochs=1)
    out = collect_study(store.uri, "demo", tmp_path / "out")
    read.clear()
    store.epoch("run4", 2, 0.5)
    collect_study(store.uri, "demo", out)
    assert read == ["run4"]
    check_as_anew(store, out)


def test_full_reads_what_was_edited_by_hand(store: Store, tmp_path: Path) -> None:
    out = collect_study(store.uri, "demo", tmp_path / "out")
    store.run("UPDATE tags SET value = 'sire' WHERE run_uuid = 'run1' AND key = 'variant'")
    assert set(load_records(collect_study(store.uri, "demo", out)).trials["variant"]) == {"baseline"}
    assert set(load_records(collect_study(store.uri, "demo", out, full=True)).trials["variant"]) == {"baseline", "sire"}


def test_many_small_parts_become_one(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_files, "MOST_SMALL", 3)
    out, most = tmp_path / "out", 0
    for number in range(4, 12):
        collect_study(store.uri, "demo", out)
        most = max(most, len(list((out / "epochs").iterdir())))
        store.trial(number)
    collect_study(store.uri, "demo", out)
    assert 3 <= most <= 5
    check_as_anew(store, out)


class Cut(Exception):
    """The power went."""


def steps(monkeypatch: pytest.MonkeyPatch, allowed: int) -> list[int]:
    """Let that many changes of files happen, and no more."""
    done = [0]

    def counted(name: str) -> None:
        original = getattr(Path, name)

        def step(self: Path, *args: Any, **named: Any) -> Any:
            if done[0] >= allowed:
                raise Cut
            done[0] += 1
            return original(self, *args, **named)

        monkeypatch.setattr(Path, name, step)

    for name in ("replace", "unlink", "write_text", "write_bytes", "mkdir"):
        counted(name)
    return done


def test_cut_off_anywhere_the_folder_holds_the_old_or_the_new(store: Store, tmp_path: Path) -> None:
    first = collect_study(store.uri, "demo", tmp_path / "first")
    old = content(first)
    end_again(store)
    store.trial(4)
    store.run("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = 'run2'")
    new = content(collect_study(store.uri, "demo", tmp_path / "whole"))
    seen = {"old": 0, "new": 0}
    for allowed in range(100):
        out = tmp_path / f"cut{allowed}"
        copy(first, out)
        with pytest.MonkeyPatch.context() as patch:
            steps(patch, allowed)
            try:
                collect_study(store.uri, "demo", out)
                finished = True
            except Cut:
                finished = False
        tables = build_all_tables(out)
        assert tables in (without_files(old), without_files(new))
        seen["new" if tables == without_files(new) else "old"] += 1
        collect_study(store.uri, "demo", out)
        assert same(content(out), new) and not (out / ".next").exists()
        if finished:
            break
    assert seen["old"] > 5 and seen["new"] > 5 and finished


def copy(folder: Path, target: Path) -> None:
    import shutil

    shutil.copytree(folder, target)


def build_all_tables(folder: Path) -> str:
    """Trials and epochs as text, whichever files they are in."""
    records = load_records(folder)
    epochs = records.epochs.astype({"trial_key": str, "metric": str})
    epochs = epochs.sort_values(["trial_key", "metric", "epoch"], ignore_index=True)
    return records.trials.to_csv() + epochs.to_csv()


def without_files(whole: dict[str, Any]) -> str:
    trials = pd.DataFrame(whole["trials"]).astype({name: "Int64" for name, kind in COLUMNS.items() if kind is int})
    return trials.to_csv() + pd.DataFrame(whole["epochs"]).to_csv()


def test_damage_is_named_and_collecting_again_repairs_it(store: Store, tmp_path: Path) -> None:
    out = collect_study(store.uri, "demo", tmp_path / "out")
    whole = content(out)
    for path in [out / "trials.parquet", out / "manifest.json", *(out / "epochs").iterdir()]:
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match=rf"{path.name}.*: collect the study's records again\."):
            load_records(out)
        collect_study(store.uri, "demo", out)
        assert same(content(out), whole)
    next((out / "predictions").iterdir()).unlink()
    with pytest.raises(ValueError, match=r"predictions/key\d\.parquet is missing: collect"):
        load_records(out)


def test_a_folder_of_an_older_collector_or_another_study_is_made_anew(store: Store, tmp_path: Path) -> None:
    out = collect_study(store.uri, "demo", tmp_path / "out")
    epochs = epoch_files.read_epochs((out / "epochs").iterdir())
    for path in (out / "epochs").iterdir():
        path.unlink()
    (out / "epochs").rmdir()
    (out / "manifest.json").unlink()
    pq.write_table(epochs, out / "epochs.parquet")
    old = load_records(out)
    assert len(old.trials) == 4 and len(old.epochs) == 24  # it can still be read
    collect_study(store.uri, "demo", out)
    check_as_anew(store, out)
    known = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**known, "experiment_id": "7", "runs": {}}))
    collect_study(store.uri, "demo", out)
    check_as_anew(store, out)


def test_two_at_once_leave_a_whole_folder(store: Store, tmp_path: Path) -> None:
    out, failures = tmp_path / "out", []

    def work() -> None:
        try:
            for _ in range(3):
                collect_study(store.uri, "demo", out)
                load_records(out)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(4, 8):
        store.trial(number)
    for thread in threads:
        thread.join()
    assert failures == []
    collect_study(store.uri, "demo", out)
    check_as_anew(store, out)
