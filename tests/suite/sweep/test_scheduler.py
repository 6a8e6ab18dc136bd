"""Which trial comes next, with made-up epochs in place of training: fair, resumable, one bracket per cell."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from suite.core.records import FINISHED, Epoch, Record, Status
from suite.core.specs import Cell, Trial, freeze_settings, hash_parts
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, group_label, make_plan, with_cells
from suite.sweep.scheduler import TrialScheduler
from suite.training.outcome import partial_record

STUDY: dict[str, Any] = {
    "study": "conducted",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "image_gradient", "sire"],
    "recipe": {"name": "gradient", "epochs": 6},
    "seeds": 2,
    "search": {
        "trials": 7,
        "epochs": 4,
        "first_draws": 3,
        "sampler": "random",
        "space": {
            "lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "weight_decay": {"choices": [0.0, 5e-4]},
            "sire.lambda": {"low": 0.0, "high": 1.0},
        },
    },
}
CONDITIONS = ExecutionConfig("bf16", channels_last=True, micro_batch=8)


def plan(search: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return make_plan(parse_study({**STUDY, **changes, "search": {**STUDY["search"], **(search or {})}}))


def alone(search: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """One cell, all of whose first draws differ."""
    space = {"lr": STUDY["search"]["space"]["lr"]}
    return plan({"space": space, **(search or {})}, variants=["baseline"], **changes)


def scheduler(
    of: Plan, finished: Iterable[Record] = (), interrupted: Iterable[Trial] = (), *listeners: Any
) -> TrialScheduler:
    known = {record.trial_key: record for record in finished}
    return TrialScheduler(of, executions_of(of), known, interrupted, listeners)


def executions_of(of: Plan) -> dict[str, ExecutionConfig]:
    return {group_label(cell.cell): CONDITIONS for cell in of.cells}


def epoch(number: int, error: float = 0.5, loss: float = 1.0) -> Epoch:
    return Epoch(
        epoch=number,
        learning_rate=0.1,
        train_loss=loss,
        train_top1_error=error,
        validation_loss=loss,
        validation_top1_error=error,
        validation_top5_error=error / 2,
        train_seconds=1.0,
    )


def history(trial: Trial, error: float = 0.5, loss: float = 1.0) -> tuple[Epoch, ...]:
    return tuple(epoch(number, error, loss) for number in range(1, trial.epochs + 1))


def ended(trial: Trial, status: Status = "completed", error: float = 0.5, loss: float = 1.0) -> Record:
    return partial_record(trial, status, "as told", history(trial, error, loss))


def handed(scheduler: TrialScheduler) -> Trial:
    trial = scheduler.next_trial()
    assert isinstance(trial, Trial), trial
    return trial


def running(scheduler: TrialScheduler) -> list[Trial]:
    return [trial for _, trial in scheduler._running.values()]


class Notes:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_start(self, trial: Trial) -> None:
        self.heard.append(("started", trial.key))

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        self.heard.append(("epoch", trial.key, epoch.epoch))

    def on_finish(self, record: Record) -> None:
        self.heard.append(("finished", record.trial_key, record.status))


Fate = Callable[[Trial], Record]


def made_up(trial: Trial) -> Record:
    """Every trial has an error of its own, hard datasets a higher one; some diverge."""
    if trial.stage == "search" and hash_parts("diverges", trial.key) % 7 == 0:
        return partial_record(trial, "diverged", "nan", ())
    hard = 0.5 if trial.cell.dataset.name == "mnist" else 0.0
    return ended(trial, error=hard + hash_parts("error", trial.key) % 1000 / 2500)


def drive(scheduler: TrialScheduler, fate: Fate = made_up, slots: int = 1, results: int = 10**6) -> list[Trial]:
    """Run `slots` trials at once, an epoch each in turn, until done or `results` ended. Returns what was handed out."""
    out: list[Trial] = []
    running: list[tuple[Trial, Record, list[Epoch]]] = []
    while results > 0:
        while len(running) < slots and isinstance(trial := scheduler.next_trial(), Trial):
            out.append(trial)
            record = fate(trial)
            running.append((trial, record, list(record.history)))
        if not running:
            assert scheduler.next_trial() == "done" and scheduler.idle
            break
        for trial, record, epochs in list(running):
            if epochs:
                if scheduler.on_epoch(trial.key, epochs.pop(0)):
                    continue
                scheduler.finish_trial(scheduler.make_early_record(trial.key, "stopped", "stopped by ASHA"))
            else:
                scheduler.finish_trial(record)
            running = [each for each in running if each[0] != trial]
            results -= 1
    return out


def of_cell(records: Mapping[str, Record], cell: Cell, stage: str) -> list[Record]:
    """The cell's records of a stage by seed."""
    mine = [record for record in records.values() if record.stage == stage]
    mine = [record for record in mine if Trial.from_dict(record.trial).cell == cell]
    return sorted(mine, key=lambda record: record.seed)


# -- budgets and order


ASHA = {"asha": {"grace": 1, "reduction": 2}}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("asha", [{}, ASHA])
@pytest.mark.parametrize("slots", [1, 4])
def test_every_cell_gets_the_same_budget_whatever_asha_does(sampler: str, asha: dict[str, Any], slots: int) -> None:
    wanted = plan({"sampler": sampler, **asha}, datasets=["digits", "mnist"])
    found = scheduler(wanted)
    out = drive(found, slots=slots)
    assert len(out) == len({trial.key for trial in out}) == wanted.trials == 6 * (7 + 2)
    for planned in wanted.cells:
        assert [record.seed for record in of_cell(found.records, planned.cell, "search")] == list(range(7))
        assert [record.seed for record in of_cell(found.records, planned.cell, "confirm")] == [0, 1]
    statuses = Counter((record.stage, record.status) for record in found.records.values())
    assert statuses["confirm", "completed"] == 12 and statuses["search", "diverged"] > 0
    assert bool(statuses["search", "stopped"]) == bool(asha)


def test_the_search_goes_index_by_index_across_the_cells() -> None:
    wanted = plan()
    found = scheduler(wanted)
    out = [handed(found) for _ in range(3 * 7)]
    cells = [planned.cell for planned in wanted.cells]
    assert [(trial.seed, trial.cell) for trial in out] == [(index, cell) for index in range(7) for cell in cells]
    assert {(trial.stage, trial.epochs) for trial in out} == {("search", 4)}
    assert found.next_trial() == "wait" and not found.idle


def test_a_cell_confirms_as_soon_as_its_own_search_is_over() -> None:
    wanted = plan()
    found = scheduler(wanted)
    out = [handed(found) for _ in range(3 * 7)]
    second = [trial for trial in out if trial.cell == wanted.cells[1].cell]
    for trial in second:
        assert found.next_trial() == "wait"
        found.finish_trial(ended(trial))
    confirm = [handed(found), handed(found)]
    assert [(trial.stage, trial.seed, trial.epochs) for trial in confirm] == [("confirm", 0, 6), ("confirm", 1, 6)]
    assert {trial.cell for trial in confirm} == {second[0].cell}
    assert {(trial.precision, trial.channels_last, trial.micro_batch) for trial in confirm} == {("bf16", True, 8)}
    assert found.next_trial() == "wait"


def test_confirm_trials_go_before_more_search() -> None:
    out = drive(scheduler(plan()))
    first = out[0].cell
    last = next(place for place, trial in enumerate(out) if trial.cell == first and trial.seed == 6)
    assert [(trial.cell, trial.stage) for trial in out[last + 1 : last + 3]] == [(first, "confirm")] * 2
    assert (out[last + 3].cell, out[last + 3].stage, out[last + 3].seed) == (out[1].cell, "search", 6)


def test_without_a_search_every_cell_confirms_at_once() -> None:
    wanted = plan({"trials": 0, "space": {}})
    out = drive(scheduler(wanted))
    assert [(trial.stage, trial.seed, trial.hyperparameters) for trial in out] == [
        ("confirm", 0, ()),
        ("confirm", 1, ()),
    ] * 3


# -- draws


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_first_draws_are_the_plans_and_the_same_in_every_cell(sampler: str) -> None:
    wanted = plan({"sampler": sampler})
    out = [trial for trial in drive(scheduler(wanted)) if trial.stage == "search"]
    chosen = {(trial.cell.variant.name, trial.seed): dict(trial.hyperparameters) for trial in out}
    for planned in wanted.cells:
        for index in range(3):
            assert chosen[planned.cell.variant.name, index] == dict(wanted.first_draws(planned, index))
    for index in range(7):
        draws = [
            {k: chosen[name, index][k] for k in ("lr", "weight_decay")}
            for name in ("baseline", "image_gradient", "sire")
        ]
        assert (draws[0] == draws[1] == draws[2]) == (index < 3)
    for draw in chosen.values():
        assert (
            1e-4 <= draw["lr"] <= 1e-1 and draw["weight_decay"] in (0.0, 5e-4) and 0 <= draw.get("sire.lambda", 0) <= 1
        )


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_one_slot_draws_the_same_search_every_time(sampler: str) -> None:
    assert drive(scheduler(plan({"sampler": sampler}))) == drive(scheduler(plan({"sampler": sampler})))


def test_a_list_as_a_choice_is_searched_and_taken_back() -> None:
    wanted = alone({"space": {"milestones": {"choices": [(0.3, 0.6), (0.5,)]}}}, recipe={"name": "sire", "epochs": 6})
    found = scheduler(wanted)
    out = drive(found)
    assert {trial.hyperparameters for trial in out} <= {
        freeze_settings({"milestones": m}) for m in ((0.3, 0.6), (0.5,))
    }
    assert scheduler(wanted, found.records.values()).idle


# -- which hyperparameters are confirmed


def chosen_seed(wanted: Plan, fates: Mapping[int, dict[str, Any]]) -> int:
    """The search index whose hyperparameters the confirm trials have; fates by index, the rest completes at 0.5."""
    out = drive(scheduler(wanted), lambda trial: ended(trial, **fates.get(trial.seed, {})))
    confirm = {trial.hyperparameters for trial in out if trial.stage == "confirm"}
    (seed,) = [trial.seed for trial in out if trial.stage == "search" and {trial.hyperparameters} == confirm]
    return seed


def test_confirm_takes_the_lowest_validation_error_of_the_completed() -> None:
    assert chosen_seed(alone(), {4: {"error": 0.2}, 5: {"error": 0.3}}) == 4
    low: dict[str, Any] = {"error": 0.1}
    unfinished = {n: {**low, "status": status} for n, status in enumerate(("stopped", "diverged"))}
    assert chosen_seed(alone(), {**unfinished, 6: {"error": 0.4}}) == 6


def test_ties_go_to_the_lowest_index_whatever_ended_first() -> None:
    assert chosen_seed(alone(), {2: {"error": 0.2}, 3: {"error": 0.2}}) == 2
    found = scheduler(alone())
    search = [handed(found) for _ in range(7)]
    for trial in reversed(search):
        found.finish_trial(ended(trial, error=0.2 if trial.seed in (3, 5) else 0.5))
    assert handed(found).hyperparameters == search[3].hyperparameters


def test_a_recipe_that_selects_by_loss_is_searched_by_loss() -> None:
    fates = {1: {"error": 0.1, "loss": 2.0}, 4: {"error": 0.6, "loss": 0.3}}
    by_loss = alone(recipe={"name": "gradient", "epochs": 6, "selection": "validation_loss"})
    assert (chosen_seed(alone(), fates), chosen_seed(by_loss, fates)) == (1, 4)


def test_a_cell_without_a_completed_search_trial_is_skipped_with_its_sentence() -> None:
    wanted = plan()
    bad = wanted.cells[1].cell

    def fate(trial: Trial) -> Record:
        if trial.cell != bad:
            return ended(trial)
        return partial_record(trial, "diverged", "", ())

    notes = Notes()
    found = scheduler(wanted, (), (), notes)
    drive(found, fate)
    skipped = of_cell(found.records, bad, "confirm")
    assert [(record.status, record.seed) for record in skipped] == [("skipped", 0), ("skipped", 1)]
    assert {record.reason for record in skipped} == {"no search trial of the cell completed (7 diverged)"}
    assert all(("finished", record.trial_key, "skipped") in notes.heard for record in skipped)
    of_bad = [*of_cell(found.records, bad, "search"), *skipped]
    assert Counter(record.status for record in of_bad) == {"diverged": 7, "skipped": 2}


def test_a_refused_cell_is_skipped_with_its_sentence_and_the_rest_runs() -> None:
    wanted = plan()
    refused = replace(wanted.cells[2], refused="sire needs two stages")
    wanted = with_cells(wanted, (*wanted.cells[:2], refused))
    notes = Notes()
    found = scheduler(wanted, (), (), notes)
    skipped = of_cell(found.records, refused.cell, "confirm")
    assert [(record.status, record.reason) for record in skipped] == [("skipped", "sire needs two stages")] * 2
    assert [event[0] for event in notes.heard] == ["finished", "finished"]
    assert Counter(trial.cell.variant.name for trial in drive(found)) == {"baseline": 9, "image_gradient": 9}


# -- ASHA

# Validation errors of seven trials run one after another, and the epoch after which each is stopped, worked out by
# hand: with n values at a rung the best n // reduction go on, of fewer than `reduction` the best.
ERRORS = (0.50, 0.60, 0.40, 0.45, 0.55, 0.30, 0.42)
STOPS: dict[tuple[int, int], tuple[int | None, ...]] = {
    (1, 2): (None, 1, None, 2, 1, None, 2),  # rungs after epochs 1 and 2; the next is the last epoch
    (2, 2): (None, 2, None, None, 2, None, None),
    (2, 3): (None, 2, None, 2, 2, None, 2),
}


@pytest.mark.parametrize("rungs", STOPS)
def test_asha_stops_the_worse_ones_at_its_rungs_in_every_cell_alike(rungs: tuple[int, int]) -> None:
    """The errors of one dataset all lie above the other's: compared across cells, its trials would all be stopped."""
    asha = {"grace": rungs[0], "reduction": rungs[1]}
    wanted = alone({"asha": asha}, datasets=["digits", "mnist"])

    def fate(trial: Trial) -> Record:
        hard = trial.cell.dataset.name == "mnist"
        return ended(trial, error=ERRORS[trial.seed] + 0.35 * hard if trial.stage == "search" else 0.99)

    found = scheduler(wanted)
    drive(found, fate, slots=2)
    for planned in wanted.cells:
        search = of_cell(found.records, planned.cell, "search")
        stops = tuple(record.epochs_run if record.status == "stopped" else None for record in search)
        assert stops == STOPS[rungs]
        assert all(record.epochs_run == 4 for record in search if record.status == "completed")
        confirm = of_cell(found.records, planned.cell, "confirm")
        assert [(record.status, record.epochs_run) for record in confirm] == [("completed", 6)] * 2


def test_a_loss_that_is_no_number_is_not_reported_to_the_bracket() -> None:
    wanted = alone(ASHA, recipe={"name": "gradient", "epochs": 6, "selection": "validation_loss"})
    found = scheduler(wanted)
    first, second, third = handed(found), handed(found), handed(found)
    for value in (float("nan"), float("inf")):
        assert found.on_epoch(first.key, epoch(1 + (value > 0), loss=value)), "the training core ends it, not ASHA"
    assert found.on_epoch(second.key, epoch(1, loss=0.9)), "the first value at its rung"
    assert not found.on_epoch(third.key, epoch(1, loss=0.95))
    found.finish_trial(partial_record(first, "diverged", "nan", ()))


def test_a_repeated_epoch_is_heard_once() -> None:
    notes = Notes()
    found = scheduler(alone(ASHA), (), (), notes)
    first = handed(found)
    assert found.on_epoch(first.key, epoch(1, 0.5)) and found.on_epoch(first.key, epoch(2, 0.5))
    assert found.on_epoch(first.key, epoch(1, 0.5)) and found.on_epoch(first.key, epoch(2, 0.5))  # a retried worker
    assert found.on_epoch(first.key, epoch(3, 0.5))
    assert notes.heard == [("started", first.key), *(("epoch", first.key, number) for number in (1, 2, 3))]
    assert found.make_early_record(first.key, "failed", "its worker was lost").history == tuple(
        epoch(n, 0.5) for n in (1, 2, 3)
    )


def test_a_lost_trial_is_handed_out_again_before_anything_else() -> None:
    notes = Notes()
    found = scheduler(alone(ASHA), (), (), notes)
    first, second = handed(found), handed(found)
    assert found.on_epoch(first.key, epoch(1, 0.5))
    for _ in range(2):
        assert found.requeue(first.key, at_most=2) and running(found) == [second]
        assert handed(found) == first
        assert found.on_epoch(first.key, epoch(1, 0.5)), "told again by the next worker"
    assert not found.requeue(first.key, at_most=2) and set(running(found)) == {first, second}
    record = found.make_early_record(first.key, "failed", "its worker was lost")
    found.finish_trial(record)
    assert [known.epoch for known in record.history] == [1]
    assert notes.heard.count(("epoch", first.key, 1)) == 1
    assert found.requeue(second.key, at_most=2), "counted by trial"


def test_a_trial_that_used_up_the_memory_is_handed_out_last_and_alone() -> None:
    found = scheduler(alone({"trials": 3}))
    first, second = handed(found), handed(found)
    assert found.requeue_alone(first.key) and running(found) == [second] and not found.idle
    third = handed(found)
    assert found.next_trial() == "wait", "it has to have the machines for itself"
    for trial in (second, third):
        found.finish_trial(ended(trial))
    assert not found.idle and handed(found) == first
    assert found.next_trial() == "wait" and not found.requeue_alone(first.key), "it was alone already"
    found.finish_trial(found.make_early_record(first.key, "failed", "out of memory", failures=2))
    assert [(trial.stage, trial.seed) for trial in drive(found, ended)] == [("confirm", 0), ("confirm", 1)]


def test_a_final_record_tells_the_search_what_was_not_heard() -> None:
    found = scheduler(alone(ASHA))
    first, second = handed(found), handed(found)
    found.finish_trial(ended(first, error=0.1))
    assert not found.on_epoch(second.key, epoch(1, 0.2)), "worse than the first, of which no epoch was heard by itself"


# -- resumed


def left(scheduler: TrialScheduler) -> tuple[list[Record], list[Trial]]:
    """What a killed driver leaves: finished records in any order, and the trials that were under way or failed."""
    records = list(scheduler.records.values())
    random.Random(0).shuffle(records)
    finished = [record for record in records if record.status in FINISHED]
    failed = [Trial.from_dict(record.trial) for record in records if record.status == "failed"]
    under_way = [*running(scheduler), *failed]
    return finished, sorted(under_way, key=lambda trial: (trial.seed, trial.key))


@pytest.mark.parametrize(("sampler", "asha"), [("random", {}), ("tpe", ASHA)])
@pytest.mark.parametrize("results", range(0, 19, 2))
def test_killed_after_any_result_and_resumed_ends_with_the_planned_counts(
    sampler: str, asha: dict[str, Any], results: int
) -> None:
    wanted = plan({"sampler": sampler, **asha}, variants=["baseline", "sire"])
    killed = scheduler(wanted)
    drive(killed, slots=3, results=results)
    finished, interrupted = left(killed)
    resumed = scheduler(wanted, finished, interrupted)
    out = drive(resumed, slots=3)
    assert not {trial.key for trial in out} & {record.trial_key for record in finished}
    searching = [trial for trial in interrupted if trial.stage == "search"]
    if searching:
        first = [trial for trial in out if trial.stage == "search"][: len(searching)]
        assert set(first) == set(searching), "unchanged, and before anything new"
    for planned in wanted.cells:
        search = of_cell(resumed.records, planned.cell, "search")
        assert [record.seed for record in search] == list(range(7))
        assert [record.seed for record in of_cell(resumed.records, planned.cell, "confirm")] == [0, 1]
    assert len(resumed.records) == wanted.trials and resumed.idle
    assert scheduler(wanted, resumed.records.values()).idle, "nothing is left for a third run"
    if sampler == "random":
        straight = scheduler(wanted)
        drive(straight)
        assert set(resumed.records) == set(straight.records), "the draws of a resumed search are those of a whole one"


def test_a_resumed_search_draws_no_point_twice() -> None:
    wanted = alone({"first_draws": 1})
    killed = scheduler(wanted)
    drive(killed, results=4)
    resumed = scheduler(wanted, *left(killed))
    drive(resumed)
    draws = {dict(Trial.from_dict(r.trial).hyperparameters)["lr"] for r in resumed.records.values()}
    assert len(draws) == 7


def test_a_resumed_bracket_knows_its_rungs() -> None:
    wanted = alone(ASHA)
    killed = scheduler(wanted)
    drive(killed, lambda trial: ended(trial, error=0.3), results=1)
    resumed = scheduler(wanted, *left(killed))
    assert not resumed.on_epoch(handed(resumed).key, epoch(1, 0.4))


def failing(stage: str, seed: int) -> Fate:
    """That trial fails whenever it is tried, and every other one completes."""
    tried = itertools.count(1)

    def fate(trial: Trial) -> Record:
        if (trial.stage, trial.seed) != (stage, seed):
            return ended(trial)
        return partial_record(trial, "failed", "as told", history(trial), failures=next(tried))

    return fate


def test_a_search_trial_that_fails_twice_is_no_result_and_its_cell_goes_on() -> None:
    wanted, notes = alone(), Notes()
    found = scheduler(wanted, (), (), notes)
    out = drive(found, failing("search", 2))
    assert Counter((trial.stage, trial.seed) for trial in out)["search", 2] == 2
    (failed,) = (record for record in found.records.values() if record.status == "failed")
    assert (failed.stage, failed.seed, failed.failures) == ("search", 2, 2)
    assert [each for each in notes.heard if each[2:] == ("failed",)] == [("finished", failed.trial_key, "failed")]
    confirm = of_cell(found.records, wanted.cells[0].cell, "confirm")
    assert [(record.seed, record.status) for record in confirm] == [(0, "completed"), (1, "completed")]
    assert scheduler(wanted, found.records.values(), [Trial.from_dict(failed.trial)]).idle, "the next run leaves it"


def test_retry_hands_out_a_search_trial_that_failed_for_good() -> None:
    wanted = alone()
    found = scheduler(wanted)
    drive(found, failing("search", 2))
    (failed,) = (record for record in found.records.values() if record.status == "failed")
    key, again = failed.trial_key, Trial.from_dict(failed.trial)
    retried = TrialScheduler(wanted, executions_of(wanted), found.records, [again], only=frozenset({key}))
    assert [trial.key for trial in drive(retried, ended)] == [key]
    assert {record.status for record in retried.records.values()} == {"completed"}


def test_a_confirm_trial_that_failed_waits_for_the_next_run() -> None:
    wanted = alone()
    first = scheduler(wanted)
    drive(first, failing("confirm", 1))
    again = scheduler(wanted, *left(first))
    assert not again.idle
    assert [(trial.stage, trial.seed) for trial in drive(again, ended)] == [("confirm", 1)]
    assert {record.status for record in again.records.values()} == {"completed"}


def test_more_seeds_train_only_the_new_ones() -> None:
    few = scheduler(plan())
    drive(few)
    many = plan(seeds=4)
    out = drive(scheduler(many, few.records.values()))
    assert Counter((trial.stage, trial.seed) for trial in out) == {("confirm", 2): 3, ("confirm", 3): 3}
    chosen = {trial.cell: trial.hyperparameters for trial in out}
    assert all(
        Trial.from_dict(record.trial).hyperparameters == chosen[planned.cell]
        for planned in many.cells
        for record in of_cell(few.records, planned.cell, "confirm")
    )


def test_what_the_plan_does_not_ask_for_counts_for_nothing() -> None:
    """Trials of other conditions, of a larger search and of a removed cell."""
    larger = scheduler(plan({"trials": 9}, datasets=["digits", "mnist"]))
    drive(larger)
    found = scheduler(plan(), larger.records.values(), [handed(scheduler(plan({"trials": 9})))])
    assert sum(record.stage == "search" for record in found.records.values()) == 3 * 7
    known = {record.trial_key: record for record in larger.records.values()}
    conditions = {group_label(cell.cell): ExecutionConfig() for cell in plan().cells}
    elsewhere = TrialScheduler(plan(), conditions, known, [])
    assert not elsewhere.records


# -- looking in


def test_idle_says_where_it_stands() -> None:
    found = scheduler(alone({"trials": 2}))
    assert not found.idle and not running(found)
    first, second = handed(found), handed(found)
    assert running(found) == [first, second] and not found.idle
    found.finish_trial(ended(first))
    found.finish_trial(found.make_early_record(second.key, "failed", "lost", failures=1))
    assert running(found) == [] and not found.idle, "it is tried once more"
    assert handed(found) == second
    found.finish_trial(found.make_early_record(second.key, "failed", "lost", failures=2))
    assert found.trained == 2 and not found.idle, "the choice is made, and its confirm trials wait"
    assert [record.status for record in found.records.values()] == ["completed", "failed"]
    drive(found, ended)
    assert found.trained == 4 and found.idle
