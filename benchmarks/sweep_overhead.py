"""What the sweep adds to training: 50 trivial trials on Ray, with the MLflow writer and checkpoints.

    overhead per trial = (wall from the first trial's start to the last one's end x slots - training seconds) / trials

A start is when a worker takes the trial up, an end is when its record is written. Starting Ray and its workers, and
what MLflow still writes after the last end, are printed beside it. Target: under 0.25 s.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from rich.console import Console

from suite.core import records
from suite.study.check import check_plan
from suite.study.config import parse_study
from suite.study.plan import make_plan
from suite.sweep.run import Options, run_study
from suite.sweep.storage import StudyStorage

TARGET_SECONDS = 0.25


def study(trials: int) -> dict[str, object]:
    """One epoch of the smallest network on the smallest images, as often as asked."""
    return {
        "study": "overhead",
        "datasets": [{"name": "digits", "size": 8}],
        "backbones": ["gradient_cnn"],
        "variants": ["baseline"],
        "recipe": {"name": "gradient", "epochs": 1},
        "seeds": trials,
        "precision": "float32",
        "memory_format": "contiguous",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        plan = check_plan(make_plan(parse_study(study(trials))), Path("data"))
        began = time.time()
        outcome = run_study(plan, Options(Path("data")), Console(quiet=True))
        ended = time.time()
        storage = StudyStorage(plan.study)
        starts = [path.stat().st_mtime for path in storage.path.glob("trials/*/trial.json")]
        ends = [path.stat().st_mtime for path in storage.path.glob("trials/*/record.json")]
        found = [records.read_record(path) for path in storage.path.glob("trials/*/record.json")]
    if len(found) != trials or outcome.failed or outcome.tracking_trouble:
        raise SystemExit(f"only {len(found)} of {trials} trials, or failures: {outcome.tracking_trouble}")
    slots = int((os.cpu_count() or 1) / plan.study.resources.cpus)
    wall, training = max(ends) - min(starts), sum(record.train_seconds or 0.0 for record in found)
    overhead = (wall * slots - training) / trials
    print(f"trials {trials}, slots {slots}, wall {wall:.2f} s, training {training:.2f} s")
    print(f"before the first start (Ray, workers, MLflow): {min(starts) - began:.2f} s")
    print(f"after the last end (MLflow's last writes, Ray's end): {ended - max(ends):.2f} s")
    print(f"overhead per trial: {overhead:.3f} s (target: under {TARGET_SECONDS} s)")


if __name__ == "__main__":
    main()
