"""What one trial occupies on a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ray

from suite.core.errors import UserError
from suite.study.config import Resources
from suite.sweep import ray_tune


@pytest.mark.parametrize(
    ("gpus_there", "asked", "device", "gpus", "on"),
    [
        (0, None, "auto", 0, "cpu"),
        (4, None, "auto", 1, "auto"),
        (4, None, "cpu", 0, "cpu"),
        (4, 0, "auto", 0, "cpu"),  # else every trial would crowd onto the first GPU
        (4, 0.5, "auto", 0.5, "auto"),
        (4, 2, "cuda", 2, "cuda"),
    ],
)
def test_a_trial_takes_a_gpu_where_there_is_one_and_the_study_allows(
    monkeypatch: pytest.MonkeyPatch, gpus_there: int, asked: float | None, device: str, gpus: float, on: str
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": float(gpus_there)})
    resources, place = ray_tune.settle_resources(Resources(cpus=2, gpus=asked), device)
    assert (resources.cpus, resources.gpus, place) == (2, gpus, on)


def test_slots_are_what_fits_by_the_scarcest_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, node, {**node, "Alive": False}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    assert ray_tune.count_slots(Resources(cpus=1, gpus=0)) == 8
    assert ray_tune.count_slots(Resources(cpus=1, gpus=0.5)) == 4
    assert ray_tune.count_slots(Resources(cpus=3, gpus=1)) == 2
    assert ray_tune.count_slots(Resources(cpus=0.1, gpus=0)) == 80
    assert ray_tune.count_slots(Resources(cpus=1, gpus=0.4)) == 4, "a GPU holds two whole trials of 0.4"
    assert ray_tune.count_slots(Resources(cpus=5, gpus=0)) == 0, "a trial never spans two nodes"
    with pytest.raises(UserError, match=r"needs 1 CPUs and 4 GPUs, but Ray has 8 and 2"):
        ray_tune.refuse_too_large(Resources(cpus=1, gpus=4))


def test_a_driver_of_ray_imports_no_torch() -> None:
    """Seconds of a start that its workers need the processors for."""
    code = "import sys, suite.sweep.run, suite.sweep.ray_tune; print({'torch', 'mlflow'} & sys.modules.keys())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip() == "set()"


def test_without_an_address_no_ray_that_happens_to_run_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(ray._private.worker, "print_to_stdstream", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    ray_tune.connect_ray(None, Resources())
    assert asked["address"] == "local"
