"""What goes wrong in a run: each fault really happens, and the storage, MLflow and the next run show one story.

Most of it takes minutes and belongs to `make test-faults`, which runs `test_run` too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.utils import estimate_available_memory, get_system_memory
from ray.cluster_utils import Cluster

from suite.core import registry
from tests.postgres import running_postgres
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

pytestmark = pytest.mark.timeout(900)  # some start Ray four times

GROWS = '''"""Grows by 100 MiB a step, and never stops."""

import torch

from suite.layers.model import Backbone, Graft

SETTINGS = {}


def apply(backbone: Backbone) -> Graft:
    held = []
    return Graft(backbone, after_step=lambda: held.append(torch.ones(25 * 2**20)))
'''
RAISES = '''"""Can be built, and fails at its first step."""

from suite.layers.model import Backbone, Graft

SETTINGS = {}


def fail() -> None:
    raise ArithmeticError("this idea can't be trained")


def apply(backbone: Backbone) -> Graft:
    return Graft(backbone, after_step=fail)
'''
GIB = 2**30


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run whole, in one process, without Ray."""
    folder = tmp_path_factory.mktemp("reference")
    run(folder, "--local")
    assert len(read_found(folder)) == TRIALS
    return folder


def write_variant(folder: Path, name: str, text: str) -> dict[str, str]:
    """The environment in which a variant of that text is known."""
    room = folder / "plugins" / "variants"
    room.mkdir(parents=True)
    (room / f"{name}.py").write_text(text)
    return {registry.PLUGINS: str(folder / "plugins")}


def await_silence(family: set[int]) -> None:
    """Until these processes have ended; what is left after ten seconds, such as Ray's agents, is ended by hand."""
    deadline = time.monotonic() + 10
    while alive := family & {pid for pid, _, _ in list_processes()}:
        if time.monotonic() > deadline:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


# -- memory


def test_the_trial_that_uses_up_the_memory_is_named_and_its_neighbours_finish(tmp_path: Path) -> None:
    variables = write_variant(tmp_path, "grows", GROWS)
    room = 6 * GIB  # beyond what is in use now: workers, and some growth
    threshold = 1 - (estimate_available_memory() - room) / get_system_memory()
    if threshold > 0.97:
        pytest.skip(f"less than {room / GIB:.0f} GiB of memory are left on this machine")
    variables["RAY_memory_usage_threshold"] = f"{threshold:.4f}"
    # It goes on from its last epoch, so it has many of them.
    few: dict[str, Any] = {"variants": ["baseline", "grows"], "search": {}, "seeds": 1}
    few["recipe"] = {**STUDY["recipe"], "epochs": 12}
    process = start(tmp_path, variables=variables, **few)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 1, output
    reasons = {(record.variant, record.status): record.reason for record in read_found(tmp_path).values()}
    assert reasons.keys() == {("baseline", "completed"), ("grows", "failed")}
    reason = reasons["grows", "failed"]
    assert "out of memory: its worker held" in reason and "no other trial beside it" in reason
    assert output.count("it is trained again after all others, alone") == 1, output
    assert "Traceback" not in output and "ray::" not in output


# -- kills


@pytest.mark.slow
@pytest.mark.parametrize("finished", [1, 2, 4, 5, 6, 7])
def test_a_driver_killed_anywhere_resumes_to_the_same_records(reference: Path, tmp_path: Path, finished: int) -> None:
    process = start(tmp_path)
    wait_for(lambda: len(read_found(tmp_path)) >= finished, process)
    family = set(find_descendants(process.pid))
    process.kill()
    process.communicate()
    before = {key: path.stat().st_mtime_ns for key, path in record_paths(tmp_path)}
    await_silence(family)
    run(tmp_path)
    after = {key: path.stat().st_mtime_ns for key, path in record_paths(tmp_path)}
    assert all(after[key] == stamp for key, stamp in before.items()), "a finished trial was trained again"
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
def test_workers_killed_again_and_again_leave_the_same_records(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path)
    for finished in (0, 2, 4):
        wait_for(under_way(tmp_path, finished), process)
        victims = wait_for(lambda: find_workers(process.pid), process)
        os.kill(victims[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
def test_a_driver_killed_three_times_resumes_each_time(reference: Path, tmp_path: Path) -> None:
    for finished in (1, 3, 5):
        process = start(tmp_path)
        wait_for(lambda: len(read_found(tmp_path)) >= finished, process)  # noqa: B023  (asked at once)
        family = set(find_descendants(process.pid))
        process.kill()
        process.communicate()
        await_silence(family)
    run(tmp_path)
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_is_told_to_end_ends_and_resumes(
    reference: Path, tmp_path: Path, sign: signal.Signals, times: int
) -> None:
    process = start(tmp_path)
    wait_for(under_way(tmp_path, 1), process)
    family = set(find_descendants(process.pid))
    for _ in range(times):
        process.send_signal(sign)
        time.sleep(0.3)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 or (times == 2 and process.returncode), output
    assert "Traceback" not in output or times == 2
    await_silence(family)
    run(tmp_path)
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


# -- machines


@pytest.mark.slow
def test_a_machine_that_joins_later_gets_trials_and_one_that_goes_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as Ray took it to be when it was imported here
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        long: dict[str, Any] = {"recipe": {**STUDY["recipe"], "epochs": 12}, "search": {}, "seeds": 4}
        process = start(tmp_path, "--address", cluster.address, **long)
        wait_for(under_way(tmp_path, 0), process)
        assert count_workers() == 1
        joined = cluster.add_node(num_cpus=1)
        wait_for(lambda: count_workers() == 2, process)
        wait_for(lambda: len(read_found(tmp_path)) >= 2, process)
        cluster.remove_node(joined, allow_graceful=False)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        assert Counter(record.status for record in read_found(tmp_path).values()) == {"completed": 8}
        assert_tracked_once(tmp_path)
    finally:
        cluster.shutdown()


def count_workers() -> int:
    return sum(command.startswith("ray::TrialActor") for _, _, command in list_processes())


# -- files


@pytest.mark.slow
def test_torn_files_cost_no_more_than_their_trials(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    wait_for(under_way(tmp_path, 3), process)
    process.kill()
    process.communicate()
    (_, torn), *_ = record_paths(tmp_path)
    torn.write_text(torn.read_text()[:100])
    for weights in tmp_path.glob("runs/sweep/trials/*/last.pt"):
        weights.write_bytes(weights.read_bytes()[:500])
    for part in ("events.jsonl", "plan.json"):
        path = tmp_path / "runs/sweep" / part
        path.write_text(path.read_text()[:-20])
    run(tmp_path, "--local")
    assert_equal(tmp_path, reference)


@pytest.mark.slow
def test_a_full_disk_ends_in_a_sentence_and_the_same_command_resumes(reference: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here")
    try:
        filler = disk / "filler"
        filler.write_bytes(b"x" * (9 * 2**20))
        process = start(disk, "--local")
        output, _ = process.communicate(timeout=200)
        assert process.returncode != 0 and "No space left" in output, output
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        run(disk, "--local")
        assert_equal(disk, reference)
        leftovers = [path for path in disk.rglob(".*.*") if path.suffix[1:].isdigit()]
        assert all(time.time() - path.stat().st_mtime < 60 for path in leftovers)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@contextlib.contextmanager
def locked_store(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


@pytest.mark.slow
def test_a_store_that_is_locked_for_half_a_minute_has_everything_in_the_end(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    wait_for(under_way(tmp_path, 2), process)
    with locked_store(tmp_path / "runs/mlflow.db"):
        time.sleep(30)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0 and "Traceback" not in output, output
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


# -- studies


@pytest.mark.slow
def test_a_second_driver_is_refused_and_disturbs_nothing(reference: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "--local")
    wait_for(under_way(tmp_path, 1), process)
    second = start(tmp_path, "--local")
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 2 and "another run of 'sweep'" in output and len(output.splitlines()) < 4, output
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert_equal(tmp_path, reference)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
def test_a_changed_study_says_what_changed_and_an_addition_continues(tmp_path: Path) -> None:
    run(tmp_path, "--local")
    known = {key: path.stat().st_mtime_ns for key, path in record_paths(tmp_path)}
    process = start(tmp_path, "--local", recipe={**STUDY["recipe"], "epochs": 4})
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "recipe: changed since" in output, output
    run(tmp_path, "--local", variants=[*STUDY["variants"], "squeeze_excite"])
    counts = Counter(record.variant for record in read_found(tmp_path).values())
    assert counts == {"baseline": 4, "image_gradient": 4, "squeeze_excite": 4}
    assert all(path.stat().st_mtime_ns == known[key] for key, path in record_paths(tmp_path) if key in known)
    assert_tracked_once(tmp_path)


@pytest.mark.slow
def test_a_search_that_always_fails_is_one_story(tmp_path: Path) -> None:
    variables = write_variant(tmp_path, "raises", RAISES)
    study = {"variants": ["baseline", "raises"]}
    process = start(tmp_path, "--local", variables=variables, **study)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 1, output
    statuses = Counter((r.variant, r.stage, r.status) for r in read_found(tmp_path).values())
    assert statuses == {
        ("baseline", "search", "completed"): 2,
        ("baseline", "confirm", "completed"): 2,
        ("raises", "search", "failed"): 2,
    }
    assert_tracked_once(tmp_path)
    (pair,) = json.loads(call_graftbench(tmp_path, "verdicts", "study.yaml", "--json", variables=variables))
    assert pair["variant"] == "raises" and pair["verdict"] == "NOT COMPARABLE", pair
    assert "all 2 search trials failed" in pair["reason"], pair


# -- the whole of it

CIFAR: dict[str, Any] = {
    "study": "sweep",
    "datasets": ["cifar10"],
    "backbones": [{"name": "base_cnn", "width": 0.03125}, {"name": "cifar_cnn", "width": 0.125}],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 3, "batch": 64, "train_limit": 640, "validation": 0.02},
    "seeds": 5,
    "search": {
        "trials": 12,
        "space": {"lr": {"low": 0.0003, "high": 0.01, "log": True}},
        "asha": {"grace": 1, "reduction": 3},
    },
    "precision": "float32",
    "memory_format": "contiguous",
}
CIFAR_TRIALS = 4 * (12 + 5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_on_cifar10_survives_three_kills_of_its_driver_and_one_of_its_store(
    tmp_path: Path, real: Callable[..., Path]
) -> None:
    psycopg = pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install 'psycopg[binary]'")
    data = str(real("cifar10-parquet"))
    with running_postgres() as server:
        study = {**CIFAR, "tracking": server.uri}
        for finished in (6, 20, 40):
            process = start(tmp_path, "--data", data, **study)
            wait_for(lambda: len(read_found(tmp_path)) >= finished, process, 600)  # noqa: B023  (asked at once)
            family = set(find_descendants(process.pid))
            process.kill()
            process.communicate()
            await_silence(family)
        process = start(tmp_path, "--data", data, **study)
        wait_for(lambda: len(read_found(tmp_path)) >= 50, process, 600)
        server.stop()
        time.sleep(20)
        server.start()
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        records = read_found(tmp_path)
        assert Counter((r.variant, r.backbone.partition("(")[0], r.stage) for r in records.values()) == {
            (variant, backbone, stage): count
            for variant in ("baseline", "image_gradient")
            for backbone in ("base_cnn", "cifar_cnn")
            for stage, count in (("search", 12), ("confirm", 5))
        }
        assert all(r.status == "completed" and r.test_reads == 1 for r in records.values() if r.stage == "confirm")
        with contextlib.closing(psycopg.connect(server.uri)) as database:
            shown = database.execute(
                "select t.value, s.value from runs r join tags t on t.run_uuid = r.run_uuid and t.key = 'trial_key' "
                "join tags s on s.run_uuid = r.run_uuid and s.key = 'status' where r.lifecycle_stage = 'active'"
            ).fetchall()
            (left_open,) = database.execute("select count(*) from runs where status = 'RUNNING'").fetchone()
        assert left_open == 0
        assert sorted(shown) == sorted((key, record.status) for key, record in records.items())
        verdicts = call_graftbench(tmp_path, "verdicts", "study.yaml", "--json")
        pairs = json.loads(verdicts)
    assert len(records) == CIFAR_TRIALS
    assert len(pairs) == 2 and all(pair["seeds"] == 5 and pair["verdict"] != "INCOMPLETE" for pair in pairs), verdicts


def call_graftbench(folder: Path, *arguments: str, variables: dict[str, str] | None = None) -> str:
    command, environment = [sys.executable, "-m", "suite.cli", *arguments], {**os.environ, **(variables or {})}
    environment.pop("MLFLOW_TRACKING_URI", None)
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
