"""`graftbench run --address`: joining a Ray that is already there, as on a cluster's head."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.core import records
from suite.core.specs import Trial

CPUS = 2
TOKEN = secrets.token_hex(32)
STUDY: dict[str, Any] = {
    "study": "joined",
    "datasets": [{"name": "digits", "size": 8}],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 1},
    "seeds": 2,
    "precision": "float32",
    "memory_format": "contiguous",
}

Done = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """Ours without what would send the command elsewhere, and with a token of this test for Ray and whoever joins it.

    Said outright, because Ray asks for tokens or not by whether the home folder happens to hold one.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "GRAFTBENCH"))}
    return {**kept, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all held until the last is found, so that no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def members(session: int) -> list[int]:
    """Processes of a session (field 6 of /proc/PID/stat), zombies left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def end_session(session: int) -> None:
    """Ends what `ray start` left running, and nothing else: `ray stop` would end every Ray of this machine."""
    deadline = time.monotonic() + 30
    while alive := members(session):
        assert time.monotonic() < deadline, f"processes {alive} do not end"
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """host:port of a Ray of our own, in a session of its own."""
    folder = tempfile.mkdtemp(prefix="gb", dir="/tmp")  # a Unix socket's path has at most 107 bytes
    port, agent_http, agent_grpc, metrics = free_ports(4)
    options = {
        "port": port,
        "num-cpus": CPUS,
        "num-gpus": 0,
        "temp-dir": folder,
        "include-dashboard": "false",
        "include-log-monitor": "false",
        "dashboard-agent-listen-port": agent_http,
        "dashboard-agent-grpc-port": agent_grpc,
        "metrics-export-port": metrics,
        "min-worker-port": 0,  # any free one: other Rays of this machine use the default range
        "max-worker-port": 0,
        "object-store-memory": 100 * 2**20,
    }
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (Path(folder) / "log").open("w") as log:
        starter = subprocess.Popen(
            command, env=environment(), start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        assert starter.wait(timeout=120) == 0, (Path(folder) / "log").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        end_session(starter.pid)
        starter.wait()
        shutil.rmtree(folder, ignore_errors=True)


def run(folder: Path, address: str, *, mode: str | None = "token", timeout: float = 240, **changes: Any) -> Done:
    """`graftbench run` in an empty folder; the study file lies beside it."""
    work, study = folder / "work", folder / "study.yaml"
    work.mkdir()
    study.write_text(yaml.safe_dump({**STUDY, **changes}))
    command = [sys.executable, "-m", "suite.cli", "run", str(study), "--address", address]
    given = {name: value for name, value in environment().items() if mode or name != "RAY_AUTH_MODE"}
    return subprocess.run(command, cwd=work, env=given, capture_output=True, text=True, timeout=timeout)


def assert_refused(done: Done, folder: Path, *parts: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.startswith("graftbench: ") and done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    for part in parts:
        assert part in done.stderr
    assert list((folder / "work").iterdir()) == []


def test_a_study_runs_on_a_ray_that_is_there(tmp_path: Path, address: str) -> None:
    done = run(tmp_path, address)
    assert done.returncode == 0, done
    assert "4 completed" in done.stdout
    found = [records.read_record(path) for path in (tmp_path / "work/runs/joined/trials").glob("*/record.json")]
    assert [record.status for record in found] == ["completed"] * 4
    assert {(record.variant, record.seed) for record in found} == {
        (variant, seed) for variant in ("baseline", "image_gradient") for seed in (0, 1)
    }
    assert all(record.test_reads == 1 and Trial.from_dict(record.trial).key == record.trial_key for record in found)
    assert (tmp_path / "work/runs/mlflow.db").is_file()


def test_it_is_still_there_afterwards_and_too_small_for_gpus(tmp_path: Path, address: str) -> None:
    done = run(tmp_path, address, resources={"gpus": 4})
    assert_refused(done, tmp_path, "one trial needs 1 CPUs and 4 GPUs", f"Ray has {CPUS} and 0")


def test_a_token_is_sent_without_being_told_to(tmp_path: Path, address: str) -> None:
    """`ray start` asks for tokens by itself once a home folder holds one, which any local run puts there."""
    done = run(tmp_path, address, mode=None, resources={"gpus": 4})
    assert_refused(done, tmp_path, "one trial needs 1 CPUs and 4 GPUs")


def test_nothing_listens(tmp_path: Path) -> None:
    [port] = free_ports(1)
    done = run(tmp_path, f"127.0.0.1:{port}", timeout=40)
    assert_refused(done, tmp_path, f"no Ray answers at '127.0.0.1:{port}'", "leave --address out")
