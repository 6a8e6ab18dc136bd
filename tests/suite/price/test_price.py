"""What is left of a study: trials, hours, wall time and disk, against values computed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.core.specs import Component
from suite.price import price as pricing
from suite.price.costs import TrialCost
from suite.price.price import (
    Device,
    DeviceKind,
    KnownCost,
    TrialsLeft,
    count_left,
    count_slots_here,
    fill_gaps,
    price_plan,
)
from suite.study.config import parse_study
from suite.study.plan import Plan, make_plan, with_cells
from suite.sweep.storage import StudyStorage
from tests.suite.price.test_costs import INFO

STUDY: dict[str, Any] = {
    "study": "priced",
    "datasets": ["digits", "mnist"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 4},
    "seeds": 3,
    "search": {"trials": 2, "epochs": 2, "space": {"lr": {"low": 0.001, "high": 0.01}}},
}
CPU = Device("cpu", "a processor")
INFOS = {Component("digits"): INFO, Component("mnist"): replace(INFO, train_examples=220)}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(**changes: Any) -> Plan:
    found = make_plan(parse_study({**STUDY, **changes}))
    return with_cells(found, [replace(cell, parameters=100, macs=1000) for cell in found.cells])


def costs(of: Plan, epoch: float = 3.0) -> dict[Any, KnownCost]:
    return {planned.cell: KnownCost(TrialCost(1.0, epoch, 2.0), timed=1.0) for planned in of.cells}


def end(of: Plan, cell: int, stage: str, seed: int, status: str = "completed") -> None:
    """The line that a run leaves of an ended trial."""
    label = of.cells[cell].cell.label
    values = [f"{cell}{stage}{seed}", label, stage, seed, "", status, 4, 4, 1.0, 1.0, "host", "", 0]
    with (of.study.storage_path / "events.jsonl").open("a") as log:
        log.write(json.dumps(values) + "\n")


def test_all_of_a_study_that_has_not_run() -> None:
    of = plan()
    assert list(count_left(of).values()) == [TrialsLeft(2, 3)] * 4


def test_what_ended_is_not_left() -> None:
    of = plan()
    StudyStorage(of.study).create()
    end(of, 0, "search", 0)
    end(of, 0, "search", 1, "stopped")
    end(of, 0, "confirm", 2)
    end(of, 1, "confirm", 0, "failed")
    end(of, 1, "confirm", 9)  # the plan asks for no such seed
    assert list(count_left(of).values()) == [TrialsLeft(0, 2), TrialsLeft(2, 3), TrialsLeft(2, 3), TrialsLeft(2, 3)]


def test_another_studys_trials_are_not_this_ones() -> None:
    of = plan(storage="there")
    StudyStorage(plan(study="other", storage="there").study).create()
    end(of, 0, "search", 0)
    assert count_left(of)[of.cells[0]] == TrialsLeft(2, 3)


def test_a_price() -> None:
    of = plan()
    price = price_plan(of, count_left(of), INFOS, CPU, costs(of))
    search, confirm = 1 + 2 * 3, 1 + 4 * 3 + 2
    assert [(group.dataset, group.trials) for group in price.groups] == [("digits", 10), ("mnist", 10)]
    assert price.groups[0].seconds == 2 * (2 * search + 3 * confirm)
    assert (price.seconds, price.search_seconds) == (4 * (2 * search + 3 * confirm), 4 * 2 * search)
    assert (price.trials, price.longest, price.weights) == (20, search + confirm, 20 * 400)
    assert not price.is_upper_bound and price.streamed == () and len(price.known) == 4


@pytest.mark.parametrize(
    ("resources", "device", "hours", "wall"),
    [
        ({}, CPU, 1.0, 4),
        ({"cpus": 2}, CPU, 2.0, 2),
        ({"cpus": 3}, CPU, 3.0, 1),
        ({"cpus": 3}, Device("cuda", "a card"), 1.0, 4),
        ({"gpus": 0.5}, Device("cuda", "a card"), 0.5, 8),
        ({"cpus": 8}, CPU, 8.0, 1),
    ],
)
def test_hours_and_wall_time_by_what_a_trial_occupies(
    resources: dict[str, Any], device: Device, hours: float, wall: int
) -> None:
    of = plan(resources=resources)
    price = price_plan(of, count_left(of), INFOS, device, costs(of))
    assert price.compute_device_hours(3600.0) == hours
    assert price.compute_wall_seconds(4) == pytest.approx(price.seconds / wall)


@pytest.mark.parametrize(
    ("resources", "kind", "slots"),
    [({}, "cpu", 8), ({"cpus": 3}, "cpu", 2), ({"cpus": 9}, "cpu", 1), ({}, "cuda", 1), ({"gpus": 0.3}, "cuda", 3)],
)
def test_trials_at_once(
    resources: dict[str, Any], kind: DeviceKind, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pricing, "count_here", lambda _: 8)
    assert count_slots_here(plan(resources=resources), kind) == slots


def test_no_number_of_devices_shortens_a_trial() -> None:
    of = plan()
    price = price_plan(of, count_left(of), INFOS, CPU, costs(of))
    assert price.compute_wall_seconds(1000) == price.longest


def test_asha_makes_it_an_upper_bound_while_a_search_is_left() -> None:
    of = plan(search={**STUDY["search"], "asha": {"grace": 1}})
    left = count_left(of)
    assert price_plan(of, left, INFOS, CPU, costs(of)).is_upper_bound
    confirmed = {planned: TrialsLeft(0, 1) for planned in left}
    assert not price_plan(of, confirmed, INFOS, CPU, costs(of)).is_upper_bound


def test_without_anything_known_there_is_disk_space_alone() -> None:
    of = plan()
    price = price_plan(of, count_left(of), INFOS)
    assert (price.device, price.seconds, price.trials) == (None, 0.0, 20) and price.disk > price.weights > 0


def test_an_unknown_cell_costs_what_the_nearest_does_by_its_work() -> None:
    found = plan()
    macs = (1000, 4000, 1000, 4000)
    of = with_cells(found, [replace(cell, macs=own) for cell, own in zip(found.cells, macs, strict=True)])
    cells = [planned.cell for planned in of.cells]
    known = KnownCost(TrialCost(1.0, 3.0, 2.0), trials=5)
    filled = fill_gaps(of, {cells[0]: known}, INFOS)
    assert filled[cells[0]] == known
    assert filled[cells[1]] == KnownCost(TrialCost(1.0, 12.0, 8.0), is_scaled=True)
    assert filled[cells[2]].cost.epoch == pytest.approx(6.0), "twice the training images"
    assert filled[cells[3]].cost.epoch == pytest.approx(24.0)
    assert fill_gaps(of, {}, INFOS) == {}


def test_images_that_are_decoded_while_training() -> None:
    huge = {component: replace(info, shape=(3, 100_000, 100_000)) for component, info in INFOS.items()}
    for residency, streamed in (("auto", ("digits", "mnist")), ("host", ())):
        of = plan(resources={"residency": residency})
        assert price_plan(of, count_left(of), huge, CPU, costs(of)).streamed == streamed
