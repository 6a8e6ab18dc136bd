"""The sweep for real: Ray starts, workers and drivers are killed, and every run ends with the same records."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.real_runs import (
    STUDY,
    TRIALS,
    assert_equal,
    assert_tracked_once,
    find_descendants,
    find_workers,
    list_processes,
    read_found,
    record_paths,
    run,
    start,
    under_way,
    wait_for,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run whole, in one process, without Ray; its searches are shown in an Optuna storage, which changes
    nothing."""
    folder = tmp_path_factory.mktemp("reference")
    run(folder, "--local", search={**STUDY["search"], "storage": "sqlite:///runs/optuna.db"})
    assert len(read_found(folder)) == TRIALS
    return folder


def test_one_process_leaves_complete_records_and_runs(reference: Path) -> None:
    assert {record.status for record in read_found(reference).values()} == {"completed"}
    assert Counter((r.variant, r.stage) for r in read_found(reference).values()) == {
        (variant, stage): 2 for variant in ("baseline", "image_gradient") for stage in ("search", "confirm")
    }
    assert all(r.test_reads == (r.stage == "confirm") for r in read_found(reference).values())
    assert_tracked_once(reference)


def test_the_searches_are_shown_in_the_optuna_storage(reference: Path) -> None:
    storage = f"sqlite:///{reference}/runs/optuna.db"
    shown = {}
    for name in optuna.get_all_study_names(storage):
        for each in optuna.load_study(study_name=name, storage=storage).trials:
            shown[each.user_attrs["trial_key"]] = each.value
    records = read_found(reference)
    assert shown == {key: r.validation_top1_error for key, r in records.items() if r.stage == "search"}


def test_ray_with_a_killed_worker_equals_one_process(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(under_way(tmp_path, 1), process)
    os.kill(wait_for(lambda: find_workers(process.pid), process)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)
    again = run(tmp_path)  # the same command a second time
    assert "nothing to train" in again
    assert "starting" not in again.lower()


@pytest.mark.parametrize("finished", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_driver_resumes_to_the_same_records(reference: Path, tmp_path: Path, finished: int) -> None:
    process = start(tmp_path)
    wait_for(under_way(tmp_path, finished), process)
    family = find_workers(process.pid)
    process.kill()
    process.communicate()
    before = {key: path.stat().st_mtime_ns for key, path in record_paths(tmp_path)}
    deadline = time.monotonic() + 60
    while any(pid in family for pid, _, _ in list_processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    run(tmp_path, "--local")
    after = {key: path.stat().st_mtime_ns for key, path in record_paths(tmp_path)}
    assert all(after[key] == stamp for key, stamp in before.items()), "a finished trial was trained again"
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_dead_ray_ends_the_run_in_a_sentence_and_the_same_command_resumes(part: str, tmp_path: Path) -> None:
    few: dict[str, Any] = {
        "variants": ["baseline"],
        "seeds": 1,
        "search": {**STUDY["search"], "trials": 1},
        "recipe": {**STUDY["recipe"], "epochs": 40},  # workers outlive their raylet by some seconds
    }
    process = start(tmp_path, **few)
    wait_for(under_way(tmp_path, 0), process)
    (victim,) = (child for child, command in find_descendants(process.pid).items() if part in command.split(" ")[0])
    os.kill(victim, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "Ray stopped answering" in output and "Traceback" not in output and len(output.splitlines()) < 10
    assert {record.status for record in read_found(tmp_path).values()} <= {"completed"}
    run(tmp_path, "--local", **few)
    assert [record.status for record in read_found(tmp_path).values()] == ["completed", "completed"]
    assert_tracked_once(tmp_path)


def test_ctrl_c_keeps_what_is_finished_and_more_seeds_train_only_the_new_ones(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    wait_for(under_way(tmp_path, 2), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "graftbench run study.yaml" in output and "Traceback" not in output
    assert 2 <= len(read_found(tmp_path)) < TRIALS
    run(tmp_path, "--local")
    assert_equal(tmp_path, reference)
    known = dict(record_paths(tmp_path))
    stamps = {key: path.stat().st_mtime_ns for key, path in known.items()}
    output = run(tmp_path, "--local", seeds=3)
    assert "trained 2 trials" in output
    assert all(path.stat().st_mtime_ns == stamps[key] for key, path in known.items())
    fresh = [record for key, record in read_found(tmp_path).items() if key not in known]
    assert sorted((record.variant, record.stage, record.seed) for record in fresh) == [
        ("baseline", "confirm", 2),
        ("image_gradient", "confirm", 2),
    ]
    assert_tracked_once(tmp_path)


def test_ctrl_c_on_ray_ends_its_workers_and_stopped_trials_stay_stopped(tmp_path: Path) -> None:
    asha = {"trials": 4, "space": STUDY["search"]["space"], "asha": {"grace": 1, "reduction": 2}}
    process = start(tmp_path, search=asha)
    wait_for(lambda: any(r.status == "stopped" for r in read_found(tmp_path).values()), process)
    family = find_descendants(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not [pid for pid, _, command in list_processes() if pid in family and command.startswith("ray::")]
    stopped = {key for key, record in read_found(tmp_path).items() if record.status == "stopped"}
    run(tmp_path, "--local", search=asha)
    assert all(read_found(tmp_path)[key].status == "stopped" for key in stopped)
    counts = Counter((r.variant, r.stage) for r in read_found(tmp_path).values())
    assert counts == {(v, s): n for v in ("baseline", "image_gradient") for s, n in (("search", 4), ("confirm", 2))}
    assert all(r.status == "completed" for r in read_found(tmp_path).values() if r.stage == "confirm")
    assert_tracked_once(tmp_path)
