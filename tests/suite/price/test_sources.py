"""Where costs are known from: this study's trials, timings that were kept, other studies' trials, in this order."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from suite.core import records
from suite.core.records import Record, describe_trial
from suite.price.costs import NetworkTiming
from suite.price.price import Device
from suite.price.sources import find_costs, read_trials
from suite.price.timings import KeptTiming, identify_network, keep_timing, read_timings
from suite.study.plan import ExecutionConfig, Plan
from tests.suite.price.test_price import CPU, INFOS, plan

CARD = Device("cuda", "a card")
MEASURED: dict[str, Any] = {
    "status": "completed",
    "epochs_run": 4,
    "train_seconds": 8.0,
    "batch": 128,
    "threads": 1,
    "device_kind": "cpu",
    "device": CPU.name,
    "host": "host",
    "train_examples": 100,
    "validation_examples": 20,
}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))


def leave_trial(of: Plan, cell: int = 0, seed: int = 0, wall: float = 10.0, **changes: Any) -> None:
    """An ended trial of a study: its two files, `wall` seconds apart, and its line."""
    trial = of.confirm_trials(of.cells[cell].cell, (), ExecutionConfig())[seed]
    storage, folder = of.study.storage_path, of.study.storage_path / "trials" / trial.key
    folder.mkdir(parents=True)
    record = Record(**{**describe_trial(trial), **MEASURED, **changes})
    (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
    records.write_record(record, folder / "record.json")
    os.utime(folder / "trial.json", (1000, 1000))
    os.utime(folder / "record.json", (1000 + wall, 1000 + wall))
    stamp = (folder / "record.json").stat().st_mtime_ns
    label, end = of.cells[cell].cell.label, (record.status, record.epochs_run, record.epochs, record.train_seconds)
    values = [trial.key, label, "confirm", seed, record.revision, *end, 1.0, record.host, "", stamp]
    with (storage / "events.jsonl").open("a") as log:
        log.write(json.dumps(values) + "\n")


def keep(of: Plan, device: Device = CPU, cell: int = 0, train_image: float = 1.0) -> None:
    planned = of.cells[cell]
    network = identify_network(of, planned, INFOS[planned.cell.dataset])
    keep_timing(network, KeptTiming(device, NetworkTiming(0.5, train_image, 0.0, 0.0, 20), 1e9))


def epochs(of: Plan) -> dict[Device, list[float]]:
    """Seconds per epoch of the known cells, by device."""
    return {device: [known.cost.epoch for known in costs.values()] for device, costs in find_costs(of, INFOS).items()}


def test_nothing_is_known_of_a_first_study() -> None:
    assert find_costs(plan(), INFOS) == {}


def test_a_trial_takes_the_time_from_its_start_to_its_record() -> None:
    of = plan()
    leave_trial(of, wall=10.0)
    leave_trial(of, seed=1, wall=12.0)
    leave_trial(of, seed=2, wall=20.0)
    [known] = find_costs(of, INFOS)[CPU].values()
    assert (known.cost.start, known.cost.epoch, known.cost.test) == (0.0, 3.0, 0.0), "the median"
    assert (known.trials, known.timed, known.is_scaled) == (3, 0.0, False)


def test_of_a_trial_that_was_taken_up_again_training_is_known() -> None:
    of = plan()
    leave_trial(of, wall=1.0)
    assert epochs(of) == {CPU: [2.0]}


@pytest.mark.parametrize(
    "changes",
    [{"threads": 2}, {"batch": 64}, {"device": ""}, {"status": "failed"}, {"revision": "other"}, {"epochs_run": 0}],
)
def test_other_conditions_say_nothing(changes: dict[str, Any]) -> None:
    of = plan()
    leave_trial(of, **changes)
    assert find_costs(of, INFOS) == {}


def test_devices_are_never_mixed_and_the_best_known_is_first() -> None:
    of = plan()
    leave_trial(of)
    leave_trial(of, cell=1, device=CARD.name, device_kind="cuda", host="other", wall=40.0)
    leave_trial(of, cell=2, device=CARD.name, device_kind="cuda", host="other", wall=40.0, train_examples=200)
    found = epochs(of)
    assert list(found) == [CARD, CPU] and (found[CPU], found[CARD]) == ([2.5], [10.0, 10.0])


def test_another_studys_trials_count_by_their_images() -> None:
    of = plan()
    leave_trial(plan(study="earlier"), train_examples=40, validation_examples=20)
    assert epochs(of) == {CPU: [5.0]}, "120 images in place of 60"
    assert read_trials(Path("runs/none"), of, INFOS) == {}


def test_own_trials_go_before_a_timing_and_that_before_others() -> None:
    of = plan()
    leave_trial(plan(study="earlier"), wall=400.0)
    assert epochs(of) == {CPU: [100.0]}
    keep(of, train_image=0.1)
    assert epochs(of)[CPU][0] == pytest.approx(10.0)
    leave_trial(of, wall=12.0)
    assert epochs(of)[CPU][0] == 3.0


def test_timings_are_kept_by_device_and_the_latest_counts() -> None:
    of = plan()
    keep(of, train_image=0.1)
    keep(of, CARD, train_image=0.01)
    keep(of, train_image=0.2)
    network = identify_network(of, of.cells[0], INFOS[of.cells[0].cell.dataset])
    assert [(kept.device, kept.timing.train_image) for kept in read_timings(network)] == [(CARD, 0.01), (CPU, 0.2)]
    assert epochs(of)[CARD][0] == pytest.approx(1.0)
    [file] = Path("cache/probes").iterdir()
    file.write_text("{")
    assert read_timings(network) == []


def test_a_timing_beside_others_is_that_of_one_alone_many_times() -> None:
    of = plan()
    planned, timing = of.cells[0], NetworkTiming(1.0, 0.1, 0.0, 0.0, 20)
    network = identify_network(of, planned, INFOS[planned.cell.dataset])
    keep_timing(network, KeptTiming(CPU, timing, 1e9, slots=4, crowding=1.5))
    crowded, alone = (find_costs(of, INFOS, is_alone=is_alone)[CPU][planned.cell] for is_alone in (False, True))
    assert (alone.cost.start, alone.slots) == (1.0, 1) and alone.cost.epoch == pytest.approx(10.0)
    assert (crowded.cost.start, crowded.slots) == (1.5, 4) and crowded.cost.epoch == pytest.approx(15.0)


def test_a_network_is_known_by_what_its_time_depends_on() -> None:
    def identify(cell: int = 0, **changes: Any) -> str:
        of = plan(**changes)
        return identify_network(of, of.cells[cell], INFOS[of.cells[cell].cell.dataset])

    small = {"name": "gradient", "batch": 32}
    assert identify(recipe=small) == identify(cell=2, recipe=small), "the dataset's name and size are nothing to a step"
    assert identify() != identify(cell=2), "its images fill no batch"
    assert identify() == identify(recipe={"name": "gradient", "epochs": 9, "lr": 0.1})
    others = [identify(cell=1), identify(recipe=small), identify(resources={"cpus": 2})]
    others += [identify(recipe={"name": "gradient", "flip": True}), identify(precision="float32")]
    assert len({identify(), *others}) == 6
    threads = plan(resources={"cpus": 0.5})
    assert identify_network(threads, threads.cells[0], INFOS[threads.cells[0].cell.dataset]) == identify()


def test_a_weight_of_the_loss_makes_no_other_network() -> None:
    of = plan(variants=["baseline", {"name": "sire", "lambda": [0.1, 0.2]}])
    _, first, second, *_ = [identify_network(of, planned, INFOS[planned.cell.dataset]) for planned in of.cells]
    assert first == second
