"""A study made before results had a schema version is known as finished, and judged as it was."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from suite import __version__
from suite.core import records
from suite.core.records import SCHEMA
from tests.fixtures import Command

STORED = Path(__file__).parent / "golden" / "study_schema_1.tar.xz"
NEWER = f"reads up to {SCHEMA}"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the study was made: study.yaml, runs/, and the answers that its version gave."""
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "runs" / "mlflow.db")) as store, store:  # it knows places by whole paths
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            store.execute(f"UPDATE {table} SET {column} = REPLACE({column}, '/moved', ?)", (str(tmp_path),))
    monkeypatch.chdir(tmp_path)
    # By its whole path, since MLflow keeps a store open under its address for as long as the process lives.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs/mlflow.db")
    return tmp_path


@pytest.fixture
def folder(work: Path) -> Path:
    return work / "runs" / "before-schema-versions"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def a_record(folder: Path) -> Path:
    return sorted(folder.glob("trials/*/record.json"))[0]


def test_it_is_finished_and_judged_as_before(graftbench: Command, work: Path) -> None:
    answer = graftbench("run", "study.yaml", "--local")
    assert answer.code == 0 and "nothing to train: the study has 16 completed" in answer.out, answer
    for verb in ("verdicts", "leaderboard"):
        answer = graftbench(verb, "study.yaml", "--json")
        for row, before in zip(json.loads(answer.out), json.loads((work / f"{verb}.json").read_text()), strict=True):
            if "label" in before:  # a cell has one spelling since
                before["label"] = before["label"].replace(" (", "(")
            for name, value in before.items():
                assert row[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_it_comes_back_from_mlflow(graftbench: Command, folder: Path) -> None:
    before = {path.parent.name: records.read_record(path) for path in folder.glob("trials/*/record.json")}
    shutil.rmtree(folder)
    answer = graftbench("run", "study.yaml", "--local")
    assert answer.code == 0 and "nothing to train: the study has 16 completed" in answer.out, answer
    assert {path.parent.name: records.read_record(path) for path in folder.glob("trials/*/record.json")} == before


def test_unknown_fields_are_kept_and_the_record_counts(graftbench: Command, folder: Path) -> None:
    def add(record: dict[str, object]) -> None:
        record["mood"] = {"sunny": True}
        record["history"][0]["humidity"] = 0.5  # type: ignore[index]

    edit(a_record(folder), add)
    assert graftbench("run", "study.yaml", "--local").code == 0
    record = records.read_record(a_record(folder))
    assert record.unknown == {"mood": {"sunny": True}} and record.history[0].unknown == {"humidity": 0.5}
    written = json.loads(records.to_json(record))
    assert written["mood"] == {"sunny": True} and written["history"][0]["humidity"] == 0.5
    assert "unknown" not in written and written["schema"] == SCHEMA


@pytest.mark.parametrize("lost", ["status", "trial_key"])
def test_a_record_that_cannot_be_read_is_named_and_never_trained_again(
    graftbench: Command, folder: Path, lost: str
) -> None:
    path = a_record(folder)
    edit(path, lambda record: record.update({f"{lost}_of_tomorrow": record.pop(lost)}))
    before = contents(folder)
    answer = graftbench("run", "study.yaml", "--local")
    relative = path.relative_to(folder.parents[1])
    assert answer.code == 2 and f"{relative}: not a record: it lacks {lost}" in answer.err, answer
    assert "not trained again" in answer.err and answer.err.count("\n") == 1
    assert contents(folder) == before
    found = json.loads(graftbench("status", "study.yaml", "--json").out)
    assert sum(cell[stage].get("unreadable", 0) for cell in found["cells"] for stage in ("search", "confirm")) == 1


def test_a_record_that_was_cut_short_is_named_and_its_trial_trained_again(
    graftbench: Command, folder: Path, caplog: pytest.LogCaptureFixture, work: Path
) -> None:
    path = next(path for path in folder.glob("trials/*/record.json") if records.read_record(path).stage == "search")
    shutil.rmtree(work / "runs" / "_artifacts")  # else MLflow has it
    path.write_text(path.read_text()[:100])
    answer = graftbench("run", "study.yaml", "--local")
    assert answer.code == 0 and "trained 1 trials;" in answer.out, answer
    assert sum(f"{path.parent.name}/record.json" in message for message in caplog.messages) == 1
    assert records.read_record(path).graftbench_version == __version__


def test_a_record_that_cannot_be_read_in_mlflow_is_named_too(graftbench: Command, folder: Path, work: Path) -> None:
    (path,) = [
        one for one in work.glob("runs/_artifacts/**/record.json") if a_record(folder).parent.name in one.read_text()
    ]
    edit(path, lambda record: record.pop("stage"))
    shutil.rmtree(a_record(folder).parent)
    answer = graftbench("run", "study.yaml", "--local")
    assert answer.code == 2 and "it lacks stage" in answer.err and "not trained again" in answer.err, answer


@pytest.mark.parametrize("where", ["study.json", "record.json", "manifest.json"])
def test_files_of_a_newer_schema_are_refused_untouched(graftbench: Command, folder: Path, where: str) -> None:
    path = {"study.json": folder / where, "record.json": a_record(folder), "manifest.json": folder / "records" / where}
    version = "version" if where == "manifest.json" else "graftbench_version"
    edit(path[where], lambda content: content.update({"schema": SCHEMA + 1, version: "9.1"}))
    before = contents(folder)
    verb = ("leaderboard", "study.yaml") if where == "manifest.json" else ("run", "study.yaml", "--local")
    answer = graftbench(*verb)
    assert answer.code == 2 and f"schema {SCHEMA + 1}" in answer.err and NEWER in answer.err, answer
    assert __version__ in answer.err and ("9.1" in answer.err or where == "study.json")
    assert contents(folder) == before


def test_an_experiment_of_a_newer_schema_is_refused_untouched(graftbench: Command, work: Path, folder: Path) -> None:
    with closing(sqlite3.connect(work / "runs" / "mlflow.db")) as store, store:
        tags = {"graftbench.schema": str(SCHEMA + 1), "graftbench.version": "9.1"}
        store.executemany("INSERT INTO experiment_tags VALUES (?, ?, 1)", tags.items())
    before = contents(work)
    for verb in (("run", "study.yaml", "--local"), ("leaderboard", "study.yaml")):
        answer = graftbench(*verb)
        assert answer.code == 2 and "Graftbench 9.1" in answer.err and NEWER in answer.err, answer
        assert contents(work) == before
