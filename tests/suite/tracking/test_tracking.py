"""MLflow for real, on SQLite: every trial one run, every step once, whichever call fails or is the writer's last."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from analysis.records.collect import _study_of, collect_study
from suite.core.errors import UserError
from suite.core.records import COLUMNS, STUDY_TAG, Epoch, Record, Status, from_dict
from suite.core.specs import Trial, freeze_settings
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, make_plan, with_cells
from suite.tracking import mlflow_listener, mlflow_store, mlflow_writer
from suite.tracking.mlflow_listener import MlflowListener
from suite.tracking.mlflow_store import IDENTITY_TAG, check_experiment, describe_study, open_experiment
from suite.training.outcome import partial_record

STUDY: dict[str, Any] = {
    "study": "tracked",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", {"name": "image_gradient"}, {"name": "sire", "lambda": [0.1, 0.2]}],
    "recipe": {"name": "gradient", "epochs": 4},
    "seeds": 2,
    "search": {"trials": 1, "space": {"lr": {"low": 0.001, "high": 0.1}}},
}
_names = itertools.count()


def plan(**changes: Any) -> Plan:
    """A study of a name, and so of an experiment, of its own."""
    return make_plan(parse_study({**STUDY, "study": f"tracked-{next(_names)}", **changes}))


def trial(of: Plan, cell: int = 0, seed: int = 0) -> Trial:
    return of.confirm_trials(of.cells[cell].cell, freeze_settings({"lr": 0.05}), ExecutionConfig())[seed]


def epoch(number: int, error: float = 0.5) -> Epoch:
    return Epoch(
        epoch=number,
        learning_rate=0.1,
        train_loss=1.0 / number,
        train_top1_error=error / number,
        validation_loss=2.0 / number,
        validation_top1_error=error / number,
        validation_top5_error=0.0,
        train_seconds=1.5,
        scalars={"gate": 0.25 * number},
    )


NAMES = set(epoch(1).list_values())


def history(epochs: int = 4) -> tuple[Epoch, ...]:
    return tuple(epoch(number) for number in range(1, epochs + 1))


def record(of: Trial, status: Status = "completed", epochs: int = 4, **measured: Any) -> Record:
    return partial_record(of, status, "as told", history(epochs), **measured)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for an MLflow that will not come back."""
    monkeypatch.setattr(mlflow_listener, "_PAUSES", (0.0,))
    monkeypatch.setattr(mlflow_listener, "PATIENCE", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "trials"


def predict(folder: Path, of: Trial) -> bytes:
    path = folder / of.key / "predictions.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 of " + of.key.encode())
    return path.read_bytes()


def write(uri: str, of: Plan, folder: Path, tell: Callable[[MlflowListener], None]) -> str | None:
    """Tell a writer of its own something, and close it; what trouble it had."""
    with MlflowListener(of, uri, folder) as listening:
        tell(listening)
    return listening.trouble


def run_trial(record: Record) -> Callable[[MlflowListener], None]:
    """A trial from its start to its record, as the scheduler tells it."""
    trial = Trial.from_dict(record.trial)

    def tell(listening: MlflowListener) -> None:
        listening.on_start(trial)
        for epoch in record.history:
            listening.on_epoch(trial, epoch)
        listening.on_finish(record)

    return tell


def run_trials(records: Iterable[Record]) -> Callable[[MlflowListener], None]:
    """One after another."""

    def tell(listening: MlflowListener) -> None:
        for record in records:
            run_trial(record)(listening)

    return tell


def runs(uri: str, of: Plan, kind: str = "trial") -> list[Any]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(of.study.study)
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def only(uri: str, of: Plan) -> Any:
    (run,) = runs(uri, of)
    return run


def steps(uri: str, run_id: str) -> Counter[tuple[str, int]]:
    """How often each step of each metric stands in the database."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        return Counter(database.execute("SELECT key, step FROM metrics WHERE run_uuid = ?", [run_id]).fetchall())


def assert_whole(uri: str, of: Plan, record: Record) -> None:
    """One run of the record's key, with everything that belongs to it, once."""
    (run,) = [run for run in runs(uri, of) if run.data.tags["trial_key"] == record.trial_key]
    row = record.to_row()
    for name, kind in COLUMNS.items():
        if kind is str:
            assert run.data.tags[name] == str(row[name]), name
        else:
            assert run.data.metrics.get(name) == row[name], name
    numbers = {name for name, kind in COLUMNS.items() if kind is not str and row[name] is not None}
    wanted = {(f"epoch/{name}", epoch.epoch) for epoch in record.history for name in epoch.list_values()}
    found = steps(uri, run.info.run_id)
    assert set(found) == wanted | {(name, 0) for name in numbers}
    assert set(found.values()) == {1}, {step: count for step, count in found.items() if count > 1}
    assert run.info.status == ("FAILED" if record.status == "failed" else "FINISHED")
    assert run.data.params["recipe.lr"] == "0.05" and run.data.params["stage"] == record.stage
    text = Path(MlflowClient(uri).download_artifacts(run.info.run_id, "record.json")).read_text()
    assert from_dict(json.loads(text)) == record


# -- what stands where


def test_a_trial_is_a_run_below_its_cells_run(uri: str, folder: Path) -> None:
    of = plan()
    wanted = trial(of, cell=2)
    predictions = predict(folder, wanted)
    final = record(wanted, test_top1_error=0.125, test_reads=1, device_kind="cpu", host="here")
    assert write(uri, of, folder, run_trial(final)) is None
    assert_whole(uri, of, final)
    run = only(uri, of)
    (parent,) = runs(uri, of, "cell")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id and parent.info.status == "FINISHED"
    assert run.info.run_name == "confirm 0: sire(lambda=0.1) on gradient_cnn, digits"
    cell = {name: parent.data.tags[name] for name in ("dataset", "backbone", "variant", "settings")}
    assert cell == {"dataset": "digits", "backbone": "gradient_cnn", "variant": "sire", "settings": "lambda=0.1"}
    assert run.data.params.items() >= {
        "recipe.lr": "0.05", "recipe.optimizer": "adam", "recipe.batch": "128", "variant.lambda": "0.1",
        "epochs": "4", "split_seed": "0", "stage": "confirm",
    }.items()  # fmt: skip
    assert run.data.metrics["test_top1_error"] == 0.125 and "test_loss" not in run.data.metrics
    client = MlflowClient(uri)
    gates = client.get_metric_history(run.info.run_id, "epoch/gate")
    assert [(metric.step, metric.value) for metric in gates] == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"record.json", "predictions.parquet"}
    assert Path(client.download_artifacts(run.info.run_id, "predictions.parquet")).read_bytes() == predictions


def test_the_trials_of_a_cell_share_a_parent(uri: str, folder: Path) -> None:
    of = plan()
    for _ in range(2):  # and a second process finds it again
        seeds = [record(trial(of, cell, seed)) for cell in range(4) for seed in range(2)]
        write(uri, of, folder, run_trials(seeds))
    parents = {run.info.run_id for run in runs(uri, of, "cell")}
    below = Counter(run.data.tags["mlflow.parentRunId"] for run in runs(uri, of))
    assert len(parents) == 4 and below == dict.fromkeys(parents, 2)


def test_the_analysis_reads_back_what_was_written(uri: str, folder: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    of = plan()
    final = record(trial(of), test_top1_error=0.125)
    write(uri, of, folder, run_trial(final))
    out = collect_study(uri, of.study.study, tmp_path / "out")
    (row,) = pq.read_table(out / "trials.parquet").to_pylist()
    assert {name: row[name] for name in COLUMNS} == final.to_row()
    assert pq.read_table(out / "epochs").num_rows == 4 * len(NAMES)


def test_open_epochs_of_several_trials_are_flushed(uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has ended, and still every epoch heard is in MLflow at the end of an interrupted run."""
    monkeypatch.setattr(mlflow_listener, "_FLUSH_SECONDS", 0.0)
    of = plan()
    pair = [trial(of, seed=seed) for seed in range(2)]

    def tell(listening: MlflowListener) -> None:
        for each in pair:
            listening.on_start(each)
        for number in (1, 2):
            for each in pair:
                listening.on_epoch(each, epoch(number))

    assert write(uri, of, folder, tell) is None
    for run in runs(uri, of):
        found = steps(uri, run.info.run_id)
        assert found == dict.fromkeys(((f"epoch/{name}", number) for name in NAMES for number in (1, 2)), 1)
        assert run.info.status == "RUNNING" and "status" not in run.data.tags and run.data.params["recipe.lr"] == "0.05"
    finals = {each.key: record(each) for each in pair}
    write(uri, of, folder, lambda listening: listening.catch_up(finals))
    for final in finals.values():
        assert_whole(uri, of, final)


def test_a_long_history_goes_in_whole_epochs(uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_writer, "_MAX_BATCH", 2 * len(NAMES) + 1)
    calls: list[set[int]] = []
    real = MlflowClient.log_batch

    def log_batch(self: Any, run_id: str, metrics: Any = (), **rest: Any) -> Any:
        calls.append({metric.step for metric in metrics if metric.key.startswith("epoch/")})
        return real(self, run_id, metrics, **rest)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    of = plan()
    final = record(trial(of), epochs=5)
    write(uri, of, folder, run_trial(final))
    assert_whole(uri, of, final)
    assert calls[:3] == [{1, 2}, {3, 4}, {5}]


# -- calls that fail


class Failing:
    """A client some of whose calls raise, before MLflow hears them or after."""

    def __init__(self, real: MlflowClient, fails: Callable[[int], bool], *, heard: bool) -> None:
        self._real, self._fails, self._heard = real, fails, heard
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            fails = self._fails(self.calls)
            answer = method(*arguments, **named) if self._heard or not fails else None
            if fails:
                raise ConnectionError("MLflow does not answer\nat all")
            return answer

        return call


def attempt(
    uri: str, of: Plan, folder: Path, final: Record, fails: Callable[[int], bool], *, heard: bool = False
) -> tuple[MlflowListener, int]:
    """A trial told to a writer whose n-th call fails where `fails(n)`, epochs flushed one by one; calls made."""
    listening = MlflowListener(of, uri, folder, at_once=True)
    broken = Failing(listening._writer._client, fails, heard=heard)
    listening._writer._client = broken  # type: ignore[assignment]
    with listening:
        trial = Trial.from_dict(final.trial)
        listening.on_start(trial)
        for epoch in final.history[:-1]:
            listening.on_epoch(trial, epoch)
            listening._jobs.put(listening._flush_epochs)
        listening.on_finish(final)
    return listening, broken.calls


CALLS = 10  # below: a parent, a run, three flushes, two artifacts, metrics and tags, the end of each run


def test_a_whole_trial_takes_few_calls(uri: str, folder: Path) -> None:
    of = plan()
    predict(folder, trial(of))
    listening, calls = attempt(uri, of, folder, record(trial(of)), lambda _: False)
    assert listening.trouble is None and calls == CALLS


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("last", range(1, CALLS + 1))
def test_a_writer_that_dies_at_any_call_leaves_nothing_double_or_lost(
    last: int, heard: bool, uri: str, folder: Path
) -> None:
    of = plan()
    final = record(trial(of))
    predict(folder, trial(of))
    dying, _ = attempt(uri, of, folder, final, lambda call: call >= last, heard=heard)
    assert dying.trouble == "ConnectionError: MLflow does not answer"
    assert write(uri, of, folder, lambda listening: listening.catch_up({final.trial_key: final})) is None
    assert_whole(uri, of, final)
    assert len(runs(uri, of, "cell")) == 1
    assert "predictions.parquet" in {item.path for item in MlflowClient(uri).list_artifacts(only(uri, of).info.run_id)}


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("failing", range(1, CALLS + 1))
def test_a_call_that_fails_once_is_made_again_without_doubling_anything(
    failing: int, heard: bool, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_listener, "PATIENCE", 60.0)
    of = plan()
    final = record(trial(of))
    predict(folder, trial(of))
    listening, _ = attempt(uri, of, folder, final, lambda call: call == failing, heard=heard)
    assert listening.trouble is None
    assert_whole(uri, of, final)
    assert len(runs(uri, of, "cell")) == 1


def test_a_store_that_comes_back_within_the_run_gets_everything(
    uri: str, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_listener, "PATIENCE", 60.0)
    of = plan()
    first, second = (record(trial(of, seed=seed)) for seed in range(2))
    gone = threading.Event()
    with MlflowListener(of, uri, folder, at_once=True) as listening:
        broken = Failing(listening._writer._client, lambda _: gone.is_set(), heard=False)
        listening._writer._client = broken  # type: ignore[assignment]
        listening.on_start(trial(of))
        gone.set()
        run_trial(first)(listening)
        wait_until(lambda: listening._away)
        run_trial(second)(listening)  # its epochs aren't queued: the record has them
        assert listening.trouble is None
        gone.clear()
    assert listening.trouble is None
    for final in (first, second):
        assert_whole(uri, of, final)
    said = [line.getMessage() for line in caplog.records if line.name == mlflow_listener.__name__]
    assert len(said) == 2 and said[0].startswith("MLflow has taken no records since ") and "again" in said[1]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def test_what_the_store_refuses_is_not_asked_for_ever(uri: str, folder: Path) -> None:
    of = plan()
    with MlflowListener(of, uri, folder) as listening:
        listening.on_start(trial(of))
        wait_until(lambda: bool(runs(uri, of)))
        client = MlflowClient(uri)
        client.delete_experiment(only(uri, of).info.experiment_id)  # by a person in the UI
        listening.on_finish(record(trial(of)))
        wait_until(lambda: listening.trouble is not None)
    assert listening.trouble and listening.trouble.startswith("MlflowException")


def test_a_run_that_a_person_deletes_meanwhile_is_written_anew(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_listener, "PATIENCE", 60.0)
    of = plan()
    final = record(trial(of))
    with MlflowListener(of, uri, folder) as listening:
        listening.on_start(trial(of))
        wait_until(lambda: bool(runs(uri, of)))
        MlflowClient(uri).delete_run(only(uri, of).info.run_id)
        listening.on_finish(final)
    assert listening.trouble is None
    assert_whole(uri, of, final)


def test_a_new_store_is_made_while_trials_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    def open_later(*arguments: Any) -> Any:
        assert told.wait(60)
        return open_experiment(*arguments)

    monkeypatch.setattr(mlflow_listener, "open_experiment", open_later)
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    of = plan()
    final = record(trial(of))
    with MlflowListener(of, uri, folder) as listening:
        assert listening.read_finished_elsewhere({}) == []
        run_trial(final)(listening)
        told.set()
    assert listening.trouble is None
    assert_whole(uri, of, final)


def test_a_store_that_can_t_be_opened_is_trouble(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ImportError("half of MLflow is missing")

    monkeypatch.setattr(mlflow_listener, "open_experiment", fail)
    of = plan()
    with MlflowListener(of, f"sqlite:///{tmp_path / 'new.db'}", folder) as listening:
        run_trial(record(trial(of)))(listening)
    assert listening.trouble == "ImportError: half of MLflow is missing"


def test_mlflow_gone_for_good_is_trouble_and_no_exception(uri: str, folder: Path) -> None:
    of = plan()
    finals = [record(trial(of, seed=seed)) for seed in range(2)]
    listening, _ = attempt(uri, of, folder, finals[0], lambda call: call > 3)
    assert listening.trouble == "ConnectionError: MLflow does not answer"
    listening.on_start(trial(of, seed=1))  # told after its end: nothing happens
    known = {final.trial_key: final for final in finals}
    assert write(uri, of, folder, lambda listening: listening.catch_up(known)) is None
    for final in finals:
        assert_whole(uri, of, final)


# -- later runs


def test_catching_up_writes_what_is_missing_and_nothing_else(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan()
    known = {final.trial_key: final for final in (record(trial(of)), record(trial(of, seed=1), "diverged", epochs=0))}
    assert write(uri, of, folder, lambda listening: listening.catch_up(known)) is None
    for final in known.values():
        assert_whole(uri, of, final)
    calls: list[str] = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *_, **__: calls.append("log_batch"))
    monkeypatch.setattr(MlflowClient, "log_text", lambda *_, **__: calls.append("log_text"))
    write(uri, of, folder, lambda listening: listening.catch_up(known))
    assert not calls


def test_records_that_the_ledger_lost_come_back(uri: str, folder: Path) -> None:
    of = plan(seeds=4)
    statuses: tuple[Status, ...] = ("completed", "diverged", "failed", "skipped")
    finals = [record(trial(of, seed=seed), status) for seed, status in enumerate(statuses)]
    write(uri, of, folder, run_trials(finals))
    back: list[Record] = []
    write(
        uri,
        of,
        folder,
        lambda listening: back.extend(listening.read_finished_elsewhere({finals[0].trial_key: finals[0]})),
    )
    assert back == [finals[1]], "what failed is run again, what was skipped has nothing to give"
    stale = partial_record(trial(of), "failed", "here, before another machine finished it", ())
    back.clear()

    def tell(listening: MlflowListener) -> None:
        back.extend(listening.read_finished_elsewhere({stale.trial_key: stale}))
        listening.catch_up({stale.trial_key: stale})

    write(uri, of, folder, tell)
    assert sorted(one.seed for one in back) == [0, 1]
    assert_whole(uri, of, finals[0])


def test_a_draw_that_failed_for_good_comes_back(uri: str, folder: Path) -> None:
    of = plan()
    planned = of.cells[0]
    drawn = of.search_trial(planned.cell, 0, of.first_draws(planned, 0), ExecutionConfig())
    once, twice = (record(drawn, "failed", failures=failures) for failures in (1, 2))
    back: list[Record] = []
    for final in (once, twice):
        write(uri, of, folder, run_trial(final))
        write(uri, of, folder, lambda listening: back.extend(listening.read_finished_elsewhere({})))
    assert back == [twice]


def test_a_record_that_cannot_be_read_back_is_missing(uri: str, folder: Path, tmp_path: Path) -> None:
    of = plan()
    final = record(trial(of))
    write(uri, of, folder, run_trial(final))
    run = only(uri, of)
    (Path(run.info.artifact_uri.removeprefix("file://")) / "record.json").unlink()
    back: list[Record] = [final]
    write(uri, of, folder, lambda listening: back.__setitem__(slice(None), listening.read_finished_elsewhere({})))
    assert back == []


# -- the experiment


def tags(uri: str, of: Plan) -> dict[str, str]:
    return dict(MlflowClient(uri).get_experiment_by_name(of.study.study).tags)


def test_the_experiment_says_what_the_study_is(uri: str) -> None:
    of = plan(description="Does it help?")
    open_experiment(of, uri)
    found = tags(uri, of)
    assert (
        json.loads(found[STUDY_TAG]) == describe_study(of)
        and json.loads(found[IDENTITY_TAG]) == of.study.describe_identity()
    )
    assert found["mlflow.note.content"] == "Does it help?"
    name = of.study.study
    check_experiment(of.study, uri)
    more = make_plan(parse_study({**STUDY, "study": name, "seeds": 5}))
    open_experiment(more, uri)
    assert json.loads(tags(uri, more)[STUDY_TAG])["seeds"] == 5
    other = make_plan(parse_study({**STUDY, "study": name, "split_seed": 1}))
    with pytest.raises(UserError, match="holds a study with another recipe, search, split or statistics"):
        check_experiment(other.study, uri)


def test_a_study_too_long_for_a_tag_goes_on_in_the_next(uri: str) -> None:
    """400 cells, then 200, then 4: what an earlier text has left over is not read."""
    lambdas = [round(0.001 * number, 3) for number in range(1, 400)]
    name = plan().study.study
    for count in (399, 199, 3):
        variants = ["baseline", {"name": "sire", "lambda": lambdas[:count]}]
        of = make_plan(parse_study({**STUDY, "study": name, "variants": variants, "description": "long " * 3000}))
        of = with_cells(of, [dataclasses.replace(cell, refused="sire needs two stages") for cell in of.cells])
        open_experiment(of, uri)
        found = tags(uri, of)
        assert _study_of(found, name, uri) == describe_study(of) and len(describe_study(of)["cells"]) == count + 1
        assert all(len(value) <= mlflow_store._MAX_TAG for value in found.values())
    assert len(json.dumps(describe_study(of))) < 20_000 < 400 * 150


def test_a_record_that_can_t_be_written_does_not_keep_the_others_out(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan()
    broken = dataclasses.replace(record(trial(of)), trial={})  # no trial in it
    whole = record(trial(of, seed=1))

    def tell(listening: MlflowListener) -> None:
        listening.on_finish(broken)
        listening.on_start(trial(of, seed=1))
        listening.on_finish(whole)

    assert write(uri, of, folder, tell) is None
    assert_whole(uri, of, whole)


def test_the_study_tells_strangers_what_its_extensions_are() -> None:
    about = describe_study(plan(variants=["baseline", "sire+squeeze_excite", "sire"]))["about"]
    assert list(about) == ["sire", "squeeze_excite"]
    assert about["sire"].startswith("SIRe: long Skips") and not any("(" in sentence for sentence in about.values())
