"""A small study run for real, by the command itself, and what must hold of what it leaves."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
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


def start(
    folder: Path, *options: str, variables: Mapping[str, str] | None = None, **changes: Any
) -> subprocess.Popen[str]:
    """`graftbench run` of the study in its own folder and process group.

    Args:
        variables: of its environment.
        changes: of the study.
    """
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}))
    command = [sys.executable, "-m", "suite.cli", "run", "study.yaml", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment.update(variables or {})
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
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return output


def read_found(folder: Path) -> dict[str, Record]:
    paths = folder.glob("runs/sweep/trials/*/record.json")
    return {path.parent.name: records.read_record(path) for path in paths}


def list_figures(record: Record) -> Any:
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
    here, there = read_found(folder), read_found(reference)
    assert here.keys() == there.keys()
    for key, record in here.items():
        assert list_figures(record) == list_figures(there[key])
        if record.stage == "confirm":
            path = f"runs/sweep/trials/{key}/predictions.parquet"
            assert pq.read_table(folder / path).equals(pq.read_table(reference / path))


def assert_tracked_once(folder: Path) -> None:
    """MLflow shows every trial once, every epoch of it once, and nothing is left running."""
    with sqlite3.connect(folder / "runs/mlflow.db") as database:
        active = "join runs using (run_uuid) where lifecycle_stage = 'active'"
        keys = database.execute(f"select value, run_uuid from tags {active} and key = 'trial_key'").fetchall()
        steps = database.execute(
            "select run_uuid, key, step, count(*) from metrics where key like 'epoch/%' group by 1, 2, 3"
        )
        counts = Counter((run, key) for run, key, _, times in steps.fetchall() for _ in range(times))
        open_runs = database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
    assert Counter(key for key, _ in keys) == Counter(read_found(folder).keys())
    history = {key: len(record.history) for key, record in read_found(folder).items()}
    for key, run_id in keys:
        assert counts[run_id, "epoch/validation_top1_error"] == history[key]
        assert counts[run_id, "epoch/train_seconds"] == history[key]
    assert open_runs == (0,)


def list_processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command line) of every live process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            yield int(folder.name), int(parent), command


def find_descendants(pid: int) -> dict[int, str]:
    """Live processes that this one started, directly or not; other Rays on the machine are not among them."""
    table = list(list_processes())
    family, grew = {pid: ""}, True
    while grew:
        fresh = {child: command for child, parent, command in table if parent in family and child not in family}
        family |= fresh
        grew = bool(fresh)
    del family[pid]
    return family


def find_workers(pid: int) -> list[int]:
    """Ray's worker processes of a driver that hold a trial."""
    return [child for child, command in find_descendants(pid).items() if re.match(r"ray::TrialActor", command)]


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
        return len(read_found(folder)) >= finished and bool(halves)

    return look


def record_paths(folder: Path) -> list[tuple[str, Path]]:
    return [(path.parent.name, path) for path in folder.glob("runs/sweep/trials/*/record.json")]
