"""The searches in an Optuna storage, on SQLite for real: live, each trial once, whatever fails; never in the way."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from suite.core.errors import UserError
from suite.core.records import Record
from suite.core.specs import Trial
from suite.study.plan import Plan, with_cells
from suite.tracking import optuna_mirror
from suite.tracking.optuna_mirror import OptunaMirror, check_mirror, forget_mirror, open_mirror
from suite.tracking.optuna_writer import OptunaWriter, name_study
from suite.training.outcome import partial_record
from tests.suite.sweep import test_scheduler as sweeping
from tests.suite.sweep.test_scheduler import ASHA, drive, ended, epoch, handed, scheduler

_names = itertools.count()


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One storage for all tests: making its tables takes half a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('optuna') / 'optuna.db'}"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a storage that will not come back."""
    monkeypatch.setattr(optuna_mirror, "_PAUSES", (0.01,) * 3)
    monkeypatch.setattr(optuna_mirror, "_CONNECT_SECONDS", 0.1)


def plan(uri: str = "", search: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """A study of a name of its own."""
    place = {"storage": uri} if uri else {}
    return sweeping.plan({**place, **(search or {})}, **{"study": f"mirrored-{next(_names)}", **changes})


def alone(uri: str, search: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """One cell."""
    space = {name: sweeping.STUDY["search"]["space"][name] for name in ("lr", "weight_decay")}
    return plan(uri, {"space": space, **(search or {})}, variants=["baseline"], **changes)


def read_trials(uri: str, of: Plan, cell: int = 0) -> list[FrozenTrial]:
    return optuna.load_study(study_name=name_study(of, of.cells[cell]), storage=uri).trials


def tell(uri: str, of: Plan, told: Callable[[OptunaMirror], None]) -> None:
    with OptunaMirror(of, uri) as mirror:
        told(mirror)


def run(
    uri: str, of: Plan, known: Mapping[str, Record] | None = None, fate: Callable[[Trial], Record] = sweeping.made_up
) -> Mapping[str, Record]:
    """A run of a study, as `suite.sweep.run` does it; every record of the plan."""
    with OptunaMirror(of, uri) as mirror:
        sweep = scheduler(of, (known or {}).values(), (), mirror)
        mirror.settle(sweep.records, is_whole=False)
        drive(sweep, fate, slots=3)
        mirror.settle(sweep.records, is_whole=True)
    return sweep.records


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def describe(trial: FrozenTrial) -> tuple[Any, ...]:
    return trial.user_attrs, trial.state, trial.value, trial.params, trial.intermediate_values


def assert_same(uri: str, of: Plan, records: Mapping[str, Record]) -> None:
    """The storage has the search trials of the records, each once and as its record says."""
    for number, planned in enumerate(of.cells):
        wanted = {}
        for key, record in records.items():
            if record.stage == "search" and Trial.from_dict(record.trial).cell == planned.cell:
                wanted[key] = record
        found = {trial.user_attrs["trial_key"]: trial for trial in read_trials(uri, of, number)}
        assert len(found) == len(read_trials(uri, of, number)) and found.keys() == wanted.keys()
        for key, record in wanted.items():
            assert_mirrored(found[key], record)


def assert_mirrored(trial: FrozenTrial, record: Record) -> None:
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert trial.state == states.get(record.status, TrialState.FAIL)
    wanted = {"trial_key": record.trial_key, "stage": "search", "index": record.seed, "status": record.status}
    assert trial.user_attrs == wanted | ({"reason": record.reason} if record.reason else {})
    assert trial.params == dict(Trial.from_dict(record.trial).hyperparameters)
    steps = {each.epoch: each.validation_top1_error for each in record.history}
    assert trial.intermediate_values == steps
    value = {"completed": record.validation_top1_error, "stopped": steps[max(steps)] if steps else None}
    assert trial.value == value.get(record.status)


# -- what stands there


def test_a_study_for_each_cell_with_every_trial_as_it_ended(uri: str) -> None:
    of = plan(uri, {"sampler": "tpe", **ASHA})
    check_mirror(of.study)
    records = run(uri, of)
    statuses = Counter(record.status for record in records.values() if record.stage == "search")
    assert statuses.keys() == {"completed", "stopped", "diverged"}
    assert_same(uri, of, records)
    study = optuna.load_study(study_name=f"{of.study.study}: digits / gradient_cnn / sire", storage=uri)
    assert study.metric_names == ["validation top-1 error"] and study.user_attrs["variant"] == "sire"
    assert study.best_trial.params == dict(
        next(
            Trial.from_dict(record.trial).hyperparameters
            for record in records.values()
            if record.stage == "confirm" and record.variant == "sire"
        )
    )


def test_a_running_trial_is_seen_with_its_epochs(uri: str) -> None:
    of = plan(uri)
    with OptunaMirror(of, uri) as mirror:
        sweep = scheduler(of, (), (), mirror)
        trial = handed(sweep)
        for number in (1, 2):
            sweep.on_epoch(trial.key, epoch(number, 0.5 / number))
        wait_until(lambda: mirror._jobs.empty() and len(read_trials(uri, of)[0].intermediate_values) == 2)
        (seen,) = read_trials(uri, of)
        assert seen.state == TrialState.RUNNING and seen.intermediate_values == {1: 0.5, 2: 0.25}
        assert seen.params == dict(trial.hyperparameters) and seen.user_attrs["status"] == "running"
        sweep.finish_trial(ended(trial))
    (seen,) = read_trials(uri, of)
    assert seen.state == TrialState.COMPLETE and seen.datetime_complete is not None


def test_records_alone_give_the_same(uri: str) -> None:
    """A storage that is named later, or was away all the time."""
    of = alone(uri, ASHA)
    records = run(uri, of)
    live = sorted(map(describe, read_trials(uri, of)), key=str)
    assert forget_mirror(of.study) == 1
    for _ in range(2):
        run(uri, of, records)
        assert sorted(map(describe, read_trials(uri, of)), key=str) == live
    assert [trial.user_attrs["index"] for trial in read_trials(uri, of)] == list(range(7))
    (first, *_) = [record for record in records.values() if record.stage == "search" and record.train_seconds]
    (shown,) = [trial for trial in read_trials(uri, of) if trial.user_attrs["trial_key"] == first.trial_key]
    assert shown.duration and shown.duration.total_seconds() == pytest.approx(first.train_seconds)


def test_a_search_by_loss_shows_losses(uri: str) -> None:
    of = alone(uri, recipe={"name": "gradient", "epochs": 6, "selection": "validation_loss"})
    run(uri, of, fate=lambda trial: ended(trial, loss=0.25))
    assert {trial.value for trial in read_trials(uri, of)} == {0.25}
    study = optuna.load_study(study_name=name_study(of, of.cells[0]), storage=uri)
    assert study.metric_names == ["validation loss"]


def test_lists_as_choices_are_shown_as_text(uri: str) -> None:
    space = {"milestones": {"choices": [(0.3, 0.6), (0.5,)]}}
    of = alone(uri, {"space": space}, recipe={"name": "sire", "epochs": 6})
    for _ in range(2):
        run(uri, of, fate=lambda trial: ended(trial))
        assert {trial.params["milestones"] for trial in read_trials(uri, of)} == {"(0.3, 0.6)", "(0.5,)"}
        assert len(read_trials(uri, of)) == 7


def test_a_value_that_is_no_number_is_shown_as_none(uri: str) -> None:
    of = alone(uri)
    bad = epoch(1, float("nan"))
    run(uri, of, fate=lambda trial: partial_record(trial, "diverged", "nan", (epoch(1), replace(bad, epoch=2))))
    assert {trial.state for trial in read_trials(uri, of)} == {TrialState.FAIL}
    assert {tuple(trial.intermediate_values) for trial in read_trials(uri, of)} == {(1,)}


def test_names_are_kept_apart(uri: str) -> None:
    of = plan(uri)
    revised = replace(of.cells[0], revision="skips-block")
    assert name_study(of, revised) == f"{name_study(of, of.cells[0])} [skips-block]"
    long = [replace(cell, revision="x" * 600 + str(number)) for number, cell in enumerate(of.cells)]
    names = {name_study(of, cell) for cell in long}
    assert len(names) == 3 and {len(name) for name in names} == {512}
    of = alone(uri)
    before = run(uri, of)
    after = run(uri, with_cells(of, [replace(of.cells[0], revision="y")]))
    assert not before.keys() & after.keys()
    assert_same(uri, of, before)


# -- later runs


def test_an_interrupted_trial_goes_on_in_its_place(uri: str) -> None:
    of = alone(uri)
    sweep = scheduler(of)
    trial = handed(sweep)

    def begin(mirror: OptunaMirror) -> None:
        mirror.on_start(trial)
        mirror.on_epoch(trial, epoch(1))

    tell(uri, of, begin)
    with OptunaMirror(of, uri) as mirror:
        again = scheduler(of, (), [trial], mirror)
        mirror.settle(again.records, is_whole=False)
        assert handed(again) == trial
        for number in (1, 2):
            again.on_epoch(trial.key, epoch(number))
    (seen,) = read_trials(uri, of)
    assert seen.state == TrialState.RUNNING and seen.intermediate_values == {1: 0.5, 2: 0.5}


def test_a_draw_that_failed_and_is_tried_again_stands_there_once(uri: str) -> None:
    of = alone(uri)
    records = dict(run(uri, of, fate=lambda trial: replace(ended(trial, "failed"), failures=2)))
    assert {trial.state for trial in read_trials(uri, of)} == {TrialState.FAIL}
    (first,) = [record for record in records.values() if record.stage == "search" and record.seed == 0]
    del records[first.trial_key]
    trial = Trial.from_dict(first.trial)
    with OptunaMirror(of, uri) as mirror:  # `graftbench retry`
        mirror.settle(records, is_whole=False)
        mirror.on_start(trial)
        mirror.on_finish(ended(trial))
    assert_same(uri, of, {**records, first.trial_key: ended(trial)})


def test_a_search_that_was_lost_is_forgotten(uri: str) -> None:
    """Other draws than before, where the study's own storage is gone."""
    of = alone(uri)
    stray = of.search_trial(of.cells[0].cell, 6, (("lr", 0.05), ("weight_decay", 0.0)), sweeping.CONDITIONS)
    open_one = of.search_trial(of.cells[0].cell, 5, (("lr", 0.05), ("weight_decay", 0.0)), sweeping.CONDITIONS)

    def begin(mirror: OptunaMirror) -> None:
        mirror.on_start(open_one)
        mirror.on_finish(ended(stray))

    tell(uri, of, begin)
    assert len(read_trials(uri, of)) == 2
    assert_same(uri, of, run(uri, of))


def test_what_a_person_added_goes(uri: str) -> None:
    of = alone(uri)
    records = run(uri, of)
    optuna.load_study(study_name=name_study(of, of.cells[0]), storage=uri).enqueue_trial({"lr": 0.01})
    run(uri, of, records)
    assert_same(uri, of, records)


def test_another_study_of_that_name_is_left_alone(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    of = alone(uri)
    records = run(uri, of)
    other = alone(uri, study=of.study.study, split_seed=7)
    run(uri, other)
    assert_same(uri, of, records)
    (said,) = [line.getMessage() for line in caplog.records if line.name == optuna_mirror.__name__]
    assert "is of another recipe, search or split; delete it, or name another storage" in said


def test_clean_forgets_the_study_and_no_other(uri: str) -> None:
    mine, other = plan(uri, {"trials": 1}), alone(uri)
    run(uri, mine)
    records = run(uri, other)
    assert forget_mirror(mine.study) == 3 and forget_mirror(mine.study) == 0
    assert_same(uri, other, records)
    assert forget_mirror(plan().study) == 0 == forget_mirror(plan(f"{uri}.none").study)


# -- a storage that fails


class Failing:
    """A storage some of whose calls raise, before the database hears them or after."""

    def __init__(self, real: Any, fails: Callable[[int], bool], *, heard: bool) -> None:
        self._real, self._fails, self._heard = real, fails, heard
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            fails = self._fails(self.calls)
            answer = method(*arguments, **named) if self._heard or not fails else None
            if fails:
                raise ConnectionError("nobody answers\nat all")
            return answer

        return call


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Failing]]:
    """`failing(lambda call: call > 3, heard=True)` is what is opened from then on."""
    real = optuna_mirror._open_storage

    def make(uri: str, fails: Callable[[int], bool], *, heard: bool) -> Failing:
        storage = Failing(real(uri), fails, heard=heard)
        monkeypatch.setattr(optuna_mirror, "_open_storage", lambda _: storage)
        return storage

    yield make
    monkeypatch.undo()


def one_trial(of: Plan) -> Record:
    return ended(of.search_trial(of.cells[0].cell, 0, of.first_draws(of.cells[0], 0), sweeping.CONDITIONS))


def tell_trial(record: Record) -> Callable[[OptunaMirror], None]:
    trial = Trial.from_dict(record.trial)

    def told(mirror: OptunaMirror) -> None:
        mirror.on_start(trial)
        for each in record.history:
            mirror.on_epoch(trial, each)
        mirror.on_finish(record)

    return told


CALLS = 22  # below, each to Optuna's storage
SOME = (1, 6, 8, 13, 15, 17, 20, 22)  # of them: the study, its description begun and ended, the trial, a step, its end


@pytest.mark.parametrize("heard", [False, True])
def test_whichever_call_is_the_last_a_later_run_writes_the_rest(
    heard: bool, uri: str, failing: Callable[..., Failing], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = optuna_mirror._open_storage
    for last in SOME:
        of = alone(uri)
        final = one_trial(of)
        storage = failing(uri, lambda call, last=last: call >= last, heard=heard)
        tell(uri, of, tell_trial(final))
        assert storage.calls >= last
        monkeypatch.setattr(optuna_mirror, "_open_storage", opened)
        tell(uri, of, lambda mirror, final=final: mirror.settle({final.trial_key: final}, is_whole=True))  # type: ignore[misc]
        assert_same(uri, of, {final.trial_key: final})


@pytest.mark.parametrize("heard", [False, True])
def test_a_call_that_fails_once_is_made_again(
    heard: bool, uri: str, failing: Callable[..., Failing], caplog: pytest.LogCaptureFixture
) -> None:
    for bad in SOME:
        of = alone(uri)
        final = one_trial(of)
        failing(uri, lambda call, bad=bad: call == bad, heard=heard)
        tell(uri, of, tell_trial(final))
        assert_same(uri, of, {final.trial_key: final})
    assert not caplog.records, "a moment's trouble is not worth a word"


def test_a_whole_trial_takes_few_calls(uri: str, failing: Callable[..., Failing]) -> None:
    of = alone(uri)
    storage = failing(uri, lambda _: False, heard=False)
    tell(uri, of, tell_trial(one_trial(of)))
    assert storage.calls == CALLS


def test_a_locked_storage_changes_no_draw_and_gets_everything_when_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = f"sqlite:///{tmp_path / 'optuna.db'}"
    of = alone(uri, {"sampler": "tpe", **ASHA})
    undisturbed = drive(scheduler(of))
    tell(uri, of, lambda mirror: None)
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as lock, OptunaMirror(of, uri) as mirror:
        lock.execute("BEGIN EXCLUSIVE")
        sweep = scheduler(of, (), (), mirror)
        began = time.monotonic()
        assert drive(sweep) == undisturbed
        assert time.monotonic() - began < 30, "nothing waited for it"
        wait_until(lambda: mirror._away)
        lock.rollback()
        mirror.settle(sweep.records, is_whole=True)
    assert_same(uri, of, sweep.records)
    (said,) = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
    assert said.startswith(f"search.storage: {uri} lacks some of the searches (OperationalError: ")
    assert said.endswith("nothing is lost, and a later run writes them")


def test_a_storage_that_stays_away_costs_a_line_and_no_time(
    uri: str, failing: Callable[..., Failing], caplog: pytest.LogCaptureFixture
) -> None:
    of = plan(uri)
    failing(uri, lambda _: True, heard=False)
    records = run(uri, of)
    assert len(records) == of.trials
    assert [line.getMessage().count("nobody answers") for line in caplog.records] == [1]


def test_a_call_that_never_returns_does_not_keep_a_run_from_its_end(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(optuna_mirror, "_SILENCE", 0.0)
    for_ever = threading.Event()
    monkeypatch.setattr(OptunaWriter, "start_trial", lambda *_: for_ever.wait(60))
    of = plan(uri)
    tell(uri, of, tell_trial(one_trial(of)))
    for_ever.set()
    assert [line.getMessage().count("does not answer") for line in caplog.records] == [1]


def test_a_trial_that_can_t_be_shown_does_not_keep_the_others_out(uri: str, caplog: pytest.LogCaptureFixture) -> None:
    of = alone(uri)
    final = one_trial(of)

    def told(mirror: OptunaMirror) -> None:
        mirror.on_finish(replace(final, trial={}))
        tell_trial(final)(mirror)

    tell(uri, of, told)
    assert_same(uri, of, {final.trial_key: final})
    assert len(caplog.records) == 1


# -- the key of a study


def test_without_a_storage_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    of = plan()
    monkeypatch.setattr(optuna_mirror, "_open_storage", lambda _: pytest.fail("opened"))
    check_mirror(of.study)
    with open_mirror(of, at_once=True) as mirror:
        sweep = scheduler(of, (), (), mirror)
        mirror.settle(sweep.records, is_whole=False)
        drive(sweep)
        mirror.settle(sweep.records, is_whole=True)


def test_the_storage_is_a_place_and_no_part_of_the_study(uri: str) -> None:
    without = plan(study="placed")
    there, elsewhere = plan(uri, study="placed"), plan("postgresql://db/optuna", study="placed")
    assert without.study.describe_identity() == there.study.describe_identity() == elsewhere.study.describe_identity()
    assert drive(scheduler(without)) == drive(scheduler(there))
    assert open_mirror(there).__class__ is OptunaMirror


def test_a_new_storage_is_made_where_the_study_says(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'new' / 'optuna.db'}"
    of = alone(uri)
    check_mirror(of.study)
    final = one_trial(of)
    with open_mirror(of, at_once=True) as mirror:
        assert (tmp_path / "new" / "optuna.db").is_file()
        mirror.on_finish(final)
    check_mirror(of.study)
    assert_same(uri, of, {final.trial_key: final})


@pytest.mark.parametrize(
    ("storage", "reason"),
    [
        (
            "runs/optuna.db",
            "'runs/optuna.db' is no Optuna storage: use sqlite:///PATH, postgresql://... or mysql://...",
        ),
        ("redis://me:secret@host", "'redis://me:***@host' is no Optuna storage"),
        ("sqlite:///", "is no Optuna storage"),
        ("sqlite:///:memory:", "is no Optuna storage"),
        ("sqlite:///{folder}", "is a folder; name a file in it, like sqlite:///{folder}/optuna.db"),
        ("sqlite:///{folder}/text/optuna.db", "can't create {folder}/text/optuna.db: {folder}/text is not a writable"),
        ("sqlite:///{folder}/text", "is not an SQLite database"),
        ("sqlite:///{folder}/other.db", "is a database of something else than Optuna; name another file"),
        ("sqlite:///{folder}/mlflow.db", "{folder}/mlflow.db is MLflow's; name a file of its own"),
        ("postgresql://me:secret@host:port/db", "not the address of a database"),
        ("postgresql+none://me:secret@host/db", "not the address of a database"),
        ("postgresql://me:secret@127.0.0.1:9/db", "no database answers at postgresql://me:***@127.0.0.1:9/db"),
    ],
)
def test_a_wrong_address_is_refused_in_a_sentence(storage: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but a text that is long enough to be looked into" * 10)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE mine (x int)")
    mlflows = f"sqlite:///{tmp_path / 'mlflow.db'}"
    of = plan(storage.format(folder=tmp_path), tracking=mlflows)
    with pytest.raises(UserError) as refused:
        check_mirror(of.study)
    message = str(refused.value)
    assert message.startswith("search.storage: ") and "\n" not in message and "secret" not in message
    assert reason.format(folder=tmp_path) in message
