"""What a large sweep costs beside training: Ray, TPE, ASHA and MLflow on SQLite, with trials that train nothing.

    python -m benchmarks.sweep_scale [--trials 200 2000] [--resume] [--seconds 0]

Every cell has 15 search and 5 confirm trials of 6 epochs; two workers. A pretended trial writes what a real one does
(its own definition, a note per epoch, its record) and takes its errors from a hash. Printed per size, from the first
trial's start to the last one's end: trials a second, CPU seconds of the driver per trial, the driver's largest
resident memory, what each worker's memory grew by, and the CPU time of MLflow's thread per epoch.

    --resume       the same study once more, with everything finished
    --seconds S    each confirm trial takes so long, nothing is searched: how busy the workers were
    --ray-mlflow   Ray's own MLflow callback on 200 epochs, in the driver as Tune calls it

Goals: 20 trials/s; CPU per trial at 2,000 at most 1.1 times that at 200; driver under 700 MiB; workers grow by less
than 20 MiB over 1,000 trials; 10,000 finished trials resumed in under 15 s; workers 95 % busy in 40 trials of 10 s;
1.5 ms of tracking per epoch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from suite.core import records
from suite.core.records import Epoch, Record
from suite.core.run_context import RunContext
from suite.core.specs import Trial
from suite.core.trial_folder import claim_directory, drop_epoch_note, note_epoch
from suite.study.config import parse_study
from suite.study.plan import Plan, make_plan, with_cells
from suite.sweep import ray_tune, ray_worker
from suite.sweep.run import Options, Outcome, run_study
from suite.training.outcome import partial_record

SEARCH, SEEDS, EPOCHS, WORKERS = 15, 5, 6, 2
PAUSE = "GRAFTBENCH_PRETENDED_SECONDS"
STUDY: dict[str, Any] = {
    "study": "scale",
    "datasets": [{"name": "digits", "size": [8, 16, 24, 32]}],
    "backbones": ["gradient_cnn", "base_cnn", "resnet18", "resnet50", "vgg16", "densenet121"],
    "variants": ["baseline", "image_gradient", {"name": "sire", "lambda": [number / 100 for number in range(1, 25)]}],
    "recipe": {"name": "sire", "epochs": EPOCHS},
    "seeds": SEEDS,
    "search": {"trials": SEARCH, "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}}, "asha": {}},
    "precision": "float32",
    "memory_format": "contiguous",
}


class TrialActor(ray_worker.TrialActor):
    """A worker that pretends to train; named as the real one, by which its neighbours know it."""

    def setup(self, config: Any) -> None:
        assignment = config["assignment"]
        self._events = pretend_trial(assignment.trial, assignment.context)


def pretend_trial(trial: Trial, context: RunContext) -> Iterator[Epoch | Record]:
    folder = context.directory
    assert folder is not None
    claim_directory(trial, folder)
    history: list[Epoch] = []
    pause = float(os.environ.get(PAUSE, 0)) if trial.stage == "confirm" else 0.0
    for number in range(1, trial.epochs + 1):
        time.sleep(pause / trial.epochs)
        error = draw_error(trial.key, number)
        history.append(pretend_epoch(number, error, pause / trial.epochs))
        note_epoch(history, folder)
        yield history[-1]
    # The worker's identity and memory, in columns of a record that a pretended trial has no other use for.
    measured = {"device": str(os.getpid()), "peak_memory_mib": read_resident_mib(), "test_top1_error": error}
    record = partial_record(trial, "completed", "", history, **measured)
    records.write_record(record, folder / "record.json")
    drop_epoch_note(folder)
    yield record


def pretend_epoch(number: int, error: float, seconds: float) -> Epoch:
    return Epoch(
        epoch=number,
        learning_rate=0.1,
        train_loss=1.0,
        train_top1_error=error,
        validation_loss=1.0,
        validation_top1_error=error,
        validation_top5_error=error,
        train_seconds=seconds,
    )


def draw_error(key: str, epoch: int) -> float:
    return int(hashlib.sha256(f"{key} {epoch}".encode()).hexdigest()[:8], 16) / 2**32


def read_resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def make_pretended_plan(trials: int, search: int = SEARCH) -> Plan:
    study = {**STUDY, "search": {**STUDY["search"], "trials": search}}
    if not search:
        del study["search"]
    plan = make_plan(parse_study(study))
    cells = trials // (search + SEEDS)
    if cells > len(plan.cells):
        raise SystemExit(f"the study has {len(plan.cells)} cells, which is {len(plan.cells) * (search + SEEDS)} trials")
    return with_cells(plan, plan.cells[:cells])


class DriverWatch(threading.Thread):
    """CPU time of the driver and of MLflow's thread when the first trial had begun, and as last seen."""

    def __init__(self, storage: Path) -> None:
        super().__init__(daemon=True)
        self._storage = storage
        self.began: float | None = None
        self.cpu = self.tracking_cpu = 0.0
        self.at_start = 0.0

    def run(self) -> None:
        while True:
            if self.began is None and any(self._storage.glob("trials/*/trial.json")):
                self.began, self.at_start = time.time(), time.process_time()
            for thread in threading.enumerate():
                if thread.name == "mlflow-listener" and thread.ident is not None:
                    self.tracking_cpu = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            time.sleep(0.05)


def run_plan(plan: Plan) -> Outcome:
    return run_study(plan, Options(Path("data"), device="cpu"), Console(quiet=True))


def measure_sweep(plan: Plan) -> float:
    """CPU seconds of the driver per trial; prints everything."""
    storage = plan.study.storage_path
    watch = DriverWatch(storage)
    watch.start()
    called = time.time()
    outcome = run_plan(plan)
    ended, cpu = time.time(), time.process_time()
    if outcome.failed or outcome.tracking_trouble or len(outcome.records) != plan.trials or watch.began is None:
        raise SystemExit(f"only {len(outcome.records)} of {plan.trials} trials; {outcome.tracking_trouble}")
    last = max(path.stat().st_mtime for path in storage.glob("trials/*/record.json"))
    wall, epochs = last - watch.began, sum(record.epochs_run for record in outcome.records.values())
    cost = (cpu - watch.at_start) / plan.trials
    print(f"{plan.trials} trials in {len(plan.cells)} cells, {epochs} epochs, {WORKERS} workers")
    print(f"  {plan.trials / wall:.1f} trials/s in {wall:.1f} s; {watch.began - called:.1f} s before them", end="")
    print(f", {ended - last:.1f} s after them")
    print(f"  driver: {1000 * cost:.1f} ms of CPU per trial, at most {peak_mib():.0f} MiB")
    print(f"  tracking: {1000 * watch.tracking_cpu / epochs:.2f} ms of its thread's CPU per epoch")
    print_workers(outcome)
    return cost


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_workers(outcome: Outcome) -> None:
    held: dict[str, list[float]] = defaultdict(list)
    for record in outcome.records.values():
        if record.peak_memory_mib is not None:
            held[record.device].append(record.peak_memory_mib)
    for worker, values in held.items():
        grown = 1000 * (max(values) - min(values)) / len(values)
        print(f"  worker {worker}: {len(values)} trials, grew by {grown:.1f} MiB per 1,000")


def measure_busy(plan: Plan, seconds: float) -> None:
    outcome = run_plan(plan)
    storage = plan.study.storage_path
    begun = [path.stat().st_mtime for path in storage.glob("trials/*/trial.json")]
    ended = [path.stat().st_mtime for path in storage.glob("trials/*/record.json")]
    wall = max(ended) - min(begun)
    busy = seconds * len(outcome.records) / (WORKERS * wall)
    print(f"{len(outcome.records)} trials of {seconds:g} s: workers busy {100 * busy:.1f} % of {wall:.1f} s")


def time_ray_callback(epochs: int) -> None:
    """Ray's MLflow callback, called as Tune does for each result."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.experiment import Trial as TuneTrial

    callback = MLflowLoggerCallback(tracking_uri="sqlite:///ray.db", experiment_name="ray")
    callback.setup()
    trial = TuneTrial("pretended", stub=True)
    trial.config = {"learning_rate": 0.1}
    callback.log_trial_start(trial)
    values = pretend_epoch(1, 0.5, 1.0).list_values()
    began = time.perf_counter()
    for number in range(epochs):
        callback.log_trial_result(number, trial, {**values, "training_iteration": number})
    print(
        f"Ray's MLflow callback: {1000 * (time.perf_counter() - began) / epochs:.1f} ms per epoch, the driver waiting"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--ray-mlflow", action="store_true")
    given = parser.parse_args()
    ray_tune.TrialActor = TrialActor  # type: ignore[misc]
    data = Path(os.environ.get("GRAFTBENCH_DATA", "data")).absolute()
    for trials in given.trials:
        # A process of its own each: memory and CPU time are of one size alone.
        process = os.fork()
        if process:
            if os.waitpid(process, 0)[1]:
                raise SystemExit(1)
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            measure_size(trials, given, data)
        os._exit(0)


def measure_size(trials: int, given: argparse.Namespace, data: Path) -> None:
    if given.seconds:
        os.environ[PAUSE] = str(given.seconds)
        measure_busy(make_pretended_plan(trials, search=0), given.seconds)
        return
    plan = make_pretended_plan(trials)
    measure_sweep(plan)
    if given.resume:
        began = time.time()
        outcome = run_plan(plan)
        print(f"  resumed with everything finished: {time.time() - began:.1f} s, {outcome.trained} trained")
    if given.ray_mlflow:
        time_ray_callback(200)


if __name__ == "__main__":
    main()
