"""The sweep for real: Ray starts, workers and drivers are killed, and every run ends with the same records."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from suite.core import records
from suite.core.records import Record

STUDY: dict[str, Any] = {
    "study": "sweep",
    "datasets": [{"name": "digits", "size": 16}],
    "backbones": [{"name": "base_cnn", "width": 0.0625}],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 3, "batch": 32},
    "seeds": 2,
    "search": {"trials": 2, "space": {"lr": {"low": 0.0003, "high": 0.01, "log": True}}},
    "precision": "float32",
    "memory_format": "contiguous",
}
TRIALS = 2 * (2 + 2)


def start(folder: Path, *options: str, **changes: Any) -> subprocess.Popen[str]:
    """`graftbench run` of the study in its own folder and process group."""
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))
    command = [sys.executable, "-m", "suite.cli", "run", "study.yaml", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(folder: Path, *options: str, **changes: Any) -> str:
    """The output of a run that must end well."""
    process = start(folder, *options, **changes)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def found(folder: Path) -> dict[str, Record]:
    paths = folder.glob("runs/sweep/trials/*/record.json")
    return {path.parent.name: records.read_record(path) for path in paths}


def figures(record: Record) -> Any:
    """What must not differ between equal trials: everything but times, memory, place and provenance."""
    vague = {
        "train_seconds",
        "seconds_per_epoch",
        "images_per_second",
        "peak_memory_mib",
        "host",
        "git_commit",
        "dirty",
    }
    row = {name: value for name, value in record.to_row().items() if name not in vague}
    return row, [{k: v for k, v in epoch.list_values().items() if k != "train_seconds"} for epoch in record.history]


def assert_equal(folder: Path, reference: Path) -> None:
    here, there = found(folder), found(reference)
    assert here.keys() == there.keys()
    for key, record in here.items():
        assert figures(record) == figures(there[key])
        if record.stage == "confirm":
            path = f"runs/sweep/trials/{key}/predictions.parquet"
            assert pq.read_table(folder / path).equals(pq.read_table(reference / path))


def assert_tracked_once(folder: Path) -> None:
    """MLflow holds every trial once, every epoch of it once, and nothing is left running."""
    with sqlite3.connect(folder / "runs/mlflow.db") as database:
        keys = database.execute("select value, run_uuid from tags where key = 'trial_key'").fetchall()
        steps = database.execute(
            "select run_uuid, key, step, count(*) from metrics where key like 'epoch/%' group by 1, 2, 3"
        )
        counts = Counter((run, key) for run, key, _, times in steps.fetchall() for _ in range(times))
        open_runs = database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    assert Counter(key for key, _ in keys) == Counter(found(folder).keys())
    history = {key: len(record.history) for key, record in found(folder).items()}
    for key, run_id in keys:
        assert counts[run_id, "epoch/validation_top1_error"] == history[key]
        assert counts[run_id, "epoch/train_seconds"] == history[key]
    assert open_runs == (0,)


def processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command line) of every live process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            yield int(folder.name), int(parent), command


def descendants(pid: int) -> dict[int, str]:
    """Live processes that this one started, directly or not; other Rays on the machine are not among them."""
    table = list(processes())
    family, grew = {pid: ""}, True
    while grew:
        fresh = {child: command for child, parent, command in table if parent in family and child not in family}
        family |= fresh
        grew = bool(fresh)
    del family[pid]
    return family


def workers(pid: int) -> list[int]:
    """Ray's worker processes of a driver that hold a trial."""
    return [
        child
        for child, command in descendants(pid).items()
        if re.match(r"ray::(TrialActor|ResourceTrainable)", command)
    ]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120) -> Any:
    """What `condition` returns as soon as it is true; the process must not end before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def under_way(folder: Path, finished: int) -> Callable[[], bool]:
    """Some trials are finished, and another one stands in the middle of its epochs."""

    def look() -> bool:
        trials = folder / "runs/sweep/trials"
        halves = [path for path in trials.glob("*/last.pt") if not path.with_name("record.json").exists()]
        return len(found(folder)) >= finished and bool(halves)

    return look


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run whole, in one process, without Ray."""
    folder = tmp_path_factory.mktemp("reference")
    run(folder, "--local")
    assert len(found(folder)) == TRIALS
    return folder


def test_one_process_leaves_complete_records_and_runs(reference: Path) -> None:
    assert {record.status for record in found(reference).values()} == {"completed"}
    assert Counter((r.variant, r.stage) for r in found(reference).values()) == {
        (variant, stage): 2 for variant in ("baseline", "image_gradient") for stage in ("search", "confirm")
    }
    assert all(r.test_reads == (r.stage == "confirm") for r in found(reference).values())
    assert_tracked_once(reference)


def test_ray_with_a_killed_worker_equals_one_process(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(under_way(tmp_path, 1), process)
    os.kill(wait_for(lambda: workers(process.pid), process)[0], signal.SIGKILL)
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
    family = workers(process.pid)
    process.kill()
    process.communicate()
    before = {key: path.stat().st_mtime_ns for key, path in _record_paths(tmp_path)}
    deadline = time.monotonic() + 60
    while any(pid in family for pid, _, _ in processes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    run(tmp_path, "--local")
    after = {key: path.stat().st_mtime_ns for key, path in _record_paths(tmp_path)}
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
    (victim,) = (child for child, command in descendants(process.pid).items() if part in command.split(" ")[0])
    os.kill(victim, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "Ray stopped answering" in output and "Traceback" not in output and len(output.splitlines()) < 10
    assert {record.status for record in found(tmp_path).values()} <= {"completed"}
    run(tmp_path, "--local", **few)
    assert [record.status for record in found(tmp_path).values()] == ["completed", "completed"]
    assert_tracked_once(tmp_path)


def _record_paths(folder: Path) -> list[tuple[str, Path]]:
    return [(path.parent.name, path) for path in folder.glob("runs/sweep/trials/*/record.json")]


def test_ctrl_c_keeps_what_is_finished_and_more_seeds_train_only_the_new_ones(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    wait_for(under_way(tmp_path, 2), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "graftbench run study.yaml" in output and "Traceback" not in output
    assert 2 <= len(found(tmp_path)) < TRIALS
    run(tmp_path, "--local")
    assert_equal(tmp_path, reference)
    known = dict(_record_paths(tmp_path))
    stamps = {key: path.stat().st_mtime_ns for key, path in known.items()}
    output = run(tmp_path, "--local", seeds=3)
    assert "trained 2 trials" in output
    assert all(path.stat().st_mtime_ns == stamps[key] for key, path in known.items())
    fresh = [record for key, record in found(tmp_path).items() if key not in known]
    assert sorted((record.variant, record.stage, record.seed) for record in fresh) == [
        ("baseline", "confirm", 2),
        ("image_gradient", "confirm", 2),
    ]
    assert_tracked_once(tmp_path)


def test_ctrl_c_on_ray_ends_its_workers_and_stopped_trials_stay_stopped(tmp_path: Path) -> None:
    asha = {"trials": 4, "space": STUDY["search"]["space"], "asha": {"grace": 1, "reduction": 2}}
    process = start(tmp_path, search=asha)
    wait_for(lambda: any(r.status == "stopped" for r in found(tmp_path).values()), process)
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not [pid for pid, _, command in processes() if pid in family and command.startswith("ray::")]
    stopped = {key for key, record in found(tmp_path).items() if record.status == "stopped"}
    run(tmp_path, "--local", search=asha)
    assert all(found(tmp_path)[key].status == "stopped" for key in stopped)
    counts = Counter((r.variant, r.stage) for r in found(tmp_path).values())
    assert counts == {(v, s): n for v in ("baseline", "image_gradient") for s, n in (("search", 4), ("confirm", 2))}
    assert all(r.status == "completed" for r in found(tmp_path).values() if r.stage == "confirm")
    assert_tracked_once(tmp_path)
