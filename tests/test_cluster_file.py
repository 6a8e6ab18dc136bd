"""`ray_cluster.yaml`, checked offline with Ray's own validation; no cloud is asked."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "ray_cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def commands(cluster: dict[str, Any]) -> list[str]:
    return [line for key, lines in cluster.items() if key.endswith("_commands") for line in lines]


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_refuses_a_broken_one(cluster: dict[str, Any]) -> None:
    cluster["head_node_type"] = "elsewhere"
    with pytest.raises(ValueError, match="head_node_type"):
        validate_config(prepare_config(cluster))


def test_workers(cluster: dict[str, Any]) -> None:
    """Ray's validation misses a type whose max_workers is above the cluster's."""
    types = cluster["available_node_types"]
    workers = [kind for name, kind in types.items() if name != cluster["head_node_type"]]
    assert workers
    for kind in workers:
        # 1 at least: a run is refused while no node has one trial's resources
        assert 1 <= kind["min_workers"] <= kind["max_workers"] <= cluster["max_workers"]
    assert cluster["idle_timeout_minutes"] > 0


def test_the_head_runs_no_trial(cluster: dict[str, Any]) -> None:
    assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}


def test_the_working_tree_goes_without_data_results_and_environment(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"] == {"/home/ubuntu/graftbench": "."}
    assert {"/data/", "/runs/", "/.git/", "/.venv*"} <= set(cluster["rsync_exclude"])
    # rsync's unanchored patterns would leave out folders of that name inside the packages too
    unanchored = [pattern for pattern in cluster["rsync_exclude"] if not pattern.startswith("/")]
    left_out = [
        path
        for pattern in unanchored
        for path in (ROOT / "suite").rglob("*")
        if path.match(pattern.removeprefix("**/").rstrip("/")) and path.name != "__pycache__"
    ]
    assert left_out == []


def test_it_installs_the_lock_file(cluster: dict[str, Any]) -> None:
    [installs_lock] = [line for line in cluster["setup_commands"] if "--requirement" in line]
    words = shlex.split(installs_lock)
    lock = words[words.index("--requirement") + 1]
    assert (ROOT / lock.removeprefix("~/graftbench/")).is_file()
    assert any("--no-deps --editable ~/graftbench" in line for line in cluster["setup_commands"])


def test_ray_starts_on_both_sides(cluster: dict[str, Any]) -> None:
    assert any(
        "--autoscaling-config=~/ray_bootstrap_config.yaml" in line for line in cluster["head_start_ray_commands"]
    )
    assert any("--address=$RAY_HEAD_IP:6379" in line for line in cluster["worker_start_ray_commands"])


def test_no_secret_account_or_package_index() -> None:
    text = FILE.read_text()
    for pattern in (
        r"AKIA|ASIA[A-Z0-9]",  # AWS access keys
        r"(?i)secret|password|token",
        r"arn:|\b\d{12}\b",  # AWS accounts
        r"\bami-[0-9a-f]{6,}",  # an image of one region, one day
        r"https?://|(?i:index-url|pypi|\.whl)",
        r"\.pem\b|ssh_private_key",
    ):
        assert not re.search(pattern, text), pattern


def test_the_comments_name_studies_that_exist() -> None:
    named = re.findall(r"~/graftbench/(configs/\S+\.yaml)", FILE.read_text())
    assert named
    assert all((ROOT / name).is_file() for name in named)
