"""Networks timed: how many steps, by the code of trials, and without a trace in the study's storage."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from suite.core.errors import UserError
from suite.price import bench, neighbours, probe
from suite.price.bench import FEWEST, STEPS, choose_steps, time_steps
from suite.price.probe import Crowd, Probe, choose_device, measure_crowding
from suite.price.timings import read_timings
from suite.study.check import check_plan
from suite.study.config import parse_study
from suite.study.plan import Plan, make_plan
from suite.training import loop

STUDY: dict[str, Any] = {
    "study": "probed",
    "datasets": [{"name": "digits", "size": 8}, {"name": "mnist", "channels": 3}],  # whose files are not there
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.3]}],
    "recipe": {"name": "gradient", "batch": 8, "epochs": 2},
    "seeds": 2,
    "search": {"trials": 2, "space": {"sire.components": {"choices": ["IRe", "SIRe"]}}},
}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "_SHORTEST", 0.0)
    monkeypatch.setattr(probe, "LONG", 0.0)
    return folder


def plan(**changes: Any) -> Plan:
    return check_plan(make_plan(parse_study({**STUDY, **changes})), Path("none"))


@pytest.mark.parametrize(
    ("step", "steps"),
    [(0.001, 200), (0.01, 100), (0.05, STEPS), (1.0, STEPS), (3.0, STEPS), (4.0, 15), (19.0, FEWEST), (500.0, FEWEST)],
)
def test_slow_steps_are_fewer_and_quick_ones_more(step: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SHORTEST", 1.0)
    assert choose_steps(step) == steps


@pytest.mark.parametrize(("step", "asked"), [(1.0, [FEWEST, STEPS]), (30.0, [FEWEST])])
def test_steps_are_timed_once_it_is_known_how_many(step: float, asked: list[int]) -> None:
    calls = []

    def time_some(steps: int) -> float:
        calls.append(steps)
        return steps * step

    assert time_steps(time_some) == (step, asked[-1])
    assert calls == asked


def test_every_network_is_timed_once_and_nothing_is_written(work: Path, tmp_path: Path) -> None:
    of = plan()
    found = Probe(of, of.runnable, Path("none"), CPU)
    shared = [[planned.cell.variant.label for planned in cells] for cells in found.networks.values()]
    assert shared == [["baseline"], ["sire(lambda=0.1)", "sire(lambda=0.3)"]] * 2
    timed = list(found.time_networks())
    assert [cell for cell, _ in timed] == [cells[0] for cells in found.networks.values()]
    for _, kept in timed:
        assert kept.device == found.device and kept.device.kind == "cpu" and kept.timing.steps == STEPS
        timing = kept.timing
        assert min(timing.start, timing.train_image, timing.evaluated_image, timing.save) > 0
    assert list(work.iterdir()) == [], "neither storage nor scratch"
    assert sorted(path.stem for path in (tmp_path / "cache" / "probes").iterdir()) == sorted(found.networks)


def test_a_probe_trains_as_a_trial_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's batch and augmentation, the study's threads and precision, the first draw of what is searched."""
    called: list[dict[str, Any]] = []
    executions = []

    def watch(train: Callable[..., Any]) -> Callable[..., Any]:
        def train_epoch(graft: Any, optimizer: Any, data: Any, execution: Any, augmentation: Any, **rest: Any) -> Any:
            called.append({"flip": augmentation.flip, "images": len(data.train), **rest})
            executions.append(execution)
            return train(graft, optimizer, data, execution, augmentation, **rest)

        return train_epoch

    monkeypatch.setattr(bench, "train_epoch", watch(loop.train_epoch))
    recipe = {"name": "gradient", "batch": 8, "flip": True}
    of = plan(datasets=[{"name": "digits", "size": 8}], recipe=recipe, precision="float32", resources={"cpus": 2})
    threads = torch.get_num_threads()
    list(Probe(of, of.runnable[:1], Path("none"), CPU).time_networks())
    torch.set_num_threads(threads)
    assert {call["batch"] for call in called} == {8} and all(call["flip"] for call in called)
    assert {call["learning_rate"] for call in called} == {0.0}
    assert [call["images"] // 8 for call in called] == [1, 1, 1, FEWEST, STEPS], "woken, started, warm, tried, timed"
    assert {(each.threads, each.precision) for each in executions} == {(2, "float32")}


def test_a_device_that_is_not_here() -> None:
    with pytest.raises(UserError, match="'cuda:99' is not on this machine"):
        choose_device(plan(), "cuda:99")
    assert choose_device(plan(resources={"gpus": 0}), "auto") == CPU


def test_a_network_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(bench, "train_epoch", refuse)
    of = plan()
    with pytest.raises(UserError, match=r"digits\S* / gradient_cnn / baseline: doesn't fit into the memory of "):
        list(Probe(of, of.runnable, Path("none"), CPU).time_networks())


# -- beside other trials


def test_what_takes_most_is_tried_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []

    def measure(subject: bench.Subject, neighbours: int) -> float:
        tried.append((subject.cell.variant.name, neighbours))
        return 1.5

    monkeypatch.setattr(probe, "count_slots_here", lambda *_: 8)
    monkeypatch.setattr(probe, "measure_crowding", measure)
    of = plan(datasets=[{"name": "digits", "size": 8}])
    found = Probe(of, of.runnable, Path("none"), CPU)
    list(found.time_networks())
    assert found.time_crowd(trials=1) is None, "it has no neighbours"
    assert found.time_crowd(trials=3) == Crowd(of.runnable[1], 3, 1.5)
    assert tried == [("sire", 2)], "two cells share it"
    for network, kept in found.timings.items():
        assert (kept.slots, kept.crowding) == (3, 1.5) and read_timings(network) == [kept]


def test_neighbours_train_and_end() -> None:
    of = plan(datasets=[{"name": "digits", "size": 8}])
    found = Probe(of, of.runnable[:1], Path("none"), CPU)
    list(found.time_networks())
    [subject] = found._subjects.values()
    factor = measure_crowding(subject, 1)
    assert factor is not None and factor >= 1
    assert multiprocessing.active_children() == []


def test_a_neighbour_that_cannot_start_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    of = plan(datasets=[{"name": "digits", "size": 8}])
    found = Probe(of, of.runnable[:1], Path("none"), CPU)
    list(found.time_networks())
    monkeypatch.setattr(neighbours, "_train_on", print)  # ends at once
    monkeypatch.setattr(probe, "count_slots_here", lambda *_: 2)
    assert found.time_crowd(trials=2) is None
    assert {(kept.slots, kept.crowding) for kept in found.timings.values()} == {(1, 1.0)}
