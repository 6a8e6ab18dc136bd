"""What MLflow shows is what the storage has, on SQLite for real: one run a trial, its figures once, whatever was
trained again, chosen otherwise, skipped, or cut off in between.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType

from analysis.records.arrange import group_cells
from analysis.records.collect import collect_study
from analysis.records.load import load_records
from suite.core.records import COLUMNS, Record, Status
from suite.core.specs import Trial, freeze_settings
from suite.study.plan import ExecutionConfig, Plan, group_label, with_cells
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.tracking.mlflow_listener import MlflowListener
from suite.tracking.mlflow_runs import DOUBLE, NOT_PLANNED, SUPERSEDED_TAG, TRAINED_AGAIN, KnownRun
from suite.tracking.mlflow_writer import MlflowWriter
from suite.training.outcome import partial_record
from tests.suite.tracking import test_tracking as tracking
from tests.suite.tracking.test_tracking import (
    Failing,
    assert_whole,
    epoch,
    only,
    plan,
    record,
    run_trial,
    run_trials,
    runs,
    trial,
    write,
)

folder, hasty, uri = tracking.folder, tracking.hasty, tracking.uri  # fixtures


def list_hidden(uri: str, of: Plan) -> list[Any]:
    """Runs of trials that were deleted."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(of.study.study)
    return list(client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", ViewType.DELETED_ONLY))


def list_reasons(uri: str, of: Plan) -> list[str]:
    return sorted(run.data.tags[SUPERSEDED_TAG] for run in list_hidden(uri, of))


def assert_metrics_once(uri: str, of: Plan, final: Record) -> None:
    """The visible run has one row of every final metric, as a person sees it who opens its history."""
    client = MlflowClient(uri)
    run = only(uri, of)
    for name, kind in COLUMNS.items():
        value = final.to_row()[name]
        if kind is not str and value is not None:
            assert [point.value for point in client.get_metric_history(run.info.run_id, name)] == [value], name


# -- trained again


def test_a_trial_trained_again_has_its_figures_once_in_a_new_run(uri: str, folder: Path) -> None:
    of = plan()
    failed, final = record(trial(of), "failed", epochs=2, failures=1), record(trial(of))
    write(uri, of, folder, run_trial(failed))
    before = only(uri, of)
    assert_whole(uri, of, failed)
    write(uri, of, folder, lambda listening: listening.on_start(trial(of)))
    assert only(uri, of).info.run_id != before.info.run_id and only(uri, of).info.status == "RUNNING"
    write(uri, of, folder, run_trial(final))
    assert_whole(uri, of, final)
    assert_metrics_once(uri, of, final)
    (hidden,) = list_hidden(uri, of)
    assert hidden.info.run_id == before.info.run_id and hidden.data.tags[SUPERSEDED_TAG] == TRAINED_AGAIN
    assert hidden.data.tags["status"] == "failed", "it still says how it ended"


def test_a_trial_trained_again_within_the_run_of_the_study(uri: str, folder: Path) -> None:
    of = plan()
    finals = [record(trial(of), "failed", epochs=number, failures=number) for number in (1, 2)] + [record(trial(of))]
    assert write(uri, of, folder, run_trials(finals)) is None
    assert_whole(uri, of, finals[-1])
    assert_metrics_once(uri, of, finals[-1])
    assert list_reasons(uri, of) == [TRAINED_AGAIN] * 2


def test_an_interrupted_trial_goes_on_in_its_run(uri: str, folder: Path) -> None:
    of = plan()

    def tell(listening: MlflowListener) -> None:
        listening.on_start(trial(of))
        for number in (1, 2):
            listening.on_epoch(trial(of), epoch(number))

    write(uri, of, folder, tell)
    before = only(uri, of).info.run_id
    MlflowClient(uri).set_terminated(before, "KILLED")  # by a person who thought it dead
    write(uri, of, folder, run_trial(record(trial(of))))
    assert_whole(uri, of, record(trial(of)))
    assert only(uri, of).info.run_id == before and not list_hidden(uri, of)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("failed", 2, {"failures": 1}), ("completed", 4, {})),
        (("failed", 2, {"failures": 1}), ("failed", 2, {"failures": 2})),
        (("failed", 0, {}), ("failed", 3, {})),  # its worker was lost, twice
    ],
)
def test_an_end_that_came_while_mlflow_was_away_replaces_the_one_before(
    first: tuple[Status, int, dict[str, Any]], second: tuple[Status, int, dict[str, Any]], uri: str, folder: Path
) -> None:
    of = plan()
    before, after = (record(trial(of), status, epochs, **rest) for status, epochs, rest in (first, second))
    write(uri, of, folder, run_trial(before))
    for _ in range(2):
        write(uri, of, folder, lambda listening: listening.catch_up({after.trial_key: after}))
        assert_whole(uri, of, after)
        assert_metrics_once(uri, of, after)
        assert list_reasons(uri, of) == [TRAINED_AGAIN]


@pytest.mark.parametrize("again", [False, True])
def test_metrics_that_arrived_without_their_tags(again: bool, uri: str, folder: Path) -> None:
    """MLflow takes a call's metrics before its tags. The same end is written out; another one is another run's."""
    of = plan()
    failed = record(trial(of), "failed", epochs=2, failures=1)
    with MlflowListener(of, uri, folder, at_once=True) as listening:
        listening.on_start(trial(of))
    run = only(uri, of)
    numbers = {name: value for name, value in failed.to_row().items() if COLUMNS[name] is not str and value is not None}
    metrics = [Metric(name, float(value), run.info.start_time, 0) for name, value in numbers.items()]
    MlflowClient(uri).log_batch(run.info.run_id, metrics)
    final = record(trial(of)) if again else failed
    write(uri, of, folder, run_trial(final) if again else lambda listening: listening.catch_up({"": failed}))
    assert_whole(uri, of, final)
    assert_metrics_once(uri, of, final)
    assert list_reasons(uri, of) == [TRAINED_AGAIN] * again


def retrain(uri: str, of: Plan, folder: Path, final: Record, fails: Callable[[int], bool], heard: bool) -> int:
    """A trial trained again, told to a writer whose n-th call fails where `fails(n)`; the calls made."""
    listening = MlflowListener(of, uri, folder, at_once=True)
    broken = Failing(listening._writer._client, fails, heard=heard)
    listening._writer._client = broken  # type: ignore[assignment]
    with listening:
        run_trial(final)(listening)
    return broken.calls


CALLS = 7  # below: a tag, a deletion, a new run, its record, its figures, its end and that of its cell's run
REPLACING = range(1, 4)  # of these; `test_tracking` has the others


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("last", REPLACING)
def test_a_writer_that_dies_while_it_replaces_a_run(last: int, heard: bool, uri: str, folder: Path) -> None:
    of = plan()
    failed, final = record(trial(of), "failed", epochs=2, failures=1), record(trial(of))
    write(uri, of, folder, run_trial(failed))
    assert retrain(uri, of, folder, final, lambda call: call >= last, heard) >= last
    assert write(uri, of, folder, lambda listening: listening.catch_up({final.trial_key: final})) is None
    assert_whole(uri, of, final)
    assert_metrics_once(uri, of, final)
    assert list_reasons(uri, of) == [TRAINED_AGAIN] and {run.info.status for run in list_hidden(uri, of)} == {"FAILED"}


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("failing", REPLACING)
def test_a_call_that_fails_while_a_run_is_replaced(
    failing: int, heard: bool, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.tracking.mlflow_listener.PATIENCE", 60.0)
    of = plan()
    failed, final = record(trial(of), "failed", epochs=2, failures=1), record(trial(of))
    write(uri, of, folder, run_trial(failed))
    retrain(uri, of, folder, final, lambda call: call == failing, heard)
    assert_whole(uri, of, final)
    assert_metrics_once(uri, of, final)
    assert list_reasons(uri, of) == [TRAINED_AGAIN]


def test_replacing_a_run_takes_few_calls(uri: str, folder: Path) -> None:
    of = plan()
    write(uri, of, folder, run_trial(record(trial(of), "failed", epochs=2, failures=1)))
    assert retrain(uri, of, folder, record(trial(of)), lambda _: False, False) == CALLS


@pytest.mark.parametrize("statuses", [("completed", "failed"), ("failed", "completed"), ("failed", "failed")])
def test_of_two_runs_of_a_trial_the_finished_one_counts_else_the_later(
    statuses: tuple[Status, Status], uri: str, folder: Path
) -> None:
    of = plan()
    run_ids = []
    for number, status in enumerate(statuses):
        write(uri, of, folder, run_trial(record(trial(of), status, epochs=number + 1)))
        (run,) = [run for run in runs(uri, of) if run.info.run_id not in run_ids]
        run_ids.append(run.info.run_id)
        if number == 0:
            MlflowClient(uri).delete_run(run_ids[0])
    MlflowClient(uri).restore_run(run_ids[0])
    assert len(runs(uri, of)) == 2
    for _ in range(2):
        write(uri, of, folder, lambda _: None)
        assert only(uri, of).info.run_id == run_ids[statuses.index("completed") if "completed" in statuses else 1]
        assert list_reasons(uri, of) == [DOUBLE]


def test_a_superseded_run_that_a_person_restored_is_hidden_again(uri: str, folder: Path) -> None:
    of = plan()
    final = record(trial(of))
    write(uri, of, folder, run_trials([record(trial(of), "failed", epochs=2), final]))
    (hidden,) = list_hidden(uri, of)
    MlflowClient(uri).restore_run(hidden.info.run_id)
    write(uri, of, folder, lambda _: None)
    assert_whole(uri, of, final)
    assert list_reasons(uri, of) == [TRAINED_AGAIN]


# -- the plan


def search_trial(of: Plan, cell: int = 0, index: int = 0, lr: float = 0.05) -> Trial:
    return of.search_trial(of.cells[cell].cell, index, freeze_settings({"lr": lr}), ExecutionConfig())


def confirm_trials(of: Plan, lr: float, cell: int = 0) -> list[Trial]:
    return of.confirm_trials(of.cells[cell].cell, freeze_settings({"lr": lr}), ExecutionConfig())


def by_key(*finals: Record) -> dict[str, Record]:
    return {final.trial_key: final for final in finals}


def visible(uri: str, of: Plan) -> set[str]:
    return {run.data.tags["trial_key"] for run in runs(uri, of)}


def settle(uri: str, of: Plan, folder: Path, known: Mapping[str, Record]) -> None:
    """A run of the study that has nothing to train."""

    def tell(listening: MlflowListener) -> None:
        listening.catch_up(known)
        listening.settle(known)

    assert write(uri, of, folder, tell) is None


@pytest.fixture(autouse=True)
def trial_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers make them."""
    create_run = MlflowWriter._create_run

    def create(writer: MlflowWriter, trial: Trial) -> KnownRun:
        (writer._folder / trial.key).mkdir(parents=True, exist_ok=True)
        return create_run(writer, trial)

    monkeypatch.setattr(MlflowWriter, "_create_run", create)


def test_what_another_machine_trained_stays(uri: str, folder: Path, tmp_path: Path) -> None:
    of = plan()
    search = record(search_trial(of))
    first, second = ([record(each) for each in confirm_trials(of, lr)] for lr in (0.05, 0.02))
    write(uri, of, tmp_path / "elsewhere", run_trials([search, *first]))
    write(uri, of, folder, run_trials(second))
    settle(uri, of, folder, by_key(search, *second))
    assert visible(uri, of) == set(by_key(search, *first, *second)) and not list_hidden(uri, of)


def test_a_choice_that_changed_hides_the_confirm_trials_of_the_one_before(uri: str, folder: Path) -> None:
    of = plan()
    search = record(search_trial(of))
    first, second = ([record(each) for each in confirm_trials(of, lr)] for lr in (0.05, 0.02))
    other = record(confirm_trials(of, 0.05, cell=1)[0])
    write(uri, of, folder, run_trials([search, *first, other]))
    settle(uri, of, folder, by_key(search, *first, other))
    assert not list_hidden(uri, of)
    settle(uri, of, folder, by_key(search, *second, other))
    assert visible(uri, of) == set(by_key(search, *second, other))
    assert list_reasons(uri, of) == [NOT_PLANNED] * 2
    settle(uri, of, folder, by_key(search, *first, other))  # and back
    assert visible(uri, of) == set(by_key(search, *first, other))


def test_a_cell_of_another_revision_hides_all_that_was_before(uri: str, folder: Path) -> None:
    of = plan()
    before = [record(each) for each in (search_trial(of), *confirm_trials(of, 0.05))]
    write(uri, of, folder, run_trials(before))
    revised = with_cells(of, [dataclasses.replace(cell, revision="skips-block") for cell in of.cells])
    after = [record(each) for each in (search_trial(revised), *confirm_trials(revised, 0.05))]
    settle(uri, of, folder, by_key(*after))
    assert visible(uri, of) == set(by_key(*after)) and list_reasons(uri, of) == [NOT_PLANNED] * 3


def test_fewer_seeds_and_other_cells_hide_nothing(uri: str, folder: Path) -> None:
    """A comparison counts every seed that was tried: lowering `seeds` must not take any away."""
    of = plan(seeds=4)
    finals = [record(each) for each in (search_trial(of), *confirm_trials(of, 0.05))]
    stray = record(confirm_trials(of, 0.02)[3])  # of a choice before, and beyond the seeds
    other = record(confirm_trials(of, 0.05, cell=2)[0])  # of a cell that the study has no more
    write(uri, of, folder, run_trials([*finals, stray, other]))
    settle(uri, of, folder, by_key(*finals[:3]))
    assert visible(uri, of) == set(by_key(*finals, other))


def test_an_interrupted_trial_of_no_plan_is_hidden_and_not_left_running(uri: str, folder: Path) -> None:
    of = plan()
    finals = [record(each) for each in (search_trial(of), *confirm_trials(of, 0.05))]
    write(uri, of, folder, lambda listening: listening.on_start(confirm_trials(of, 0.02)[0]))
    settle(uri, of, folder, by_key(*finals))
    (hidden,) = list_hidden(uri, of)
    assert hidden.info.status == "KILLED"


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("last", [1, 2])  # its tag, its deletion
def test_a_writer_that_dies_while_it_hides_a_run(last: int, heard: bool, uri: str, folder: Path) -> None:
    of = plan(seeds=1)
    search = record(search_trial(of))
    first, second = (record(confirm_trials(of, lr)[0]) for lr in (0.05, 0.02))
    write(uri, of, folder, run_trials([search, first, second]))
    listening = MlflowListener(of, uri, folder, at_once=True)
    broken = Failing(listening._writer._client, lambda call: call >= last, heard=heard)
    listening._writer._client = broken  # type: ignore[assignment]
    with listening:
        listening.settle(by_key(search, second))
    assert listening.trouble and broken.calls >= last
    settle(uri, of, folder, by_key(search, second))
    assert visible(uri, of) == set(by_key(search, second)) and list_reasons(uri, of) == [NOT_PLANNED]


# -- skipped


def read_skips(uri: str, of: Plan) -> dict[str, str]:
    """Why cells have no confirm trials, by their variant's label."""
    skips = {}
    for run in runs(uri, of, "cell"):
        if "skipped" in run.data.tags:
            skips[run.data.tags["variant"] + run.data.tags["settings"]] = run.data.tags["skipped"]
    return skips


def test_a_trial_that_never_ran_has_no_run_and_its_cell_says_why(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(seeds=3)
    skipped = [partial_record(each, "skipped", "no luck", ()) for each in confirm_trials(of, 0.05, cell=2)]
    calls: list[str] = []
    real = MlflowClient.set_tag
    monkeypatch.setattr(MlflowClient, "set_tag", lambda self, *rest: (calls.append(rest[1]), real(self, *rest)))

    def tell(listening: MlflowListener) -> None:
        for each in skipped:
            listening.on_finish(each)

    for _ in range(2):
        write(uri, of, folder, tell)
    assert not runs(uri, of) and read_skips(uri, of) == {"sirelambda=0.1": "no luck"} and calls == ["skipped"]
    finals = [record(each) for each in (search_trial(of, 2), *confirm_trials(of, 0.02, cell=2))]
    settle(uri, of, folder, by_key(*finals))
    assert not read_skips(uri, of) and visible(uri, of) == set(by_key(*finals))


def test_runs_of_skipped_trials_that_an_earlier_version_wrote_are_hidden(uri: str, folder: Path) -> None:
    of = plan()
    search = record(search_trial(of), "diverged")
    skipped = [partial_record(each, "skipped", "no luck", ()) for each in confirm_trials(of, 0.05)]

    def tell(listening: MlflowListener) -> None:
        run_trial(search)(listening)
        for each in skipped:
            listening._jobs.put(lambda each=each: listening._writer.finish_run(each))  # type: ignore[misc]

    write(uri, of, folder, tell)
    assert len(visible(uri, of)) == 3
    settle(uri, of, folder, by_key(search, *skipped))
    assert visible(uri, of) == {search.trial_key}


# -- the storage, MLflow and the analysis


class Sweep:
    """Runs of a study with made-up trials, their records in its storage, everything told to MLflow."""

    def __init__(self, of: Plan, uri: str) -> None:
        self.plan, self._uri = of, uri
        self.storage = StudyStorage(of.study)
        self.storage.create()
        self._executions = {group_label(planned.cell): ExecutionConfig() for planned in of.cells}

    def run(self, fate: Callable[[Trial], Record], only: frozenset[str] | None = None) -> TrialScheduler:
        """One run, as `suite.sweep.run` does it."""
        folder = self.storage.path / "trials"
        with MlflowListener(self.plan, self._uri, folder, at_once=True) as listening:
            stored, interrupted = self.storage.read_records(), self.storage.list_interrupted()
            scheduler = TrialScheduler(self.plan, self._executions, stored, interrupted, [listening], only)
            listening.catch_up({key: record for key, record in stored.items() if key in scheduler.records})
            while isinstance(trial := scheduler.next_trial(), Trial):
                self._train(scheduler, trial, fate(trial))
            if only is None and scheduler.idle:
                listening.settle(scheduler.records)
        assert listening.trouble is None
        return scheduler

    def _train(self, scheduler: TrialScheduler, trial: Trial, final: Record) -> None:
        place = self.storage.trial_directory(trial.key)
        place.mkdir(exist_ok=True)
        (place / "trial.json").write_text(json.dumps(trial.to_dict()))
        for each in final.history:
            if not scheduler.on_epoch(trial.key, each):
                final = scheduler.make_early_record(trial.key, "stopped", "stopped by ASHA")
                break
        self.storage.write_record(final)
        scheduler.finish_trial(final)


def read_story(rows: list[Mapping[str, Any]]) -> list[Any]:
    names = [name for name in COLUMNS if name != "trial_key"]
    return sorted((row["trial_key"], [row[name] for name in names]) for row in rows)


def find_choices(scheduler: TrialScheduler) -> dict[str, set[str]]:
    """What the confirm trials ran with, by variant."""
    choices: dict[str, set[str]] = defaultdict(set)
    for each in scheduler.records.values():
        if each.stage == "confirm":
            choices[each.variant].add(each.hyperparameters)
    return choices


def test_storage_mlflow_and_analysis_tell_one_story(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Trials stopped, trained again, killed after the test read; a choice that changes; a fruitless search."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.chdir(tmp_path)
    asha = {"grace": 1, "reduction": 2}
    search = {"trials": 3, "first_draws": 3, "asha": asha, "space": {"lr": {"low": 0.001, "high": 0.1}}}
    of = plan(search=search, seeds=3)
    sweep = Sweep(with_cells(of, [*of.cells[:3], dataclasses.replace(of.cells[3], refused="needs two stages")]), uri)
    second_pass = False

    def fate(each: Trial) -> Record:
        if each.cell == of.cells[2].cell and each.stage == "search":
            return partial_record(each, "diverged", "nan", ())
        if each.stage == "search":
            if each.seed == 2 and each.cell == of.cells[1].cell and not second_pass:
                return record(each, "failed", epochs=1, failures=2)
            errors = {0: 0.5, 1: 0.8, 2: 0.3}
            epochs = tuple(epoch(number, errors[each.seed]) for number in range(1, each.epochs + 1))
            return partial_record(each, "completed", "", epochs)
        if each.seed == 1 and not second_pass:
            return record(each, "failed", epochs=2, failures=1)
        # The read of a worker that was killed after it is in `test_attempts`, and counts as no look.
        return record(each, test_top1_error=0.25, test_reads=1, test_attempts=2)

    def compare(scheduler: TrialScheduler) -> None:
        of_plan = {key for key, record in scheduler.records.items() if record.status != "skipped"}
        stored = {key: each for key, each in sweep.storage.read_records().items() if key in of_plan}
        assert of_plan == set(stored)
        out = collect_study(uri, of.study.study, tmp_path / "out")
        rows = pq.read_table(out / "trials.parquet").to_pylist()
        assert read_story(rows) == read_story([each.to_row() for each in stored.values()])
        loaded = load_records(out)
        assert loaded.superseded.empty and not loaded.problems
        (group,) = group_cells(loaded)
        reasons = [cell.describe_gap(loaded.metric) for cell in group.cells[2:]]
        assert reasons == ["no confirm trial: all 3 search trials diverged", "refused: needs two stages"]

    first = sweep.run(fate)
    compare(first)
    assert {(r.stage, r.status) for r in first.records.values()} == {
        ("search", "completed"), ("search", "stopped"), ("search", "failed"), ("search", "diverged"),
        ("confirm", "completed"), ("confirm", "failed"), ("confirm", "skipped"),
    }  # fmt: skip
    second_pass = True
    failed = frozenset(r.trial_key for r in first.records.values() if r.status == "failed" and r.stage == "search")
    sweep.run(fate, failed)  # `graftbench retry`
    again = sweep.run(fate)
    compare(again)
    assert {r.status for r in again.records.values() if r.stage == "confirm"} == {"completed", "skipped"}
    before, after = find_choices(first), find_choices(again)
    assert len(before["image_gradient"]) == len(after["image_gradient"]) == 1, "its seeds share one choice"
    assert before["image_gradient"] != after["image_gradient"] and before["baseline"] == after["baseline"]
    reasons = list_reasons(uri, of)
    assert reasons.count(NOT_PLANNED) == 3 and reasons.count(TRAINED_AGAIN) == 2
    compare(sweep.run(fate))
    assert list_reasons(uri, of) == reasons, "a run with nothing to train changes nothing"
